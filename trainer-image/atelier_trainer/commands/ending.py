"""How a subcommand ends: a code for the container, and the last words."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from dataclasses import dataclass

from atelier_contract.errors import ContractError
from atelier_contract.exit_codes import FAILING, ExitCode
from atelier_contract.roles import Role
from atelier_contract.termination import TerminationReport
from atelier_materials.errors import AtelierError, InvalidInput
from atelier_trainer.errors import TrainerError

MESSAGE_LENGTH = 1024
"""`TerminationReport.message`."""
log = logging.getLogger("atelier_trainer")


@dataclass(frozen=True)
class Ending:
    """What the container exits with and what it leaves in its termination message."""

    exit_code: ExitCode
    report: TerminationReport


def end_well(report: TerminationReport) -> Ending:
    """Return the ending of a subcommand that did what it was asked."""
    return Ending(ExitCode.DONE, report)


def end_with(role: Role, error: AtelierError) -> Ending:
    """Return the ending that an error asks for."""
    return Ending(error.exit_code, TerminationReport(role=role, reason=error.reason, message=shorten(str(error))))


def end_in_any_case(role: Role, run: Callable[[], Ending]) -> Ending:
    """Run something; whatever happens becomes an ending."""
    try:
        return run()
    except AtelierError as error:
        _explain(error)
        return end_with(role, error)
    except ContractError as error:
        return end_with(role, InvalidInput(str(error)))
    except Exception as error:
        log.exception("a bug of the trainer")
        return end_with(role, explain_unexpected(error))


def _explain(error: AtelierError) -> None:
    """Log what an error came of: in full where we or a store must mend it, in a line where the user's change does."""
    if error.exit_code not in FAILING:
        log.error("%s: %s", error.reason, error, exc_info=error.__cause__)
    else:
        cause = error.__cause__
        came_of = "" if cause is None else f" (came of {type(cause).__name__}: {cause})"
        log.error("%s: %s%s", error.reason, error, came_of)


def explain_unexpected(error: Exception) -> AtelierError:
    """Return what the last words say of an error that nobody expected; its text stays in the log."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return InvalidInput("the pod's scratch space is full: raise spec.pod.ephemeralStorage")
    return TrainerError(f"a bug of the trainer ({type(error).__name__}): please report it with the pod's log")


def shorten(message: str) -> str:
    """Return a message that fits into a report."""
    return message if len(message) <= MESSAGE_LENGTH else f"{message[: MESSAGE_LENGTH - 2]} …"
