"""What comes out does in diffusers what it did in training: every family, method and set of layers, by real loaders."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import Tensor

from atelier_contract.architectures import Architecture
from exported import CASES, TEXT, Exported, find_effective_updates

LARGEST_ERROR = 1e-3
"""Of a layer's effective update."""
LARGEST_ANSWER_ERROR = 1e-5
"""Of what the whole model then says: sums in another order, through all its layers."""
Find = Callable[[Architecture, str], Exported]
Elsewhere = dict[tuple[Architecture, str], dict[str, Tensor]]


def distance(one: Tensor, other: Tensor) -> float:
    """Return the relative difference in the Frobenius norm."""
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize(("architecture", "method"), [case for case in CASES if case[1] != "embedding"])
def test_every_layer_is_updated_as_in_training(
    architecture: Architecture, method: str, shelf: Find, elsewhere: Elsewhere
) -> None:
    """In a fresh process exactly the trained layers are adapted, and each by what the float32 masters say."""
    read = elsewhere[architecture, method]
    expected = find_effective_updates(shelf(architecture, method))
    assert {name.removeprefix("update.") for name in read if name.startswith("update.")} == set(expected)
    assert all(distance(read[f"update.{name}"], update) < LARGEST_ERROR for name, update in expected.items())


@pytest.mark.parametrize(("architecture", "method"), CASES)
def test_the_model_answers_as_in_training(
    architecture: Architecture, method: str, shelf: Find, elsewhere: Elsewhere
) -> None:
    """In a fresh process text encoders and denoiser say what training's own model said."""
    read = elsewhere[architecture, method]
    for name, said in shelf(architecture, method).answer(TEXT).items():
        assert distance(read[name], said) < LARGEST_ANSWER_ERROR, name


@pytest.mark.parametrize(("architecture", "method"), CASES)
def test_the_answer_is_not_the_base_models(architecture: Architecture, method: str, elsewhere: Elsewhere) -> None:
    """What was loaded changes the answer: agreement is not that of two no-ops."""
    with_file, without = elsewhere[architecture, method], elsewhere[architecture, "base"]
    assert distance(with_file["answer"], without["answer"]) > 10 * LARGEST_ANSWER_ERROR
