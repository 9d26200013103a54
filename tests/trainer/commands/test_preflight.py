"""What preflight refuses, in which words, and what it adopts: everything here needs no GPU and no torch."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atelier_contract import names
from atelier_contract.exit_codes import ExitCode
from atelier_contract.inputs import BaseModelInput, StartFromInput, TrainingInput
from atelier_contract.manifests import OwnerManifest
from atelier_contract.reasons import Reason
from atelier_contract.roles import Role
from atelier_contract.settings import EmbeddingSettings
from atelier_materials.store.documents import write_document
from atelier_trainer.commands.ending import Ending
from atelier_trainer.commands.preflight import read_revision
from atelier_trainer.edges.home import Home
from learning import BASE_MODEL, build_settings
from picture_files import draw_png
from trainer_pod import IDENTITY, UPLOAD, Tenant, push_files, put_teapots


@pytest.fixture
def asked(volume_tenant: Tenant) -> TrainingInput:
    """A run that could start: pictures inspected, base model there."""
    return volume_tenant.training_input(put_teapots(volume_tenant), UPLOAD)


def check(tenant: Tenant, asked: TrainingInput, **changes: Any) -> Ending:
    """Run preflight on a changed input."""
    return tenant.pod().run(Role.PREFLIGHT, asked.model_copy(update=changes))


def base_at(path: str, architecture: str = "StableDiffusion1") -> BaseModelInput:
    """Return a base model in the store."""
    return BaseModelInput.model_validate({"architecture": architecture, "source": {"storage": {"path": path}}})


def test_all_is_well(volume_tenant: Tenant, asked: TrainingInput) -> None:
    """A run that lacks nothing is told its own identity and what it needs."""
    ending = check(volume_tenant, asked, settings=build_settings(steps=100, everySteps=50))
    assert (ending.exit_code, ending.report.message) == (ExitCode.DONE, "")
    found = ending.report.preflight
    assert found is not None
    assert (found.run_identity, found.complete) == (IDENTITY, False)
    assert min(found.gpu_memory_bytes, found.storage_bytes) > 0


@pytest.mark.parametrize("architecture", ["StableDiffusionXL", "Flux1"])
def test_another_family_is_refused(volume_tenant: Tenant, asked: TrainingInput, architecture: str) -> None:
    """A base model of another family than the user says is refused, with both names."""
    settings = build_settings(snrGamma=0)
    ending = check(volume_tenant, asked, base_model=base_at("base-models/tiny", architecture), settings=settings)
    assert (ending.exit_code, ending.report.reason) == (ExitCode.BASE_MODEL_UNUSABLE, Reason.BASE_MODEL_UNUSABLE)
    assert f"is StableDiffusion1, spec.baseModel.architecture says {architecture}" in ending.report.message


@pytest.mark.parametrize(
    ("embedding", "words"),
    [
        ({"initial_phrase": "nine char", "placeholder": "<tkxw>"}, "initialPhrase has 9 characters: 1 to 8"),
        ({"initial_phrase": " ", "placeholder": "<tkxw>"}, "initialPhrase"),
        ({"initial_phrase": "star", "placeholder": "<TKXW>"}, "placeholder is '<TKXW>'"),
    ],
)
def test_embedding_words(volume_tenant: Tenant, asked: TrainingInput, embedding: dict[str, str], words: str) -> None:
    """An embedding's phrase and placeholder are checked once more."""
    settings = build_settings().model_copy(
        update={"concept_model": None, "embedding": EmbeddingSettings(vectors=2, **embedding)}
    )
    ending = check(volume_tenant, asked, settings=settings, type="Embedding")
    assert ending.exit_code == ExitCode.INVALID_INPUT
    assert words in ending.report.message


def test_missing_revision(volume_tenant: Tenant, asked: TrainingInput) -> None:
    """A revision that is not in this store is named, with the usual cause."""
    dataset = asked.dataset.model_copy(update={"revision": "0" * 64})
    ending = check(volume_tenant, asked, dataset=dataset)
    assert ending.exit_code == ExitCode.DATASET_UNUSABLE
    assert "give Dataset and TrainingJob the same storage" in ending.report.message


class TestCaptions:
    """Whether a type needs them."""

    @pytest.fixture
    def bare(self, volume_tenant: Tenant, asked: TrainingInput) -> TrainingInput:
        """A run on pictures of which one has no caption."""
        files = {"a.png": draw_png(70), "b.png": draw_png(71), "b.txt": b"a teapot"}
        push_files(volume_tenant, files, name="bare")
        ending = volume_tenant.pod().run(Role.INSPECT, volume_tenant.inspect_input(UPLOAD, "bare"))
        assert ending.report.inspection is not None
        revision = ending.report.inspection.revision
        return asked.model_copy(
            update={"dataset": asked.dataset.model_copy(update={"name": "bare", "revision": revision})}
        )

    def test_concept_model_needs_all(self, volume_tenant: Tenant, bare: TrainingInput) -> None:
        """A concept model without a caption for each picture is refused, with one of them named."""
        ending = check(volume_tenant, bare)
        assert (ending.exit_code, ending.report.reason) == (ExitCode.DATASET_UNUSABLE, Reason.DATASET_UNUSABLE)
        assert ending.report.message.startswith("1 of 2 pictures of Dataset bare have no caption, such as a.png:")

    def test_embedding_needs_none(self, volume_tenant: Tenant, bare: TrainingInput) -> None:
        """An embedding takes pictures without captions."""
        settings = build_settings(embedding={"initialPhrase": "star", "placeholder": "<tkxw>", "vectors": 2})
        ending = check(volume_tenant, bare, settings=settings, type="Embedding")
        assert ending.exit_code == ExitCode.DONE, ending.report.message


class TestSource:
    """Pictures that are no longer what was inspected."""

    @pytest.fixture
    def photos(self, volume_tenant: Tenant, asked: TrainingInput) -> tuple[TrainingInput, Callable[[], Ending], Path]:
        """A run on a folder of a claim, a way to check it, and the folder."""
        pod = volume_tenant.pod()
        folder = pod.place(names.DATASET_VOLUME_DIR)
        folder.mkdir(parents=True)
        (folder / "a.png").write_bytes(draw_png())
        (folder / "a.txt").write_text("a teapot")
        source = {"persistentVolumeClaim": {"claimName": "photos"}}
        found = pod.run(Role.INSPECT, volume_tenant.inspect_input(source))
        assert found.report.inspection is not None
        told = volume_tenant.training_input(found.report.inspection.revision, source)
        return told, lambda: pod.run(Role.PREFLIGHT, told), folder

    def test_unchanged(self, photos: tuple[TrainingInput, Callable[[], Ending], Path]) -> None:
        """Pictures as inspected pass."""
        ending = photos[1]()
        assert ending.exit_code == ExitCode.DONE, ending.report.message

    def test_changed(self, photos: tuple[TrainingInput, Callable[[], Ending], Path]) -> None:
        """A picture with other bytes of the same length is found, before any GPU."""
        path = photos[2] / "a.png"
        data = bytearray(path.read_bytes())
        data[-20] ^= 1
        path.write_bytes(bytes(data))
        ending = photos[1]()
        assert (ending.exit_code, ending.report.reason) == (ExitCode.DATASET_UNUSABLE, Reason.DATASET_CHANGED)
        assert ending.report.message.startswith("a.png of Dataset teapots is no longer what was inspected")

    def test_gone(self, photos: tuple[TrainingInput, Callable[[], Ending], Path]) -> None:
        """A picture that is gone is found."""
        (photos[2] / "a.png").unlink()
        assert photos[1]().report.reason == Reason.DATASET_CHANGED

    def test_uploaded_blob_gone(self, volume_tenant: Tenant, asked: TrainingInput) -> None:
        """An uploaded picture that someone deleted from the store is found."""
        revision = read_revision(Home(volume_tenant.store, volume_tenant.layout), asked)
        volume_tenant.store.delete([volume_tenant.layout.blob("teapots", revision.items[3].sha256)])
        ending = check(volume_tenant, asked)
        assert ending.report.reason == Reason.DATASET_CHANGED
        assert ending.report.message.startswith(f"{revision.items[3].path} of Dataset teapots")


def write_safetensors(path: Path, shapes: dict[str, list[int]]) -> None:
    """Write a weights file of zeros."""
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = 2
        for side in shape:
            size *= side
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(offset))


def edit_config(folder: Path, part: str, **changes: Any) -> None:
    """Change a part's config.json."""
    path = folder / part / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def cut_file(path: Path) -> None:
    """Take the end of a file away."""
    path.write_bytes(path.read_bytes()[:-100])


def rename_pickle(folder: Path) -> None:
    """Put pickled weights under a safetensors name."""
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(pickle.dumps({"weight": [0.0] * 99}))


def rename_zip(folder: Path) -> None:
    """Put torch's own archive under a harmless name."""
    (folder / "unet" / "extra.dat").write_bytes(b"PK\x03\x04" + bytes(99))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "pickled-by-name": (
        lambda folder: (folder / "vae" / "diffusion_pytorch_model.bin").write_bytes(b"any"),
        "vae/diffusion_pytorch_model.bin at ",
    ),
    "pickled-ckpt": (lambda folder: (folder / "model.ckpt").write_bytes(b"any"), "model.ckpt at "),
    "pickled-renamed": (rename_pickle, "holds pickled weights under another name"),
    "archive-renamed": (rename_zip, "unet/extra.dat at "),
    "xl": (
        lambda folder: edit_config(folder, "unet", cross_attention_dim=2048),
        "is StableDiffusionXL, spec.baseModel.architecture says StableDiffusion1",
    ),
    "sd2": (lambda folder: edit_config(folder, "unet", cross_attention_dim=1024), "is Stable Diffusion 2,"),
    "inpainting": (lambda folder: edit_config(folder, "unet", in_channels=9), "reads 9 channels"),
    "lying-config": (
        lambda folder: write_safetensors(
            folder / "unet" / "diffusion_pytorch_model.safetensors", {"mid.attn2.to_k.weight": [4, 2048]}
        ),
        "does not fit its own config.json",
    ),
    "no-vae": (lambda folder: shutil.rmtree(folder / "vae"), "lacks vae/config.json"),
    "no-weights": (
        lambda folder: (folder / "text_encoder" / "model.safetensors").unlink(),
        "lacks text_encoder/model.safetensors",
    ),
    "variant-only": (
        lambda folder: (folder / "vae" / "diffusion_pytorch_model.safetensors").rename(
            folder / "vae" / "diffusion_pytorch_model.fp16.safetensors"
        ),
        "vae/diffusion_pytorch_model.fp16.safetensors is there, rename it",
    ),
    "no-tokenizer": (lambda folder: shutil.rmtree(folder / "tokenizer"), "lacks tokenizer/tokenizer.json"),
    "no-scheduler": (lambda folder: shutil.rmtree(folder / "scheduler"), "lacks scheduler/scheduler_config.json"),
    "no-unet": (lambda folder: shutil.rmtree(folder / "unet"), "unet/config.json is missing"),
    "cut-short": (
        lambda folder: cut_file(folder / "unet" / "diffusion_pytorch_model.safetensors"),
        "it was cut short or damaged",
    ),
    "beginning-only": (
        lambda folder: (folder / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"\x00\x01"),
        "or only its beginning",
    ),
    "not-json": (lambda folder: (folder / "unet" / "config.json").write_text("{"), "is not JSON"),
    "all-gone": (shutil.rmtree, "no base model lies at"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_bad_base_model(volume_tenant: Tenant, asked: TrainingInput, tmp_path: Path, fault: str) -> None:
    """A base model that is unsafe, of another family or not whole is refused with exit code 12 and one sentence."""
    spoil, words = BROKEN[fault]
    folder = tmp_path / "model"
    shutil.copytree(BASE_MODEL, folder)
    spoil(folder)
    if folder.exists():
        volume_tenant.put_folder(folder, "base-models", "spoilt")
    ending = check(volume_tenant, asked, base_model=base_at("base-models/spoilt"))
    assert (ending.exit_code, ending.report.reason) == (ExitCode.BASE_MODEL_UNUSABLE, Reason.BASE_MODEL_UNUSABLE)
    assert words in ending.report.message


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("unet/config.json", "unet/config.json at "),
        ("scheduler/scheduler_config.json", "scheduler/scheduler_config.json at "),
        ("vae/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors at "),
        ("unet/keep.dat", None),
    ],
)
def test_empty_files_of_a_base_model(s3_tenant: Tenant, tmp_path: Path, path: str, words: str | None) -> None:
    """A bucket has no part of an empty file to give: a needed one is named, another one does not matter."""
    asked = s3_tenant.training_input(put_teapots(s3_tenant), UPLOAD)
    folder = tmp_path / "model"
    shutil.copytree(BASE_MODEL, folder)
    (folder / path).write_bytes(b"")
    s3_tenant.put_folder(folder, "base-models", "hollow")
    ending = check(s3_tenant, asked, base_model=base_at("base-models/hollow"))
    if words is None:
        assert ending.exit_code == ExitCode.DONE, ending.report.message
    else:
        assert (ending.exit_code, words in ending.report.message) == (ExitCode.BASE_MODEL_UNUSABLE, True)
        assert "is empty: upload it again" in ending.report.message


def test_captions_of_a_broken_revision_reach_no_log(
    volume_tenant: Tenant, asked: TrainingInput, caplog: pytest.LogCaptureFixture
) -> None:
    """A revision that cannot be read is explained by place and reason; its captions stay out of log and last words."""
    key = volume_tenant.layout.revision("teapots", asked.dataset.revision)
    broken = json.loads(volume_tenant.store.read(key))
    broken["items"][0] = {**broken["items"][0], "caption": ["my secret teapot"]}
    volume_tenant.store.delete([key])
    volume_tenant.store.write(key, json.dumps(broken).encode())
    ending = check(volume_tenant, asked)
    assert "items.0.caption" in ending.report.message
    assert "DatasetRevision" in caplog.text
    assert "secret" not in caplog.text + ending.report.message


def test_a_mistake_leaves_no_traceback(
    volume_tenant: Tenant, asked: TrainingInput, caplog: pytest.LogCaptureFixture
) -> None:
    """What the user must change is a sentence in the log too, with what it came of in one line."""
    dataset = asked.dataset.model_copy(update={"revision": "0" * 64})
    check(volume_tenant, asked, dataset=dataset)
    assert "(came of ObjectMissing: could not read" in caplog.text
    assert "Traceback" not in caplog.text


def test_sharded_weights_are_whole(volume_tenant: Tenant, asked: TrainingInput, tmp_path: Path) -> None:
    """Weights in several files are found by their index, and a missing one is named."""
    folder = tmp_path / "model"
    shutil.copytree(BASE_MODEL, folder)
    encoder = folder / "text_encoder"
    (encoder / "model.safetensors").rename(encoder / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (encoder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    volume_tenant.put_folder(folder, "base-models", "sharded")
    ending = check(volume_tenant, asked, base_model=base_at("base-models/sharded"))
    assert "lacks text_encoder/model-00002-of-00002.safetensors" in ending.report.message


def test_too_little_memory(volume_tenant: Tenant, asked: TrainingInput) -> None:
    """A GPU that is too small is said before it is asked for, with what to lower."""
    ending = check(volume_tenant, asked, gpu_memory_bytes=1 << 20)
    assert (ending.exit_code, ending.report.reason) == (ExitCode.OUT_OF_MEMORY, Reason.OUT_OF_MEMORY)
    assert "lower tuning.resolution" in ending.report.message


def test_missing_start(volume_tenant: Tenant, asked: TrainingInput) -> None:
    """A start that is not there is named."""
    ending = check(volume_tenant, asked, start_from=StartFromInput(job="older", checkpoint="step-000500"))
    assert ending.exit_code == ExitCode.INVALID_INPUT
    assert "checkpoint step-000500 of older is not in the store" in ending.report.message


def test_newer_document(volume_tenant: Tenant, asked: TrainingInput) -> None:
    """An input of a newer major version says that the image must be upgraded."""
    ending = check(volume_tenant, asked, schema_version=99)
    assert ending.exit_code == ExitCode.INVALID_INPUT
    assert "schemaVersion 99" in ending.report.message


def test_missing_image_encoder(volume_tenant: Tenant, asked: TrainingInput) -> None:
    """An image encoder that is not in the store is missed before a GPU is asked for."""
    validation = asked.settings.validation.model_copy(update={"image_encoder": "image-encoders/dino"})
    ending = check(volume_tenant, asked, settings=asked.settings.model_copy(update={"validation": validation}))
    assert ending.exit_code == ExitCode.INVALID_INPUT
    assert "image-encoders/dino" in ending.report.message


class TestOwnership:
    """One store, one owner."""

    def test_another_cluster_is_refused(self, tenant: Tenant, dataset_revision: str) -> None:
        """A store that another cluster owns is not used, and the sentence says how to take it over."""
        tenant.store.delete([tenant.layout.owner])
        write_document(tenant.store, tenant.layout.owner, OwnerManifest(cluster_uid="another", namespace_uid="theirs"))
        before = tenant.listing()
        ending = check(tenant, tenant.training_input(dataset_revision, UPLOAD))
        assert (ending.exit_code, ending.report.reason) == (
            ExitCode.INVALID_INPUT,
            Reason.STORAGE_OWNED_BY_ANOTHER,
        )
        assert f"delete the object {tenant.layout.owner}" in ending.report.message
        assert tenant.listing() == before

    def test_first_use_claims(self, tenant: Tenant) -> None:
        """The first pod of a namespace writes whose the store is."""
        tenant.pod().run(Role.INSPECT, tenant.inspect_input(UPLOAD))
        assert list(tenant.listing()) == [tenant.layout.owner]
