"""Model files as bytes: safetensors, written so that equal tensors and words give equal files.

The library writes metadata in the random order of a hash table, so two equal checkpoints would have two digests. The
format is small enough to write here: eight bytes of header length, the header in JSON with sorted keys, the tensors.
Source: the format's own description (https://github.com/huggingface/safetensors, section Format).

In: tensors and strings. Out: bytes and digests. Reading is left to the library. Model files hold float32 alone; states
also hold what optimisers keep in other formats.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

ALIGNMENT_BYTES = 8
FORMATS = {torch.float64: ("F64", "<f8"), torch.float32: ("F32", "<f4"), torch.uint8: ("U8", "|u1")}
"""The format's name of each number format, and numpy's: estimates, weights and moments, moments of 8 bits."""


def digest_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 of the tensors' bytes in the file's order: what ModelSpec calls `hash_sha256`, without 0x."""
    digest = hashlib.sha256()
    for name in _order(tensors):
        digest.update(_to_bytes(tensors[name]))
    return digest.hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file; equal arguments give equal bytes.

    Args:
        path: file to write; its folder exists.
        tensors: of `FORMATS`.
        metadata: strings for the header.

    Raises:
        TypeError: a tensor has another number format.
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name in _order(tensors):
        size = tensors[name].numel() * tensors[name].element_size()
        header[name] = {
            "dtype": _find_format(tensors[name])[0],
            "shape": list(tensors[name].shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
    text += b" " * (-len(text) % ALIGNMENT_BYTES)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name in _order(tensors):
            file.write(_to_bytes(tensors[name]))


def _order(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return names by width, widest first, then by letters: readers want each tensor on a multiple of its width."""
    return sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))


def _find_format(tensor: Tensor) -> tuple[str, str]:
    if tensor.dtype not in FORMATS:
        raise TypeError(f"model files and states hold float32, float64 and uint8, not {tensor.dtype}")
    return FORMATS[tensor.dtype]


def _to_bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().numpy().astype(_find_format(tensor)[1], copy=False).tobytes()
