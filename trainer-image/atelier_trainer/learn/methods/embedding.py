"""Embeddings: new words for the text encoder (textual inversion, Gal et al. 2022).

Only the new rows are parameters. They stand beside the encoder's table and are chosen where a new token is read, so
that the table itself has no gradient, no optimiser state and not a changed bit: 4 x 768 numbers are trained, not 49,408
x 768. They start as the tokens of the initial phrase, taken in turn until every vector has one.

Norm: rows go where the loss takes them. Nothing rescales them, and the default weight decay is 0, because both would
pull trained words towards a length that nobody asked for; the learning rate is what keeps them near real words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from atelier_contract.dataset import ModelType
from atelier_contract.settings import Settings
from atelier_trainer.errors import InvalidInput
from atelier_trainer.learn.families.base import Encoder, Family
from atelier_trainer.learn.methods.base import RateGroup
from atelier_trainer.learn.run import build_wording

FILE_KEY = "emb_params"
"""Name of the tensor in the file, [n, D], for families with one encoder."""
ROWS = "rows"


class ExtendedTable(nn.Module):
    """A token table with trained rows after its own.

    Token ids below `first` are looked up in the frozen table, `first + k` is row k.
    """

    def __init__(self, table: nn.Embedding, first: int, rows: Tensor) -> None:
        super().__init__()
        self.table = table
        self.first = first
        self.rows = nn.Parameter(rows)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the vectors of token ids [B, S] as [B, S, D]."""
        is_new = ids >= self.first
        known = functional.embedding(ids.masked_fill(is_new, 0), self.table.weight)
        new = functional.embedding((ids - self.first).clamp(min=0), self.rows)
        return torch.where(is_new.unsqueeze(-1), new, known)


class Embedding:
    """The new words of one run."""

    type: ModelType = "Embedding"
    has_live_text = True
    is_stochastic = False

    def __init__(self, family: Family, settings: Settings) -> None:
        """Add the placeholder's tokens to the tokenizer and its rows to the encoder."""
        asked = settings.embedding
        if asked is None:
            raise InvalidInput("embedding is not set: an embedding cannot be trained without it")
        (encoder,) = family.encoders.values()
        self.wording = build_wording(settings)
        self._rate = settings.learning_rate
        self._placeholder = asked.placeholder
        self._tokens = name_tokens(asked.placeholder, asked.vectors)
        start = _read_phrase(encoder, asked.initial_phrase, asked.vectors)
        self._extended = _extend(encoder, self._tokens, start).to(family.device)

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """Return the rows."""
        return {ROWS: self._extended.rows}

    def rate_groups(self) -> list[RateGroup]:
        """Return the rows at the run's rate."""
        return [RateGroup([self._extended.rows], self._rate)]

    def set_training(self, *, on: bool) -> None:
        """Do nothing: rows have no dropout."""

    def rewrite(self, text: str) -> str:
        """Return the text with every placeholder spelled as all its tokens, as diffusers' loader does."""
        return text.replace(self._placeholder, " ".join(self._tokens))

    def export(self) -> dict[str, Tensor]:
        """Return the rows under the name that all tools read."""
        return {FILE_KEY: self._extended.rows.detach().to("cpu", torch.float32, copy=True).contiguous()}

    def describe(self) -> dict[str, str]:
        """Return nothing: embeddings have no network."""
        return {}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the rows from a file that `export` wrote."""
        rows = self._extended.rows
        if set(tensors) != {FILE_KEY} or tensors[FILE_KEY].shape != rows.shape:
            shapes = [tuple(tensor.shape) for tensor in tensors.values()]
            raise InvalidInput(
                f"startFrom: the model holds {shapes}, this run trains {tuple(rows.shape)}: "
                "set embedding.vectors to the number of its vectors"
            )
        with torch.no_grad():
            rows.copy_(tensors[FILE_KEY])

    def architecture_suffix(self) -> Literal["textual-inversion"]:
        """Return `textual-inversion`."""
        return "textual-inversion"


def name_tokens(placeholder: str, vectors: int) -> list[str]:
    """Return one token a vector: the placeholder, then numbered ones, as diffusers' loader names them."""
    return [placeholder, *(f"{placeholder}_{number}" for number in range(1, vectors))]


def _read_phrase(encoder: Encoder, phrase: str, vectors: int) -> Tensor:
    """Return [n, D]: the vectors of the phrase's tokens, in turn."""
    ids = encoder.tokenizer(phrase, add_special_tokens=False).input_ids
    if not ids:
        raise InvalidInput(f"embedding.initialPhrase {phrase!r} has no token: use a word the base model knows")
    table: nn.Embedding = encoder.model.get_input_embeddings()  # type: ignore[operator]  # transformers' own method
    return table.weight.detach()[[ids[k % len(ids)] for k in range(vectors)]].clone()


def _extend(encoder: Encoder, tokens: list[str], start: Tensor) -> ExtendedTable:
    """Teach the tokenizer the tokens and put the extended table into the encoder."""
    first = len(encoder.tokenizer)
    encoder.tokenizer.add_tokens(tokens)
    if encoder.tokenizer.convert_tokens_to_ids(tokens) != list(range(first, first + len(tokens))):
        raise InvalidInput(f"embedding.placeholder {tokens[0]} is a token of the base model already: use another")
    table: nn.Embedding = encoder.model.get_input_embeddings()  # type: ignore[operator]  # transformers' own method
    extended = ExtendedTable(table, first, start)
    encoder.model.set_input_embeddings(extended)  # type: ignore[operator]  # transformers' own method
    return extended
