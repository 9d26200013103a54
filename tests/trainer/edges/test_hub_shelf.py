"""The Hugging Face hub as a shelf, against a hub on loopback that speaks the two calls which are used."""

from __future__ import annotations

import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from huggingface_hub import constants

from atelier_contract.architectures import Architecture
from atelier_materials.dataset.sources import Folder
from atelier_materials.errors import ObjectMissing, StorageUnavailable
from atelier_materials.store.patience import Patience
from atelier_materials.store.protocol import hash_file
from atelier_trainer.edges.base_model import check_base_model
from atelier_trainer.edges.hub_shelf import HubShelf
from atelier_trainer.errors import BaseModelUnusable
from learning import BASE_MODEL

REPOSITORY, REVISION = "team/tiny", "a" * 40


class Hub:
    """A hub that holds the tiny base model under one commit."""

    def __init__(self) -> None:
        hub = self
        self.status = 200
        self.tokens: list[str | None] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.tokens.append(self.headers.get("Authorization"))
                path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
                if hub.status != 200:
                    self._answer(hub.status, b"{}")
                elif path == f"/api/models/{REPOSITORY}/tree/{REVISION}":
                    self._answer(200, json.dumps(list_tree()).encode())
                else:
                    self._send_file(BASE_MODEL / path.removeprefix(f"/{REPOSITORY}/resolve/{REVISION}/"))

            def _send_file(self, path: Path) -> None:
                if not path.is_file():
                    self._answer(404, b"")
                    return
                data, asked = path.read_bytes(), self.headers.get("Range")
                if asked is None:
                    self._answer(200, data)
                    return
                start, _, end = asked.removeprefix("bytes=").partition("-")
                self._answer(206, data[int(start) : int(end) + 1])

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def shelf(self, token: str | None = None) -> HubShelf:
        """Return the repository as a shelf."""
        return HubShelf(REPOSITORY, REVISION, token, Patience(seconds=0), self.endpoint)


def list_tree() -> list[dict[str, object]]:
    """Return the hub's listing of the repository."""
    files = sorted(path for path in BASE_MODEL.rglob("*") if path.is_file())
    return [
        {
            "type": "file",
            "oid": "0" * 40,
            "size": path.stat().st_size,
            "path": path.relative_to(BASE_MODEL).as_posix(),
        }
        for path in files
    ]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub, in an image that is offline as ours is."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with Hub() as running:
        yield running


def test_base_model_is_checked_like_any_other(hub: Hub) -> None:
    """A model on the hub passes the same checks, from listing, configs and headers."""
    facts = check_base_model(Folder(hub.shelf(), ""), Architecture.STABLE_DIFFUSION_1)
    assert "unet/diffusion_pytorch_model.safetensors" in [file.path for file in facts.files]


def test_fetches_whole_files(hub: Hub, tmp_path: Path) -> None:
    """A fetched file holds the repository's bytes, and its digest is told."""
    name = "vae/diffusion_pytorch_model.safetensors"
    assert hub.shelf().fetch(name, tmp_path / "file") == hash_file(BASE_MODEL / name) == hash_file(tmp_path / "file")


def test_image_is_offline_again(hub: Hub) -> None:
    """The library's switch is turned back after each call."""
    hub.shelf().read("model_index.json")
    assert constants.HF_HUB_OFFLINE is True


def test_token_is_sent_only_where_given(hub: Hub) -> None:
    """Without a token none is sent, whatever lies around; with one it is."""
    hub.shelf().read("model_index.json")
    hub.shelf("hf_secret").read("model_index.json")
    assert hub.tokens == [None, "Bearer hf_secret"]


def test_missing_file(hub: Hub) -> None:
    """A file that the commit lacks is missing."""
    with pytest.raises(ObjectMissing, match=r"nothing\.json"):
        hub.shelf().read("nothing.json")


@pytest.mark.parametrize("status", [401, 403, 404])
def test_refusal_says_what_to_check(hub: Hub, status: int) -> None:
    """A repository that is gated, private or not there says what to check."""
    hub.status = status
    with pytest.raises(BaseModelUnusable, match="check repository and revision"):
        list(hub.shelf().list(""))


def test_busy_hub_is_waited_for(hub: Hub) -> None:
    """A hub that cannot just now is waited for, and in the end unavailable."""
    hub.status = 503
    with pytest.raises(StorageUnavailable, match="answers 503"):
        hub.shelf().read("model_index.json")
