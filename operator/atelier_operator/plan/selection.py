"""The user's selection, judged against the checkpoints that are there. A selection that is not valid has no effect."""

from __future__ import annotations

from dataclasses import dataclass

from atelier_contract import defaults
from atelier_contract.base import digest_of
from atelier_contract.reasons import Condition, Reason
from atelier_contract.training_job import SelectionSpec
from atelier_contract.training_job_status import TrainingJobStatus
from atelier_operator.plan import conditions
from atelier_operator.plan.checkpoints import GONE
from atelier_operator.plan.look import Look

_SHOWN = 5
"""Unknown names that a message lists."""


@dataclass(frozen=True)
class Choice:
    """What the user wants to keep, and whether it can be acted on."""

    names: tuple[str, ...]
    finalize: bool
    valid: bool | None
    """None: nothing is asked."""
    reason: Reason
    message: str
    grace_seconds: int

    @property
    def acts(self) -> bool:
        """Whether this selection publishes and deletes."""
        return self.finalize and self.valid is True

    @property
    def digest(self) -> str:
        """Digest of what the grace time was given for: another selection, or another grace, starts it again."""
        return digest_of([sorted(self.names), self.grace_seconds])


def judge_selection(look: Look, status: TrainingJobStatus) -> Choice:
    """Return the selection and whether it is valid.

    Args:
        look: this look.
        status: with the checkpoints known so far.
    """
    spec = look.spec.selection or SelectionSpec()
    names, finalize = tuple(sorted(spec.checkpoints)), bool(spec.finalize)
    valid, reason, message = _judge(look, status, names, finalize=finalize)
    asked = look.spec.retention.grace_seconds if look.spec.retention else None
    grace = defaults.GRACE_SECONDS if asked is None else asked
    return Choice(names, finalize, valid, reason, message, grace)


def _judge(
    look: Look, status: TrainingJobStatus, names: tuple[str, ...], *, finalize: bool
) -> tuple[bool | None, Reason, str]:
    if not names and not finalize:
        return None, Reason.NOT_ASKED, "nothing is selected"
    if finalize and _came_with_creation(look):
        message = (
            "selection.finalize was set when this object was created, as in a copied manifest, and is not acted on:"
            " set it to false, look at the checkpoints, then set it to true"
        )
        return False, Reason.FINALIZE_AT_CREATION, message
    if not names:
        message = (
            "selection.finalize with an empty selection would delete every checkpoint: select at least one, or, to keep"
            " none, delete this TrainingJob with spec.deletionPolicy: Delete"
        )
        return False, Reason.EMPTY_SELECTION, message
    if finalize and conditions.is_true(status, Condition.FAILED):
        message = (
            "a failed run is not finalized, nothing of it is published or deleted: mend what Failed names and request a"
            " retry, or create a new TrainingJob with startFrom one of these checkpoints"
        )
        return False, Reason.NOT_YET, message
    unknown = _find_unknown(status, names)
    if unknown:
        there = [row.name for row in status.checkpoints or [] if row.state not in GONE]
        shown = ", ".join(unknown[:_SHOWN]) + (" and others" if len(unknown) > _SHOWN else "")
        known = f"choose from {there[0]} to {there[-1]} in status.checkpoints" if there else "there are none so far"
        message = f"no checkpoint to keep is called {shown}: {known}; nothing is published or deleted until then"
        return False, Reason.UNKNOWN_CHECKPOINT, message
    return True, Reason.AS_EXPECTED, f"{len(names)} selected"


def _find_unknown(status: TrainingJobStatus, names: tuple[str, ...]) -> list[str]:
    """Return the names that cannot be kept: not there, or gone."""
    usable = {row.name for row in status.checkpoints or [] if row.state not in GONE}
    return [name for name in names if name not in usable]


def _came_with_creation(look: Look) -> bool:
    """Return whether finalize has stood in the spec ever since the first look at this object.

    A copied manifest would else delete checkpoints that nobody has seen. What was seen first is remembered in the
    condition, until a look finds finalize unset.
    """
    before = look.view.status
    if before.observed_generation is None:
        return True
    judged = conditions.find(before, Condition.SELECTION_VALID)
    return judged is not None and judged.reason == Reason.FINALIZE_AT_CREATION
