"""New words and a concept model in one run: both learn, the words only for a while, and both come out."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from learning import PIVOTAL, ScriptedControl, build_settings, build_workspace
from learning_results import Finished, build_on, load_family, run

SETTINGS = {"conceptModel": {"embedding": PIVOTAL}, "captionDropout": 0, "weightDecay": 0.1}


@pytest.fixture(scope="session")
def pivotal_run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A run of 6 steps with a state at 3 and 6, whose words learn for half of the steps."""
    return run(tmp_path_factory.mktemp("pivotal") / "a", **SETTINGS)


def test_the_words_stand_still_after_their_share_of_the_steps(pivotal_run: Finished) -> None:
    """Rows move until half of the steps and not a bit afterwards, while the adapters go on."""
    start = build_on(load_family(), pivotal_run.settings).named_parameters()["emb_params"]
    middle, end = pivotal_run.weights(3), pivotal_run.weights(6)
    assert not torch.equal(middle["emb_params"], start)
    assert torch.equal(end["emb_params"], middle["emb_params"])
    assert any(not torch.equal(end[name], middle[name]) for name in end if name.endswith(".up"))


def test_words_and_adapters_learn_at_their_own_rates(pivotal_run: Finished) -> None:
    """There is a group for each, the words' with its own rate, its end and no decay."""
    adapters, words = build_on(load_family(), pivotal_run.settings).rate_groups()
    assert (adapters.learning_rate, adapters.until_step, adapters.decays) == (1e-3, None, True)
    assert (words.learning_rate, words.until_step, words.decays) == (3e-3, 3, False)


def test_texts_are_live_only_while_the_words_learn() -> None:
    """After its last step the encoder's answer is fixed, unless it is adapted itself."""
    words = build_on(load_family(), build_settings(**SETTINGS))
    assert [words.learns_text_at(step) for step in (0, 2, 3, 5)] == [True, True, False, False]
    both = {"embedding": PIVOTAL, "textEncoderLearningRate": 1e-4}
    assert build_on(load_family(), build_settings(conceptModel=both)).learns_text_at(5)


def test_a_checkpoint_has_both_files(pivotal_run: Finished) -> None:
    """The concept model first, then the embedding, each with its role and its own weights."""
    folder, manifest = pivotal_run.recorder.checkpoints[6]
    assert [(file.role, file.name) for file in manifest.files] == [
        ("ConceptModel", "model.safetensors"),
        ("Embedding", "embedding.safetensors"),
    ]
    assert torch.equal(load_file(folder / "embedding.safetensors")["emb_params"], pivotal_run.weights()["emb_params"])


def test_placeholder_and_prefix_are_put_before_a_prompt(pivotal_run: Finished) -> None:
    """What calls the words stands before what calls the concept model; neither is said twice."""
    assert pivotal_run.recorder.run is not None
    assert pivotal_run.recorder.run.prompts == ["<tkxw>, TKXW, a star"]
    wording = build_on(load_family(), pivotal_run.settings).wording
    assert wording.word("a TKXW teapot") == "<tkxw>, a TKXW teapot"
    assert wording.word("<tkxw>, TKXW, a teapot") == "<tkxw>, TKXW, a teapot"
    assert wording.word(None) == "<tkxw>, TKXW"


def test_a_resumed_run_ends_in_the_same_weights(
    pivotal_run: Finished, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Interrupted where the words stand still already, a run ends to the bit where the uninterrupted one did."""
    first = run(tmp_path_factory.mktemp("cut") / "a", control=ScriptedControl(interrupt_from=4), **SETTINGS)
    assert first.outcome.interrupted
    recorder = first.recorder
    workspace = build_workspace(tmp_path_factory.mktemp("on") / "b", first.settings)
    second = run(workspace.scratch, recorder=recorder, workspace=recorder.resume(workspace))
    expected = pivotal_run.weights()
    assert all(torch.equal(weights, expected[name]) for name, weights in second.weights().items())


def test_a_run_goes_on_from_both_files(pivotal_run: Finished, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Started from the pair with a rate of nearly nothing, a run ends nearly where the pair was."""
    folder, manifest = pivotal_run.recorder.checkpoints[6]
    settings = build_settings(**{**SETTINGS, "learningRate": 1e-12, "steps": 1, "everySteps": 1, "weightDecay": 0})
    scratch = tmp_path_factory.mktemp("from") / "a"
    files = tuple(folder / file.name for file in manifest.files)
    workspace = build_workspace(scratch, settings, start_from=files, start_from_sha256=manifest.files[0].sha256)
    finished = run(scratch, workspace=workspace)
    expected, weights = pivotal_run.weights(), finished.weights()
    adapters = [name for name in weights if name.endswith((".down", ".up"))]
    assert all(torch.allclose(weights[name], expected[name], atol=1e-6) for name in adapters)
    assert float((weights["emb_params"] - expected["emb_params"]).abs().max()) <= 2 * PIVOTAL["learningRate"]
