"""New words in families with one and with two encoders: they learn in each, and the old words do not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from atelier_contract.architectures import Architecture
from atelier_materials.errors import InvalidInput
from atelier_trainer.learn.draws import Draws
from atelier_trainer.learn.families.base import Family
from atelier_trainer.learn.families.registry import load_family
from atelier_trainer.learn.methods.base import Method
from atelier_trainer.learn.methods.registry import build_method
from learning import EMBEDDING, PIVOTAL, build_settings
from tiny_models import WRITERS

SD1, XL, FLUX = Architecture.STABLE_DIFFUSION_1, Architecture.STABLE_DIFFUSION_XL, Architecture.FLUX_1
ROWS = {SD1: {"text_encoder": "emb_params"}, XL: {"text_encoder": "clip_l", "text_encoder_2": "clip_g"}}


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[Architecture, Path]:
    """A tiny base of each family."""
    root = tmp_path_factory.mktemp("bases")
    return {architecture: write(root / str(architecture)) for architecture, write in WRITERS.items()}


def build(base: Path, architecture: Architecture, **changes: object) -> tuple[Family, Method]:
    """Return a fresh family with an embedding in it."""
    family = load_family(architecture, base, torch.device("cpu"), torch.float32, "contiguous")
    return family, build_method(family, build_settings(**({"embedding": EMBEDDING} | changes)), Draws(1))


@pytest.mark.parametrize("architecture", ROWS)
def test_rows_learn_in_every_encoder(architecture: Architecture, bases: dict[Architecture, Path]) -> None:
    """Each vector has a row in each encoder, as wide as that encoder, and each row is given a gradient."""
    family, method = build(bases[architecture], architecture)
    (flat,) = method.flat_parameters()
    said = family.encode_prompts([method.rewrite("a <tkxw> on red")])
    torch.stack([tensor.square().sum() for tensor in said.values()]).sum().backward()
    for encoder, key in ROWS[architecture].items():
        width = family.encoders[encoder].model.config.hidden_size  # type: ignore[union-attr]  # transformers' own
        assert flat.views[key].shape == (3, width)
        assert bool(flat.gradients[key].any(dim=1).all())


@pytest.mark.parametrize("architecture", ROWS)
def test_tables_are_not_touched(architecture: Architecture, bases: dict[Architecture, Path]) -> None:
    """After a step on the rows no table has a gradient or another bit, and texts without the word read the same."""
    family, method = build(bases[architecture], architecture)
    plain = load_family(architecture, bases[architecture], torch.device("cpu"), torch.float32, "contiguous")
    (flat,) = method.flat_parameters()
    family.encode_prompts([method.rewrite("<tkxw>")])["text"].sum().backward()
    with torch.no_grad():
        flat.master -= flat.gradient
    for encoder in ROWS[architecture]:
        table = family.encoders[encoder].model.get_input_embeddings().table.weight  # type: ignore[operator]  # as above
        own = plain.encoders[encoder].model.get_input_embeddings().weight  # type: ignore[operator]  # as above
        assert table.grad is None
        assert torch.equal(table, own)
    texts = ["a red star", ""]
    for name, said in plain.encode_prompts(texts).items():
        assert torch.equal(family.encode_prompts(texts)[name], said), name


@pytest.mark.parametrize("architecture", ROWS)
def test_the_word_is_read_as_its_phrase_at_first(architecture: Architecture, bases: dict[Architecture, Path]) -> None:
    """Before the first step the new word says what the initial phrase says, in every encoder."""
    asked = {"initialPhrase": "red star", "placeholder": "<tkxw>", "vectors": 2}
    family, method = build(bases[architecture], architecture, embedding=asked)
    word = family.encode_prompts([method.rewrite("a <tkxw> here")])
    phrase = family.encode_prompts(["a red star here"])
    for name, said in word.items():
        torch.testing.assert_close(said, phrase[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("changes", [{"embedding": EMBEDDING}, {"conceptModel": {"embedding": PIVOTAL}}])
def test_flux_refuses_words(changes: dict[str, object], bases: dict[Architecture, Path]) -> None:
    """Alone or with a concept model an embedding is refused, with the reason and the way out."""
    family = load_family(FLUX, bases[FLUX], torch.device("cpu"), torch.float32, "contiguous")
    with pytest.raises(InvalidInput, match=r"no textual inversion.*T5.*Train a conceptModel instead"):
        build_method(family, build_settings(**changes), Draws(1))
