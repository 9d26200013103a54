"""How a subcommand ends: a code for the container, and the last words."""

from __future__ import annotations

from dataclasses import dataclass

from atelier_contract.exit_codes import ExitCode
from atelier_contract.roles import Role
from atelier_contract.termination import TerminationReport
from atelier_trainer.errors import TrainerError

MESSAGE_LENGTH = 1024
"""`TerminationReport.message`."""


@dataclass(frozen=True)
class Ending:
    """What the container exits with and what it leaves in its termination message."""

    exit_code: ExitCode
    report: TerminationReport


def end_well(report: TerminationReport) -> Ending:
    """Return the ending of a subcommand that did what it was asked."""
    return Ending(ExitCode.DONE, report)


def end_with(role: Role, error: TrainerError) -> Ending:
    """Return the ending that an error asks for."""
    return Ending(error.exit_code, TerminationReport(role=role, reason=error.reason, message=shorten(str(error))))


def shorten(message: str) -> str:
    """Return a message that fits into a report."""
    return message if len(message) <= MESSAGE_LENGTH else f"{message[: MESSAGE_LENGTH - 2]} …"
