"""Launching: a child is asked for unless its name is taken, and training children also wait for their forerunners."""

from __future__ import annotations

from dataclasses import replace

from atelier_contract.reasons import Reason
from atelier_operator.plan.children import Child
from atelier_operator.plan.jobs import build_child
from atelier_operator.plan.look import Look
from atelier_operator.plan.state import Verdict

WAIT_SECONDS = 5.0
"""Pause before another look at something that ends by itself."""
TAKEN_SECONDS = 60.0


def launch(look: Look, verdict: Verdict, child: Child) -> Verdict:
    """Return the verdict with a child asked for, or the reason why it must wait.

    A namesake that serves another object is waited for while it is being deleted (an earlier object of this name had
    it); else the run is Stalled, because nobody but the user can say whose it is.
    """
    taken = look.find_namesake(child.name)
    if taken is not None and taken.deleted_at is not None:
        return replace(
            verdict, message=f"waiting for an earlier Job {child.name} to go", look_again_seconds=WAIT_SECONDS
        )
    if taken is not None:
        message = f"a Job {child.name} is there that is not of this object: delete it, or use another name"
        return replace(verdict, message=message, stalled=Reason.NAME_TAKEN, look_again_seconds=TAKEN_SECONDS)
    return replace(verdict, actions=(*verdict.actions, build_child(child, look.view.surroundings)))
