"""Models that Atelier's trainer made on the tiny base, published into a real InvokeAI server and drawn with there.

The trainer's subcommands run as in their pods, on a bucket; the server is InvokeAI's own. Pictures go to
build/invokeai for whoever wants to see them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from PIL import Image

from atelier_contract.identity import slugify
from atelier_contract.inputs import PublishInput, SelectedCheckpoint
from atelier_contract.publishing import PublishSpec
from atelier_contract.roles import Role
from atelier_contract.termination import TerminationReport
from atelier_materials.invokeai.installing import Became
from atelier_materials.invokeai.server import InvokeAiServer
from atelier_playground.api import wait_for
from atelier_studio.actions.publishing import FolderTarget, InvokeAiTarget, publish
from invokeai_drawing import GUIDANCE, STEPS, Drawer, list_records
from learning import BASE_MODEL, build_settings
from published_run import PublishedRun, build_body, build_tenant
from real_invokeai import RealInvokeAi
from s3_servers import RunningServer, rclone
from trainer_pod import UPLOAD, Tenant, put_teapots

__all__ = ["rclone"]
PICTURES = Path(__file__).resolve().parents[2] / "build" / "invokeai"
TRAINING_SECONDS, TRAINING_STEPS = 900, 120
KNOWN = "a red circle on a blue background"
CONCEPT = "TKXW, a teapot on a red background"
SEED = 5
JOBS: dict[str, dict[str, Any]] = {
    "teapot": {"conceptModel": {"captionPrefix": "TKXW", "rank": 8, "alpha": 8}, "learningRate": 2e-3},
    "teapot-words": {
        "embedding": {"initialPhrase": "star", "placeholder": "<tkxw>", "vectors": 4},
        "learningRate": 2e-3,
    },
}


@dataclass(frozen=True)
class Trained:
    """Two runs that are trained and published, and how the publish Jobs ended."""

    tenant: Tenant
    reports: dict[str, TerminationReport]
    publish_again: Callable[[str], TerminationReport]

    def body(self, job: str) -> dict[str, Any]:
        """Return a job as the cluster would tell it."""
        result = self.reports[job].publish
        assert result is not None, self.reports[job].message
        (row,) = result.models
        model = {
            "name": job,
            "checkpoint": f"step-{row.step:06d}",
            "key": "",
            "sha256": row.sha256[:16],
            "bytes": row.bytes,
        }
        body = build_body([model])
        body["metadata"]["name"] = job
        body["spec"]["modelName"] = name_model(job)
        body["status"]["runIdentity"] = identify(job)
        return body


def name_model(job: str) -> str:
    """Return a job's model name."""
    return "TKXW teapot" if job == "teapot" else "TKXW words"


def identify(job: str) -> str:
    """Return a job's run identity."""
    return ("a" if job == "teapot" else "b") * 64


@pytest.fixture(scope="module")
def tenant(rclone: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Tenant:
    """A namespace with a bucket."""
    return build_tenant(rclone.make_bucket(), tmp_path_factory.mktemp("tenant"))


@pytest.fixture(scope="module")
def trained(tenant: Tenant, invokeai: RealInvokeAi) -> Trained:
    """A concept model and an embedding of the sample teapot, trained, published and installed."""
    revision = put_teapots(tenant)
    selections = {job: train(tenant, revision, job) for job in JOBS}

    def publish_job(job: str) -> TerminationReport:
        asked = PublishInput(
            store=tenant.asked,
            job=job,
            run_identity=identify(job),
            model_name=name_model(job),
            slug=slugify(name_model(job)),
            selection=[selections[job]],
            publish=PublishSpec.model_validate({"invokeAI": {"url": invokeai.url}}),
        )
        return tenant.pod().run(Role.PUBLISH, asked).report

    return Trained(tenant, {job: publish_job(job) for job in JOBS}, publish_job)


def train(tenant: Tenant, revision: str, job: str) -> SelectedCheckpoint:
    """Train a job in a process of its own, as its pod would; return its last checkpoint."""
    asked = tenant.training_input(
        revision,
        UPLOAD,
        job=job,
        run_identity=identify(job),
        model_name=name_model(job),
        slug=slugify(name_model(job)),
        type="Embedding" if "embedding" in JOBS[job] else "ConceptModel",
        settings=build_settings(steps=TRAINING_STEPS, everySteps=TRAINING_STEPS, **JOBS[job]),
    )
    pod = tenant.pod()
    process = pod.start(Role.TRAIN, asked)
    said = process.communicate(timeout=TRAINING_SECONDS)[1]
    assert process.returncode == 0, said.decode()[-2000:]
    step, _, sha256, _, _ = pod.last_words.rows[-1]
    return SelectedCheckpoint(step=step, sha256=sha256)


@pytest.fixture(scope="module")
def drawer(invokeai: RealInvokeAi, tmp_path_factory: pytest.TempPathFactory) -> Drawer:
    """The server with the tiny base model installed."""
    folder = tmp_path_factory.mktemp("base") / "tiny"
    shutil.copytree(BASE_MODEL, folder)
    with InvokeAiServer(invokeai.url) as server:
        job = server.start_install(str(folder), {"name": "tiny"})
        wait_for(lambda: server.read_install(job.id).is_over, "the base model is installed", 120, invokeai.read_log)
        installed = server.read_install(job.id)
    assert installed.config_out is not None, installed.error
    return Drawer(invokeai.url, list_records(invokeai.url)["tiny"])


def find(url: str, trained: Trained, job: str) -> dict[str, Any]:
    """Return InvokeAI's record of a job's model."""
    result = trained.reports[job].publish
    assert result is not None
    stem = f"{slugify(name_model(job))}-step-{result.models[0].step:06d}-{result.models[0].sha256[:8]}"
    return list_records(url)[stem]


def keep(name: str, picture: Image.Image) -> None:
    """Keep a picture for people, four times as large."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    picture.resize((picture.width * 4, picture.height * 4), Image.Resampling.NEAREST).save(PICTURES / f"{name}.png")


def measure_difference(one: Image.Image, other: Image.Image) -> tuple[int, float]:
    """Return the largest and the mean difference of two pictures, of 255."""
    difference = np.abs(np.asarray(one).astype(int) - np.asarray(other).astype(int))
    return int(difference.max()), float(difference.mean())


@pytest.mark.parametrize("job", JOBS)
def test_the_publish_job_tells_that_it_is_installed(trained: Trained, invokeai: RealInvokeAi, job: str) -> None:
    """The last words say that the server has the model."""
    report = trained.reports[job]
    assert report.publish is not None
    assert (report.publish.installed, report.message) == (True, f"in InvokeAI at {invokeai.url}: 1 Installed")


def test_the_concept_model_is_known_as_one(trained: Trained, invokeai: RealInvokeAi) -> None:
    """A LoRA of Stable Diffusion 1 with description, trigger phrase and preview."""
    record = find(invokeai.url, trained, "teapot")
    assert (record["type"], record["base"], record["trigger_phrases"]) == ("lora", "sd-1", ["TKXW"])
    assert record["description"].startswith("TKXW teapot. Concept model (LoRA), trained with Atelier.")
    assert record["cover_image"]


def test_the_embedding_is_known_as_one(trained: Trained, invokeai: RealInvokeAi) -> None:
    """An embedding of Stable Diffusion 1 with description and preview; its name is what it is called by."""
    record = find(invokeai.url, trained, "teapot-words")
    assert (record["type"], record["base"]) == ("embedding", "sd-1")
    assert f"InvokeAI: <{record['name']}>" in record["description"]
    assert record["cover_image"]


@pytest.mark.parametrize("job", JOBS)
def test_publishing_again_changes_no_record(trained: Trained, invokeai: RealInvokeAi, job: str) -> None:
    """The publish Job, and the verb for people, find the model there and leave every record as it was."""
    before = drop_preview_addresses(list_records(invokeai.url))
    assert trained.publish_again(job).message == f"in InvokeAI at {invokeai.url}: 1 AlreadyThere"
    store = trained.tenant.store
    run = PublishedRun(
        trained.tenant, trained.tenant.layout.run(job, identify(job)), store._description, trained.body(job)
    )
    (done,) = publish(run.opened, run.body, InvokeAiTarget(invokeai.url))
    assert done.became == Became.ALREADY_THERE
    assert drop_preview_addresses(list_records(invokeai.url)) == before


def drop_preview_addresses(records: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return records with no more of a preview's address than that there is one: it ends in something new each time."""
    return {name: {**record, "cover_image": bool(record["cover_image"])} for name, record in records.items()}


def draw_with_diffusers(prompt: str, *, lora: Path | None = None, embedding: Path | None = None) -> Image.Image:
    """Return diffusers' picture of the same prompt, noise and schedule; an embedding is called by its file's stem."""
    pipeline = StableDiffusionPipeline.from_pretrained(BASE_MODEL, dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    assert isinstance(pipeline.scheduler, DDIMScheduler)
    if lora is not None:
        pipeline.load_lora_weights(lora.parent, weight_name=lora.name)
    if embedding is not None:
        pipeline.load_textual_inversion(embedding, token=f"<{embedding.stem}>")
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(SEED))
    drawn: Image.Image = pipeline(prompt, latents=noise, guidance_scale=GUIDANCE, num_inference_steps=STEPS).images[0]
    return drawn


def fetch_weights(trained: Trained, job: str, folder: Path) -> Path:
    """Bring a job's published weights into a folder, as `kubectl atelier publish --to FOLDER` does."""
    store, layout = trained.tenant.store, trained.tenant.layout.run(job, identify(job))
    run = PublishedRun(trained.tenant, layout, store._description, trained.body(job))
    publish(run.opened, run.body, FolderTarget(folder))
    (path,) = folder.glob("*.safetensors")
    return path


def assert_alike(one: Image.Image, other: Image.Image, mean: float) -> None:
    """Two pictures are the same but for rounding that twenty steps of two releases add up."""
    found = measure_difference(one, other)
    assert found[1] <= mean, found


def test_the_base_draws_there_as_in_diffusers(drawer: Drawer) -> None:
    """InvokeAI's picture of the tiny base is diffusers': 0.08 of 255 apart on average, and 80 with a wrong encoder."""
    theirs, ours = drawer.draw(KNOWN, SEED), draw_with_diffusers(KNOWN)
    keep("base-invokeai", theirs)
    keep("base-diffusers", ours)
    assert_alike(theirs, ours, 1)


def test_the_concept_model_changes_the_picture(drawer: Drawer, trained: Trained, tmp_path: Path) -> None:
    """The same prompt and noise give another picture with the concept model than without: the one of diffusers."""
    without = drawer.draw(CONCEPT, SEED)
    drawn = drawer.draw(CONCEPT, SEED, find(drawer.url, trained, "teapot"))
    ours = draw_with_diffusers(CONCEPT, lora=fetch_weights(trained, "teapot", tmp_path))
    keep("concept-without", without)
    keep("concept-with", drawn)
    keep("concept-with-diffusers", ours)
    assert measure_difference(without, drawn)[1] > 5
    assert_alike(drawn, ours, 2)


def test_the_embedding_changes_the_picture(drawer: Drawer, trained: Trained, tmp_path: Path) -> None:
    """A prompt that calls the embedding by its name gives a picture of its own: the one of diffusers."""
    path = fetch_weights(trained, "teapot-words", tmp_path)
    without = drawer.draw("<nobody> on a red background", SEED)
    drawn = drawer.draw(f"<{path.stem}> on a red background", SEED)
    ours = draw_with_diffusers(f"<{path.stem}> on a red background", embedding=path)
    keep("embedding-without", without)
    keep("embedding-with", drawn)
    keep("embedding-with-diffusers", ours)
    assert measure_difference(without, drawn)[1] > 5
    assert_alike(drawn, ours, 2)
