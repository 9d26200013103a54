"""How far a run is, in the contract's words: counts what happens and tells a `Reporter` about twice a second.

Knows the clock it is given and nothing of models. Nothing that is told here decides anything. The reporter adds what
only it knows: how long each phase took, and which checkpoints are whole in the store by now.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from atelier_contract.inputs import TrainingInput
from atelier_contract.manifests import CheckpointManifest
from atelier_contract.progress import Phase, ProgressReport
from atelier_trainer.learn.losses import LossWindow
from atelier_trainer.learn.overfitting import explain_overfit
from atelier_trainer.records import Clock, Reporter

REPORT_SECONDS = 0.5
MOST_WARNINGS = 16
FAIR_SHARE = 0.25
"""Part of the training time that samples and evaluation may take before it is worth a warning."""


@dataclass
class Progress:
    """The live account of one attempt."""

    reporter: Reporter
    clock: Clock
    told: TrainingInput
    attempt: str
    total_steps: int
    every_steps: int
    batch_size: int
    from_step: int
    losses: LossWindow
    steps_per_epoch: int = 1
    exact: bool = True
    roof_images_per_second: float | None = None
    """Pictures a second if every operation were part of one large matrix product; None: not measured."""
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start the clocks."""
        self.step = self.from_step
        self._phase: Phase = "Starting"
        self._since = self._reported = self.clock()
        self._seconds: dict[str, float] = {}
        self._made = 0
        self._checkpoints: dict[int, CheckpointManifest] = {}

    def enter(self, phase: Phase) -> None:
        """Say that another phase begins."""
        self._settle()
        self._phase = phase
        self.reporter.phase(phase)
        self.report()

    def warn(self, sentence: str) -> None:
        """Add a sentence for people, once."""
        if sentence not in self.warnings and len(self.warnings) < MOST_WARNINGS:
            self.warnings.append(sentence)

    def note_step(self, step: int) -> None:
        """Say that a step is done; reports if the last report is old enough."""
        self.step = step
        if self.clock() - self._reported >= REPORT_SECONDS:
            self.report()

    def note_checkpoint(self, manifest: CheckpointManifest, *, is_new: bool = True) -> None:
        """Say that a checkpoint is made, or was there already."""
        self._made += is_new
        self._checkpoints[manifest.step] = manifest
        self._settle()
        self._warn_of_share()

    def explain_quality(self) -> list[str]:
        """Return what the checkpoints so far say of the run, in sentences; empty: nothing to worry about."""
        return explain_overfit([self._checkpoints[step] for step in sorted(self._checkpoints)])

    def report(self) -> None:
        """Tell how far things are. Raises Diverged when the losses read for it are not sane."""
        self._settle()
        self._reported = self._since
        losses = self.losses.read(self.step)
        baseline = self._checkpoints.get(0)
        self.reporter.report(
            ProgressReport(
                run_identity=self.told.run_identity,
                attempt=self.attempt,
                phase=self._phase,
                step=self.step,
                total_steps=self.total_steps,
                from_step=self.from_step,
                epoch=self.step // self.steps_per_epoch,
                loss=sum(losses) / len(losses) if losses else None,
                images_per_second=self._images_per_second(),
                matmul_share=self._matmul_share(),
                remaining_seconds=self._remaining_seconds(),
                exact=self.exact,
                baseline_loss=baseline.held_out_loss if baseline else None,
                empty_caption_loss=baseline.empty_caption_loss if baseline else None,
                warnings=[*self.warnings, *self.explain_quality()],
            )
        )

    def _settle(self) -> None:
        """Add the time since the last call to the present phase."""
        now = self.clock()
        self._seconds[self._phase] = self._seconds.get(self._phase, 0.0) + now - self._since
        self._since = now

    def _seconds_per_step(self) -> float | None:
        done = self.step - self.from_step
        return self._seconds.get("Training", 0.0) / done if done else None

    def _images_per_second(self) -> float | None:
        seconds = self._seconds_per_step()
        return round(self.batch_size / seconds, 3) if seconds else None

    def _matmul_share(self) -> float | None:
        reached, roof = self._images_per_second(), self.roof_images_per_second
        return round(reached / roof, 4) if reached and roof else None

    def _remaining_seconds(self) -> int | None:
        per_step = self._seconds_per_step()
        if per_step is None:
            return None
        left = self.total_steps - self.step
        checkpoints_left = -(-self.total_steps // self.every_steps) - self.step // self.every_steps
        return round(left * per_step + max(0, checkpoints_left) * self._seconds_per_checkpoint())

    def _seconds_per_checkpoint(self) -> float:
        return self._seconds.get("Checkpointing", 0.0) / self._made if self._made else 0.0

    def _warn_of_share(self) -> None:
        per_step = self._seconds_per_step()
        if per_step and self._seconds_per_checkpoint() > FAIR_SHARE * self.every_steps * per_step:
            self.warn(
                "samples and evaluation take more than a quarter of the training time: raise checkpoints.everySteps, "
                "or lower validation.samplerSteps or the number of validation.prompts"
            )
