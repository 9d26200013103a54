"""Going on from what an earlier run exported: every family and method, and what is refused in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from atelier_contract.architectures import Architecture
from atelier_materials.errors import InvalidInput
from atelier_trainer.learn.draws import Draws
from atelier_trainer.learn.families.registry import load_family
from atelier_trainer.learn.methods.base import Method
from atelier_trainer.learn.methods.registry import build_method
from atelier_trainer.learn.state import load_models
from exported import CASES, METHODS, Exported
from learning import EMBEDDING, PIVOTAL, build_settings

Find = Callable[[Architecture, str], Exported]
SD1, XL, FLUX = Architecture.STABLE_DIFFUSION_1, Architecture.STABLE_DIFFUSION_XL, Architecture.FLUX_1


def build_anew(exported: Exported, **changes: Any) -> Method:
    """Return a fresh method on a fresh copy of the base."""
    family = load_family(exported.architecture, exported.base, torch.device("cpu"), torch.float32, "contiguous")
    return build_method(family, build_settings(**changes), Draws(99))


@pytest.mark.parametrize(("architecture", "method"), CASES)
def test_the_trained_weights_come_back(architecture: Architecture, method: str, shelf: Find) -> None:
    """A fresh method given the files of another run has its weights: to the bit where a scale of 1/2 was folded."""
    exported = shelf(architecture, method)
    fresh = build_anew(exported, **METHODS[method])
    load_models(list(exported.files.values()), fresh)
    expected = exported.weights()
    assert all(torch.equal(view, expected[name]) for name, view in fresh.named_parameters().items())


@pytest.mark.parametrize(("architecture", "method"), [(SD1, "attention"), (FLUX, "attention")])
def test_another_alpha_gives_the_same_update(architecture: Architecture, method: str, shelf: Find) -> None:
    """Under another alpha the matrices differ and the effective update does not."""
    exported = shelf(architecture, method)
    fresh = build_anew(exported, conceptModel={"targets": "attention", "alpha": 1})
    load_models([exported.files["ConceptModel"]], fresh)
    before, after = exported.weights(), fresh.named_parameters()
    for name in (name for name in before if name.endswith(".up")):
        torch.testing.assert_close(after[name] * (1 / 4), before[name] * (2 / 4))


def test_a_pair_goes_on_from_a_concept_model_alone(shelf: Find) -> None:
    """New words may join a concept model that had none: its adapters are set, the words begin anew."""
    exported = shelf(SD1, "attentionMlp")
    fresh = build_anew(exported, **METHODS["pivotal"])
    rows = fresh.named_parameters()["emb_params"].clone()
    load_models([exported.files["ConceptModel"]], fresh)
    expected = exported.weights()
    assert torch.equal(fresh.named_parameters()["emb_params"], rows)
    assert all(torch.equal(fresh.named_parameters()[name], weights) for name, weights in expected.items())


def refuse(exported: Exported, **changes: Any) -> str:
    """Return why a fresh run cannot go on from some files."""
    with pytest.raises(InvalidInput) as refused:
        load_models(list(exported.files.values()), build_anew(exported, **changes))
    return str(refused.value)


def test_an_embedding_is_not_dropped_in_silence(shelf: Find) -> None:
    """A pair of files is refused by a run that would go on with one of them."""
    assert "conceptModel.embedding" in refuse(shelf(SD1, "pivotal"), **METHODS["attentionMlp"])


def test_another_number_of_vectors_is_refused(shelf: Find) -> None:
    """The sentence names the setting."""
    assert "embedding.vectors" in refuse(shelf(XL, "embedding"), embedding=EMBEDDING | {"vectors": 2})
    pivotal = {"targets": "attentionMlp", "embedding": PIVOTAL | {"vectors": 5}}
    assert "vectors" in refuse(shelf(XL, "pivotal"), conceptModel=pivotal)


def test_other_layers_are_refused(shelf: Find) -> None:
    """More layers or another rank than the model has are refused by the names of the settings."""
    assert "conceptModel.targets" in refuse(shelf(FLUX, "attention"), **METHODS["attentionMlp"])
    assert "conceptModel.rank" in refuse(shelf(FLUX, "attention"), conceptModel={"targets": "attention", "rank": 8})


def test_what_is_no_model_is_refused(shelf: Find, tmp_path: Path) -> None:
    """A file that is not safetensors is named."""
    (tmp_path / "broken.safetensors").write_bytes(b"PK")
    with pytest.raises(InvalidInput, match=r"broken\.safetensors"):
        load_models([tmp_path / "broken.safetensors"], build_anew(shelf(SD1, "attention"), **METHODS["attention"]))
