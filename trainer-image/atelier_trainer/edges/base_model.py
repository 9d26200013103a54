"""Whether what lies at an address is a base model that can be trained on, found out from listing, configs and headers.

In: a folder or a file, wherever it lies. Out: the files that are needed and what they weigh. No weight is read. Two
layouts are taken: a diffusers folder (`diffusers_folder`), and checkpoints in one file or a few (`checkpoint_files`).
Everything wrong is said in one sentence each, gravest first: unsafe, another architecture, incomplete.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from atelier_contract.architectures import Architecture
from atelier_contract.base import digest_of
from atelier_materials.dataset.sources import Folder, SourceFile
from atelier_trainer.edges.base_model_facts import BaseModelFacts
from atelier_trainer.edges.checkpoint_files import check_files, list_checkpoints
from atelier_trainer.edges.diffusers_folder import check_folder
from atelier_trainer.edges.safetensors_header import is_pickle
from atelier_trainer.errors import BaseModelUnusable

PICKLED_SUFFIXES = frozenset({".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle"})
HARMLESS_SUFFIXES = frozenset({".json", ".txt", ".md"})
HEAD_BYTES = 8


def check_base_model(folder: Folder, architecture: Architecture) -> BaseModelFacts:
    """Check a base model.

    Raises:
        BaseModelUnusable: it is missing, unsafe, of another architecture, or incomplete.
    """
    files = {file.path: file for file in folder.files()} or _find_named_file(folder)
    if not files:
        raise BaseModelUnusable(
            f"no base model lies at {folder.address}: correct spec.baseModel.source, or upload one with "
            "kubectl atelier base-model push FOLDER"
        )
    checkpoints = list_checkpoints(files)
    if not folder.is_public:
        _refuse_pickles(folder, files)
    if not checkpoints:
        facts = check_folder(folder, files, architecture)
    else:
        facts = check_files(folder, files, checkpoints, architecture)
    if folder.is_public:
        _refuse_pickles(folder, {file.path: file for file in facts.files})
    return facts


def digest_base_model(sha256_by_path: Mapping[str, str]) -> str:
    """Return the digest of a base model: over the names and contents of the files that training needs."""
    return digest_of(sorted(sha256_by_path.items()))


def _find_named_file(folder: Folder) -> dict[str, SourceFile]:
    """Return the one file that the address names instead of a folder."""
    found = folder.shelf.head(folder.prefix) if folder.prefix else None
    name = PurePosixPath(folder.prefix).name
    return {name: SourceFile(name, found.key, found.bytes)} if found is not None else {}


def _refuse_pickles(folder: Folder, files: Mapping[str, SourceFile]) -> None:
    """Refuse pickles by name and by magic: all of a folder of the user's, what is needed of a public repository."""
    for file in files.values():
        suffix = PurePosixPath(file.path).suffix.lower()
        if suffix in PICKLED_SUFFIXES:
            raise BaseModelUnusable(
                f"{file.path} at {folder.address} holds pickled weights, which can run code when loaded: remove it, "
                "and upload the weights as safetensors"
            )
        # An empty file has no part that a bucket would give (416), and is no pickle.
        if suffix in HARMLESS_SUFFIXES or not file.bytes:
            continue
        if is_pickle(folder.shelf.read(file.key, 0, HEAD_BYTES)):
            raise BaseModelUnusable(
                f"{file.path} at {folder.address} holds pickled weights under another name, which can run code when "
                "loaded: remove it, and upload the weights as safetensors"
            )
