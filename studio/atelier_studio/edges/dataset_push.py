"""A push of a folder into a dataset's part of the store: contents first, the document that makes them count last.

Killed at any moment, it has changed nothing that anybody reads: contents without a document are no part of a dataset,
and the next push finds them there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from atelier_contract.manifests import PushedFile, PushManifest
from atelier_materials.dataset.sources import UploadedDataset
from atelier_materials.store.documents import write_document
from atelier_materials.store.protocol import hash_bytes
from atelier_studio.actions.pushing import build_push
from atelier_studio.edges.store import StudioStore
from atelier_studio.edges.upload import LocalFile, Upload


def push_files(
    upload: Upload, name: str, files: Sequence[LocalFile], now: datetime, replaces: Callable[[], bool]
) -> PushManifest | None:
    """Push files into a dataset.

    Args:
        upload: the way into the store.
        name: of the Dataset.
        files: all that belongs to it, of this folder.
        now: by this machine's clock. A push counts after all that ended before it, whatever their clocks said.
        replaces: whether what is not among the files goes out of the dataset; asked when all contents are sent.

    Returns:
        The push, or None where the dataset held exactly this already.

    Raises:
        FileChanged, FileUnreadable: a file was written meanwhile, or cannot be read.
        StorageUnavailable, StorageNotConfigured: as every use of a store.
    """
    store, layout = upload.opened.store, upload.opened.layout
    dataset = UploadedDataset(store, layout, name)
    sent = upload.send_contents(files, partial(layout.blob, name), dataset.list_blobs())
    pushed = [PushedFile(path=file.path, bytes=content.bytes, sha256=content.sha256) for file, content in sent]
    # Only now: somebody else's push may have ended while ours was under way.
    push = build_push(pushed, dataset.list_pushes(), now, replaces=replaces())
    if push is not None:
        write_document(store, layout.push(name, hash_bytes(push.to_bytes()).sha256), push)
    return push


def read_last_push(opened: StudioStore, name: str) -> str:
    """Return when the last finished push of a dataset was, of which there is one at least."""
    pushes = UploadedDataset(opened.store, opened.layout, name).list_pushes()
    return max((push.pushed_at for push in pushes), key=datetime.fromisoformat)


def list_missing(opened: StudioStore, name: str, files: Sequence[LocalFile], upload: Upload) -> list[LocalFile]:
    """Return the files whose contents the store does not have; nothing is sent."""
    stored = UploadedDataset(opened.store, opened.layout, name).list_blobs()
    missing = []
    for file in files:
        key = opened.layout.blob(name, upload.hash(file).content.sha256)
        if stored.get(key) != file.bytes:
            missing.append(file)
            stored[key] = file.bytes
    return missing
