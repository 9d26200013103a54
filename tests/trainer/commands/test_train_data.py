"""What training is given of a dataset beside its pictures, and what of its encodings outlives the pod."""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atelier_contract import names
from atelier_contract.exit_codes import ExitCode
from atelier_contract.inputs import DatasetInput, TrainingInput
from atelier_contract.manifests import DatasetRevision
from atelier_contract.reasons import Reason
from atelier_contract.roles import Role
from atelier_materials.errors import InvalidInput
from atelier_materials.store.documents import read_document
from atelier_materials.store.protocol import hash_bytes
from atelier_trainer.commands.attempt import open_cache
from atelier_trainer.commands.ending import Ending
from atelier_trainer.edges.home import Home
from atelier_trainer.errors import Diverged
from atelier_trainer.records import Place, Workspace
from atelier_trainer.settings import read_settings
from fake_learning import FakeOutcome, learn
from learning import BASE_MODEL, build_settings
from picture_files import draw_png
from trainer_pod import UPLOAD, Tenant, push_files, put_teapots

Train = Callable[..., tuple[Ending, list[Workspace]]]
WHITE = (255, 255, 255)
PRIOR: dict[str, Any] = {"conceptModel": {"prior": {"weight": 1, "prompt": "", "pictures": 2}}}


def put_dataset(tenant: Tenant, files: dict[str, bytes], name: str = "teapots") -> str:
    """Push and inspect files, and put the base model there; return the revision."""
    push_files(tenant, files, name)
    tenant.put_folder(BASE_MODEL, "base-models", "tiny")
    ending = tenant.pod().run(Role.INSPECT, tenant.inspect_input(UPLOAD, name))
    assert ending.report.inspection is not None, ending.report.message
    return ending.report.inspection.revision


@pytest.fixture
def train(volume_tenant: Tenant, fake_learn: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Train with a fake that computes nothing; returns the ending and the workspaces that it was given."""

    def run(asked: TrainingInput, use: Callable[[Workspace], None] = lambda _: None) -> tuple[Ending, list[Workspace]]:
        seen: list[Workspace] = []

        def look(workspace: Workspace, *partners: Any) -> FakeOutcome:
            seen.append(workspace)
            use(workspace)
            return learn(workspace, *partners)

        monkeypatch.setattr(fake_learn, "train", look)
        return volume_tenant.pod().run(Role.TRAIN, asked), seen

    return run


def test_masks_and_captions_arrive(volume_tenant: Tenant, train: Train) -> None:
    """A picture comes with its mask, its repeats, all its captions and the path that the user knows."""
    files = {
        "3_red pot/a.png": draw_png(),
        "3_red pot/a.mask.png": draw_png(colour=WHITE),
        "3_red pot/a.txt": b"one",
        "3_red pot/a.2.txt": b"two",
    }
    _, (workspace,) = train(volume_tenant.training_input(put_dataset(volume_tenant, files), UPLOAD))
    (picture,) = workspace.pictures
    assert (picture.caption, picture.other_captions, picture.repeats) == ("one", ("two",), 3)
    assert picture.name == "3_red pot/a.png"
    assert picture.mask is not None
    assert picture.mask.read_bytes() == draw_png(colour=WHITE)


def test_masks_that_are_not_used_are_not_fetched(volume_tenant: Tenant, train: Train) -> None:
    """With masks: none a picture has no mask."""
    files = {"a.png": draw_png(), "a.mask.png": draw_png(colour=WHITE), "a.txt": b"one"}
    asked = volume_tenant.training_input(
        put_dataset(volume_tenant, files), UPLOAD, settings=build_settings(steps=4, everySteps=2, masks="none")
    )
    _, (workspace,) = train(asked)
    assert [picture.mask for picture in workspace.pictures] == [None]


def test_changed_mask_is_refused(volume_tenant: Tenant, train: Train) -> None:
    """A mask that is not the inspected one is a changed dataset."""
    mask = draw_png(colour=WHITE)
    files = {"a.png": draw_png(), "a.mask.png": mask, "a.txt": b"one"}
    asked = volume_tenant.training_input(put_dataset(volume_tenant, files), UPLOAD)
    key = volume_tenant.layout.blob("teapots", hash_bytes(mask).sha256)
    volume_tenant.store.delete([key])
    volume_tenant.store.write(key, draw_png(colour=(9, 9, 9)))
    ending, _ = train(asked)
    assert (ending.report.reason, ending.report.message.split()[0]) == (Reason.DATASET_CHANGED, "a.mask.png")


@pytest.mark.parametrize(("masks", "code"), [("auto", ExitCode.DATASET_UNUSABLE), ("none", ExitCode.DONE)])
def test_missing_mask_is_known_before_a_gpu_is_asked_for(volume_tenant: Tenant, masks: str, code: ExitCode) -> None:
    """Preflight misses a mask that was inspected, where masks are used."""
    mask = draw_png(colour=WHITE)
    files = {"a.png": draw_png(), "a.mask.png": mask, "a.txt": b"TKXW, one pot"}
    settings = build_settings(steps=4, everySteps=2, masks=masks)
    asked = volume_tenant.training_input(put_dataset(volume_tenant, files), UPLOAD, settings=settings)
    volume_tenant.store.delete([volume_tenant.layout.blob("teapots", hash_bytes(mask).sha256)])
    assert volume_tenant.pod().run(Role.PREFLIGHT, asked).exit_code == code


def test_prior_pictures_arrive(volume_tenant: Tenant, train: Train) -> None:
    """Pictures of the prior's dataset come beside the run's own."""
    revision = put_teapots(volume_tenant)
    prior = put_dataset(volume_tenant, {"cup.png": draw_png(), "cup.txt": b"a cup"}, "cups")
    asked = volume_tenant.training_input(
        revision,
        UPLOAD,
        prior_dataset=DatasetInput.model_validate({"name": "cups", "source": UPLOAD, "revision": prior}),
        settings=build_settings(steps=4, everySteps=2, **PRIOR),
    )
    _, (workspace,) = train(asked)
    assert [picture.caption for picture in workspace.prior_pictures] == ["a cup"]
    assert len(workspace.pictures) == 12


@pytest.mark.parametrize("role", [Role.PREFLIGHT, Role.TRAIN])
@pytest.mark.parametrize(
    "source",
    [
        {"persistentVolumeClaim": {"claimName": "cups"}},
        {"s3": {"uri": "s3://cups/here", "secretRef": {"name": "theirs"}}},
    ],
)
def test_prior_pictures_where_no_pod_can_look(
    volume_tenant: Tenant, fake_learn: types.ModuleType, role: Role, source: dict[str, Any]
) -> None:
    """A prior dataset in a volume, or behind another Secret, is refused with the way out, before a GPU is asked for."""
    asked = volume_tenant.training_input(
        put_teapots(volume_tenant),
        UPLOAD,
        prior_dataset=DatasetInput.model_validate({"name": "cups", "source": source, "revision": "d" * 64}),
        settings=build_settings(steps=4, everySteps=2, **PRIOR),
    )
    ending = volume_tenant.pod().run(role, asked)
    assert ending.exit_code == ExitCode.INVALID_INPUT
    assert "Dataset cups" in ending.report.message
    assert "kubectl atelier dataset push" in ending.report.message


def test_image_encoder_arrives(volume_tenant: Tenant, train: Train) -> None:
    """Configs and safetensors of the encoder's folder come; pickled weights beside them do not."""
    for name in ("config.json", "model.safetensors", "pytorch_model.bin"):
        volume_tenant.store.write(volume_tenant.layout.key("image-encoders", "dino", name), name.encode())
    settings = build_settings(steps=4, everySteps=2, validation={"imageEncoder": "image-encoders/dino"})
    asked = volume_tenant.training_input(put_teapots(volume_tenant), UPLOAD, settings=settings)
    _, (workspace,) = train(asked)
    assert workspace.image_encoder is not None
    assert sorted(path.name for path in workspace.image_encoder.iterdir()) == ["config.json", "model.safetensors"]


def test_missing_image_encoder_is_refused(volume_tenant: Tenant, train: Train) -> None:
    """A folder without an encoder is named."""
    settings = build_settings(steps=4, everySteps=2, validation={"imageEncoder": "image-encoders/dino"})
    ending, seen = train(volume_tenant.training_input(put_teapots(volume_tenant), UPLOAD, settings=settings))
    assert (ending.exit_code, seen) == (ExitCode.INVALID_INPUT, [])
    assert "image-encoders/dino" in ending.report.message


def test_base_model_is_known_by_its_files(volume_tenant: Tenant, train: Train) -> None:
    """Each file of the base model comes with its sha256, by which its encoders are known."""
    _, (workspace,) = train(volume_tenant.training_input(put_teapots(volume_tenant), UPLOAD))
    config = (BASE_MODEL / "vae" / "config.json").read_bytes()
    assert workspace.base_model_files["vae/config.json"] == hash_bytes(config).sha256


@pytest.mark.parametrize(("told", "read"), [({}, None), ({names.ENV_EPHEMERAL_BYTES: "1000"}, 1000)])
def test_disk_of_the_pod_is_known(told: dict[str, str], read: int | None) -> None:
    """What the pod may write to its disk is in its environment; on a laptop nobody says."""
    assert read_settings(told).ephemeral_bytes == read


NUMBERS = (names.ENV_PROCESSES, names.ENV_NODES, names.ENV_NODE_INDEX, names.ENV_EPHEMERAL_BYTES)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["two", "-1", "1.5"])
def test_numbers_of_the_environment_are_numbers(name: str, value: str) -> None:
    """What is no whole number is refused by the variable's name, not by a traceback."""
    with pytest.raises(InvalidInput, match=f"{name} is '{value}': write a whole number"):
        read_settings({names.ENV_NODES: "2", name: value})


def write_entry(workspace: Workspace) -> None:
    """Keep one encoding, as training does."""
    assert workspace.cache is not None
    workspace.cache.write("latents", "k", b"latents")


def read_entry(workspace: Workspace) -> bytes | None:
    """Return what is kept of it."""
    assert workspace.cache is not None
    workspace.cache.fetch("latents", ["k"])
    found = workspace.cache.read("latents", "k")
    return None if found is None else bytes(found)


def test_encodings_outlive_the_pod(volume_tenant: Tenant, train: Train) -> None:
    """What a job of a dataset encodes, another job of it finds, in another pod."""
    revision, found = put_teapots(volume_tenant), list[bytes | None]()
    train(volume_tenant.training_input(revision, UPLOAD), write_entry)
    other = volume_tenant.training_input(revision, UPLOAD, job="other", run_identity="2d" * 32)
    train(other, lambda workspace: found.append(read_entry(workspace)))
    assert found == [b"latents"]


def test_encodings_of_a_failed_attempt_are_kept(volume_tenant: Tenant, train: Train) -> None:
    """A training that fails leaves what it encoded."""

    def fail(workspace: Workspace) -> None:
        write_entry(workspace)
        raise Diverged("far off")

    asked, found = volume_tenant.training_input(put_teapots(volume_tenant), UPLOAD), list[bytes | None]()
    ending, _ = train(asked, fail)
    assert ending.exit_code == ExitCode.DIVERGED
    train(asked, lambda workspace: found.append(read_entry(workspace)))
    assert found == [b"latents"]


def test_encodings_lie_below_their_dataset(volume_tenant: Tenant, train: Train) -> None:
    """A segment and its index lie in the dataset's own part of the store, and nowhere else."""
    before = volume_tenant.listing().keys()
    asked = volume_tenant.training_input(put_teapots(volume_tenant), UPLOAD)
    train(asked, write_entry)
    new = [key for key in volume_tenant.listing().keys() - before if "cache" in key]
    prefix = volume_tenant.layout.cache("teapots", "latents")
    assert sorted(key.rpartition(".")[2] for key in new) == ["bin", "json"]
    assert all(key.startswith(f"{prefix}/") for key in new)


def test_only_the_leader_stores_encodings(volume_tenant: Tenant, train: Train, tmp_path: Path) -> None:
    """Of several processes all but the first read the store's cache and write nothing to it."""
    _, (workspace,) = train(volume_tenant.training_input(put_teapots(volume_tenant), UPLOAD), write_entry)
    before, home = volume_tenant.listing(), Home(volume_tenant.store, volume_tenant.layout)
    follower = Workspace(**{**vars(workspace), "scratch": tmp_path, "place": Place(index=1, count=2)})
    with open_cache(home, follower) as cache:
        cache.fetch("latents", ["k"])
        assert cache.read("latents", "k") is not None
        cache.write("latents", "other", b"latents")
    assert volume_tenant.listing() == before


def test_second_job_of_a_dataset_encodes_nothing(volume_tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two real trainings of one dataset: the second never asks the picture encoder, and learns the same."""
    from atelier_trainer.learn.families.stable_diffusion_1 import StableDiffusion1  # loads torch: only here

    settings = build_settings(steps=2, everySteps=2, warmupSteps=0, validation={"samplerSteps": 1})
    revision = put_teapots(volume_tenant)
    first = volume_tenant.training_input(revision, UPLOAD, settings=settings)
    rows = volume_tenant.pod().run(Role.TRAIN, first).report.rows

    def refuse(*_: object) -> None:
        raise AssertionError("the picture encoder was asked")

    monkeypatch.setattr(StableDiffusion1, "encode_picture", refuse)
    second = volume_tenant.training_input(revision, UPLOAD, settings=settings, job="other", run_identity="2d" * 32)
    ending = volume_tenant.pod().run(Role.TRAIN, second)
    assert (ending.exit_code, [row[3] for row in ending.report.rows]) == (ExitCode.DONE, [row[3] for row in rows])
    key = volume_tenant.layout.revision("teapots", revision)
    assert len(read_document(volume_tenant.store, key, DatasetRevision).items) == 12
