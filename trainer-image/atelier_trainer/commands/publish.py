"""`publish`: copy the selected checkpoints to `models/`, with what tools read beside them, and verify by reading back.

In: a PublishInput. Out: for each selected model file a weights file, a sidecar and a preview. A file that is there
already with the same bytes is done; with others, an error: a published model never changes.
"""

from __future__ import annotations

from dataclasses import dataclass

from atelier_contract.architectures import Architecture
from atelier_contract.base import canonical_json
from atelier_contract.inputs import PublishInput, SelectedCheckpoint
from atelier_contract.layout import RunLayout
from atelier_contract.manifests import ModelFile, RunManifest
from atelier_contract.reasons import Reason
from atelier_contract.roles import Role
from atelier_contract.termination import PublishedRow, PublishResult, TerminationReport
from atelier_trainer.commands.ending import Ending, end_well
from atelier_trainer.edges.documents import read_document
from atelier_trainer.edges.home import Home, open_home
from atelier_trainer.edges.patience import Patience
from atelier_trainer.edges.runs import StoredCheckpoint, list_checkpoints
from atelier_trainer.errors import InvalidInput, ObjectMissing
from atelier_trainer.settings import TrainerSettings

WEIGHTS_SUFFIX, SIDECAR_SUFFIX, PREVIEW_SUFFIX = ".safetensors", ".json", ".png"
SD_VERSION = {
    Architecture.STABLE_DIFFUSION_1: "SD1",
    Architecture.STABLE_DIFFUSION_XL: "SDXL",
    Architecture.FLUX_1: "Other",
}
"""Values of `sd version` in A1111's sidecar (extensions-builtin/Lora, ui_edit_user_metadata)."""
INSTALL_LATER = (
    "published in the store; not installed in InvokeAI: this release cannot install yet, import the .safetensors file "
    "from models/ there by hand"
)


@dataclass(frozen=True)
class Publication:
    """One run's models on their way to `models/`."""

    home: Home
    run: RunLayout
    manifest: RunManifest
    slug: str

    def publish(self, checkpoint: StoredCheckpoint, file: ModelFile) -> PublishedRow:
        """Publish one model file of a checkpoint and read it back.

        Raises:
            ObjectMissing: the bytes are not those that were recorded.
            ObjectConflict: another file has the published name.
        """
        store, step = self.home.store, checkpoint.manifest.step
        source = checkpoint.key(file.name)
        target = self.run.model(self.slug, step, file.sha256, WEIGHTS_SUFFIX)
        if store.digest(source).sha256 != file.sha256:
            raise ObjectMissing(f"{source} is not what its checkpoint's manifest lists: it was damaged in the store")
        store.copy(source, target)
        if store.digest(target).sha256 != file.sha256:
            raise ObjectMissing(f"{target} was not written as it was read: delete it and publish again")
        self._add_sidecar(step, file)
        self._add_preview(checkpoint, file)
        return PublishedRow(step=step, sha256=file.sha256, bytes=file.bytes)

    def _add_sidecar(self, step: int, file: ModelFile) -> None:
        key = self.run.model(self.slug, step, file.sha256, SIDECAR_SUFFIX)
        if self.home.store.head(key) is None:  # a person may have edited it since: what is there stays
            self.home.store.write(key, canonical_json(describe_model(self.manifest, step, file)))

    def _add_preview(self, checkpoint: StoredCheckpoint, file: ModelFile) -> None:
        key = self.run.model(self.slug, checkpoint.manifest.step, file.sha256, PREVIEW_SUFFIX)
        samples = sorted(checkpoint.manifest.samples, key=lambda sample: sample.prompt)
        if samples and self.home.store.head(key) is None:
            self.home.store.copy(checkpoint.key(samples[0].name), key)


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
    whole = list_checkpoints(home, run)
    rows = []
    for chosen in asked.selection:
        checkpoint = find_selected(whole, chosen, asked.job)
        rows += [publication.publish(checkpoint, file) for file in checkpoint.manifest.files]
    wants_install = asked.publish is not None and asked.publish.invoke_ai is not None
    report = TerminationReport(
        role=Role.PUBLISH,
        reason=Reason.COMPLETED,
        message=INSTALL_LATER if wants_install else "",
        publish=PublishResult(models=rows),
    )
    return end_well(report)


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


def describe_model(manifest: RunManifest, step: int, file: ModelFile) -> dict[str, str | int]:
    """Return the sidecar that A1111, Forge, SwarmUI and InvokeAI read beside a weights file."""
    concept, embedding = manifest.settings.concept_model, manifest.settings.embedding
    kind = "Concept model (LoRA)" if file.role == "ConceptModel" else "Embedding (textual inversion)"
    trigger = embedding.placeholder if embedding else concept.caption_prefix if concept else ""
    return {
        "description": f"{manifest.model_name}. {kind}, trained with Atelier.",
        "activation text": trigger,
        "sd version": SD_VERSION[manifest.architecture],
        "preferred weight": 1,
        "notes": f"Step {step} of {manifest.settings.steps}, run {manifest.job} {manifest.run_identity[:8]}. "
        f"sha256 {file.sha256}",
    }
