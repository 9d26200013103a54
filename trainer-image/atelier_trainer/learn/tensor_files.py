"""Model files as bytes: safetensors, written so that equal tensors and words give equal files.

The library writes metadata in the random order of a hash table, so two equal checkpoints would have two digests. The
format is small enough to write here: eight bytes of header length, the header in JSON with sorted keys, the tensors.
Source: the format's own description (https://github.com/huggingface/safetensors, section Format).

In: float32 tensors and strings. Out: bytes and digests. Reading is left to the library.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

ALIGNMENT_BYTES = 8
FLOAT_BYTES = 4


def digest_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 of the tensors' bytes in the file's order: what ModelSpec calls `hash_sha256`, without 0x."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(_to_bytes(tensors[name]))
    return digest.hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file of float32 tensors; equal arguments give equal bytes.

    Args:
        path: file to write; its folder exists.
        tensors: contiguous float32 tensors on the CPU.
        metadata: strings for the header.
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name in sorted(tensors):
        size = tensors[name].numel() * FLOAT_BYTES
        header[name] = {
            "dtype": "F32",
            "shape": list(tensors[name].shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
    text += b" " * (-len(text) % ALIGNMENT_BYTES)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name in sorted(tensors):
            file.write(_to_bytes(tensors[name]))


def _to_bytes(tensor: Tensor) -> bytes:
    if tensor.dtype != torch.float32:
        raise TypeError(f"model files hold float32, not {tensor.dtype}")
    return tensor.detach().cpu().contiguous().numpy().astype("<f4", copy=False).tobytes()
