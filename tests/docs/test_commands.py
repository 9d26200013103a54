"""Every command on the pages: known to this test, and, of the plugin's, with the options and arguments that it has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main

from atelier_studio.cli.main import app
from pages import Block, list_blocks, read_words, split_commands
from walks import LEFT_OUT, RUN_HERE, is_left_out

COMMANDS = [(block, command) for block in list_blocks("sh") for command in split_commands(block.text)]
INLINE = re.compile(r"`(kubectl atelier [a-z][^`\n]*)`")


def parse_plugin(words: list[str]) -> Any:
    """Parse words as `kubectl atelier` would, without running anything. Returns the command's context.

    Raises:
        typer's own errors: a command, option or argument that there is not.
    """
    command: Any = typer.main.get_command(app)
    context = None
    while hasattr(command, "commands"):
        context = command.make_context("kubectl-atelier", words, parent=context)
        name, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
        assert name is not None
    return command.make_context(command.name, words, parent=context)


@pytest.mark.parametrize(
    ("block", "command"), COMMANDS, ids=[f"{block.name} {command[:40]}" for block, command in COMMANDS]
)
def test_every_command_is_known(block: Block, command: str) -> None:
    """A command is run by the walks, or stands with its reason in the list of those that are left out."""
    words = read_words(command)
    assert is_left_out(block, command) or words[0] in RUN_HERE, command


@pytest.mark.parametrize("pattern", LEFT_OUT)
def test_nothing_is_left_out_in_vain(pattern: str) -> None:
    """Each entry of the list of what is left out fits a command of the pages."""
    assert any(re.search(pattern, f"{block.page}: {command}") for block, command in COMMANDS)


@pytest.mark.parametrize(
    "command", sorted({c for _, c in COMMANDS if c.startswith("kubectl atelier ") and "--help" not in c})
)
def test_the_plugin_has_what_the_pages_type(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands, options and arguments of the plugin on the pages exist."""
    for folder in ("teapots", "sd15", "playground/datasets/teapots"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert parse_plugin(read_words(command)[2:]).params


def list_inline() -> set[str]:
    """List the plugin's commands that stand within sentences of the pages, without those that only abbreviate."""
    from pages import list_pages

    found = {command for page in list_pages() for command in INLINE.findall(page.read_text(encoding="utf-8"))}
    return {" ".join(command.split()) for command in found if "..." not in command and "--help" not in command}


@pytest.mark.parametrize("command", sorted(list_inline()))
def test_the_plugin_has_what_sentences_name(command: str) -> None:
    """A command named within a sentence exists, whether or not the sentence spells all of it."""
    words = command.split()[2:]
    known: Any = typer.main.get_command(app)
    while words and hasattr(known, "commands"):
        assert words[0] in known.commands, command
        known, words = known.commands[words[0]], words[1:]
    options = {option for one in known.params for option in (*one.opts, *one.secondary_opts)}
    assert {word for word in words if word.startswith("-")} <= options, command
