"""What is trained: adapters that begin as nothing, and new words that leave the old ones alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from atelier_materials.errors import InvalidInput
from atelier_trainer.learn.families.discrete import CHANNELS_LAST
from atelier_trainer.learn.families.stable_diffusion_1 import StableDiffusion1
from learning import BASE_MODEL, EMBEDDING, build_settings
from learning_results import Finished, build_on, load_family, predict, run

TEXTS = ["a TKXW teapot on a red background", "a star", ""]


@pytest.mark.parametrize("targets", ["attention", "attentionMlp", "attentionMlpConv"])
def test_adapters_start_as_an_exact_no_op(targets: str) -> None:
    """With fresh adapters, on the text encoder too, the denoiser answers to the bit what the base model answers."""
    plain = predict(load_family(), TEXTS)
    adapted = load_family()
    build_on(adapted, build_settings(conceptModel={"targets": targets, "textEncoderLearningRate": 1e-4}))
    assert torch.equal(predict(adapted, TEXTS), plain)


def test_adapters_are_drawn_by_name_and_seed() -> None:
    """Two builds of one seed start alike whatever torch's own generator did; another seed starts elsewhere."""
    torch.manual_seed(1)
    one = build_on(load_family(), build_settings()).named_parameters()
    torch.manual_seed(2)
    same = build_on(load_family(), build_settings()).named_parameters()
    other = build_on(load_family(), build_settings(seed=8)).named_parameters()
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def measure_first_moves(rank: int) -> dict[str, float]:
    """Return how far each matrix layer's answers move in a first step of Adam, as a multiple of the rate.

    That step moves every number of `up`, all zero, by the rate along the sign of its gradient: an answer moves by the
    sum of what `down` makes of the input, each taken without its sign.
    """
    asked = {"rank": rank, "alpha": rank, "textEncoderLearningRate": 1e-4}
    named = build_on(load_family(), build_settings(conceptModel=asked)).named_parameters()
    moves = {}
    for name, down in named.items():
        if name.endswith(".down"):
            inputs = torch.randn(256, down[0].numel(), generator=torch.Generator().manual_seed(3))
            moves[name] = float((inputs @ down.flatten(1).T).abs().sum(1).mean())
    return moves


def test_a_rate_moves_adapters_of_every_rank_as_far() -> None:
    """A template's rate holds when only the rank is changed, for the text encoder too."""
    low, high = measure_first_moves(4), measure_first_moves(32)
    assert sum(high[name] / low[name] for name in low) / len(low) == pytest.approx(1, rel=0.1)


def test_nothing_of_the_base_learns() -> None:
    """No parameter of the base model asks for a gradient; what learns is float32, and the masters hold all of it."""
    family = load_family()
    method = build_on(family, build_settings(conceptModel={"textEncoderLearningRate": 1e-4}))
    bases = [family.denoiser, family.encoders["text_encoder"].model]
    assert not any(parameter.requires_grad for model in bases for parameter in model.parameters())
    masters = {id(master) for group in method.rate_groups() for master in group.parameters}
    assert masters == {id(flat.master) for flat in method.flat_parameters()}
    assert {view.dtype for view in method.named_parameters().values()} == {torch.float32}


def test_wider_targets_adapt_more_layers() -> None:
    """Attention, MLP and convolutions each add layers (56, 84 and 113 on the tiny base)."""
    counts = [
        len(build_on(load_family(), build_settings(conceptModel={"targets": targets})).export()[0].tensors) // 3
        for targets in ("attention", "attentionMlp", "attentionMlpConv")
    ]
    assert counts == sorted(set(counts))


def test_the_text_encoder_learns_at_its_own_rate() -> None:
    """With a rate for the text encoder there is a second group at that rate, without one there is none."""
    with_text = build_on(load_family(), build_settings(conceptModel={"textEncoderLearningRate": 3e-5}))
    assert [group.learning_rate for group in with_text.rate_groups()] == [1e-3, 3e-5]
    assert len(build_on(load_family(), build_settings()).rate_groups()) == 1


def test_dropout_is_off_while_drawing() -> None:
    """Switched off, an adapter with dropout answers twice alike, in the denoiser and in the text encoder."""
    family = load_family()
    asked = {"dropout": 0.5, "textEncoderLearningRate": 1e-4}
    method = build_on(family, build_settings(conceptModel=asked))
    with torch.no_grad():
        for parameter in method.named_parameters().values():
            parameter.normal_(std=0.1)
    method.set_training(on=True)
    noisy = predict(family, TEXTS)
    method.set_training(on=False)
    assert not torch.equal(noisy, predict(family, TEXTS))
    assert torch.equal(predict(family, TEXTS), predict(family, TEXTS))


def test_an_embedding_starts_as_its_phrase_in_turn() -> None:
    """Three vectors from a phrase of two tokens begin as the first, the second and the first again."""
    family = load_family()
    encoder = family.encoders["text_encoder"]
    table = encoder.model.get_input_embeddings().weight.clone()
    first, second = encoder.tokenizer("red star", add_special_tokens=False).input_ids
    rows = build_on(family, build_settings(embedding=EMBEDDING)).named_parameters()["emb_params"]
    assert torch.equal(rows, table[[first, second, first]])


def test_an_embedding_trains_its_own_rows_only(embedding_run: Finished) -> None:
    """The optimiser holds 3 x 768 numbers and nothing else."""
    assert {name: tuple(rows.shape) for name, rows in embedding_run.weights().items()} == {"emb_params": (3, 768)}


def test_the_token_table_stays_as_it_was() -> None:
    """After a step on the new rows every old row is the same to the bit, and texts without the word read the same."""
    family = load_family()
    before = predict(family, TEXTS)
    encoder = family.encoders["text_encoder"]
    table = encoder.model.get_input_embeddings().weight.clone()
    method = build_on(family, build_settings(embedding=EMBEDDING))
    (flat,) = method.flat_parameters()
    family.encode_prompts([method.rewrite("a <tkxw>")])["text"].sum().backward()
    assert bool(flat.gradients["emb_params"].any(dim=1).all())
    with torch.no_grad():
        flat.master -= flat.master.grad
    assert torch.equal(encoder.model.get_input_embeddings().table.weight, table)
    assert torch.equal(predict(family, TEXTS), before)


def test_every_vector_has_its_own_token() -> None:
    """The placeholder is read as as many tokens as there are vectors, named as diffusers' loader names them."""
    family = load_family()
    known = len(family.encoders["text_encoder"].tokenizer)
    method = build_on(family, build_settings(embedding=EMBEDDING))
    assert method.rewrite("a <tkxw> on red") == "a <tkxw> <tkxw>_1 <tkxw>_2 on red"
    ids = family.encoders["text_encoder"].tokenizer(method.rewrite("<tkxw>"), add_special_tokens=False).input_ids
    assert ids == [known, known + 1, known + 2]


def test_a_placeholder_that_exists_is_refused() -> None:
    """A word that the tokenizer already has as a token of its own cannot be a placeholder."""
    with pytest.raises(InvalidInput, match="placeholder"):
        build_on(load_family(), build_settings(embedding=EMBEDDING | {"placeholder": "<|endoftext|>"}))


def test_a_model_file_can_be_gone_on_from(concept_run: Finished) -> None:
    """Loading a file gives back the trained weights, also under another alpha."""
    from safetensors.torch import load_file

    method = build_on(load_family(), build_settings(conceptModel={"alpha": 4}))
    method.load({"ConceptModel": load_file(concept_run.recorder.model(6))})
    masters = concept_run.weights()
    for name, parameter in method.named_parameters().items():
        expected = masters[name] * (0.5 if name.endswith(".up") else 1)  # alpha 2 of rank 4, now 4 of 4
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-6, atol=0)


def test_a_file_of_another_rank_is_refused(concept_run: Finished) -> None:
    """Going on with another rank is refused in words that name the setting."""
    from safetensors.torch import load_file

    method = build_on(load_family(), build_settings(conceptModel={"rank": 2}))
    with pytest.raises(InvalidInput, match=r"conceptModel\.rank"):
        method.load({"ConceptModel": load_file(concept_run.recorder.model(6))})


def test_adapters_stay_float32_on_a_bfloat16_base(tmp_path: Path) -> None:
    """With precision bfloat16 the base computes in it, and what is trained and written is float32 and finite."""
    from safetensors.torch import load_file

    finished = run(tmp_path / "a", steps=2, everySteps=2, precision="bfloat16", warmupSteps=0)
    assert finished.recorder.execution is not None
    assert finished.recorder.execution.precision == "bfloat16"
    tensors = load_file(finished.recorder.model(2))
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    assert all(bool(tensor.isfinite().all()) for tensor in tensors.values())
    assert any(bool(tensor.any()) for name, tensor in tensors.items() if "lora_up" in name)


def test_the_layout_changes_rounding_alone() -> None:
    """Channels-last weights answer what contiguous ones do, up to rounding: not to the bit, hence execution.json."""
    device, dtype = torch.device("cpu"), torch.float32
    plain = predict(load_family(), TEXTS)
    last = predict(StableDiffusion1(BASE_MODEL, device, dtype, CHANNELS_LAST), TEXTS)
    torch.testing.assert_close(last, plain, rtol=1e-3, atol=1e-4)
