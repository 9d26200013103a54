"""Encoders are in memory while they are of use: on the device from the first one, and nowhere when they rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from atelier_contract.architectures import Architecture
from atelier_trainer.learn.families.base import Family
from atelier_trainer.learn.families.parts import Part
from atelier_trainer.learn.families.registry import load_family
from mappings import list_mapped
from tiny_models import WRITERS

CPU = torch.device("cpu")


class Traveller(nn.Linear):
    """A model that says where it was sent, and stays."""

    def __init__(self) -> None:
        super().__init__(1, 1)
        self.journey: list[str] = []

    def to(self, *places: Any, **_: Any) -> Traveller:
        self.journey.append(str(places[0]))
        return self


class Loads:
    """Loads travellers and remembers each."""

    def __init__(self) -> None:
        self.made: list[Traveller] = []

    def __call__(self) -> Traveller:
        self.made.append(Traveller())
        return self.made[-1]


@pytest.fixture(params=list(Architecture), ids=lambda architecture: architecture.value)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A model of each family, in a folder that is named as the family is."""
    architecture: Architecture = request.param
    return WRITERS[architecture](tmp_path / architecture.value)


def load(folder: Path) -> Family:
    return load_family(Architecture(folder.name), folder, CPU, torch.float32, "contiguous")


def test_a_part_comes_with_its_first_use_and_stays() -> None:
    """A part is loaded once and moved once, when it is first used: not while others have the device."""
    loads = Loads()
    part = Part(loads, torch.device("meta"))
    assert loads.made[0].journey == []
    for _ in range(2):
        with part.awake() as model:
            assert model is loads.made[0]
    assert loads.made[0].journey == ["meta"]
    assert len(loads.made) == 1


def test_a_part_at_rest_is_there_for_one_use() -> None:
    """A part that rests is loaded for each use, and nothing of it is left afterwards, also when the use fails."""
    loads = Loads()
    part = Part(loads, CPU)
    part.rest()
    assert not part.is_in_memory
    with pytest.raises(KeyError), part.awake():
        raise KeyError
    assert not part.is_in_memory
    assert [model.journey for model in loads.made] == [[], ["cpu"]]


def test_a_part_neither_learns_nor_drops() -> None:
    """Loaded first or again, a part is frozen."""
    part = Part(Loads(), CPU)
    first = part.model
    part.rest()
    for model in (first, part.model):
        assert not model.training
        assert not any(parameter.requires_grad for parameter in model.parameters())


def test_a_family_at_rest_still_answers(folder: Path) -> None:
    """What rests can be used again and says the same, to the bit; torch's own generator does not notice."""
    family, pixels = load(folder), torch.zeros(1, 3, 64, 64)
    with torch.no_grad():
        before, picture = family.encode_prompts(["a star"]), family.encode_picture(pixels)
        family.rest_text()
        family.rest_pictures()
        drawn = torch.get_rng_state()
        after = family.encode_prompts(["a star"])
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(family.encode_picture(pixels).mean, picture.mean)
    assert torch.equal(torch.get_rng_state(), drawn)


def test_what_rests_is_in_no_memory(folder: Path) -> None:
    """Encoders at rest are given up: no weights of theirs are mapped or copied, after a use as before it."""
    family = load(folder)
    denoiser = family.denoiser  # read by now, and no file is open any more
    encoders = {*family.encoders, "vae"}
    assert list_mapped(folder) == encoders, "weights are the files' own, so that they are copied nowhere"
    family.rest_text()
    assert list_mapped(folder) == {"vae"}
    family.rest_pictures()
    assert list_mapped(folder) == set()
    with torch.no_grad():
        family.encode_prompts(["a star"])
        family.encode_picture(torch.zeros(1, 3, 64, 64))
    assert list_mapped(folder) == set()
    assert not any(encoder.part.is_in_memory for encoder in family.encoders.values())
    assert denoiser is family.denoiser
