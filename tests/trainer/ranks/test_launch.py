"""Starting a pod's processes and staying with them: what each is told, what passes through, and how all end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import crew_entries
from atelier_trainer.edges import launch
from atelier_trainer.edges.launch import Member, follow_members, launch_members
from atelier_trainer.records import Place
from atelier_trainer.settings import Crew


def follow(
    crew: Crew,
    folder: Path,
    entry: Callable[..., None],
    *given: object,
    is_terminated: Callable[[], bool] | None = None,
) -> tuple[list[Member], list[tuple[int, Any]]]:
    """Launch and follow to the end; return the processes and what each said."""
    said: list[tuple[int, Any]] = []
    members = launch_members(crew, folder, entry, *given)
    follow_members(members, lambda place, what: said.append((place.index, what)), is_terminated or (lambda: False))
    return members, said


def test_every_process_knows_its_place(tmp_path: Path) -> None:
    """Processes of the second of two pods are counted after those of the first, by torchrun's names too."""
    crew = Crew(processes=2, nodes=2, node_index=1, leader_address="teapot-train-1-0.teapot-train:29500")
    _, said = follow(crew, tmp_path, crew_entries.tell_environment)
    places = {index: (place, environment) for index, (place, environment) in said}
    assert places[3] == (
        Place(3, 4, "tcp://teapot-train-1-0.teapot-train:29500", pod_count=2),
        {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"},
    )
    assert set(places) == {2, 3}


def test_processes_of_one_pod_meet_in_a_file(tmp_path: Path) -> None:
    """Within one pod no port is asked for: all are given one new file in scratch space."""
    _, said = follow(Crew(processes=2), tmp_path, crew_entries.tell_environment)
    (meeting,) = {place.rendezvous for _, (place, _) in said}
    assert meeting.startswith(tmp_path.as_uri())


def test_own_environment_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What processes are told does not stay behind in the process that started them."""
    monkeypatch.delenv("RANK", raising=False)
    follow(Crew(processes=1), tmp_path, crew_entries.tell_environment)
    assert "RANK" not in os.environ


def test_exit_codes_are_kept(tmp_path: Path) -> None:
    """Each process's own exit code is known afterwards."""
    members, _ = follow(Crew(processes=2), tmp_path, crew_entries.end_with, {0: 0, 1: 30})
    assert [member.exit_code for member in members] == [0, 30]


def test_termination_is_passed_on(tmp_path: Path) -> None:
    """When the pod is asked to go, every process is told once it listens, and ends in its own way."""
    ready: list[int] = []
    members = launch_members(Crew(processes=2), tmp_path, crew_entries.wait_for_term)
    follow_members(members, lambda place, _: ready.append(place.index), lambda: len(ready) == 2)
    assert [member.exit_code for member in members] == [30, 30]


def test_peer_of_a_killed_process_is_told(tmp_path: Path) -> None:
    """A process whose peer was killed is told to leave, without the pod being asked to go."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    members, _ = follow(Crew(processes=2), tmp_path, crew_entries.die_or_wait, fifo, 31)
    assert [member.exit_code for member in members] == [-signal.SIGKILL, 31]


def test_peer_that_does_not_leave_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that hangs where its peer has failed is killed after a bounded time, and that is on record."""
    monkeypatch.setattr(launch, "LEAVE_SECONDS", 0.0)
    members, _ = follow(Crew(processes=2), tmp_path, crew_entries.hang_beside_a_failure)
    assert [member.exit_code for member in members] == [1, -signal.SIGKILL]
    assert members[1].is_killed_late


def test_nobody_waits_for_one_that_never_joins(tmp_path: Path) -> None:
    """When the pod is asked to go before a process listens, one that waits for it is killed, and not as a lost peer."""
    ready: list[int] = []
    members = launch_members(Crew(processes=2), tmp_path, crew_entries.wait_for_one_that_never_joins)
    follow_members(members, lambda place, _: ready.append(place.index), lambda: len(ready) == 2)
    assert [member.exit_code for member in members] == [-signal.SIGTERM, -signal.SIGKILL]
    assert not members[1].is_killed_late


def test_process_that_has_ended_keeps_its_code(tmp_path: Path) -> None:
    """SIGTERM after a process's ending was said does not end it in another way, as if it had never listened."""
    members, _ = follow(Crew(processes=1), tmp_path, crew_entries.be_told_at_the_very_end, tmp_path)
    assert members[0].exit_code == 0
