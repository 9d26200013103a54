"""`python -m atelier_trainer ROLE`: read the input, run one subcommand, leave last words, exit with their code.

Every way out of the container leads through here: each ends with an exit code of the contract and a termination message
that fits. What the user can mend is a sentence there; a bug of ours leaves its traceback in the log alone.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from atelier_contract.base import Document
from atelier_contract.inputs import CollectInput, InspectInput, PublishInput, TrainingInput
from atelier_contract.names import INPUT_FILE
from atelier_contract.roles import Role
from atelier_materials.errors import InvalidInput
from atelier_materials.store.documents import parse_document
from atelier_materials.store.patience import Patience
from atelier_trainer.commands.collect import collect
from atelier_trainer.commands.ending import Ending, end_in_any_case
from atelier_trainer.commands.inspect import inspect
from atelier_trainer.commands.preflight import preflight
from atelier_trainer.commands.publish import publish
from atelier_trainer.commands.train import train
from atelier_trainer.settings import TrainerSettings, read_settings

log = logging.getLogger("atelier_trainer")


@dataclass(frozen=True)
class Command:
    """One subcommand."""

    document: type[Document]
    run: Callable[[TrainerSettings, Any, Patience], Ending]
    summary: str


COMMANDS = {
    Role.INSPECT: Command(InspectInput, inspect, "look at a dataset and write down its revision"),
    Role.PREFLIGHT: Command(TrainingInput, preflight, "find what is missing before a GPU is asked for"),
    Role.TRAIN: Command(TrainingInput, train, "train, from the last state if there is one"),
    Role.PUBLISH: Command(PublishInput, publish, "copy selected checkpoints to models/ and verify them"),
    Role.COLLECT: Command(CollectInput, collect, "delete what was not selected"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the container's exit code."""
    parser = build_parser()
    role = Role(parser.parse_args(arguments).role)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        settings = read_settings(os.environ)
    except InvalidInput as error:
        log.error("%s", error)  # noqa: TRY400 - the sentence says all, and where last words go is not known yet
        return int(error.exit_code)
    ending = run_command(role, settings)
    leave_last_words(settings, ending)
    return int(ending.exit_code)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m atelier_trainer",
        description="The trainer image: one subcommand a pod. What to do is read from the mounted input.json; see "
        "atelier_contract.inputs, and ATELIER_ROOT in atelier_contract.names for running without a cluster.",
    )
    roles = parser.add_subparsers(dest="role", required=True, metavar="ROLE")
    for role, command in COMMANDS.items():
        roles.add_parser(role.value, help=command.summary, description=f"{command.summary}.".capitalize())
    return parser


def run_command(role: Role, settings: TrainerSettings, patience: Patience | None = None) -> Ending:
    """Run one subcommand; whatever happens becomes an ending."""
    command = COMMANDS[role]

    def run() -> Ending:
        return command.run(settings, read_input(settings, command.document), patience or Patience())

    return end_in_any_case(role, run)


def read_input(settings: TrainerSettings, kind: type[Document]) -> Document:
    """Read what this pod is asked to do.

    Raises:
        InvalidInput: there is no input, or it is not this subcommand's.
    """
    path = settings.input_dir / INPUT_FILE
    if not path.is_file():
        raise InvalidInput(f"there is no {INPUT_FILE} in {settings.input_dir}: the pod was not told what to do")
    return parse_document(path.read_bytes(), kind, str(path))


def leave_last_words(settings: TrainerSettings, ending: Ending) -> None:
    """Write the termination message, and say the same in the log."""
    text = ending.report.to_message()
    log.info("ends with %d %s %s", ending.exit_code, ending.report.reason, ending.report.message)
    try:
        settings.termination_path.write_text(text)
    except OSError as error:
        log.warning("last words could not be left at %s: %s", settings.termination_path, error)


if __name__ == "__main__":
    sys.exit(main())
