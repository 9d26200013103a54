"""The pages walked on a real control plane: every command and program on them is run, in order, and succeeds."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from atelier_playground.cluster import Cluster
from fake_invokeai import FakeInvokeAi
from journey import Room
from pages import list_blocks, list_pages, split_commands
from walks import CHANGED, Stretch, Walk, change_command, is_left_out, list_stretches

STRETCHES = list_stretches(list_pages())


@pytest.fixture(scope="module")
def shared(home: Cluster) -> Iterator[Room]:
    """The room that holds the run which several pages look at."""
    room = Room(home, "walk-shared")
    home.make_user_namespace(room.name)
    room.furnish()
    yield room
    home.api.delete("v1", "Namespace", room.name)


@pytest.fixture
def own(home: Cluster, request: pytest.FixtureRequest) -> Iterator[Room]:
    """A room of the stretch's own, without anything but storage."""
    room = Room(home, f"walk-{hashlib.sha256(request.node.name.encode()).hexdigest()[:8]}")
    home.make_user_namespace(room.name)
    yield room
    home.api.delete("v1", "Namespace", room.name)


@pytest.mark.cluster
@pytest.mark.parametrize("stretch", STRETCHES, ids=lambda stretch: stretch.name)
def test_a_page_can_be_walked(stretch: Stretch, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Where things are as the page presumes, each of its commands succeeds, one after the other."""
    room: Room = request.getfixturevalue("shared" if stretch.is_shared else "own")
    walk = Walk(room, tmp_path)
    server = FakeInvokeAi(tmp_path / "invokeai") if "InvokeAI" in stretch.presumes else None
    walk.words["invokeai"] = server.url if server else ""
    try:
        walk.prepare(stretch.presumes)
        for block in stretch.blocks:
            if block.language == "python":
                walk.run_program(block.text)
                continue
            for command in split_commands(block.text):
                if not is_left_out(block, command):
                    walk.run(command)
    finally:
        if server:
            server.stop()


def test_every_command_is_walked_or_left_out() -> None:
    """No command is skipped silently: what stands in no stretch stands in the list of what is left out."""
    walked = {block.name for stretch in STRETCHES for block in stretch.blocks}
    missed = [
        f"{block.name}: {command}"
        for block in list_blocks("sh")
        for command in split_commands(block.text)
        if block.name not in walked and not is_left_out(block, command)
    ]
    assert not missed


@pytest.mark.parametrize("pattern", CHANGED)
def test_nothing_is_changed_in_vain(pattern: str) -> None:
    """Each entry of the list of what the walk changes fits a command of the pages."""
    words = {"invokeai": "http://elsewhere"}
    commands = [command for block in list_blocks("sh") for command in split_commands(block.text)]

    assert any(re.search(pattern, command) and change_command(command, words) != command for command in commands)
