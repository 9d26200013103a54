"""Keys of encodings: whatever decides the bytes is in them, so that nothing stale is ever read."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from atelier_trainer.learn import encodings
from atelier_trainer.learn.encodings import EncodingKeys, build_keys

FILES = {
    "model_index.json": "0",
    "vae/config.json": "1",
    "vae/diffusion_pytorch_model.safetensors": "2",
    "text_encoder/model.safetensors": "3",
    "tokenizer/vocab.json": "4",
    "text_encoder_2/model.safetensors": "5",
    "unet/diffusion_pytorch_model.safetensors": "6",
}
MODEL, PICTURE = "m" * 64, "a" * 64
Read = Callable[[EncodingKeys], str]


def of_picture(keys: EncodingKeys) -> str:
    return keys.of_latents(PICTURE, (64, 64), flip=False)


def of_text(keys: EncodingKeys) -> str:
    return keys.of_text("tkxw, a teapot")


def keys_of(files: dict[str, str] | None = None, *circumstances: str | int) -> EncodingKeys:
    return build_keys(FILES | (files or {}), MODEL, *(circumstances or ("SD", "float32", "cpu", 75)))


@pytest.mark.parametrize(
    ("read", "change"),
    [
        (of_picture, "vae/config.json"),
        (of_picture, "vae/diffusion_pytorch_model.safetensors"),
        (of_text, "text_encoder/model.safetensors"),
        (of_text, "text_encoder_2/model.safetensors"),
        (of_text, "tokenizer/vocab.json"),
    ],
)
def test_encoder_is_in_the_key(read: Read, change: str) -> None:
    """Another file of an encoder or tokenizer is another key."""
    assert read(keys_of()) != read(keys_of({change: "changed"}))


@pytest.mark.parametrize("read", [of_picture, of_text])
def test_denoiser_is_not_in_the_key(read: Read) -> None:
    """Base models that share their encoders share what is encoded."""
    changed = keys_of({"unet/diffusion_pytorch_model.safetensors": "changed", "model_index.json": "changed"})
    assert read(keys_of()) == read(changed)


@pytest.mark.parametrize("read", [of_picture, of_text])
def test_single_file_is_known_by_its_whole_digest(read: Read) -> None:
    """Where encoders have no folder of their own, the whole model's digest stands for them."""
    file = {"model.safetensors": "1"}
    assert read(build_keys(file, MODEL)) == read(build_keys({}, MODEL)) != read(build_keys(file, "n" * 64))


@pytest.mark.parametrize("read", [of_picture, of_text])
@pytest.mark.parametrize("change", [("XL", "float32", "cpu", 75), ("SD", "bfloat16", "cpu", 75)])
def test_circumstances_are_in_the_key(read: Read, change: tuple[str, str, str, int]) -> None:
    """Another family, number format, device or text length is another key."""
    assert read(keys_of()) != read(keys_of({}, *change))


@pytest.mark.parametrize("read", [of_picture, of_text])
def test_pipeline_is_in_the_key(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release that crops or decodes otherwise finds nothing of earlier ones."""
    before = read(keys_of())
    monkeypatch.setattr(encodings, "PIPELINE", "2/next")
    assert read(keys_of()) != before


def test_picture_shape_and_side_are_in_the_key() -> None:
    """Another file, shape or side is another key; width and height do not stand for each other."""
    keys = keys_of()
    asked = itertools.product((PICTURE, "b" * 64), ((64, 128), (128, 64), (64, 64)), (False, True))
    found = [keys.of_latents(sha256, shape, flip=flip) for sha256, shape, flip in asked]
    assert len(set(found)) == len(found) == 12


def test_parts_do_not_run_together() -> None:
    """Circumstances that read alike when joined have keys of their own."""
    assert build_keys({}, MODEL, "a", "b").texts != build_keys({}, MODEL, "ab").texts


def test_drawings_belong_to_the_whole_model() -> None:
    """What one base model drew is not another's, also where they share their encoders."""
    ours, theirs = build_keys(FILES, MODEL), build_keys(FILES, "n" * 64)
    assert ours.of_drawing("a teapot", 0) != theirs.of_drawing("a teapot", 0)
    assert len({ours.of_drawing("a teapot", number) for number in range(3)}) == 3


def test_trigger_is_in_the_key() -> None:
    """Another caption prefix is another text, and another key."""
    assert keys_of().of_text("a teapot") != keys_of().of_text("tkxw, a teapot")


def test_configs_beside_a_single_file_do_not_stand_for_it() -> None:
    """Two checkpoints of one file with the same configs beside them share no key."""
    configs = {"vae/config.json": "1" * 64, "text_encoder/config.json": "2" * 64, "tokenizer/vocab.json": "3" * 64}
    one, other = build_keys(configs, MODEL), build_keys(configs, "n" * 64)
    assert (one.pictures == other.pictures, one.texts == other.texts) == (False, False)
