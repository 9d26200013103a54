"""What of a folder belongs to a dataset, what of it must still be sent, and the document that ends a push.

Pure: paths and digests come in, decisions go out. Nothing is read or sent here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

from atelier_contract.manifests import PushedFile, PushManifest
from atelier_contract.names import MAX_NAME_LENGTH
from atelier_materials.dataset.captions import SIDECAR_SUFFIXES, TABLE_NAMES
from atelier_materials.dataset.listing import PICTURE_SUFFIXES
from atelier_materials.dataset.naming import escape_name, judge_name
from atelier_materials.dataset.sources import merge_pushes
from atelier_studio.errors import BadRequest

LEFT_BY_SYSTEMS = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx"})
"""What Windows and macOS leave in folders, in lower case; hidden files beside them."""
SETTINGS_SUFFIX = ".toml"
"""Kohya's description of a dataset."""
TABLE_SUFFIXES = frozenset(PurePosixPath(name).suffix for name in (*TABLE_NAMES, "metadata.parquet"))
ENDINGS_WITHOUT_DOT = tuple(suffix.removeprefix(".") for suffix in SIDECAR_SUFFIXES)
"""`cattxt`: a caption that lost the dot of its suffix. It goes along, so that the inspection can name it."""
EXAMPLES = 3
STAMP_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


@dataclass(frozen=True)
class Sorting:
    """The files of a folder by what becomes of them; each sorted by path."""

    going: tuple[str, ...]
    """Pictures, masks, captions, tables."""
    hidden: tuple[str, ...] = ()
    """Left by an operating system, or hidden by a dot."""
    unknown: tuple[str, ...] = ()
    """No dataset has a use for them."""
    misnamed: tuple[str, ...] = ()
    """Their names would not survive, or would deceive whoever reads them."""


def sort_paths(paths: Iterable[str]) -> Sorting:
    """Return the files of a folder by what becomes of them."""
    going, hidden, unknown, misnamed = [], [], [], []
    for path in sorted(paths):
        parts = PurePosixPath(path).parts
        if any(part.startswith(".") or part.lower() in LEFT_BY_SYSTEMS for part in parts):
            hidden.append(path)
        elif not is_of_use(path):
            unknown.append(path)
        elif judge_name(path) is not None:
            misnamed.append(path)
        else:
            going.append(path)
    return Sorting(tuple(going), tuple(hidden), tuple(unknown), tuple(misnamed))


def is_of_use(path: str) -> bool:
    """Return whether a dataset can have a use for a file of this name."""
    name, suffix = PurePosixPath(path).name.lower(), PurePosixPath(path).suffix.lower()
    known = PICTURE_SUFFIXES | TABLE_SUFFIXES | {*SIDECAR_SUFFIXES, SETTINGS_SUFFIX}
    return suffix in known or name.endswith(ENDINGS_WITHOUT_DOT)


def is_picture(path: str) -> bool:
    """Return whether a file has a picture's name."""
    return PurePosixPath(path).suffix.lower() in PICTURE_SUFFIXES


def describe_sorting(sorting: Sorting) -> list[str]:
    """Return one line for each group of files that stays behind."""
    groups = (
        (sorting.hidden, "hidden or left by the operating system"),
        (sorting.unknown, "of no use to a dataset"),
        (sorting.misnamed, "named in a way that cannot be kept (rename them)"),
    )
    return [f"not sent: {len(paths)} {why} ({_give_examples(paths)})" for paths, why in groups if paths]


def _give_examples(paths: Sequence[str]) -> str:
    told = ", ".join(escape_name(path) for path in paths[:EXAMPLES])
    return told + (", …" if len(paths) > EXAMPLES else "")


def name_dataset(folder: str) -> str:
    """Return the name of a Dataset from that of a folder.

    Raises:
        BadRequest: nothing of it can be part of a name.
    """
    name = re.sub(r"[^a-z0-9]+", "-", folder.lower()).strip("-")[:MAX_NAME_LENGTH].strip("-")
    if not name:
        raise BadRequest(f"no name follows from the folder {escape_name(folder)!r}: give one with --name")
    return name


def check_name(name: str) -> str:
    """Return the name of a Dataset as it is.

    Raises:
        BadRequest: Kubernetes takes no such name.
    """
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name) or len(name) > MAX_NAME_LENGTH:
        raise BadRequest(
            f"{name!r} cannot name a Dataset: use up to {MAX_NAME_LENGTH} small letters, digits and dashes, such as "
            f"{name_dataset(name or 'teapots')}"
        )
    return name


def build_push(
    files: Iterable[PushedFile], earlier: Sequence[PushManifest], now: datetime, *, replaces: bool
) -> PushManifest | None:
    """Return the document that ends a push, or None where the dataset holds exactly this already.

    Args:
        files: what was found in the folder, all of it stored by now.
        earlier: the finished pushes of the dataset, in any order.
        now: time of this machine. A clock that is behind another's does not put this push before the other.
        replaces: whether what earlier pushes brought goes unless it is here too.
    """
    pushed = sorted(files, key=lambda file: file.path)
    before = merge_pushes(earlier)
    after = {} if replaces else dict(before)
    after.update({file.path: file for file in pushed})
    if earlier and after == before:
        return None
    return PushManifest(pushed_at=_date_push(earlier, now), files=pushed, replaces=replaces)


def _date_push(earlier: Sequence[PushManifest], now: datetime) -> str:
    latest = max((datetime.fromisoformat(push.pushed_at) for push in earlier), default=None)
    moment = now.astimezone(UTC)
    if latest is not None and moment <= latest:
        moment = latest + timedelta(microseconds=1)
    return moment.strftime(STAMP_FORMAT)
