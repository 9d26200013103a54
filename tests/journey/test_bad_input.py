"""What bad input gets: a sentence that says what to change, and no GPU pod. All on the real parts."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from atelier_contract import dataset, names
from atelier_contract.dataset import DatasetStatus
from atelier_contract.reasons import Condition, DatasetState, Finding, Reason, State
from atelier_contract.roles import Role
from atelier_contract.training_job_status import TrainingJobStatus
from atelier_playground.api import wait_for
from atelier_playground.errors import ApiError
from journey import BASE_MODEL, Room, describe, read_condition, read_state, read_teapot

pytestmark = pytest.mark.cluster

ANSWER_SECONDS = 60
"""Within this time the user has the sentence (issue of record: 'a condition within a minute')."""


def build_bomb() -> bytes:
    """Build a PNG of 20,000 × 10,000 pixels: 200 megapixels out of a few hundred bytes of header and nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 20_000, 10_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def build_truncated_jpeg() -> bytes:
    """Build a JPEG that ends in the middle of its picture."""
    data = io.BytesIO()
    Image.effect_noise((256, 256), 90).convert("RGB").save(data, "JPEG", quality=95)
    return data.getvalue()[: len(data.getvalue()) // 2]


def upload(room: Room, folder: str, files: dict[str, bytes]) -> None:
    """Put files into a folder of pictures."""
    bucket = room.home.open_bucket()
    for name, data in files.items():
        bucket.Object(f"atelier/{room.name}/pictures/{folder}/{name}").put(Body=data)


def wait_dataset(room: Room, name: str) -> DatasetStatus:
    """Wait until a dataset's Ready condition says something final."""

    def answered() -> DatasetStatus | None:
        body = room.home.api.get(names.API_VERSION, dataset.KIND, name, room.name)
        status = DatasetStatus.model_validate(body.get("status") or {})
        reason = read_condition(status, Condition.READY)[1]
        return status if reason in set(DatasetState) - {DatasetState.INSPECTING} else None

    status: DatasetStatus = wait_for(answered, f"dataset {name} is inspected", ANSWER_SECONDS)
    return status


def wait_stalled(room: Room, name: str = "teapot") -> TrainingJobStatus:
    """Wait until a job is stalled, and check that no GPU pod was made on the way."""

    def stalled() -> TrainingJobStatus | None:
        status = room.get_status(name)
        return status if read_condition(status, Condition.STALLED)[0] == "True" else None

    status: TrainingJobStatus = wait_for(
        stalled, f"{name} is stalled", ANSWER_SECONDS, lambda: describe(room.get_status(name))
    )
    assert room.list_jobs(name) == []
    return status


def test_a_missing_prefix_is_named(room: Room):
    """A Dataset over a prefix where nothing lies is not Ready, and the sentence names the prefix."""
    room.apply_dataset("nowhere", folder="nowhere")
    ready, _, message = read_condition(wait_dataset(room, "nowhere"), Condition.READY)
    assert ready == "False"
    assert "pictures/nowhere" in message


def test_a_folder_without_pictures_is_named(room: Room):
    """A Dataset of text files only is not Ready, and the sentence says which pictures are expected."""
    upload(room, "texts", {"notes.txt": b"no picture here"})
    room.apply_dataset("texts", folder="texts")
    ready, _, message = read_condition(wait_dataset(room, "texts"), Condition.READY)
    assert ready == "False"
    assert "PNG" in message


@pytest.mark.parametrize(
    ("name", "build", "finding"),
    [
        ("broken.jpg", build_truncated_jpeg, Finding.UNREADABLE_PICTURE),
        ("bomb.png", build_bomb, Finding.PICTURE_TOO_LARGE),
        (
            "drawing.png",
            lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
            Finding.FORMAT_NOT_ALLOWED,
        ),
    ],
)
def test_a_bad_picture_is_a_finding(room: Room, name: str, build, finding: Finding):
    """One bad picture among good ones becomes a finding that names file and fix."""
    upload(room, "mixed", {"good.png": read_teapot(), "good.txt": b"a teapot", name: build(), "x.txt": b"a teapot"})
    room.apply_dataset("mixed", folder="mixed")
    status = wait_dataset(room, "mixed")
    found = {one.reason: one for one in status.findings or ()}
    assert finding in found, found
    assert name in found[finding].example
    assert found[finding].fix


def test_missing_captions_refuse_a_concept_model(room: Room):
    """A concept model on pictures without captions is refused before any Job, with the way out in the sentence."""
    upload(room, "bare", {"good.png": read_teapot()})
    room.apply_dataset("bare", folder="bare")
    assert wait_dataset(room, "bare").usable_for == ["Embedding"]
    room.apply_job(datasetRef={"name": "bare"})

    def refused() -> str:
        ready, _, message = read_condition(room.get_status(), Condition.READY)
        return message if ready == "False" and "caption" in message else ""

    message = wait_for(refused, "the job says that captions are missing", ANSWER_SECONDS)
    assert "caption" in message
    assert room.list_jobs() == []


def put_base(room: Room, change) -> None:
    """Put a changed copy of the base model into the store, under base-models/bad."""
    files = {
        path.relative_to(BASE_MODEL).as_posix(): path.read_bytes() for path in BASE_MODEL.rglob("*") if path.is_file()
    }
    bucket = room.home.open_bucket()
    for name, data in change(files).items():
        bucket.Object(room.key("base-models", "bad", *Path(name).parts)).put(Body=data)


def pickle_weights(files: dict[str, bytes]) -> dict[str, bytes]:
    """Replace the UNet's weights by a pickle under the safetensors name."""
    return files | {"unet/diffusion_pytorch_model.safetensors": b"PK\x03\x04archive/data.pkl\x80\x02}q\x00."}


def add_pickle(files: dict[str, bytes]) -> dict[str, bytes]:
    """Replace the UNet's weights by a .bin file."""
    del files["unet/diffusion_pytorch_model.safetensors"]
    return files | {"unet/diffusion_pytorch_model.bin": b"PK\x03\x04archive/data.pkl"}


def drop_vae(files: dict[str, bytes]) -> dict[str, bytes]:
    """Leave the VAE out."""
    return {name: data for name, data in files.items() if not name.startswith("vae/")}


def widen(files: dict[str, bytes]) -> dict[str, bytes]:
    """Make the UNet one of Stable Diffusion XL by its config."""
    config = json.loads(files["unet/config.json"]) | {"cross_attention_dim": 2048}
    return files | {"unet/config.json": json.dumps(config).encode()}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (pickle_weights, "safetensors"),
        (add_pickle, "safetensors"),
        (drop_vae, "vae"),
        (widen, "StableDiffusion"),
    ],
)
def test_a_bad_base_model_fails_in_preflight(room: Room, change, words: str):
    """A base model that cannot be used fails the job in preflight: exit 12, a sentence, no retry, no GPU pod."""
    put_base(room, change)
    room.apply_dataset()
    wait_dataset(room, "teapots")
    source = {"storage": {"path": "base-models/bad"}}
    room.apply_job(baseModel={"architecture": "StableDiffusion1", "source": source})
    status = wait_stalled(room)
    failed, reason, message = read_condition(status, Condition.FAILED)
    assert (failed, reason) == ("True", Reason.BASE_MODEL_UNUSABLE), describe(status)
    assert words in message
    pods = room.list_pods(role=Role.PREFLIGHT)
    assert [pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] for pod in pods] == [12]


def test_a_base_model_of_another_architecture_is_refused_without_a_gpu(room: Room):
    """A base model that is not of the architecture named is refused in preflight, by what it is."""
    room.apply_dataset()
    wait_dataset(room, "teapots")
    source = {"storage": {"path": "base-models/tiny"}}
    room.apply_job(baseModel={"architecture": "StableDiffusionXL", "source": source})
    message = read_condition(wait_stalled(room), Condition.FAILED)[2]
    assert "StableDiffusion1" in message


def test_wrong_keys_are_named_within_a_minute(room: Room):
    """Wrong S3 keys show as a condition that names the Secret."""
    room.apply_dataset()
    wait_dataset(room, "teapots")
    change = {"stringData": {names.KEY_SECRET_ACCESS_KEY: "wrong"}}
    room.home.api.patch("v1", "Secret", names.STORE_SECRET, change, room.name)
    room.apply_job()
    assert names.STORE_SECRET in read_condition(wait_stalled(room), Condition.FAILED)[2]


def test_a_missing_secret_is_named_within_a_minute(room: Room):
    """Without the storage Secret the condition names it and the keys it must have."""
    room.apply_dataset()
    wait_dataset(room, "teapots")
    room.home.api.delete("v1", "Secret", names.STORE_SECRET, room.name)
    room.apply_job()
    message = read_condition(wait_stalled(room), Condition.FAILED)[2]
    assert names.STORE_SECRET in message
    assert names.KEY_ENDPOINT in message


def test_unknown_names_in_a_selection_publish_nothing(room: Room):
    """A selection that names no checkpoint of the run is shown, and nothing is published or deleted."""
    room.apply_dataset()
    room.apply_job(steps=10)
    room.wait_state(State.AWAITING_SELECTION)
    room.patch_job("teapot", {"selection": {"checkpoints": ["step-009999"], "finalize": True}})

    def refused() -> str:
        valid, reason, message = read_condition(room.get_status(), Condition.SELECTION_VALID)
        return message if (valid, reason) == ("False", Reason.UNKNOWN_CHECKPOINT) else ""

    message = wait_for(refused, "the unknown name is shown", ANSWER_SECONDS, lambda: describe(room.get_status()))
    assert "step-009999" in message
    assert room.list_jobs(role=Role.PUBLISH) == []
    assert read_state(room.get_status()) == State.AWAITING_SELECTION


def test_an_empty_selection_cannot_be_finalized(room: Room):
    """Finalizing nothing is refused by the API server with the way to keep none."""
    room.apply_dataset()
    with pytest.raises(ApiError, match="deletionPolicy"):
        room.apply_job(selection={"checkpoints": [], "finalize": True})


def test_an_image_that_cannot_be_pulled_frees_the_gpu(room: Room):
    """A training pod whose image cannot be pulled is given up at the start deadline, and its GPU with it."""
    room.apply_dataset()
    room.apply_job(pod={"startDeadlineSeconds": 60, "nodeSelector": {"atelier.test/later": "yes"}})
    pod = wait_for(room.list_pods, "the training pod waits for a node", ANSWER_SECONDS)[0]
    # A pod's image is one of the few fields that may change; the trainer image itself is there for every other test.
    wrong = {"spec": {"containers": [{"name": names.CONTAINER, "image": "atelier/no-such-image:1"}]}}
    path = room.home.api.path("v1", "Pod", room.name, pod["metadata"]["name"])
    room.home.api.request("PATCH", path, wrong, "application/strategic-merge-patch+json")
    node = room.home.plan.nodes[0]
    room.home.api.patch("v1", "Node", node, {"metadata": {"labels": {"atelier.test/later": "yes"}}})
    status = wait_for(
        lambda: next(
            (s for s in [room.get_status()] if read_condition(s, Condition.FAILED)[0] == "True"),
            None,
        ),
        "the run is given up",
        150,
        lambda: describe(room.get_status()),
    )
    assert read_condition(status, Condition.FAILED)[1] == Reason.START_DEADLINE_EXCEEDED
    wait_for(lambda: not room.list_pods(), "the GPU is free again", ANSWER_SECONDS)
