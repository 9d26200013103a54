"""`publish`: copy the selected checkpoints to `models/`, with what tools read beside them, and verify by reading back.

In: a PublishInput. Out: for each selected model file a weights file, a sidecar and a preview. A file that is there
already with the same bytes is done; with others, an error: a published model never changes. Where the run asks for it,
the models are then installed in InvokeAI; whether that worked is told, and changes nothing of the publication.

A checkpoint with two files (a concept model and the embedding trained with it) is published as two models under one
stem. What is reported is the first, the embedding lies beside it: NAME.safetensors and NAME-embedding.safetensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from atelier_contract.architectures import Architecture
from atelier_contract.base import canonical_json
from atelier_contract.dataset import ModelType
from atelier_contract.inputs import PublishInput, SelectedCheckpoint
from atelier_contract.layout import WEIGHTS_SUFFIX, RunLayout
from atelier_contract.manifests import CheckpointManifest, ModelFile, RunManifest
from atelier_contract.reasons import Reason
from atelier_contract.roles import Role
from atelier_contract.termination import PublishedRow, PublishResult, TerminationReport
from atelier_materials.errors import InvalidInput, ObjectMissing
from atelier_materials.invokeai.published import PREVIEW_SUFFIX, SIDECAR_SUFFIX
from atelier_materials.store.checkpoints import StoredCheckpoint, list_checkpoints
from atelier_materials.store.documents import read_document
from atelier_materials.store.patience import Patience
from atelier_trainer.commands.ending import Ending, end_well, shorten
from atelier_trainer.commands.installing import PublishedFile, install_published
from atelier_trainer.edges.home import Home, open_home
from atelier_trainer.settings import TrainerSettings

SECOND_STEMS: dict[ModelType, str] = {"ConceptModel": "-concept-model", "Embedding": "-embedding"}
"""Put behind the stem of a checkpoint's later files, by role."""
SD_VERSION = {
    Architecture.STABLE_DIFFUSION_1: "SD1",
    Architecture.STABLE_DIFFUSION_XL: "SDXL",
    Architecture.FLUX_1: "Flux",
}
"""Values of `sd version` in the sidecar of A1111 and Forge (their Lora extension's ui_edit_user_metadata)."""


@dataclass(frozen=True)
class Publication:
    """One run's models on their way to `models/`."""

    home: Home
    run: RunLayout
    manifest: RunManifest
    slug: str

    def publish(self, checkpoint: StoredCheckpoint) -> PublishedRow:
        """Publish the model files of a checkpoint and read them back; return the row of the first.

        Raises:
            ObjectMissing: the bytes are not those that were recorded.
            ObjectConflict: another file has the published name.
        """
        files = checkpoint.manifest.files
        for file in files:
            self._publish_file(checkpoint, file)
        return PublishedRow(step=checkpoint.manifest.step, sha256=files[0].sha256, bytes=files[0].bytes)

    def list_files(self, checkpoint: StoredCheckpoint) -> list[PublishedFile]:
        """Return the published weights files of a checkpoint."""
        found = checkpoint.manifest
        keys = [name_published(self.run, self.slug, found, file, WEIGHTS_SUFFIX) for file in found.files]
        return [PublishedFile(key, file) for key, file in zip(keys, found.files, strict=True)]

    def _publish_file(self, checkpoint: StoredCheckpoint, file: ModelFile) -> None:
        store = self.home.store
        source = checkpoint.key(file.name)
        target = name_published(self.run, self.slug, checkpoint.manifest, file, WEIGHTS_SUFFIX)
        if store.digest(source).sha256 != file.sha256:
            raise ObjectMissing(f"{source} is not what its checkpoint's manifest lists: it was damaged in the store")
        store.copy(source, target)
        if store.digest(target).sha256 != file.sha256:
            raise ObjectMissing(f"{target} was not written as it was read: delete it and publish again")
        self._add_sidecar(checkpoint, file)
        self._add_preview(checkpoint, file)

    def _add_sidecar(self, checkpoint: StoredCheckpoint, file: ModelFile) -> None:
        key = name_published(self.run, self.slug, checkpoint.manifest, file, SIDECAR_SUFFIX)
        if self.home.store.head(key) is None:  # a person may have edited it since: what is there stays
            stems = {
                other.role: name_published(self.run, self.slug, checkpoint.manifest, other, "").rpartition("/")[2]
                for other in checkpoint.manifest.files
            }
            sidecar = describe_model(self.manifest, checkpoint.manifest.step, file, stems)
            self.home.store.write(key, canonical_json(sidecar))

    def _add_preview(self, checkpoint: StoredCheckpoint, file: ModelFile) -> None:
        key = name_published(self.run, self.slug, checkpoint.manifest, file, PREVIEW_SUFFIX)
        samples = sorted(checkpoint.manifest.samples, key=lambda sample: sample.prompt)
        if samples and self.home.store.head(key) is None:
            self.home.store.copy(checkpoint.key(samples[0].name), key)


def name_published(run: RunLayout, slug: str, checkpoint: CheckpointManifest, file: ModelFile, suffix: str) -> str:
    """Return the key of a published file.

    A checkpoint's files share the stem of the first, so that what belongs together stands together; the later ones have
    their role behind it.
    """
    first = checkpoint.files[0]
    second = "" if file.name == first.name else SECOND_STEMS[file.role]
    return run.model(slug, checkpoint.step, first.sha256, f"{second}{suffix}")


def publish(settings: TrainerSettings, asked: PublishInput, patience: Patience) -> Ending:
    """Publish the selected checkpoints.

    Raises:
        InvalidInput: the selection names what cannot be published.
        ObjectMissing: a selected checkpoint is not in the store, or not as recorded.
        ObjectConflict: another file has a published name.
    """
    home = open_home(settings, asked.store, patience)
    run = home.layout.run(asked.job, asked.run_identity)
    publication = Publication(home, run, read_document(home.store, run.manifest, RunManifest), asked.slug)
    whole = list_checkpoints(home.store, run)
    chosen = [find_selected(whole, row, asked.job) for row in asked.selection]
    rows = [publication.publish(checkpoint) for checkpoint in chosen]
    result, message = PublishResult(models=rows), ""
    if asked.publish is not None and asked.publish.invoke_ai is not None:
        files = [file for checkpoint in chosen for file in publication.list_files(checkpoint)]
        done = install_published(
            settings,
            home,
            asked.publish.invoke_ai,
            architecture=publication.manifest.architecture,
            published=files,
            patience=patience,
        )
        result, message = PublishResult(models=rows, installed=done.installed), shorten(done.message)
    return end_well(TerminationReport(role=Role.PUBLISH, reason=Reason.COMPLETED, message=message, publish=result))


def find_selected(whole: list[StoredCheckpoint], chosen: SelectedCheckpoint, job: str) -> StoredCheckpoint:
    """Return the first whole checkpoint of a step whose first file has the given digest.

    Raises:
        InvalidInput: step 0, which is the base model itself.
        ObjectMissing: there is none.
    """
    if chosen.step == 0 or not chosen.sha256:
        raise InvalidInput(f"step {chosen.step} of {job} has no model file: select a later checkpoint")
    for checkpoint in whole:
        files = checkpoint.manifest.files
        if checkpoint.manifest.step == chosen.step and files and files[0].sha256.startswith(chosen.sha256):
            return checkpoint
    raise ObjectMissing(
        f"step {chosen.step} of {job} with digest {chosen.sha256[:8]} is not in the store any more: select another "
        "checkpoint"
    )


def describe_model(
    manifest: RunManifest, step: int, file: ModelFile, stems: Mapping[ModelType, str]
) -> dict[str, str | int]:
    """Return the sidecar that A1111, Forge, SwarmUI and InvokeAI read beside a weights file.

    Args:
        manifest: of the run.
        step: of the checkpoint.
        file: the model file it stands beside.
        stems: names of the checkpoint's published files, without suffixes, by role.
    """
    notes = f"Step {step} of {manifest.settings.steps}, run {manifest.job} {manifest.run_identity[:8]}. "
    version = SD_VERSION[manifest.architecture]
    if file.role == "Embedding":
        # A1111, Forge and ComfyUI call an embedding by its file, whatever its word was in training.
        return {
            "description": f"{manifest.model_name}. Embedding (textual inversion), trained with Atelier.",
            "activation text": stems["Embedding"],
            "sd version": version,
            "notes": f"{notes}{_explain_calls(manifest, stems['Embedding'])}sha256 {file.sha256}",
        }
    if "Embedding" in stems:
        notes += f"Needs {stems['Embedding']} beside it. {_explain_calls(manifest, stems['Embedding'])}"
    concept = manifest.settings.concept_model
    # In the order of training's own captions: the embedding's word leads.
    words = [stems.get("Embedding", ""), concept.caption_prefix if concept else ""]
    return {
        "description": f"{manifest.model_name}. Concept model (LoRA), trained with Atelier.",
        "activation text": ", ".join(word for word in words if word),
        "sd version": version,
        "preferred weight": 1,
        "notes": f"{notes}sha256 {file.sha256}",
    }


def _explain_calls(manifest: RunManifest, stem: str) -> str:
    """Return how each tool calls an embedding in a prompt."""
    settings = manifest.settings
    asked = settings.embedding or (settings.concept_model.embedding if settings.concept_model else None)
    calls = [f"A1111, Forge: {stem}", f"ComfyUI: embedding:{stem}", f"SwarmUI: <embed:{stem}>", f"InvokeAI: <{stem}>"]
    if asked:
        calls.append(f"diffusers: {asked.placeholder}, given as token")
    return f"In prompts: {'. '.join(calls)}. "
