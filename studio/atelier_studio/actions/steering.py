"""What stop, suspend, resume and retry write, and when they make no sense.

In come the name of a job, its spec and its state; out goes a change with the sentence that tells of it. What the API
server refuses by itself (taking `stop` back) is still said here, because it can be said better beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from atelier_contract import names
from atelier_contract.reasons import State
from atelier_contract.training_job import TrainingJobSpec
from atelier_studio.actions.tables import OVER
from atelier_studio.errors import BadRequest


@dataclass(frozen=True)
class Change:
    """A merge patch, and what it leads to in words."""

    patch: dict[str, Any]
    sentence: str


def stop_job(job: str, spec: TrainingJobSpec, state: str) -> Change:
    """Return the change that ends a run and keeps a checkpoint of where it is.

    Raises:
        BadRequest: the run is over.
    """
    if state in OVER:
        raise BadRequest(f"{job} has finished already ({state}): look at `kubectl atelier checkpoints {job}`")
    if state == State.FAILED:
        raise BadRequest(f"{job} has failed and does not run: `kubectl atelier explain-failure {job}` says why")
    _refuse_invalid(job, state)
    if spec.stop:
        return Change({"spec": {"stop": True}}, f"{job} was asked to stop already, and is ending")
    if spec.suspend:
        return Change(
            {"spec": {"stop": True}},
            f"{job} is suspended: once `kubectl atelier resume {job}` lets it go on, it ends and keeps its checkpoint",
        )
    return Change(
        {"spec": {"stop": True}},
        f"{job} ends after the current step and keeps its checkpoint; `kubectl atelier watch {job}` shows it",
    )


def suspend_job(job: str, spec: TrainingJobSpec, state: str) -> Change:
    """Return the change that pauses a run.

    Raises:
        BadRequest: the run is over or has failed.
    """
    if state in OVER:
        raise BadRequest(f"{job} has finished already ({state}): there is nothing to suspend")
    if state == State.FAILED:
        raise BadRequest(f"{job} has failed and holds no GPU: `kubectl atelier explain-failure {job}` says why")
    _refuse_invalid(job, state)
    if spec.suspend:
        return Change({"spec": {"suspend": True}}, f"{job} is suspended already")
    return Change(
        {"spec": {"suspend": True}},
        f"{job} saves its state and gives the GPU back; `kubectl atelier resume {job}` goes on from there",
    )


def resume_job(job: str, spec: TrainingJobSpec, state: str) -> Change:
    """Return the change that goes on with a suspended run.

    Raises:
        BadRequest: the run is over or has failed.
    """
    if state in OVER:
        raise BadRequest(f"{job} has finished already ({state}): there is nothing to resume")
    if state == State.FAILED:
        raise BadRequest(
            f"{job} has failed: when its cause is mended, `kubectl atelier retry {job}` goes on from the last state"
        )
    if not spec.suspend:
        return Change({"spec": {"suspend": False}}, f"{job} is not suspended ({state})")
    return Change({"spec": {"suspend": False}}, f"{job} goes on as soon as a GPU is free")


def retry_job(job: str, state: str, asked_at: str) -> Change:
    """Return the change that gives a failed run another attempt.

    Args:
        job: its name.
        state: its state word.
        asked_at: now, RFC 3339; the operator acts on each value once.

    Raises:
        BadRequest: the run has not failed.
    """
    if state == State.INVALID:
        raise BadRequest(
            f"{job} asks for something that cannot be done, and another attempt would end the same way: "
            f"`kubectl atelier clone {job} NEW` with other settings"
        )
    if state != State.FAILED:
        raise BadRequest(f"{job} has not failed (it is {state}): only a failed job gets another attempt")
    patch = {"metadata": {"annotations": {names.ANNOTATION_RETRY_REQUESTED_AT: asked_at}}}
    return Change(patch, f"{job} gets another attempt, from its last state; `kubectl atelier watch {job}` shows it")


def _refuse_invalid(job: str, state: str) -> None:
    if state == State.INVALID:
        raise BadRequest(
            f"{job} asks for something that cannot be done, and does not run: `kubectl atelier explain-failure {job}` "
            "says what"
        )
