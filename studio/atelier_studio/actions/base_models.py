"""What of a folder or file is a base model, what it is, and where in the store it belongs.

Pure: paths and the few facts read of them come in, decisions and sentences go out. What training needs of a base model
is checked in the cluster, before any GPU is asked for; here is refused what would be sent in vain: pickled weights,
folders that are no model, files that were cut short.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from atelier_contract.architectures import Architecture
from atelier_contract.errors import KeyRefused
from atelier_contract.layout import WEIGHTS_SUFFIX, NamespaceLayout, split_path
from atelier_materials.dataset.naming import escape_name
from atelier_materials.store.protocol import StoredObject
from atelier_studio.actions.tables import format_size
from atelier_studio.errors import BadRequest

PAGE = "docs/how-to/base-models.md"
ROOM = "base-models"
"""First part of every base model's path in a namespace's store."""
PICKLED_SUFFIXES = frozenset({".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle"})
BESIDE_WEIGHTS = frozenset({".json", ".txt", ".model"})
"""Configs, vocabularies and merges, T5's sentencepiece model."""
INDEX = "model_index.json"
DENOISERS = ("unet", "transformer")
NEEDED_PARTS = (*DENOISERS, "vae", "text_encoder", "text_encoder_2")
"""Of these a part without safetensors makes the model useless; a safety checker without is left behind."""
HEAD_BYTES = 8
MAX_HEADER_BYTES = 100_000_000
"""The format's own limit (https://huggingface.co/docs/safetensors)."""
PIPELINES = {
    "StableDiffusionPipeline": Architecture.STABLE_DIFFUSION_1,
    "StableDiffusionXLPipeline": Architecture.STABLE_DIFFUSION_XL,
    "FluxPipeline": Architecture.FLUX_1,
}
"""What diffusers calls the pipelines of our families in model_index.json."""
MARKS = (
    ("conditioner.embedders.1.", Architecture.STABLE_DIFFUSION_XL),
    ("double_blocks.0.img_attn.", Architecture.FLUX_1),
    ("cond_stage_model.transformer.", Architecture.STABLE_DIFFUSION_1),
)
"""Parts of tensors' names in single files, as they are handed around."""
BASE_MODEL_COLUMNS = ("PATH", "FILES", "SIZE")


@dataclass(frozen=True)
class Choice:
    """The files of a base model by what becomes of them, each sorted by path."""

    going: tuple[str, ...]
    pickled: tuple[str, ...] = ()
    """Would run code when loaded; safetensors take their place."""
    unknown: tuple[str, ...] = ()


def choose_files(paths: Iterable[str]) -> Choice:
    """Return what of a folder belongs to a base model.

    Raises:
        BadRequest: it is no base model in safetensors.
    """
    going, pickled, unknown = [], [], []
    for path in sorted(paths):
        pure = PurePosixPath(path)
        suffix = pure.suffix.lower()
        if suffix in PICKLED_SUFFIXES:
            pickled.append(path)
        elif suffix in BESIDE_WEIGHTS | {WEIGHTS_SUFFIX} and not any(part.startswith(".") for part in pure.parts):
            going.append(path)
        else:
            unknown.append(path)
    _check_tree(going, pickled)
    return Choice(tuple(going), tuple(pickled), tuple(unknown))


def _check_tree(going: Sequence[str], pickled: Sequence[str]) -> None:
    weights = [path for path in going if path.endswith(WEIGHTS_SUFFIX)]
    if not weights:
        if pickled:
            raise BadRequest(
                f"its weights are pickled ({escape_name(pickled[0])}), which run programs when loaded: convert them to "
                "safetensors, or fetch the model's safetensors variant",
                PAGE,
            )
        raise BadRequest(
            f"no .safetensors file is in it: name the folder of a diffusers model (with {INDEX}), or one .safetensors "
            "file",
            PAGE,
        )
    parts = {PurePosixPath(path).parts[0] for path in weights if "/" in path}
    if INDEX in going or parts & set(DENOISERS):
        bare = {PurePosixPath(path).parts[0] for path in pickled if "/" in path} - parts
        lacking = sorted(bare & set(NEEDED_PARTS))
        if lacking:
            raise BadRequest(
                f"{', '.join(lacking)} holds pickled weights alone, which run programs when loaded: convert them to "
                "safetensors, or fetch the model's safetensors variant",
                PAGE,
            )
    elif all("/" in path for path in weights):
        roots = sorted({PurePosixPath(path).parts[0] for path in going if path.endswith(f"/{INDEX}")})
        hint = f"; {escape_name(roots[0])} in it looks like one" if roots else ""
        raise BadRequest(f"the folder is no model: neither {INDEX} nor a .safetensors file lies in it{hint}", PAGE)


def describe_choice(choice: Choice) -> list[str]:
    """Return one line for each group of files that stays behind."""
    groups = ((choice.pickled, "pickled, safetensors take their place"), (choice.unknown, "of no use to training"))
    return [
        f"not sent: {len(paths)} {why} ({', '.join(map(escape_name, paths[:3]))}{', …' if len(paths) > 3 else ''})"
        for paths, why in groups
        if paths
    ]


def check_header(path: str, head: bytes, size: int) -> int:
    """Return the length of a weights file's header from its first eight bytes.

    Raises:
        BadRequest: it is not in safetensors, whatever its name says.
    """
    length = int.from_bytes(head, "little")
    if len(head) < HEAD_BYTES or not 2 <= length <= min(MAX_HEADER_BYTES, size - HEAD_BYTES):
        raise BadRequest(
            f"{escape_name(path)} is not a safetensors file, or only its beginning: fetch or convert it again", PAGE
        )
    return length


def check_size(path: str, size: int, header: Mapping[str, object], header_bytes: int) -> None:
    """Compare a weights file's size with what its header says.

    Raises:
        BadRequest: it was cut short, or is damaged.
    """
    ends = [
        entry["data_offsets"][1] for entry in header.values() if isinstance(entry, dict) and "data_offsets" in entry
    ]
    expected = HEAD_BYTES + header_bytes + max(ends, default=0)
    if expected != size:
        raise BadRequest(
            f"{escape_name(path)} has {size} bytes where its header says {expected}: it was cut short or damaged, "
            "fetch it again",
            PAGE,
        )


def recognise(pipeline: str | None, tensors: Iterable[str]) -> Architecture | None:
    """Return a model's family from its pipeline's class or its tensors' names; None where neither tells."""
    if pipeline in PIPELINES:
        return PIPELINES[pipeline]
    return next((found for name in tensors for mark, found in MARKS if mark in name), None)


def build_path(asked: str | None, source: str) -> str:
    """Return a base model's path in the store, as `spec.baseModel.source.storage.path` names it.

    Args:
        asked: by `--path`; the room in front may be left out.
        source: name of the folder or file.

    Raises:
        BadRequest: the path cannot be part of a store's keys.
    """
    parts = split_path(asked) if asked else (name_part(source.removesuffix(WEIGHTS_SUFFIX)),)
    parts = parts if parts[:1] == (ROOM,) else (ROOM, *parts)
    path = "/".join(parts)
    try:
        NamespaceLayout("any").base_model(path)
    except KeyRefused as error:
        raise BadRequest(f"--path {asked!r} cannot be used: {error}", PAGE) from error
    if len(parts) < 2:
        raise BadRequest(f"--path {asked!r} names no model: add one, such as {ROOM}/sd15", PAGE)
    return path


def name_part(name: str) -> str:
    """Return a name with what a store's key does not take replaced by dashes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip("._-") or "model"


def order_files(paths: Iterable[str]) -> list[str]:
    """Return paths in the order they are sent: what makes it a model comes last, so that a torn push is none."""
    return sorted(paths, key=lambda path: (path == INDEX, path))


def refuse_overwriting(path: str, others: Sequence[str]) -> BadRequest:
    """Return the refusal of a place where something else lies."""
    told = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
    return BadRequest(
        f"{path} holds another model already ({told}), and runs may rest on it: choose another --path", PAGE
    )


def build_rows(stored: Iterable[StoredObject], room: str) -> list[tuple[str, str, str]]:
    """Return the rows of the base models in a store, by `BASE_MODEL_COLUMNS`.

    Args:
        stored: everything below the room.
        room: its key.
    """
    sizes = {f"{ROOM}{entry.key.removeprefix(room)}": entry.bytes for entry in stored}
    roots = {path.removesuffix(f"/{INDEX}") for path in sizes if path.endswith(f"/{INDEX}")}
    for path in sizes:
        if path.endswith(WEIGHTS_SUFFIX) and not any(path.startswith(f"{root}/") for root in roots):
            parent = str(PurePosixPath(path).parent)
            part = PurePosixPath(parent).name
            # A folder whose index has not arrived (yet) is one model, not one for each part.
            roots.add(parent if part not in NEEDED_PARTS else str(PurePosixPath(parent).parent))
    rows = []
    for root in sorted(roots):
        inside = [size for path, size in sizes.items() if path.startswith(f"{root}/")]
        rows.append((root, str(len(inside)), format_size(sum(inside))))
    return rows
