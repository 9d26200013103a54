"""The tiny base model's data and tokenizer say what the model's page promises."""

import random

import pytest
from tiny_base import captions, pictures, tokens


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A tokenizer fresh from its script."""
    return tokens.write_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def test_a_drawing_depends_on_its_seed_and_number_alone():
    """Example 2 is the same whether three or five are drawn."""
    few, many = pictures.draw_captioned("x", 3), pictures.draw_captioned("x", 5)
    assert (few[2].caption, few[2].picture.tobytes()) == (many[2].caption, many[2].picture.tobytes())


def test_a_caption_never_names_the_wrong_thing():
    """Whatever a label says is in the text, as a whole word."""
    draws = random.Random("captions")
    for _ in range(300):
        caption = captions.describe_scene(captions.choose_scene(draws), draws)
        words = caption.text.replace(",", "").split()
        for index, values in zip(caption.label, captions.ATTRIBUTES, strict=True):
            assert index == len(values) or values[index] in words


def test_every_known_word_is_one_token(tokenizer):
    """A known word reads as begin, itself, end."""
    assert {word: len(tokenizer(word).input_ids) for word in tokens.WORDS} == dict.fromkeys(tokens.WORDS, 3)


@pytest.mark.parametrize("text", ["tkxw, a teapot", "ünïcode ☃", "a red circle"])
def test_any_text_can_be_read_back(tokenizer, text):
    """Unknown words and letters fall apart into bytes, and nothing of them is lost."""
    read = tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True)
    assert read.replace(" ", "") == text.replace(" ", "")


def test_the_concept_is_no_word_of_the_base():
    """Neither the teapot nor its colours are among the known words."""
    assert not {"teapot", "teal", "pink", "tkxw"} & set(tokens.WORDS)
