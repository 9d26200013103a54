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
from atelier_trainer.learn.execution import Execution, apply_execution, choose_device, plan_execution
from atelier_trainer.learn.families.registry import check_trainable
from atelier_trainer.learn.gradients import describe_shortage
from atelier_trainer.learn.keeping import Keeper
from atelier_trainer.learn.loop import Course, Ending, run_steps
from atelier_trainer.learn.losses import LossWindow
from atelier_trainer.learn.optimizer import build_optimizer
from atelier_trainer.learn.pausing import Interrupted, build_pause
from atelier_trainer.learn.preparation import prepare
from atelier_trainer.learn.progress import Progress
from atelier_trainer.learn.state import load_model, read_state
from atelier_trainer.records import Clock, Control, Recorder, Reporter, Workspace


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
    """
    check_trainable(workspace.input.base_model.architecture)
    settings = (workspace.run or workspace.input).settings
    from_step = workspace.state.manifest.step if workspace.state else 0
    if control.stop_asked() and from_step == 0:
        return Outcome(0, 0, complete=True, stopped_early=True, interrupted=False, exact=True)
    device = choose_device()
    execution = plan_execution(device, settings, workspace.execution, resumes=workspace.state is not None)
    apply_execution(execution.manifest)
    progress = _build_progress(workspace, settings, execution, reporter, clock)
    try:
        ending = _train(workspace, recorder, control, clock, execution=execution, progress=progress)
        recorder.flush()
    except Interrupted:
        recorder.flush()
        ending = Ending.INTERRUPTED
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
    )


def _train(
    workspace: Workspace,
    recorder: Recorder,
    control: Control,
    clock: Clock,
    *,
    execution: Execution,
    progress: Progress,
) -> Ending:
    """Prepare, restore and run the steps."""
    pause = build_pause(control)
    progress.enter("Caching")
    prepared = prepare(workspace, recorder, execution, progress, pause)
    settings, method = prepared.run.settings, prepared.method
    optimizer = build_optimizer(method.rate_groups(), settings.weight_decay)
    if workspace.state is not None:
        progress.losses = LossWindow(read_state(workspace.state, method.named_parameters(), optimizer))
    elif workspace.start_from is not None:
        load_model(workspace.start_from, method)
    writer = CheckpointWriter(
        told=workspace.input,
        settings=settings,
        family=prepared.family,
        method=method,
        encoder=prepared.encoder,
        prompts=prepared.run.prompts,
        measured=prepared.measured,
        is_held_out=bool(prepared.run.held_out),
    )
    keeper = Keeper(
        writer=writer,
        optimizer=optimizer,
        gradients=prepared.gradients,
        execution=execution,
        recorder=recorder,
        progress=progress,
        clock=clock,
        pause=pause,
        scratch=workspace.scratch,
        kept_steps={checkpoint.manifest.step for checkpoint in workspace.checkpoints},
    )
    method.set_training(on=True)
    progress.enter("Training")
    return run_steps(Course(settings, prepared.batches, prepared.gradients, optimizer, keeper, progress, control))


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
        losses=LossWindow(),
        exact=not execution.differences,
    )
    for sentence in execution.differences:
        progress.warn(sentence)
    if workspace.state is not None and not workspace.state.manifest.exact:
        progress.exact = False
        progress.warn("not exact: an earlier attempt computed otherwise than the first")
    for checkpoint in workspace.checkpoints:
        progress.note_checkpoint(checkpoint.manifest, is_new=False)
    return progress
