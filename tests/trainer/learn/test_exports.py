"""What a real run's last checkpoint holds loads elsewhere and does there what training's own model did.

Every family, method and set of layers is proven in `exports/`, with random weights; here the weights were trained.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from atelier_trainer.learn.tensor_files import write_tensors
from learning import BASE_MODEL
from learning_results import Finished, build_on, load_family, predict

READER = Path(__file__).parents[2] / "support" / "read_published.py"
TEXTS = {"ConceptModel": "TKXW, a teapot on a red background", "Embedding": "<tkxw>, a teapot on a red background"}
LARGEST_ANSWER_ERROR = 1e-5


@pytest.fixture(scope="session")
def elsewhere(
    concept_run: Finished, random_run: Finished, embedding_run: Finished, tmp_path_factory: pytest.TempPathFactory
) -> dict[int, dict[str, Tensor]]:
    """What a fresh process reads of each run's last file, by the run's identity in memory."""
    folder = tmp_path_factory.mktemp("read")
    runs = [concept_run, random_run, embedding_run]
    jobs = []
    for number, run in enumerate(runs):
        kind, file = run.workspace.input.type, str(run.recorder.model(run.settings.steps))
        jobs.append(
            {
                "base": str(BASE_MODEL),
                "architecture": "StableDiffusion1",
                "model": file if kind == "ConceptModel" else "",
                "embedding": file if kind == "Embedding" else "",
                "placeholder": "<tkxw>",
                "text": TEXTS[kind],
                "side": 16,
                "out": str(folder / f"{number}.safetensors"),
            }
        )
    subprocess.run([sys.executable, str(READER), json.dumps(jobs)], check=True, capture_output=True, timeout=600)
    return {id(run): load_file(str(job["out"])) for run, job in zip(runs, jobs, strict=True)}


def answer_as_trained(run: Finished) -> tuple[Tensor, Tensor]:
    """Return the text states and the denoiser's answer of the training's own model with its float32 masters."""
    family = load_family()
    method = build_on(family, run.settings)
    masters = run.weights()
    with torch.no_grad():
        for name, view in method.named_parameters().items():
            view.copy_(masters[name])
    method.set_training(on=False)
    text = method.rewrite(TEXTS[run.workspace.input.type])
    with torch.no_grad():
        states = family.encode_prompts([text])["text"]
    return states, predict(family, [text])


def distance(one: Tensor, other: Tensor) -> float:
    """Return the relative difference in the Frobenius norm."""
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("name", ["concept_run", "random_run", "embedding_run"])
def test_a_checkpoint_does_elsewhere_what_it_did_in_training(
    name: str, request: pytest.FixtureRequest, elsewhere: dict[int, dict[str, Tensor]]
) -> None:
    """In a fresh process text encoder and denoiser answer as the float32 masters do.

    The second run adapts the text encoder and convolutions too, the third is an embedding of three vectors.
    """
    finished: Finished = request.getfixturevalue(name)
    states, answer = answer_as_trained(finished)
    read = elsewhere[id(finished)]
    assert distance(read["states"], states) < LARGEST_ANSWER_ERROR
    assert distance(read["answer"], answer) < LARGEST_ANSWER_ERROR


def test_the_answer_differs_from_the_base_models(concept_run: Finished) -> None:
    """The trained model answers something else than the base: agreement above is not agreement of two no-ops."""
    base = predict(load_family(), [TEXTS["ConceptModel"]])
    assert distance(answer_as_trained(concept_run)[1], base) > 100 * LARGEST_ANSWER_ERROR


def read_metadata(file: Path) -> dict[str, str]:
    """Return a file's own words."""
    with safe_open(file, "pt") as opened:
        return dict(opened.metadata())


def test_a_checkpoint_tells_its_own_step(concept_run: Finished) -> None:
    """The header's step is the checkpoint's, at every checkpoint."""
    told = {step: read_metadata(concept_run.recorder.model(step))["ss_steps"] for step in (3, 6)}
    assert told == {3: "3", 6: "6"}


def test_equal_tensors_give_equal_files(tmp_path: Path) -> None:
    """The order in which names and words are given does not reach the file."""
    tensors = {"b": torch.ones(2, 3), "a": torch.zeros(5)}
    words = {str(n): "x" for n in range(20)}
    write_tensors(tmp_path / "one", tensors, words)
    write_tensors(tmp_path / "two", dict(reversed(tensors.items())), dict(reversed(words.items())))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert all(torch.equal(tensors[name], read) for name, read in load_file(tmp_path / "one").items())
