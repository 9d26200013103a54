"""Everything that is the same in every step, made ready once: model, method, latents, texts, batches.

In: a workspace. Out: a `Prepared` that the loop draws from. Phase: Caching. Texts come first, so that their encoders
are gone before the denoiser takes its memory; pictures are encoded while it is read, because only the method needs it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from atelier_contract.manifests import RunManifest
from atelier_materials.dataset.buckets import Shape, assign_shapes, describe_shapes, list_shapes, nearest_shape
from atelier_trainer.learn.assembly import BatchAssembler
from atelier_trainer.learn.batches import BatchPlan
from atelier_trainer.learn.captions import Wording
from atelier_trainer.learn.draws import Draws
from atelier_trainer.learn.encodings import EncodingKeys, MemoryCache, build_keys
from atelier_trainer.learn.evaluation import Measured
from atelier_trainer.learn.execution import Execution
from atelier_trainer.learn.families.base import Family, Pause
from atelier_trainer.learn.families.registry import load_family
from atelier_trainer.learn.gradients import GradientComputer
from atelier_trainer.learn.latents import PictureLatents
from atelier_trainer.learn.masks import PictureMasks
from atelier_trainer.learn.methods.base import Method
from atelier_trainer.learn.methods.frozen_text import find_frozen_text
from atelier_trainer.learn.methods.registry import build_method
from atelier_trainer.learn.pictures import read_size
from atelier_trainer.learn.priors import PriorPlaces, PriorRows, draw_prior_pictures, list_prior_texts, read_prior
from atelier_trainer.learn.progress import Progress
from atelier_trainer.learn.prompts import PromptEncoder
from atelier_trainer.learn.run import Sides, build_wording, choose_sides, resolve_run
from atelier_trainer.learn.single_file import open_base_model
from atelier_trainer.learn.texts import PictureTexts
from atelier_trainer.records import Cache, Picture, Recorder, Workspace

log = logging.getLogger(__name__)


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


@dataclass(frozen=True)
class Bench:
    """What encoding needs, whatever is encoded."""

    run: RunManifest
    family: Family
    cache: Cache
    keys: EncodingKeys
    progress: Progress
    pause: Pause

    def encode(self, pictures: Sequence[Picture], shapes: Sequence[Shape], *, flip: bool = False) -> PictureLatents:
        """Return the latents of pictures in their shapes, encoded now if there is space for all."""
        latents = PictureLatents(self.family, self.cache, self.keys, pictures, shapes, flip=flip)
        latents.fill(self.pause)
        if not latents.is_kept:
            self.progress.warn(
                "scratch space does not hold all latents: pictures are encoded in every step, which is slower; "
                "raise spec.pod.ephemeralStorage"
            )
        return latents


def prepare(
    workspace: Workspace, recorder: Recorder, execution: Execution, progress: Progress, pause: Pause
) -> Prepared:
    """Settle what the run is, load the base model, and encode pictures and texts.

    Raises:
        BaseModelUnusable, DatasetUnusable, InvalidInput: as `train.train` says.
        Interrupted: by `pause`.
    """
    run, how = resolve_run(workspace, pause), execution.manifest
    sides, settings, draws = choose_sides(workspace.pictures, run.held_out), run.settings, Draws(run.settings.seed)
    dtype = torch.bfloat16 if how.precision == "bfloat16" else torch.float32
    folder = open_base_model(workspace.base_model, run.architecture, workspace.pod_scratch or workspace.scratch)
    device = torch.device(how.device)
    family = load_family(run.architecture, folder, device, dtype, how.layout, quantization=settings.quantization)
    keys = _build_keys(workspace, run, family, execution)
    bench = Bench(run, family, workspace.cache or MemoryCache(), keys, progress, pause)
    plan = _plan_batches(run, sides, draws)
    progress.steps_per_epoch = plan.steps_per_epoch
    texts = PictureTexts(sides.training, settings, build_wording(settings), draws)
    encoder = _encode_texts(bench, texts, sides.measured, workspace.prior_pictures)
    family.start_denoiser()
    latents = bench.encode(sides.training, plan.shapes, flip=settings.flip)
    measured_latents = _encode_measured(bench, sides.measured)
    method = build_method(family, settings, draws)
    if workspace.run is None:  # only now: a base model that does not load must not be what the run is pinned to
        recorder.record_run(run)
    encoder = encoder or PromptEncoder(family, method, bench.cache, keys)
    priors = _prepare_priors(bench, workspace, encoder, plan, draws)
    measured = _word_measured(sides.measured, measured_latents, method.wording)
    _warn_of_long_captions(sides.training, family, method, progress)
    if latents.is_kept and (priors is None or priors.latents.is_kept):
        family.rest_pictures()  # else it is asked in every step, and bringing it costs more than room
    masks = PictureMasks(sides.training, plan.shapes, family.pixels_per_latent) if settings.masks == "auto" else None
    return Prepared(
        run=run,
        family=family,
        method=method,
        encoder=encoder,
        batches=BatchAssembler(family, settings, texts, latents, plan, draws, masks or None, priors),
        gradients=GradientComputer(family, method, encoder, settings, draws, how.micro_batch),
        measured=measured,
    )


def _build_keys(workspace: Workspace, run: RunManifest, family: Family, execution: Execution) -> EncodingKeys:
    """Return the run's keys. Number format and kind of device are part of them: they decide an encoder's last bits."""
    how, (_, length) = execution.manifest, family.count_tokens("")
    told = (run.architecture, how.precision, how.device.partition(":")[0], run.settings.quantization, length)
    return build_keys(workspace.base_model_files, workspace.base_model_digest, *told)


def _plan_batches(run: RunManifest, sides: Sides, draws: Draws) -> BatchPlan:
    """Choose the shapes and the order of batches, and say before the first step which shapes there are."""
    settings, repeats = run.settings, [picture.repeats for picture in sides.training]
    sizes = [read_size(picture.path) for picture in sides.training]
    shapes = assign_shapes(sizes, settings.resolution, settings.batch_size, repeats)
    log.info("training shapes: %s", describe_shapes(shapes))
    return BatchPlan(shapes, settings.batch_size, draws, repeats)


def _encode_measured(bench: Bench, pictures: Sequence[Picture]) -> PictureLatents:
    """Return the latents of pictures as they are measured: plain side, each in the shape nearest to its own."""
    shapes = list_shapes(bench.run.settings.resolution)
    return bench.encode(pictures, [nearest_shape(read_size(picture.path), shapes) for picture in pictures])


def _word_measured(pictures: Sequence[Picture], latents: PictureLatents, wording: Wording) -> list[Measured]:
    """Return pictures as they are measured: posterior mean, first caption."""
    return [
        Measured(picture.sha256, latents.read(index).mean.float(), wording.word(picture.caption))
        for index, picture in enumerate(pictures)
    ]


def _prepare_priors(
    bench: Bench, workspace: Workspace, encoder: PromptEncoder, plan: BatchPlan, draws: Draws
) -> PriorRows | None:
    """Return the prior rows of a run, their pictures drawn where none were given; None where they are not asked for."""
    prior = read_prior(bench.run.settings)
    if prior is None:
        return None
    pictures = workspace.prior_pictures or draw_prior_pictures(
        bench.family,
        encoder.encode,
        bench.run.settings,
        cache=bench.cache,
        keys=bench.keys,
        scratch=workspace.scratch,
        pause=bench.pause,
    )
    places = PriorPlaces(pictures, plan.shapes)
    return PriorRows(places, bench.encode(places.pictures, places.shapes), prior.prompt, draws)


def _encode_texts(
    bench: Bench, texts: PictureTexts, measured: Sequence[Picture], priors: Sequence[Picture]
) -> PromptEncoder | None:
    """Encode every text that the run can read, of pictures, measurements and samples, and let the encoders rest.

    None where a text encoder learns: then there is nothing to encode before the method is built on it.
    """
    settings = bench.run.settings
    frozen = find_frozen_text(settings)
    if frozen is None:
        return None
    encoder = PromptEncoder(bench.family, frozen, bench.cache, bench.keys)
    drawn = ["", settings.validation.negative_prompt, *bench.run.prompts]
    worded = [texts.wording.word(picture.caption) for picture in measured]
    said = [*texts.list_all(), *list_prior_texts(settings, priors), *worded, *drawn]
    if encoder.fill(list(dict.fromkeys(said)), bench.pause):
        bench.family.rest_text()
    else:  # they are asked in every step, and bringing them costs more than room
        bench.progress.warn(
            "scratch space does not hold all encoded texts: some are encoded whenever they are read, which is slower, "
            "and the text encoders stay in memory; raise spec.pod.ephemeralStorage"
        )
    return encoder


def _warn_of_long_captions(pictures: Sequence[Picture], family: Family, method: Method, progress: Progress) -> None:
    """Say how many captions are cut, which encoders do silently."""
    cut = 0
    for text in {method.wording.word(picture.caption) for picture in pictures}:
        tokens, read = family.count_tokens(method.rewrite(text))
        cut += tokens > read
    if cut:
        progress.warn(f"{cut} captions are longer than the text encoder reads: what lies beyond is not learned from")
