"""What publishing relies on, as tests that the fake and the real InvokeAI server both pass.

A module that imports the class gives it a fixture `invokeai_url`; each test brings models of its own, so that one
server serves all.
"""

from __future__ import annotations

import hashlib
import http.server
import io
import threading
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save

from atelier_contract.architectures import Architecture
from atelier_materials.invokeai.errors import RequestRefused
from atelier_materials.invokeai.installing import Became, ModelToInstall, Waiting, install_models
from atelier_materials.invokeai.records import ModelRecord
from atelier_materials.invokeai.server import InvokeAiServer

SD1 = Architecture.STABLE_DIFFUSION_1
LAYER = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
QUICKLY = Waiting(limit_seconds=60.0, pause_seconds=0.02)
SIGNATURE = "X-Amz-Signature=5ec2e7"


def build_concept_model() -> bytes:
    """Return the smallest LoRA that InvokeAI knows as one of Stable Diffusion 1, with weights of its own."""
    drawn = np.random.default_rng(uuid.uuid4().int)
    return save(
        {
            f"{LAYER}.lora_down.weight": drawn.standard_normal((4, 768)).astype(np.float32),
            f"{LAYER}.lora_up.weight": drawn.standard_normal((64, 4)).astype(np.float32),
            f"{LAYER}.alpha": np.array(4.0, dtype=np.float32),
        }
    )


def build_embedding() -> bytes:
    """Return an embedding of four vectors."""
    return save({"emb_params": np.random.default_rng(uuid.uuid4().int).standard_normal((4, 768)).astype(np.float32)})


def build_nothing() -> bytes:
    """Return a whole safetensors file that is no model of any kind; below ten tensors InvokeAI guesses."""
    drawn = np.random.default_rng(uuid.uuid4().int)
    return save({f"weights.{number}": drawn.standard_normal((2, 3)).astype(np.float32) for number in range(12)})


def build_preview() -> bytes:
    """Return a small PNG."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def server(invokeai_url: str) -> Iterator[InvokeAiServer]:
    """Our client of the server."""
    with InvokeAiServer(invokeai_url) as client:
        yield client


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[str]:
    """The address of a folder whose files can be downloaded by link, whatever stands behind the question mark."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given, directory=str(tmp_path))

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{web.server_port}"
    web.shutdown()
    thread.join()
    web.server_close()


def offer(folder: Path, shelf: str, content: bytes, **changes: Any) -> ModelToInstall:
    """Put a model on the shelf under a name of its own and return what is published of it."""
    sha256 = hashlib.sha256(content).hexdigest()
    name = f"teapot-step-000020-{sha256[:8]}"
    (folder / f"{name}.safetensors").write_bytes(content)
    model = ModelToInstall(
        name=name,
        kind="ConceptModel",
        architecture=SD1,
        sha256=sha256,
        size_bytes=len(content),
        sources=(f"{shelf}/{name}.safetensors?{SIGNATURE}",),
        description=f"TKXW teapot. sha256 {sha256}",
        trigger_phrases=("TKXW",),
        preview=build_preview(),
    )
    return replace(model, **changes)


def read_record(server: InvokeAiServer, model: ModelToInstall) -> ModelRecord:
    """Return the one record that has the model's name."""
    (record,) = [r for r in server.list_models(model.kind, model.architecture) if r.name == model.name]
    return record


class InvokeAiBehaviour:
    """Publishing into a server, and what the server then holds."""

    def test_it_tells_its_version(self, server: InvokeAiServer) -> None:
        """The server says that it is InvokeAI 6."""
        assert server.read_version().startswith("6.")

    def test_a_concept_model_is_known_by_everything_we_say(
        self, server: InvokeAiServer, tmp_path: Path, shelf: str
    ) -> None:
        """A LoRA is recognised with its base, and has name, description, trigger phrase and preview."""
        model = offer(tmp_path, shelf, build_concept_model())
        (done,) = install_models(server, [model], QUICKLY)
        record = read_record(server, model)
        assert (done.became, done.key) == (Became.INSTALLED, record.key)
        assert (record.type, record.base, record.file_size) == ("lora", "sd-1", model.size_bytes)
        assert (record.description, record.trigger_phrases) == (model.description, ("TKXW",))
        with urllib.request.urlopen(f"{server.url}/api/v2/models/i/{record.key}/image") as answer:
            assert answer.read()
        assert record.cover_image

    def test_an_embedding_is_known_by_its_name(self, server: InvokeAiServer, tmp_path: Path, shelf: str) -> None:
        """An embedding is recognised with its base; it has no trigger phrases, its name is one."""
        model = offer(tmp_path, shelf, build_embedding(), kind="Embedding", trigger_phrases=())
        assert install_models(server, [model], QUICKLY)[0].became == Became.INSTALLED
        record = read_record(server, model)
        assert (record.type, record.base, record.trigger_phrases) == ("embedding", "sd-1", None)
        assert (record.description, bool(record.cover_image)) == (model.description, True)

    def test_the_same_again_changes_nothing(self, server: InvokeAiServer, tmp_path: Path, shelf: str) -> None:
        """Publishing again finds the model there and leaves its record as it was."""
        model = offer(tmp_path, shelf, build_concept_model())
        install_models(server, [model], QUICKLY)
        before = read_record(server, model)
        (again,) = install_models(server, [model], QUICKLY)
        after = read_record(server, model)
        assert (again.became, again.detail) == (Became.ALREADY_THERE, "")
        # The preview's address ends in something new at every question.
        assert after.model_copy(update={"cover_image": None}) == before.model_copy(update={"cover_image": None})

    def test_the_records_source_holds_no_signature(self, server: InvokeAiServer, tmp_path: Path, shelf: str) -> None:
        """A presigned link is good for a while for whoever reads it: the record keeps what stands before it."""
        model = offer(tmp_path, shelf, build_concept_model())
        install_models(server, [model], QUICKLY)
        assert read_record(server, model).source == next(iter(model.sources)).partition("?")[0]

    def test_what_is_missing_is_filled_in_and_what_a_person_wrote_stays(
        self, server: InvokeAiServer, tmp_path: Path, shelf: str
    ) -> None:
        """A person's description and phrases stay; our phrase is added beside them."""
        model = offer(tmp_path, shelf, build_concept_model())
        install_models(server, [model], QUICKLY)
        key = read_record(server, model).key
        server.change(key, {"description": "my favourite", "trigger_phrases": ["a kettle"]})
        (again,) = install_models(server, [model], QUICKLY)
        record = read_record(server, model)
        assert (again.became, again.detail) == (Became.UPDATED, "trigger phrases")
        assert record.description == "my favourite"
        assert set(record.trigger_phrases or ()) == {"TKXW", "a kettle"}

    def test_a_description_that_a_person_added_to_stays(
        self, server: InvokeAiServer, tmp_path: Path, shelf: str
    ) -> None:
        """Words that somebody put before ours are kept, although ours are still among them."""
        model = offer(tmp_path, shelf, build_concept_model())
        (first,) = install_models(server, [model], QUICKLY)
        server.change(first.key, {"description": f"Best at 0.7. {model.description}"})
        (again,) = install_models(server, [model], QUICKLY)
        assert again.became == Became.ALREADY_THERE
        assert read_record(server, model).description == f"Best at 0.7. {model.description}"

    def test_a_renamed_model_is_known_by_its_digest(self, server: InvokeAiServer, tmp_path: Path, shelf: str) -> None:
        """A model that a person renamed in InvokeAI is not installed a second time, and keeps that name."""
        model = offer(tmp_path, shelf, build_concept_model())
        (first,) = install_models(server, [model], QUICKLY)
        server.change(first.key, {"name": f"kettle {model.sha256[:8]}"})
        (again,) = install_models(server, [model], QUICKLY)
        assert (again.became, again.key) == (Became.ALREADY_THERE, first.key)

    def test_another_model_of_that_name_is_left_alone(self, server: InvokeAiServer, tmp_path: Path, shelf: str) -> None:
        """A model that somebody else gave our name is neither changed nor doubled."""
        stranger = offer(tmp_path, shelf, build_concept_model(), description="a stranger")
        install_models(server, [stranger], QUICKLY)
        other = build_embedding()  # of another size; nothing reads it
        ours = offer(tmp_path, shelf, other, name=stranger.name)
        (done,) = install_models(server, [ours], QUICKLY)
        assert done.became == Became.REFUSED
        assert "has this name there" in done.detail
        assert read_record(server, stranger).description == "a stranger"

    def test_a_path_that_the_server_sees_is_taken(self, server: InvokeAiServer, tmp_path: Path, shelf: str) -> None:
        """A file on the server's own machine needs no link."""
        model = offer(tmp_path, shelf, build_concept_model())
        model = replace(model, sources=(str(tmp_path / f"{model.name}.safetensors"),))
        assert install_models(server, [model], QUICKLY)[0].became == Became.INSTALLED

    def test_a_path_that_it_does_not_see_gives_way_to_the_link(
        self, server: InvokeAiServer, tmp_path: Path, shelf: str
    ) -> None:
        """Of several addresses, the first that works is taken."""
        model = offer(tmp_path, shelf, build_concept_model())
        model = replace(model, sources=("/nowhere/teapot.safetensors", *model.sources))
        assert install_models(server, [model], QUICKLY)[0].became == Became.INSTALLED

    def test_a_file_that_is_no_model_is_refused_and_leaves_nothing(
        self, server: InvokeAiServer, tmp_path: Path, shelf: str
    ) -> None:
        """What InvokeAI takes for something else is taken away again."""
        content = build_nothing()
        model = offer(tmp_path, shelf, content)
        (done,) = install_models(server, [model], QUICKLY)
        assert done.became == Became.REFUSED
        assert done.detail.startswith("the server took it for unknown"), done.detail
        assert [r for r in server.list_models("ConceptModel", SD1) if r.name == model.name] == []

    def test_a_link_that_leads_nowhere_is_refused_in_words(
        self, server: InvokeAiServer, tmp_path: Path, shelf: str
    ) -> None:
        """The server's reason is passed on, without the link's signature."""
        model = offer(
            tmp_path, shelf, build_concept_model(), sources=(f"http://127.0.0.1:1/a.safetensors?{SIGNATURE}",)
        )
        (done,) = install_models(server, [model], QUICKLY)
        assert done.became == Became.REFUSED
        assert "Max retries exceeded with url: /a.safetensors" in done.detail
        assert SIGNATURE not in done.detail

    def test_an_unknown_key_is_refused(self, server: InvokeAiServer) -> None:
        """A record that is not there cannot be changed; the server's words say so."""
        with pytest.raises(RequestRefused, match="model not found"):
            server.change(str(uuid.uuid4()), {"name": "nobody"})
