"""Headers of weight files, read without a tensor library: is it safetensors, is it whole, and what is in it.

Format: eight bytes little-endian length, then that many bytes of JSON, then the tensors
(https://huggingface.co/docs/safetensors). Pickled weights are recognised by their first bytes, whatever their name
says, because unpickling runs code.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass

from atelier_trainer.errors import BaseModelUnusable
from atelier_trainer.single_files import FileHeader

MAX_HEADER_BYTES = 100_000_000
"""The format's own limit."""
PICKLE_MAGIC = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")
"""Pickle protocols 2 to 5, and the zip that torch.save writes."""
ReadRange = Callable[[str, int, int], bytes]
"""Key, start and length to bytes."""


GGUF_MAGIC = b"GGUF"


@dataclass(frozen=True)
class WeightsHeader(FileHeader):
    """What a weights file holds."""

    tensor_bytes: int

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(math.prod(shape) for shape in self.shapes.values())


def is_pickle(head: bytes) -> bool:
    """Return whether these first bytes are those of pickled weights."""
    return head.startswith(PICKLE_MAGIC)


def read_header(key: str, size_bytes: int, read: ReadRange) -> WeightsHeader:
    """Read the header of a weights file and check that the file is as long as its header says.

    Raises:
        BaseModelUnusable: it is pickled, cut short, or something else.
    """
    head = read(key, 0, min(8, size_bytes)) if size_bytes else b""
    if is_pickle(head):
        raise BaseModelUnusable(
            f"{key} is called safetensors but holds pickled weights, which can run code when loaded: convert it to "
            "safetensors"
        )
    if head.startswith(GGUF_MAGIC):
        raise BaseModelUnusable(
            f"{key} is a quantised GGUF file, whose weights are rounded for good: upload the original as safetensors, "
            "and set tuning.quantization where memory is short"
        )
    length = int.from_bytes(head, "little")
    if len(head) < 8 or not 2 <= length <= min(MAX_HEADER_BYTES, size_bytes - 8):
        raise BaseModelUnusable(f"{key} is not a safetensors file, or only its beginning: upload it again")
    try:
        header = json.loads(read(key, 8, length))
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        shapes = {name: tuple(int(side) for side in entry["shape"]) for name, entry in tensors.items()}
        dtypes = frozenset(str(entry["dtype"]) for entry in tensors.values())
        metadata = {str(name): str(told) for name, told in header.get("__metadata__", {}).items()}
        tensor_bytes = max((int(entry["data_offsets"][1]) for entry in tensors.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise BaseModelUnusable(
            f"{key} is not a safetensors file: its header cannot be read. Upload it again"
        ) from error
    if 8 + length + tensor_bytes != size_bytes:
        raise BaseModelUnusable(
            f"{key} has {size_bytes} bytes where its header says {8 + length + tensor_bytes}: it was cut short or "
            "damaged, upload it again"
        )
    return WeightsHeader(shapes, dtypes, metadata, tensor_bytes)
