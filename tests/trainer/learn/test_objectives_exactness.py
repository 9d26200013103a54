"""Every objective and optimiser goes on from a state as if it had never stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from learning import ScriptedControl, build_settings, build_workspace
from learning_results import Finished, run

COURSES: dict[str, dict[str, Any]] = {
    "Prodigy, Huber, restarts": {
        "optimizer": "Prodigy",
        "learningRate": 1,
        "loss": "huber",
        "noiseOffset": 0.05,
        "schedule": "cosineWithRestarts",
        "restarts": 2,
    },
    "pivotal with Prodigy and a mean": {
        "optimizer": "Prodigy",
        "learningRate": 1,
        "emaDecay": 0.9,
        "conceptModel": {
            "embedding": {
                "initialPhrase": "teapot",
                "placeholder": "<pot>",
                "vectors": 2,
                "learningRate": 1,
                "untilPercent": 50,
            }
        },
    },
}


@pytest.fixture(scope="module", params=COURSES)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """An uninterrupted run of 6 steps with states at 3 and 6."""
    return run(tmp_path_factory.mktemp("whole") / "a", **COURSES[request.param])


def test_going_on_from_a_state_ends_the_same(whole: Finished, tmp_path: Path) -> None:
    """An attempt that is ended after step 4 and goes on from its state ends with the same bits, memory included."""
    control = ScriptedControl(interrupt_from=4)
    first = run(tmp_path / "one", workspace=build_workspace(tmp_path / "one", whole.settings), control=control)
    second = first.recorder.resume(build_workspace(tmp_path / "two", whole.settings))
    resumed = run(tmp_path, workspace=second, recorder=first.recorder)
    assert (resumed.outcome.from_step, resumed.outcome.exact) == (4, True)
    for file in ("weights.safetensors", "moments.safetensors"):
        ours, theirs = (load_file(one.recorder.states[6][0] / file) for one in (whole, resumed))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert whole.recorder.model(6).read_bytes() == resumed.recorder.model(6).read_bytes()


def test_a_pivotal_word_stands_still_in_the_second_half(tmp_path: Path) -> None:
    """After half of the steps the words are the same bits while the adapters go on."""
    ended = run(tmp_path / "a", **COURSES["pivotal with Prodigy and a mean"])
    early, late = ended.weights(3), ended.weights(6)
    words = [name for name in early if not name.endswith((".down", ".up"))]
    assert words
    assert all(torch.equal(early[name], late[name]) for name in words)
    assert any(not torch.equal(early[name], late[name]) for name in early)


def test_objectives_are_not_all_the_same(tmp_path: Path) -> None:
    """Each setting of the objective changes what is learned: none is read and forgotten."""
    settings = {"steps": 1, "everySteps": 1, "warmupSteps": 0, "learningRate": 1e-2}
    changes: list[dict[str, Any]] = [{}, {"loss": "huber"}, {"noiseOffset": 0.1}, {"snrGamma": 0.5}]
    learned = []
    for number, change in enumerate(changes):
        folder = tmp_path / str(number)
        workspace = build_workspace(folder, build_settings(**settings, **change))
        learned.append(run(folder, workspace=workspace).recorder.states[1][0] / "moments.safetensors")
    files = [path.read_bytes() for path in learned]
    assert len(set(files)) == len(files)
