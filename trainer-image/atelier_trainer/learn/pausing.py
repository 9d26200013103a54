"""Leaving long work when the pod has to go: between forward passes, not only between steps."""

from __future__ import annotations

from atelier_trainer.learn.families.base import Pause
from atelier_trainer.records import Control


class Interrupted(Exception):
    """SIGTERM arrived within caching, sampling or measuring. Nothing is lost: states are written before either."""


def build_pause(control: Control) -> Pause:
    """Return a function that raises `Interrupted` once the pod has been asked to go."""

    def pause() -> None:
        if control.interrupted():
            raise Interrupted

    return pause
