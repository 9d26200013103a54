"""The entry: from a workspace on disk to a trained model, checkpoint by checkpoint.

It decides once what the run is (prompts, held-out pictures: run.json), loads and prepares, and hands over to `loop`.
Errors that leave here are the trainer's own; torch's are translated on the way.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from atelier_contract.settings import Settings
from atelier_trainer.errors import OutOfMemory
from atelier_trainer.learn.checkpoints import CheckpointWriter
from atelier_trainer.learn.ema import RunningMean
from atelier_trainer.learn.engine import agree_on_recomputing, build_stepper
from atelier_trainer.learn.execution import Execution, apply_execution, choose_device, plan_execution
from atelier_trainer.learn.families.base import Pause
from atelier_trainer.learn.following import IdleKeeper
from atelier_trainer.learn.gradients import describe_shortage
from atelier_trainer.learn.keeping import Keeper
from atelier_trainer.learn.loop import Course, Ending, Flag, run_steps
from atelier_trainer.learn.losses import LossWindow, find_limit
from atelier_trainer.learn.metadata import describe_dataset
from atelier_trainer.learn.optimizer import build_optimizer, check_optimizer
from atelier_trainer.learn.pausing import Interrupted, Stopped, build_first_pause, build_pause
from atelier_trainer.learn.preparation import Prepared, prepare
from atelier_trainer.learn.progress import Progress
from atelier_trainer.learn.ranks import Ranks, joined_ranks, require_same
from atelier_trainer.learn.run import choose_sides
from atelier_trainer.learn.similarity import Comparison, build_comparison
from atelier_trainer.learn.state import load_models, read_state
from atelier_trainer.records import Clock, Control, Recorder, Reporter, Workspace


@dataclass(frozen=True)
class _Partners:
    """Whom an attempt works with."""

    recorder: Recorder
    reporter: Reporter
    control: Control
    clock: Clock
    ranks: Ranks


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended."""

    from_step: int
    to_step: int
    complete: bool
    """The run is over: every checkpoint is whole in the store."""
    stopped_early: bool
    """Over because the user asked for it."""
    interrupted: bool
    """Not over: another attempt goes on from the state."""
    exact: bool
    """Whether this attempt computed as the first one did."""
    quality: str = ""
    """What the checkpoints say against the result, in sentences; empty: nothing."""


def train(workspace: Workspace, recorder: Recorder, reporter: Reporter, control: Control, clock: Clock) -> Outcome:
    """Train until the last step, a stop or an interruption.

    Args:
        workspace: everything to work on, all of it local.
        recorder: makes checkpoints and states durable.
        reporter: told how far things are.
        control: says when to end early.
        clock: monotonic seconds.

    Raises:
        InvalidInput: settings that this release cannot train.
        DatasetUnusable: a picture cannot be read, or there is nothing to train on.
        BaseModelUnusable: the base model does not load, or is not the one the run began with.
        OutOfMemory: not even one picture at a time fits.
        Diverged: the loss is no longer sane; nothing bad was saved.
        PeerLost: another process of the run is gone.
    """
    device = choose_device()
    with joined_ranks(workspace.place, device) as ranks:
        return _train_together(workspace, _Partners(recorder, reporter, control, clock, ranks), device)


def _train_together(workspace: Workspace, partners: _Partners, device: torch.device) -> Outcome:
    """Train as one of the ranks. Whatever one may leave early is followed by an agreement of all."""
    ranks, control = partners.ranks, partners.control
    settings = (workspace.run or workspace.input).settings
    from_step = workspace.state.manifest.step if workspace.state else 0
    flag = ranks.agree(Flag.STOP if control.stop_asked() else Flag.GO_ON)
    if flag == Flag.STOP and from_step == 0:
        return Outcome(0, 0, complete=True, stopped_early=True, interrupted=False, exact=True)
    require_same(ranks, workspace)
    check_optimizer(settings, device)
    execution = plan_execution(device, settings, workspace.execution, resumes=workspace.state is not None)
    apply_execution(execution.manifest)
    progress = _build_progress(workspace, settings, execution, partners.reporter, partners.clock)
    if settings.batch_size < ranks.count:
        progress.warn(
            f"a batch of {settings.batch_size} pictures is shared by {ranks.count} GPUs, some of which have nothing to "
            "do: raise tuning.batchSize, or ask for fewer (pod.gpus, pod.nodes)"
        )
    try:
        ending = _prepare_and_run(workspace, partners, execution, progress)
        partners.recorder.flush()
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(describe_shortage(settings)) from error
    progress.report()
    return Outcome(
        from_step=from_step,
        to_step=progress.step,
        complete=ending is not Ending.INTERRUPTED,
        stopped_early=ending is Ending.STOPPED,
        interrupted=ending is Ending.INTERRUPTED,
        exact=progress.exact,
        quality=". ".join(progress.explain_quality()),
    )


def _prepare_and_run(workspace: Workspace, partners: _Partners, execution: Execution, progress: Progress) -> Ending:
    """Prepare and run the steps; an interruption of one rank is one of all, and so is a stop before the first step."""
    ranks, course, own = partners.ranks, None, Flag.GO_ON
    try:
        course = _prepare_course(workspace, partners, execution, progress)
    except Interrupted:
        own = Flag.LEAVE
    except Stopped:
        own = Flag.STOP
    flag = ranks.agree(own)
    if flag == Flag.STOP:
        return Ending.STOPPED
    if flag == Flag.LEAVE or course is None:
        return Ending.INTERRUPTED
    agree_on_recomputing(course.stepper)
    try:
        return run_steps(course)
    except Interrupted:  # while this rank kept something; the others are at their next agreement
        ranks.agree(Flag.LEAVE)
        return Ending.INTERRUPTED


def _prepare_course(workspace: Workspace, partners: _Partners, execution: Execution, progress: Progress) -> Course:
    """Load, encode, and restore what an earlier attempt left. A rank may leave here, so that none waits for another.

    Raises:
        Interrupted: SIGTERM arrived meanwhile.
        Stopped: the user asked to end before there was a step to keep.
    """
    pause = build_pause(partners.control)
    progress.enter("Caching")
    first_pause = pause if workspace.state else build_first_pause(partners.control)
    prepared = prepare(workspace, partners.recorder, execution, progress, first_pause)
    settings, method = prepared.run.settings, prepared.method
    optimizer = build_optimizer(method.rate_groups(), settings)
    if workspace.state is None and workspace.start_from:
        load_models(workspace.start_from, method)
    mean = RunningMean(method.flat_parameters(), settings.ema_decay)
    if workspace.state is not None:
        earlier = read_state(workspace.state, method.named_parameters(), optimizer, mean)
        progress.losses = LossWindow(earlier, progress.losses.limit)
    for flat in method.flat_parameters():
        flat.refresh()
    method.set_training(on=True)
    stepper = build_stepper(prepared, optimizer, execution, partners.ranks, progress)
    writer = CheckpointWriter(
        told=workspace.input,
        settings=settings,
        family=prepared.family,
        method=method,
        encoder=prepared.encoder,
        prompts=prepared.run.prompts,
        measured=prepared.measured,
        is_held_out=bool(prepared.run.held_out),
        comparison=_build_comparison(workspace, prepared, pause) if partners.ranks.leads else None,
        dataset=describe_dataset(prepared.batches.texts.pictures, prepared.batches.plan),
    )
    keeper = Keeper(
        writer=writer,
        optimizer=optimizer,
        mean=mean,
        stepper=stepper,
        execution=execution,
        recorder=partners.recorder,
        progress=progress,
        clock=partners.clock,
        pause=pause,
        scratch=workspace.scratch,
        kept_steps={checkpoint.manifest.step for checkpoint in workspace.checkpoints},
    )
    progress.enter("Training")
    keeps = keeper if partners.ranks.leads else IdleKeeper()
    return Course(
        settings=settings,
        batches=prepared.batches,
        stepper=stepper,
        mean=mean,
        keeper=keeps,
        progress=progress,
        control=partners.control,
        ranks=partners.ranks,
    )


def _build_comparison(workspace: Workspace, prepared: Prepared, pause: Pause) -> Comparison | None:
    """Return what samples are compared with, if an image encoder was given."""
    if workspace.image_encoder is None:
        return None
    sides = choose_sides(workspace.pictures, prepared.run.held_out)
    held_out = sides.measured if prepared.run.held_out else []
    return build_comparison(workspace.image_encoder, prepared.family.device, held_out, sides.training, pause)


def _build_progress(
    workspace: Workspace, settings: Settings, execution: Execution, reporter: Reporter, clock: Clock
) -> Progress:
    """Start the account of this attempt with the checkpoints that earlier ones made."""
    progress = Progress(
        reporter=reporter,
        clock=clock,
        told=workspace.input,
        attempt=workspace.attempt,
        total_steps=settings.steps,
        every_steps=settings.every_steps,
        batch_size=settings.batch_size,
        from_step=workspace.state.manifest.step if workspace.state else 0,
        losses=LossWindow(limit=find_limit(workspace.input.base_model.architecture, settings)),
        exact=not execution.differences,
    )
    for sentence in (*workspace.advice, *execution.differences):
        progress.warn(sentence)
    if workspace.state is not None and not workspace.state.manifest.exact:
        progress.exact = False
        progress.warn("not exact: an earlier attempt computed otherwise than the first")
    for checkpoint in workspace.checkpoints:
        progress.note_checkpoint(checkpoint.manifest, is_new=False)
    return progress
