"""Everything that is the same in every step, made ready once: model, method, latents, texts, batches.

In: a workspace. Out: a `Prepared` that the loop draws from. Phase: Caching.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from atelier_contract.manifests import RunManifest
from atelier_trainer.learn.assembly import BatchAssembler
from atelier_trainer.learn.batches import BatchPlan
from atelier_trainer.learn.buckets import assign_shapes, list_shapes, nearest_shape
from atelier_trainer.learn.draws import Draws
from atelier_trainer.learn.evaluation import Measured
from atelier_trainer.learn.execution import Execution
from atelier_trainer.learn.families.base import Family, Pause
from atelier_trainer.learn.families.registry import load_family
from atelier_trainer.learn.gradients import GradientComputer
from atelier_trainer.learn.latents import PictureLatents
from atelier_trainer.learn.methods.base import Method
from atelier_trainer.learn.methods.registry import build_method
from atelier_trainer.learn.pictures import read_pixels, read_size
from atelier_trainer.learn.progress import Progress
from atelier_trainer.learn.prompts import PromptEncoder
from atelier_trainer.learn.run import choose_sides, resolve_run
from atelier_trainer.records import Picture, Recorder, Workspace


@dataclass(frozen=True)
class Prepared:
    """A run made ready to train."""

    run: RunManifest
    family: Family
    method: Method
    encoder: PromptEncoder
    batches: BatchAssembler
    gradients: GradientComputer
    measured: list[Measured]


def prepare(
    workspace: Workspace, recorder: Recorder, execution: Execution, progress: Progress, pause: Pause
) -> Prepared:
    """Settle what the run is, load the base model, and encode pictures and texts.

    Raises:
        BaseModelUnusable, DatasetUnusable, InvalidInput: as `train.train` says.
        Interrupted: by `pause`.
    """
    run = resolve_run(workspace)
    sides = choose_sides(workspace.pictures, run.held_out)
    how = execution.manifest
    dtype = torch.bfloat16 if how.precision == "bfloat16" else torch.float32
    family = load_family(run.architecture, workspace.base_model, torch.device(how.device), dtype, how.layout)
    draws = Draws(run.settings.seed)
    method = build_method(family, run.settings, draws)
    if workspace.run is None:  # only now: a base model that does not load must not be what the run is pinned to
        recorder.record_run(run)
    encoder = PromptEncoder(family, method)
    shapes = assign_shapes(
        [read_size(p.path) for p in sides.training], run.settings.resolution, run.settings.batch_size
    )
    latents = PictureLatents(family, sides.training, shapes, workspace.scratch, flip=run.settings.flip)
    latents.fill(pause)
    if not latents.is_kept:
        progress.warn("scratch space does not hold all latents: pictures are encoded in every step, which is slower")
    _warn_of_long_captions(sides.training, family, method, progress)
    plan = BatchPlan(shapes, run.settings.batch_size, draws)
    progress.steps_per_epoch = plan.steps_per_epoch
    captions = [picture.caption for picture in sides.training]
    return Prepared(
        run=run,
        family=family,
        method=method,
        encoder=encoder,
        batches=BatchAssembler(family, run.settings, captions, latents, plan, method.wording, draws),
        gradients=GradientComputer(family, method, encoder, run.settings, draws, how.micro_batch),
        measured=encode_measured(family, method, sides.measured, run.settings.resolution),
    )


def encode_measured(family: Family, method: Method, pictures: Sequence[Picture], resolution_px: int) -> list[Measured]:
    """Return pictures as they are measured: posterior mean, plain side, each in the shape nearest to its own."""
    shapes = list_shapes(resolution_px)
    measured = []
    for picture in pictures:
        pixels = read_pixels(picture.path, nearest_shape(read_size(picture.path), shapes), flip=False)
        mean = family.encode_picture(pixels).mean[0].cpu()
        measured.append(Measured(picture.sha256, mean, method.wording.word(picture.caption)))
    return measured


def _warn_of_long_captions(pictures: Sequence[Picture], family: Family, method: Method, progress: Progress) -> None:
    """Say how many captions are cut, which encoders do silently."""
    cut = 0
    for text in {method.wording.word(picture.caption) for picture in pictures}:
        tokens, read = family.count_tokens(method.rewrite(text))
        cut += tokens > read
    if cut:
        progress.warn(f"{cut} captions are longer than the text encoder reads: what lies beyond is not learned from")
