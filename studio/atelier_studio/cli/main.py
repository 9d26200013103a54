"""`kubectl atelier`: the verbs put together, and what becomes of their errors.

In come words typed, out go text and an exit code (`errors.Exit`). An error is one sentence on standard error, with the
page to read on; a traceback only where ATELIER_DEBUG is set, or where it is a fault of ours.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from atelier_contract.exit_codes import ExitCode
from atelier_materials.errors import ArchiveRefused, AtelierError
from atelier_studio.cli import (
    base_models,
    creating,
    datasets,
    explaining,
    following,
    jobs,
    publishing,
    results,
    selecting,
)
from atelier_studio.errors import Exit, StudioError, find_page

BRING, WORK, CHOOSE = "Bring what to train on", "Train and watch", "Choose and keep"
app = typer.Typer(
    name="kubectl-atelier",
    no_args_is_help=True,
    help="Train image models on your own pictures, inside your own Kubernetes cluster.",
    epilog="Exit codes: 0 done, 1 went wrong or the run failed, 2 cannot be done as typed, 3 refused by cluster or "
    "store, 4 findings under --strict, 130 interrupted.",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
VERBS: tuple[tuple[str, str, Callable[..., None]], ...] = (
    ("create", WORK, creating.create),
    ("clone", WORK, creating.clone),
    ("list", WORK, jobs.list_jobs),
    ("describe", WORK, jobs.describe),
    ("watch", WORK, following.watch),
    ("logs", WORK, following.logs),
    ("explain-failure", WORK, explaining.explain_failure),
    ("stop", WORK, jobs.stop),
    ("suspend", WORK, jobs.suspend),
    ("resume", WORK, jobs.resume),
    ("retry", WORK, jobs.retry),
    ("checkpoints", CHOOSE, results.checkpoints),
    ("samples", CHOOSE, results.samples),
    ("compare", CHOOSE, results.compare),
    ("select", CHOOSE, selecting.select),
    ("deselect", CHOOSE, selecting.deselect),
    ("finalize", CHOOSE, selecting.finalize),
    ("download", CHOOSE, results.download),
    ("publish", CHOOSE, publishing.publish),
)
"""Every verb, under which heading of the help it stands, and what runs it."""
app.add_typer(datasets.app, name="dataset", rich_help_panel=BRING)
app.add_typer(base_models.app, name="base-model", rich_help_panel=BRING)
for verb, panel, run in VERBS:
    app.command(verb, rich_help_panel=panel)(run)

EXIT_OF_MATERIAL = {
    ExitCode.INVALID_INPUT: Exit.BAD_REQUEST,
    ExitCode.DATASET_UNUSABLE: Exit.BAD_REQUEST,
    ExitCode.BASE_MODEL_UNUSABLE: Exit.BAD_REQUEST,
    ExitCode.STORAGE_UNAVAILABLE: Exit.REFUSED,
}
"""How the command ends on an error of what trainer and studio share, by the code that a container would end with."""
DEBUG = "ATELIER_DEBUG"


def main() -> None:
    """Run the command, and end the process with its exit code."""
    # Libraries warn of each try of a connection; what became of it is said once, in our words.
    logging.getLogger().addHandler(logging.NullHandler())
    sys.exit(run_command(app))


def run_command(command: Callable[[], Any]) -> int:
    """Run something and return the exit code; errors are printed as sentences.

    Args:
        command: ends by returning, by an error, or by SystemExit as typer does.
    """
    code: int = Exit.DONE
    try:
        command()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else Exit.DONE if end.code is None else Exit.FAILED
    except KeyboardInterrupt:
        code = Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has seen enough (`| head`); closing standard output again would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        code, sentence, page = judge_error(error)
        sys.stderr.write(f"kubectl atelier: {sentence}\n" + (f"read on: {page}\n" if page else ""))
    return code


def judge_error(error: Exception) -> tuple[Exit, str, str]:
    """Return exit code, sentence and page for an error that nobody caught."""
    if isinstance(error, StudioError):
        return error.exit_code, str(error), error.page
    if isinstance(error, ArchiveRefused):
        return Exit.BAD_REQUEST, str(error), find_page(error.finding)
    if isinstance(error, AtelierError):
        return EXIT_OF_MATERIAL.get(error.exit_code, Exit.FAILED), str(error), find_page(error.reason)
    sentence = f"{type(error).__name__}: this is a fault of Atelier's. {DEBUG}=1 shows where; please report it"
    return Exit.FAILED, sentence, ""


if __name__ == "__main__":
    main()
