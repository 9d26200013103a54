"""A push of a base model into a namespace's store: nothing that lies there is replaced, what lies there is not resent.

Its files lie under names, so each is compared by its sha256 before anything is sent.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from atelier_contract.architectures import Architecture
from atelier_contract.errors import KeyRefused
from atelier_contract.layout import WEIGHTS_SUFFIX, split_path
from atelier_studio.actions import base_models
from atelier_studio.edges.upload import Hashed, LocalFile, Upload, list_folder, open_source
from atelier_studio.errors import BadRequest


@dataclass(frozen=True)
class LocalModel:
    """A base model on this machine, looked at."""

    files: tuple[LocalFile, ...]
    """In the order they are sent."""
    architecture: Architecture | None
    """None where neither index nor tensors tell."""
    left_behind: tuple[str, ...]
    """One line for each group of files."""


def read_model(source: Path) -> LocalModel:
    """Look at a base model: a folder, or one file.

    Raises:
        BadRequest: it is no base model in safetensors, or damaged.
    """
    if source.is_file():
        found = {base_models.name_part(source.name): source}
    elif source.is_dir():
        found = {file.path: file.source for file in list_folder(source)}
    else:
        raise BadRequest(f"{source} is neither a folder nor a file", base_models.PAGE)
    choice = base_models.choose_files(found)
    files = [LocalFile(path, found[path], found[path].stat().st_size) for path in base_models.order_files(choice.going)]
    tensors: list[str] = []
    for file in files:
        if file.path.endswith(WEIGHTS_SUFFIX):
            tensors += _read_tensors(file)
    pipeline = _read_pipeline(found.get(base_models.INDEX))
    architecture = base_models.recognise(pipeline, tensors)
    return LocalModel(tuple(files), architecture, tuple(base_models.describe_choice(choice)))


def push_model(upload: Upload, path: str, files: Sequence[LocalFile]) -> int:
    """Bring a base model's files below a path of the store and return how many had to be sent.

    Raises:
        BadRequest: something else lies there.
        FileChanged, FileUnreadable: a file was written meanwhile, or cannot be read.
        StorageUnavailable, StorageNotConfigured: as every use of a store.
    """
    layout = upload.opened.layout
    root = layout.base_model(path)
    try:
        keys = {file.path: layout.key(*split_path(path), *split_path(file.path)) for file in files}
    except KeyRefused as error:
        raise BadRequest(f"a file's name cannot be kept: {error}. Rename it", base_models.PAGE) from error
    stored = {entry.key: entry.bytes for entry in upload.opened.store.list(root)}
    strangers = sorted(key.removeprefix(f"{root}/") for key in stored.keys() - set(keys.values()))
    differing = [file.path for file in files if stored.get(keys[file.path], file.bytes) != file.bytes]
    if strangers or differing:
        raise base_models.refuse_overwriting(path, [*strangers, *differing])
    missing: list[tuple[LocalFile, Hashed]] = []
    for file in files:
        hashed = upload.hash(file)
        if keys[file.path] not in stored:
            missing.append((file, hashed))
        elif upload.find_sha256(keys[file.path]) == hashed.content.sha256:
            upload.meter.skip(file.bytes)
            upload.meter.finish_file()
        else:
            raise base_models.refuse_overwriting(path, [file.path])
    for file, hashed in missing:
        upload.send_named(file, keys[file.path], hashed)
    return len(missing)


def _read_tensors(file: LocalFile) -> list[str]:
    """Return the names of a weights file's tensors. Raises BadRequest where it is none, or not whole."""
    with open_source(file.source) as source:
        length = base_models.check_header(file.path, source.read(base_models.HEAD_BYTES), file.bytes)
        try:
            header = json.loads(source.read(length))
            base_models.check_size(file.path, file.bytes, header, length)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise BadRequest(
                f"{file.path} is not a safetensors file: its header cannot be read. Fetch or convert it again",
                base_models.PAGE,
            ) from error
    return [name for name in header if name != "__metadata__"]


def _read_pipeline(index: Path | None) -> str | None:
    if index is None:
        return None
    try:
        with open_source(index) as source:
            return str(json.load(source).get("_class_name"))
    except (ValueError, AttributeError) as error:
        raise BadRequest(f"{base_models.INDEX} is not JSON: fetch the model again", base_models.PAGE) from error
