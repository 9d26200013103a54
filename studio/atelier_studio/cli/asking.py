"""Questions to the person at the terminal. Where nobody can answer, the answer must come as an option."""

from __future__ import annotations

import typer

from atelier_studio.cli.output import is_terminal
from atelier_studio.errors import BadRequest, Exit


class Declined(BadRequest):
    """The person said no: nothing was done."""


def ask_to_go_on(question: str, *, yes: bool) -> None:
    """Ask a yes-or-no question whose answer is no unless said otherwise.

    Args:
        question: what to ask.
        yes: the answer was given as an option.

    Raises:
        Declined: the answer is no.
        BadRequest: nobody can answer, and no option did.
    """
    if yes:
        return
    if not is_terminal():
        raise BadRequest("nobody can answer here (no terminal): add --yes to go on")

    try:
        is_wanted = typer.confirm(question, default=False)
    except typer.Abort as error:  # Ctrl-C, or the end of the input
        raise typer.Exit(Exit.INTERRUPTED) from error
    if not is_wanted:
        raise Declined("nothing was done")
