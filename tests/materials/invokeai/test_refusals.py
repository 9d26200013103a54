"""Servers that do not answer, answer wrongly, or say no: each is told in a sentence, and no secret is in it."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from atelier_materials.invokeai import server as http_edge
from atelier_materials.invokeai.errors import AccessRefused, NotInvokeAi, ServerUnreachable
from atelier_materials.invokeai.installing import Became, Waiting, install_models
from atelier_materials.invokeai.server import InvokeAiServer, hide_signatures
from fake_invokeai import FakeInvokeAi
from invokeai_behaviour import QUICKLY, SIGNATURE, build_concept_model, build_embedding, offer, shelf

__all__ = ["shelf"]
VERSION = "/api/v1/app/version"
TOKEN = "a-token-of-an-administrator"


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeInvokeAi]:
    """A server with nothing installed."""
    server = FakeInvokeAi(tmp_path / "invokeai")
    yield server
    server.stop()


@pytest.fixture
def server(fake: FakeInvokeAi) -> Iterator[InvokeAiServer]:
    """Our client of it, without a token."""
    with InvokeAiServer(fake.url) as client:
        yield client


def test_nobody_answers() -> None:
    """An address where nothing listens is told with the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with InvokeAiServer(url) as client, pytest.raises(ServerUnreachable, match=f"InvokeAI at {url} does not answer"):
        client.read_version()


@pytest.mark.parametrize("url", ["http://", "http://[::1", "http://a b"])
def test_no_address(url: str) -> None:
    """What is no address is told like one where nobody answers."""
    with InvokeAiServer(url) as client, pytest.raises(ServerUnreachable):
        client.read_version()


def test_another_program_answers(fake: FakeInvokeAi, server: InvokeAiServer) -> None:
    """A page instead of an answer is told as not being InvokeAI."""
    fake.says[VERSION] = (200, {}, b"<html>a wiki</html>")
    with pytest.raises(NotInvokeAi, match="answers otherwise than InvokeAI 6 does"):
        server.read_version()


def test_a_server_without_that_api(fake: FakeInvokeAi, server: InvokeAiServer) -> None:
    """A server that knows no such path is told as not being InvokeAI."""
    fake.says[VERSION] = (404, {}, b"")
    with pytest.raises(NotInvokeAi, match="is not an InvokeAI server"):
        server.read_version()


def test_a_redirect_is_not_followed(fake: FakeInvokeAi, tmp_path: Path) -> None:
    """The token goes to no other server, and the message names where it would have gone."""
    other = FakeInvokeAi(tmp_path / "other")
    fake.says[VERSION] = (307, {"Location": f"{other.url}{VERSION}?next=1"}, b"")
    with InvokeAiServer(fake.url, TOKEN) as client, pytest.raises(NotInvokeAi, match=f"sends on to {other.url}"):
        client.read_version()
    other.stop()
    assert other.asked == []


@pytest.mark.parametrize("token", ["tök", "a\nb", "\ufffd"])
def test_a_token_that_is_none(fake: FakeInvokeAi, token: str) -> None:
    """What cannot be sent as a token is refused in a sentence without it, and nobody is asked."""
    with pytest.raises(AccessRefused, match="holds signs that no token has") as refused:
        InvokeAiServer(fake.url, token)
    assert (token in str(refused.value), fake.asked) == (False, [])


def test_a_reason_without_bottom(fake: FakeInvokeAi, server: InvokeAiServer) -> None:
    """A refusal that nobody can read to its end is a refusal without a reason."""
    fake.says[VERSION] = (400, {}, b"[" * 100_000)
    with pytest.raises(NotInvokeAi, match="is not an InvokeAI server"):
        server.read_version()


def test_an_endless_answer_is_cut(fake: FakeInvokeAi, server: InvokeAiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer beyond the limit is not read to its end."""
    monkeypatch.setattr(http_edge, "ANSWER_LIMIT_BYTES", 1 << 20)
    fake.says[VERSION] = (200, {}, b" " * (1 << 21))
    with pytest.raises(NotInvokeAi, match="more than 1 MiB"):
        server.read_version()


def test_a_token_is_wanted(fake: FakeInvokeAi, server: InvokeAiServer) -> None:
    """A server with accounts says what it wants and under which key it goes."""
    fake.token = TOKEN
    with pytest.raises(AccessRefused, match=r"wants a token \(HTTP 401\).*atelier-invokeai-token"):
        install_models(server, [])


def test_a_wrong_token_is_not_repeated(fake: FakeInvokeAi) -> None:
    """A token that is not accepted is in no message, even where the server repeats it."""
    fake.token = TOKEN
    with InvokeAiServer(fake.url, "another-token") as client, pytest.raises(AccessRefused) as told:
        client.read_version()
    assert "does not accept the token" in str(told.value)
    assert "another-token" not in str(told.value)


def test_the_right_token_opens(fake: FakeInvokeAi) -> None:
    """The token is sent as a bearer."""
    fake.token = TOKEN
    with InvokeAiServer(fake.url, TOKEN) as client:
        assert client.read_version() == "6.14.2"


def test_private_addresses_are_explained(
    fake: FakeInvokeAi, server: InvokeAiServer, tmp_path: Path, shelf: str
) -> None:
    """Where InvokeAI may not download from a private network, the setting and the other way are named."""
    fake.allows_private_addresses = False
    (done,) = install_models(server, [offer(tmp_path, shelf, build_concept_model())], QUICKLY)
    assert done.became == Became.REFUSED
    assert "set allow_private_download_urls: true in its invokeai.yaml, or publish to a folder" in done.detail


def test_an_install_that_does_not_end(fake: FakeInvokeAi, server: InvokeAiServer, tmp_path: Path, shelf: str) -> None:
    """A server that is still at it when the time is over is told as unfinished, not as refused."""
    fake.stays_waiting = True
    clock = iter(range(0, 1000, 10))
    waiting = Waiting(limit_seconds=30.0, clock=lambda: float(next(clock)), sleep=lambda _: None)
    (done,) = install_models(server, [offer(tmp_path, shelf, build_concept_model())], waiting)
    assert (done.became, done.is_there) == (Became.UNFINISHED, False)
    assert "publish again later" in done.detail


def test_one_refusal_stops_no_other(server: InvokeAiServer, tmp_path: Path, shelf: str) -> None:
    """A model that is refused leaves the others to be installed."""
    models = [offer(tmp_path, shelf, build_concept_model()) for _ in range(3)]
    models[1] = replace(models[1], sources=())
    done = install_models(server, models, QUICKLY)
    assert [one.became for one in done] == [Became.INSTALLED, Became.REFUSED, Became.INSTALLED]


def test_the_same_again_only_asks(fake: FakeInvokeAi, server: InvokeAiServer, tmp_path: Path, shelf: str) -> None:
    """A second publication sends nothing but questions."""
    models = [
        offer(tmp_path, shelf, build_concept_model()),
        offer(tmp_path, shelf, build_embedding(), kind="Embedding", trigger_phrases=()),
    ]
    install_models(server, models, QUICKLY)
    fake.asked.clear()
    install_models(server, models, QUICKLY)
    assert fake.changes == []


def test_an_embedding_in_a_trigger_is_called_as_invokeai_calls_it(
    server: InvokeAiServer, tmp_path: Path, shelf: str
) -> None:
    """A concept model that was trained with an embedding names it in angle brackets."""
    embedding = offer(tmp_path, shelf, build_embedding(), kind="Embedding", trigger_phrases=())
    concept = offer(tmp_path, shelf, build_concept_model(), trigger_phrases=(embedding.name, "TKXW"))
    install_models(server, [concept, embedding], QUICKLY)
    (record,) = server.list_models("ConceptModel", concept.architecture)
    assert record.trigger_phrases == (f"<{embedding.name}>", "TKXW")


def test_no_log_holds_a_signature(
    server: InvokeAiServer, tmp_path: Path, shelf: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A presigned link is in no log of ours, the HTTP library's own included."""
    with caplog.at_level(logging.INFO):
        install_models(server, [offer(tmp_path, shelf, build_concept_model())], QUICKLY)
    assert SIGNATURE not in caplog.text


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("url: /a.safetensors?X-Amz-Signature=1 (Caused by x)", "url: /a.safetensors (Caused by x)"),
        ("'https://s3.example/b/a?X-Amz-Signature=1&x=2'", "'https://s3.example/b/a'"),
        ("is it so? yes", "is it so? yes"),
    ],
)
def test_signatures_are_hidden(text: str, hidden: str) -> None:
    """What stands behind a link's question mark is left out, and nothing else."""
    assert hide_signatures(text) == hidden
