"""One example of everything that crosses between the sides: specs as people write them, documents as programs do.

`DOCUMENTS` holds one full example of every document in the store or between pods, by the name of its golden file.
Builders take changes, so that a test says only what it is about. They know the contract and nothing else.
"""

from __future__ import annotations

from typing import Any

from atelier_contract import dataset, inputs, manifests, names, progress, report, settings, termination, training_job
from atelier_contract.architectures import Architecture
from atelier_contract.base import Document
from atelier_contract.publishing import InvokeAiSpec, PublishSpec
from atelier_contract.reasons import Finding, Reason
from atelier_contract.references import NameRef
from atelier_contract.roles import Role

SHA = "0123456789abcdef" * 4
OTHER_SHA = "fedcba9876543210" * 4
UID = "3b1d5b0e-6f2c-4b5a-9d0e-2f7a1c9e4d11"


def a_spec(**changes: Any) -> dict[str, Any]:
    """Return the spec of a TrainingJob as JSON; a change of None leaves a field out."""
    spec: dict[str, Any] = {
        "modelName": "TKXW teapot",
        "datasetRef": {"name": "teapots"},
        "baseModel": {"architecture": "StableDiffusion1", "source": {"storage": {"path": "base-models/tiny"}}},
        "conceptModel": {"captionPrefix": "TKXW"},
    }
    return {key: value for key, value in {**spec, **changes}.items() if value is not None}


def an_object(kind: str = training_job.KIND, name: str = "teapot", *, spec: dict[str, Any]) -> dict[str, Any]:
    """Return an object of ours around a spec."""
    return {"apiVersion": names.API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def a_store() -> inputs.StoreInput:
    """Return a bucket as a pod sees it."""
    return inputs.StoreInput(
        kind="S3", secret_name=names.STORE_SECRET, namespace="team-a", cluster_uid=UID, namespace_uid=UID
    )


def the_settings(**changes: Any) -> settings.Settings:
    """Return resolved settings of a concept model."""
    values: dict[str, Any] = {
        "learning_rate": 0.0001,
        "steps": 2000,
        "batch_size": 4,
        "resolution": 512,
        "seed": 0,
        "snr_gamma": 5.0,
        "caption_dropout": 0.05,
        "flip": False,
        "warmup_steps": 0,
        "schedule": "cosine",
        "precision": "auto",
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
        "every_steps": 200,
        "concept_model": settings.ConceptModelSettings(
            caption_prefix="TKXW",
            rank=16,
            alpha=16.0,
            targets="attentionMlp",
            dropout=0.0,
            embedding=settings.PivotalSettings(
                initial_phrase="teapot", placeholder="<tkxw>", vectors=2, learning_rate=0.0003, until_percent=50
            ),
            prior=settings.PriorSettings(weight=1.0, prompt="a teapot", pictures=50),
        ),
        "validation": settings.ValidationSettings(
            prompts=["TKXW, a teapot"],
            guidance=7.5,
            sampler_steps=20,
            held_out="auto",
            seed=0,
            image_encoder="image-encoders/dino",
        ),
    }
    return settings.Settings(**{**values, **changes})


def a_finding(**changes: Any) -> dataset.FindingStatus:
    """Return a finding of an inspection."""
    values: dict[str, Any] = {
        "reason": Finding.UNREADABLE_PICTURE,
        "severity": "Error",
        "count": 1,
        "example": "studio/teapot-07.jpg",
        "fix": "upload the picture again: the file ends in the middle",
    }
    return dataset.FindingStatus(**{**values, **changes})


def a_row(step: int = 500, **changes: Any) -> progress.CheckpointRow:
    """Return a checkpoint's row."""
    values: dict[str, Any] = {"step": step, "bytes": 3_407_872, "sha256": SHA, "held_out_loss": 0.12345, "samples": 4}
    return progress.CheckpointRow(**{**values, **changes})


def a_report(**changes: Any) -> termination.TerminationReport:
    """Return the last words of a training pod."""
    values: dict[str, Any] = {
        "role": Role.TRAIN,
        "reason": Reason.COMPLETED,
        "rows": [termination.compact_row(a_row(500)), termination.compact_row(a_row(1000))],
        "train": termination.TrainResult(attempt=UID, from_step=0, to_step=1000, complete=True),
    }
    return termination.TerminationReport(**{**values, **changes})


def an_inspection(**changes: Any) -> termination.InspectionResult:
    """Return what an inspection found."""
    values: dict[str, Any] = {
        "revision": SHA,
        "items": 24,
        "captioned": 24,
        "pictures_per_pass": 240,
        "bytes": 48_000_000,
        "resolution": dataset.ResolutionStatus(min_px=768, median_px=1024, max_px=2048),
        "findings": [a_finding()],
        "report_key": f"atelier/team-a/datasets/teapots/reports/{SHA}.json",
    }
    return termination.InspectionResult(**{**values, **changes})


def _an_upload() -> dataset.DatasetSource:
    return dataset.DatasetSource(upload=dataset.UploadSource())


def _a_training_input() -> inputs.TrainingInput:
    source = training_job.BaseModelSource(storage=training_job.StoragePath(path="base-models/tiny"))
    return inputs.TrainingInput(
        store=a_store(),
        job="teapot",
        run_identity=SHA,
        spec_digest=OTHER_SHA,
        trainer_image="atelier/trainer@sha256:" + SHA,
        model_name="TKXW teapot",
        slug="tkxw-teapot",
        type="ConceptModel",
        dataset=inputs.DatasetInput(name="teapots", source=_an_upload(), revision=SHA),
        base_model=inputs.BaseModelInput(architecture=Architecture.STABLE_DIFFUSION_1, source=source),
        settings=the_settings(),
        start_from=inputs.StartFromInput(job="older", checkpoint="step-000500"),
        prior_dataset=inputs.DatasetInput(name="other-teapots", source=_an_upload(), revision=OTHER_SHA),
        gpu_memory_bytes=25_769_803_776,
    )


def _a_checkpoint() -> manifests.CheckpointManifest:
    return manifests.CheckpointManifest(
        step=500,
        run_identity=SHA,
        type="ConceptModel",
        architecture=Architecture.STABLE_DIFFUSION_1,
        files=[manifests.ModelFile(name="concept-model.safetensors", bytes=3_407_872, sha256=SHA, role="ConceptModel")],
        samples=[manifests.SampleFile(name="samples/0.png", bytes=4096, sha256=OTHER_SHA, prompt=0)],
        held_out_loss=0.12345,
        training_loss=0.1187,
        similarity=0.71,
        near_copies=0,
    )


def a_run() -> manifests.RunManifest:
    """Return a run.json."""
    return manifests.RunManifest(
        job="teapot",
        run_identity=SHA,
        spec_digest=OTHER_SHA,
        dataset="teapots",
        dataset_revision=SHA,
        prior_dataset_revision=OTHER_SHA,
        trainer_image="atelier/trainer@sha256:" + SHA,
        model_name="TKXW teapot",
        slug="tkxw-teapot",
        type="ConceptModel",
        architecture=Architecture.STABLE_DIFFUSION_1,
        settings=the_settings(),
        base_model_digest=OTHER_SHA,
        prompts=["TKXW, a teapot"],
        held_out=[SHA],
    )


def _a_revision() -> manifests.DatasetRevision:
    item = manifests.DatasetItem(
        path="10_teapot/a.png",
        bytes=1,
        sha256=SHA,
        width=1024,
        height=768,
        caption="a teapot, grün",
        other_captions=["a green teapot"],
        mask_path="10_teapot/a.mask.png",
        mask_sha256=OTHER_SHA,
        repeats=10,
    )
    return manifests.DatasetRevision(dataset="teapots", source="Upload", items=[item], findings=[a_finding()])


def _an_execution() -> manifests.ExecutionManifest:
    return manifests.ExecutionManifest(
        threads=2,
        micro_batch=4,
        accumulation=1,
        device="cpu",
        capability="AVX2",
        precision="float32",
        layout="contiguous",
        compile_mode="eager",
        optimizer_kernel="foreach",
        versions={"torch": "2.15.0"},
    )


def _a_progress() -> progress.ProgressReport:
    return progress.ProgressReport(
        run_identity=SHA,
        attempt=UID,
        phase="Training",
        step=750,
        total_steps=2000,
        from_step=500,
        epoch=3,
        loss=0.1234,
        images_per_second=1.5,
        remaining_seconds=3333,
        baseline_loss=0.2,
        empty_caption_loss=0.21,
        phase_seconds={"Fetching": 1.5, "Training": 600.25},
        checkpoints=[a_row(500)],
        warnings=["sampling takes more than a quarter of the time"],
    )


def _a_publish_input() -> inputs.PublishInput:
    server = InvokeAiSpec(url="http://invoke:9090", credentials_secret_ref=NameRef(name="invoke"))
    return inputs.PublishInput(
        store=a_store(),
        job="teapot",
        run_identity=SHA,
        model_name="TKXW teapot",
        slug="tkxw-teapot",
        selection=[inputs.SelectedCheckpoint(step=500, sha256=SHA)],
        publish=PublishSpec(invoke_ai=server),
    )


def _a_collect_input() -> inputs.CollectInput:
    return inputs.CollectInput(
        store=a_store(),
        job="teapot",
        run_identity=SHA,
        kept=[inputs.SelectedCheckpoint(step=500, sha256=SHA)],
        deleted=[inputs.SelectedCheckpoint(step=1000, sha256=OTHER_SHA)],
    )


def _a_state() -> manifests.StateManifest:
    files = [manifests.FileEntry(name="weights.safetensors", bytes=3_407_872, sha256=SHA)]
    return manifests.StateManifest(step=500, run_identity=SHA, files=files)


def _a_final() -> manifests.FinalManifest:
    model = manifests.PublishedModel(step=500, key="models/teapot.safetensors", sha256=SHA, bytes=3_407_872)
    return manifests.FinalManifest(published=[model], deleted_steps=[1000], reclaimed_bytes=3_411_968)


def a_dataset_report(**changes: Any) -> report.DatasetReport:
    """Return the report of an inspection."""
    finding = a_finding()
    plan = report.TrainingPlan(
        architecture=Architecture.STABLE_DIFFUSION_1,
        type="ConceptModel",
        resolution=512,
        batch_size=4,
        steps=2000,
        passes=33.3,
        buckets=[report.BucketCount(width=512, height=512, pictures=24)],
        gpu_memory_bytes=3_400_000_000,
        storage_bytes=400_000_000,
        cache_bytes=3_000_000,
        seconds=266,
    )
    values: dict[str, Any] = {
        "dataset": "teapots",
        "source": "Upload",
        "revision": SHA,
        "layout": "pictures with a caption file beside each",
        "pictures": 25,
        "items": 24,
        "captioned": 24,
        "pictures_per_pass": 240,
        "bytes": 48_000_000,
        "resolution": dataset.ResolutionStatus(min_px=768, median_px=1024, max_px=2048),
        "trigger": "TKXW",
        "findings": [finding],
        "files": [
            report.FileFinding(
                reason=finding.reason, severity="Error", path=finding.example, detail="ends early", fix=finding.fix
            )
        ],
        "plans": [plan],
    }
    return report.DatasetReport(**{**values, **changes})


DOCUMENTS: dict[str, Document] = {
    "inspect-input": inputs.InspectInput(
        store=a_store(), dataset=inputs.DatasetInput(name="teapots", source=_an_upload())
    ),
    "training-input": _a_training_input(),
    "publish-input": _a_publish_input(),
    "collect-input": _a_collect_input(),
    "control": inputs.ControlFile(stop=True),
    "progress": _a_progress(),
    "termination-inspect": a_report(
        role=Role.INSPECT, reason=Reason.COMPLETED, rows=[], train=None, inspection=an_inspection()
    ),
    "termination-train": a_report(),
    "owner": manifests.OwnerManifest(cluster_uid=UID, namespace_uid=UID),
    "push": manifests.PushManifest(
        pushed_at="2026-11-23T00:37:58Z", files=[manifests.PushedFile(path="a.png", bytes=1, sha256=SHA)]
    ),
    "revision": _a_revision(),
    "dataset-report": a_dataset_report(),
    "checkpoint": _a_checkpoint(),
    "state": _a_state(),
    "execution": _an_execution(),
    "run": a_run(),
    "outcome": manifests.OutcomeManifest(stopped_early=False, last_step=2000),
    "final": _a_final(),
    "cache-index": manifests.CacheIndex(run_identity=SHA, bytes=32832, entries={OTHER_SHA: (64, 32768)}),
    "collecting": manifests.CollectPlan(
        steps=[1000], objects=[manifests.CollectedObject(key="atelier/team-a/runs/x", bytes=4096)]
    ),
}
"""One full example of every document, by the name of its golden file."""
