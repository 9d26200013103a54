"""Leaving long work when the pod has to go or the user has seen enough: between passes, not only between steps."""

from __future__ import annotations

from atelier_trainer.learn.families.base import Pause
from atelier_trainer.records import Control


class Interrupted(Exception):
    """SIGTERM arrived within caching, sampling or measuring. Nothing is lost: states are written before either."""


class Stopped(Exception):
    """The user asked to end while everything was prepared for the first step: there is no model to keep."""


def build_pause(control: Control) -> Pause:
    """Return a function that raises `Interrupted` once the pod has been asked to go."""

    def pause() -> None:
        if control.interrupted():
            raise Interrupted

    return pause


def build_first_pause(control: Control) -> Pause:
    """Return a function that raises `Interrupted` as the other does, and `Stopped` once the user asked to end.

    For what comes before the first step of a run. Later there is a model to keep, which takes all that is prepared.
    """
    pause = build_pause(control)

    def pause_or_stop() -> None:
        pause()
        if control.stop_asked():
            raise Stopped

    return pause_or_stop
