"""Embeddings: new words for the text encoders (textual inversion, Gal et al. 2022).

Only the new rows are parameters. They stand beside each encoder's table and are chosen where a new token is read, so
that the table itself has no gradient, no optimiser state and not a changed bit: Stable Diffusion XL trains 4 x (768 +
1280) numbers, not 49,408 x (768 + 1280). A family with two encoders learns a row for both with every vector. Rows start
as the tokens of the initial phrase, taken in turn until every vector has one.

Norm: rows go where the loss takes them. Nothing rescales them and weight decay leaves them alone, because both would
pull trained words towards a length that nobody asked for; the learning rate is what keeps them near real words.

Shapes: n vectors, D width of an encoder, B texts, S tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from atelier_contract.architectures import FACTS, Architecture
from atelier_contract.dataset import ModelType
from atelier_contract.settings import EmbeddingSettings, PivotalSettings, Settings
from atelier_materials.errors import InvalidInput
from atelier_trainer.learn.families.base import Encoder, Family
from atelier_trainer.learn.methods.base import MODEL_FILE, ModelTensors, RateGroup
from atelier_trainer.learn.parameters import FlatParameters
from atelier_trainer.learn.run import build_wording

FILE_KEYS = {
    Architecture.STABLE_DIFFUSION_1: {"text_encoder": "emb_params"},
    Architecture.STABLE_DIFFUSION_XL: {"text_encoder": "clip_l", "text_encoder_2": "clip_g"},
}
"""Names of the tensors in a file, [n, D], by encoder: what sd-scripts writes and all tools read."""


class ExtendedTable(nn.Module):
    """A token table with trained rows after its own.

    Token ids below `first` are looked up in the frozen table, `first + k` is row k.
    """

    def __init__(self, table: nn.Embedding, first: int, rows: Tensor) -> None:
        """Put rows [n, D], a float32 leaf that belongs to the run's flat parameters, after a table's own."""
        super().__init__()
        self.table = table
        self.first = first
        self.rows = rows

    def forward(self, ids: Tensor) -> Tensor:
        """Return the vectors of token ids [B, S] as [B, S, D]."""
        is_new = ids >= self.first
        known = functional.embedding(ids.masked_fill(is_new, 0), self.table.weight)
        new = functional.embedding((ids - self.first).clamp(min=0), self.rows)
        return torch.where(is_new.unsqueeze(-1), new.to(known.dtype), known)


@dataclass(frozen=True)
class Words:
    """The new words of one run, in every encoder of a family."""

    placeholder: str
    tokens: tuple[str, ...]
    flat: FlatParameters
    """Rows by the key of the file, always computed in float32: they are few."""

    def rewrite(self, text: str) -> str:
        """Return the text with every placeholder spelled as all its tokens, as diffusers' loader does."""
        return text.replace(self.placeholder, " ".join(self.tokens))

    def group(self, learning_rate: float, until_step: int | None = None) -> RateGroup:
        """Return the rows as parameters of one rate."""
        return RateGroup([self.flat.master], learning_rate, until_step, decays=False)

    def export(self, file_name: str) -> ModelTensors:
        """Return the rows as a model file."""
        rows = {key: view.detach().to("cpu", copy=True).contiguous() for key, view in self.flat.views.items()}
        return ModelTensors("Embedding", file_name, "textual-inversion", rows, trigger=self.placeholder)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the rows from a file that `export` wrote.

        Raises:
            InvalidInput: it holds other encoders' rows, or another number of vectors.
        """
        wanted = {key: tuple(view.shape) for key, view in self.flat.views.items()}
        held = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
        if held != wanted:
            raise InvalidInput(
                f"startFrom: the embedding holds {held}, this run trains {wanted}: "
                "set embedding.vectors to the number of its vectors"
            )
        with torch.no_grad():
            for key, view in self.flat.views.items():
                view.copy_(tensors[key])


class Embedding:
    """A run that trains new words alone."""

    type: ModelType = "Embedding"
    is_stochastic = False
    has_live_text = True

    def __init__(self, family: Family, settings: Settings) -> None:
        """Add the placeholder's tokens to the tokenizers and its rows to the encoders."""
        if settings.embedding is None:
            raise InvalidInput("embedding is not set: an embedding cannot be trained without it")
        self._words = add_words(family, settings.embedding)
        self._rate = settings.learning_rate
        self.wording = build_wording(settings)

    def learns_text_at(self, step: int) -> bool:
        """Return True: there is nothing else to learn."""
        del step
        return True

    def named_parameters(self) -> dict[str, Tensor]:
        """Return the rows."""
        return self._words.flat.views

    def flat_parameters(self) -> list[FlatParameters]:
        """Return the rows' own."""
        return [self._words.flat]

    def rate_groups(self) -> list[RateGroup]:
        """Return the rows at the run's rate."""
        return [self._words.group(self._rate)]

    def set_training(self, *, on: bool) -> None:
        """Do nothing: rows have no dropout."""

    def rewrite(self, text: str) -> str:
        """Return the text with the placeholder spelled as its tokens."""
        return self._words.rewrite(text)

    def export(self) -> list[ModelTensors]:
        """Return the rows under the names that all tools read."""
        return [self._words.export(MODEL_FILE)]

    def load(self, models: Mapping[ModelType, Mapping[str, Tensor]]) -> None:
        """Set the rows from a file that `export` wrote."""
        self._words.load(models.get("Embedding", {}))


def add_words(family: Family, asked: EmbeddingSettings | PivotalSettings) -> Words:
    """Teach a family's tokenizers and encoders new words.

    Raises:
        InvalidInput: the family has no embeddings, a phrase without a token, or a placeholder that is a word already.
    """
    keys = FILE_KEYS.get(family.architecture)
    if keys is None:
        raise InvalidInput(explain_no_embedding(family.architecture))
    tokens = name_tokens(asked.placeholder, asked.vectors)
    starts = {
        key: _read_phrase(family.encoders[name], asked.initial_phrase, asked.vectors) for name, key in keys.items()
    }
    flat = FlatParameters({key: start.shape for key, start in starts.items()}, family.device)
    for name, key in keys.items():
        with torch.no_grad():
            flat.views[key].copy_(starts[key])
        _extend(family.encoders[name], tokens, flat.compute[key])
    return Words(asked.placeholder, tuple(tokens), flat)


def explain_no_embedding(architecture: Architecture) -> str:
    """Return why a family has no embeddings and what to do instead."""
    return (
        f"embedding: {FACTS[architecture].title} has no textual inversion: its denoiser reads the words from T5, whose "
        "rows no tool can load, and of CLIP only one summary of the sentence. Train a conceptModel instead"
    )


def name_tokens(placeholder: str, vectors: int) -> list[str]:
    """Return one token a vector: the placeholder, then numbered ones, as diffusers' loader names them."""
    return [placeholder, *(f"{placeholder}_{number}" for number in range(1, vectors))]


def _read_phrase(encoder: Encoder, phrase: str, vectors: int) -> Tensor:
    """Return [n, D]: the vectors of the phrase's tokens, in turn."""
    ids = encoder.tokenizer(phrase, add_special_tokens=False).input_ids
    if not ids:
        raise InvalidInput(f"embedding.initialPhrase {phrase!r} has no token: use a word the base model knows")
    table: nn.Embedding = encoder.model.get_input_embeddings()  # type: ignore[operator]  # transformers' own method
    return table.weight.detach()[[ids[k % len(ids)] for k in range(vectors)]].float()


def _extend(encoder: Encoder, tokens: list[str], rows: Tensor) -> None:
    """Teach the tokenizer the tokens and put the extended table into the encoder."""
    first = len(encoder.tokenizer)
    encoder.tokenizer.add_tokens(tokens)
    if encoder.tokenizer.convert_tokens_to_ids(tokens) != list(range(first, first + len(tokens))):
        raise InvalidInput(f"embedding.placeholder {tokens[0]} is a token of the base model already: use another")
    table: nn.Embedding = encoder.model.get_input_embeddings()  # type: ignore[operator]  # transformers' own method
    encoder.model.set_input_embeddings(ExtendedTable(table, first, rows))  # type: ignore[operator]  # as above
