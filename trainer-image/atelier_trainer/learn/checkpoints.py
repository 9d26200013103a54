"""A checkpoint: the model files of a step together with its sample pictures and its held-out loss, in one folder.

Equal weights give an equal folder, byte for byte: no dates, sorted headers, fixed noise. Step 0 is the base model: it
has pictures and losses, but no file, and cannot be selected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from atelier_contract.inputs import TrainingInput
from atelier_contract.manifests import CheckpointManifest, ModelFile, SampleFile
from atelier_contract.settings import Settings
from atelier_trainer.learn.evaluation import Measured, measure_loss
from atelier_trainer.learn.families.base import Family, Pause
from atelier_trainer.learn.files import describe_file
from atelier_trainer.learn.heap import giving_back
from atelier_trainer.learn.metadata import DatasetFacts, build_metadata
from atelier_trainer.learn.methods.base import Method
from atelier_trainer.learn.prompts import PromptEncoder
from atelier_trainer.learn.sampling import draw_samples
from atelier_trainer.learn.similarity import Comparison, Likeness
from atelier_trainer.learn.tensor_files import write_tensors

SAMPLES = "samples"


@dataclass(frozen=True)
class CheckpointWriter:
    """Writes the checkpoints of one run."""

    told: TrainingInput
    settings: Settings
    family: Family
    method: Method
    encoder: PromptEncoder
    prompts: Sequence[str]
    measured: Sequence[Measured]
    is_held_out: bool
    """Whether what is measured was kept out of training."""
    dataset: DatasetFacts
    """What the files say of the pictures, where more than the minimum is asked."""
    comparison: Comparison | None = None
    """What samples are compared with; None: no image encoder was given."""

    def write(self, folder: Path, step: int, pause: Pause) -> CheckpointManifest:
        """Write a step's checkpoint into a new folder and return its manifest.

        Raises:
            Interrupted: by `pause`; the folder is then incomplete and of no use.
        """
        (folder / SAMPLES).mkdir(parents=True)
        self.method.set_training(on=False)
        files = [] if step == 0 else self._write_models(folder, step)
        with giving_back():  # eight timesteps at once are larger than a step that fits, and no step would use the rest
            loss = measure_loss(self.family, self.encoder.encode, self.measured, pause)
            empty = measure_loss(self.family, self.encoder.encode, self.measured, pause, text="") if step == 0 else None
        samples, likeness = self._write_samples(folder, pause)
        self.method.set_training(on=True)
        return CheckpointManifest(
            step=step,
            run_identity=self.told.run_identity,
            type=self.told.type,
            architecture=self.family.architecture,
            files=files,
            samples=samples,
            held_out_loss=loss,
            empty_caption_loss=empty,
            loss_name="heldOutLoss" if self.is_held_out else "probeLoss",
            similarity=likeness.similarity if likeness else None,
            near_copies=likeness.near_copies if likeness else None,
        )

    def _write_models(self, folder: Path, step: int) -> list[ModelFile]:
        """Write every model file; the first is what the job is for."""
        files = []
        for model in self.method.export():
            metadata = build_metadata(self.told, self.settings, self.family, model, self.dataset, step=step)
            write_tensors(folder / model.file_name, model.tensors, metadata)
            files.append(ModelFile(role=model.role, **describe_file(folder, model.file_name)))
        return files

    def _write_samples(self, folder: Path, pause: Pause) -> tuple[list[SampleFile], Likeness | None]:
        """Draw and write the samples; say how near they come to pictures where that can be told."""
        drawn = draw_samples(
            self.family,
            self.encoder.encode,
            self.prompts,
            self.settings.validation,
            pause,
            resolution_px=self.settings.resolution,
        )
        entries = []
        for index, picture in enumerate(drawn):
            name = f"{SAMPLES}/{index}.png"
            picture.save(folder / name)
            entries.append(SampleFile(prompt=index, **describe_file(folder, name)))
        return entries, self.comparison.compare(drawn) if self.comparison else None
