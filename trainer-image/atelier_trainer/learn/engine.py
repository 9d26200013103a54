"""How the steps of an attempt are computed here: compiled or not, captured or not, how many pictures a pass.

The execution says what was chosen, or what the first attempt did; this room makes it so before the first step, tries
what fits the device, and measures what the device could do at best. What it settles on is told by `Stepper.describe`,
and written into execution.json with the first state.

A step of several processes is not captured: their sums wait for each other in between. Nor is one of an optimiser that
asks the host. Those are compiled, where there is a compiler.

In: a prepared run. Out: its stepper. Nothing that training reads is changed by trying.
"""

from __future__ import annotations

import logging

import torch

from atelier_contract.manifests import ExecutionManifest
from atelier_materials.footprint import count_moment_bytes
from atelier_trainer.learn.assembly import Batch
from atelier_trainer.learn.capture import CapturedSteps, CudaGraph
from atelier_trainer.learn.compilation import Compilation, has_compiler
from atelier_trainer.learn.draws import seed_of
from atelier_trainer.learn.execution import Execution
from atelier_trainer.learn.memory import CudaMeter, fit_passes, recompute_activations
from atelier_trainer.learn.optimizer import is_capturable
from atelier_trainer.learn.preparation import Prepared
from atelier_trainer.learn.progress import Progress
from atelier_trainer.learn.ranks import Ranks
from atelier_trainer.learn.roof import count_operations, measure_roof
from atelier_trainer.learn.stepping import Stepper

log = logging.getLogger(__name__)


def build_stepper(
    prepared: Prepared, optimizer: torch.optim.Optimizer, execution: Execution, ranks: Ranks, progress: Progress
) -> Stepper:
    """Return what takes the steps, ready for the first but for what ranks agree on: nothing here waits for another one.

    Raises:
        torch.OutOfMemoryError: not even one picture at a time fits.
    """
    how, gradients = execution.manifest, prepared.gradients
    if how.recomputes:
        recompute_activations(prepared.family.denoiser)
    stepper = Stepper(gradients, optimizer, prepared.run.settings.max_grad_norm, ranks, recomputes=how.recomputes)
    largest = find_largest(prepared, progress.step)
    if not how.recomputes:  # else all is said: recomputing is recorded together with how many pictures a pass has
        is_said = not execution.is_first or prepared.run.settings.micro_batch_size is not None
        fit_to_device(stepper, largest, progress.step, is_said=is_said)
    note_roof(stepper, largest.take(slice(1)), how, progress)
    denoiser, device = prepared.family.denoiser, prepared.family.device
    is_captured = "captured" in how.compile_mode
    can_capture = is_captured and ranks.count == 1 and is_capturable(optimizer)
    if "compiled" in how.compile_mode or (is_captured and not can_capture and has_compiler()):
        gradients.compilation = Compilation(denoiser, device)
    if can_capture:
        stepper.captured = CapturedSteps(
            stepper.learn,
            stepper.list_state,
            CudaGraph,
            lambda step: torch.cuda.manual_seed(seed_of(gradients.draws.seed, "dropout", step)),
        )
        stepper.substitute = (lambda: Compilation(denoiser, device)) if has_compiler() else None
    chosen = stepper.describe()
    log.info(
        "steps are %s, %d pictures at a time%s",
        chosen["compile_mode"],
        chosen["micro_batch"],
        ", activations are computed twice" if chosen["recomputes"] else "",
    )
    return stepper


def agree_on_recomputing(stepper: Stepper) -> None:
    """Let all ranks compute activations twice where one has to: the leader alone records it, and it must hold for all.

    Every rank must call it, once all are known to be prepared.

    Raises:
        PeerLost: another process of the run is gone.
    """
    wanted = bool(stepper.ranks.agree(stepper.recomputes))
    if wanted and not stepper.recomputes:
        recompute_activations(stepper.gradients.family.denoiser)
        log.info("activations are computed twice, because another process has no room to keep them")
    stepper.recomputes = wanted


def find_largest(prepared: Prepared, step: int) -> Batch:
    """Return a batch of the largest shape, which decides what fits."""
    plan = prepared.batches.plan
    areas = {
        number: plan.shapes[plan.read_batch(number)[0]][0] * plan.shapes[plan.read_batch(number)[0]][1]
        for number in range(step, step + plan.steps_per_epoch)
    }
    return prepared.batches.assemble(max(areas, key=lambda number: areas[number]))


def fit_to_device(stepper: Stepper, batch: Batch, step: int, *, is_said: bool) -> None:
    """Let passes be as large as the device's memory takes, or find out how those that are said fit it.

    On the CPU nothing is tried.
    """
    gradients = stepper.gradients
    if gradients.family.device.type != "cuda":
        return

    def recompute() -> None:
        recompute_activations(gradients.family.denoiser)
        log.warning("not one picture fits as it is: activations are computed twice instead of kept")

    moments = count_moment_bytes(
        gradients.settings, sum(flat.master.numel() for flat in gradients.method.flat_parameters())
    )
    fit = fit_passes(
        CudaMeter(),
        lambda pictures: gradients.rehearse(batch.take(slice(pictures)), step),
        recompute,
        gradients.micro_batch if is_said else min(gradients.micro_batch, len(batch.texts)),
        0 if stepper.optimizer.state else moments,  # an attempt that goes on has them already
        is_said=is_said,
    )
    gradients.micro_batch, stepper.recomputes = fit.micro_batch, fit.recomputes
    torch.cuda.empty_cache()


def note_roof(stepper: Stepper, picture: Batch, how: ExecutionManifest, progress: Progress) -> None:
    """Measure how many pictures a second the device could train on at best, all processes together."""
    gradients = stepper.gradients
    operations = count_operations(lambda: gradients.rehearse(picture, progress.step))
    dtype = torch.bfloat16 if how.precision == "bfloat16" else torch.float32
    roof = measure_roof(gradients.family.device, dtype, progress.clock)
    if operations:
        progress.roof_images_per_second = stepper.ranks.count * roof / operations
