"""The image encoder that samples are compared by: found before a GPU is asked for, and fetched from the same list.

In: the store and a path in it. Out: the files that are needed. Whether they hold an encoder shows when they load.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from atelier_materials.dataset.sources import Folder, SourceFile
from atelier_materials.errors import InvalidInput
from atelier_trainer.edges.home import Home

WEIGHTS = ".safetensors"
NEEDED = {".json", ".txt", WEIGHTS}
"""Configs, vocabularies and weights, nothing else."""


def find_image_encoder(home: Home, path: str) -> tuple[Folder, list[SourceFile]]:
    """Return the folder of `validation.imageEncoder` and the files to fetch from it.

    Raises:
        InvalidInput: no weights lie there.
    """
    folder = Folder(home.store, home.layout.base_model(path))
    files = [file for file in folder.files() if PurePosixPath(file.path).suffix in NEEDED]
    if not any(file.path.endswith(WEIGHTS) for file in files):
        raise InvalidInput(
            f"no image encoder lies at {folder.address}: validation.imageEncoder names a folder of the store with "
            "config.json and model.safetensors; upload one, or leave the field out"
        )
    return folder, files
