"""A published model as InvokeAI shall know it: read from what lies beside its weights in the store.

In: the key of the weights, and what the checkpoint's manifest says of them. Out: a ModelToInstall. The sidecar's words
count, because a person may have edited them since; phrases are split at commas, as InvokeAI itself splits a sidecar's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from atelier_contract.architectures import Architecture
from atelier_contract.layout import WEIGHTS_SUFFIX
from atelier_contract.manifests import ModelFile
from atelier_materials.invokeai.installing import ModelToInstall
from atelier_materials.store.protocol import Shelf

SIDECAR_SUFFIX, PREVIEW_SUFFIX = ".json", ".png"
LINK_SECONDS = 2 * 3600
"""How long a link to the weights holds: as long as the installs of a call are waited for, and some more."""
SIDECAR_LIMIT_BYTES = 1 << 20
PREVIEW_LIMIT_BYTES = 16 << 20


def describe_published(
    store: Shelf, weights_key: str, file: ModelFile, architecture: Architecture, sources: Iterable[str]
) -> ModelToInstall:
    """Return a published model.

    Args:
        store: where it lies.
        weights_key: key of its weights.
        file: what the checkpoint's manifest says of them.
        architecture: of the base model.
        sources: addresses under which a server may find the weights.
    """
    stem = weights_key.removesuffix(WEIGHTS_SUFFIX)
    sidecar = _read_sidecar(store, f"{stem}{SIDECAR_SUFFIX}")
    model = ModelToInstall(
        name=stem.rpartition("/")[2],
        kind=file.role,
        architecture=architecture,
        sha256=file.sha256,
        size_bytes=file.bytes,
        sources=sources,
        description="",
        preview=_read_small(store, f"{stem}{PREVIEW_SUFFIX}", PREVIEW_LIMIT_BYTES),
        # An embedding is called by its name; InvokeAI refuses trigger phrases of one.
        trigger_phrases=_split(sidecar.get("activation text", "")) if file.role == "ConceptModel" else (),
    )
    return model.described(f"{sidecar.get('description', '')} {sidecar.get('notes', '')}".strip())


def _read_sidecar(store: Shelf, key: str) -> dict[str, str]:
    """Return the texts of a sidecar; none where there is none, or something else."""
    try:
        read = json.loads(_read_small(store, key, SIDECAR_LIMIT_BYTES) or b"{}")
    except ValueError:
        return {}
    return {name: told for name, told in read.items() if isinstance(told, str)} if isinstance(read, dict) else {}


def _read_small(store: Shelf, key: str, limit_bytes: int) -> bytes | None:
    """Return what lies under a key; None where nothing does, or something too large to be it."""
    found = store.head(key)
    return store.read(key) if found is not None and 0 < found.bytes <= limit_bytes else None


def _split(activation_text: str) -> tuple[str, ...]:
    return tuple(word for part in activation_text.split(",") if (word := part.strip()))
