"""The six ways in which people keep pictures and captions: which one a folder is, and what it says in it.

Detected from names alone, said in one sentence, and overridden by `spec.layout` of the Dataset or `--layout`. What is
detected reads whatever it finds, so that a kohya folder with caption files beside the pictures means both; a layout
that was named reads that one's files and nothing else.

In: the files of a source. Out: a `Listing`, every picture with its captions, repeats and mask. No picture is opened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from atelier_contract.dataset import DatasetLayout
from atelier_contract.reasons import Finding
from atelier_materials.dataset.captions import is_table, read_folder_name, stem_of
from atelier_materials.dataset.findings import Findings
from atelier_materials.dataset.kohya import MAX_CONFIG_BYTES, ConfigRefused, KohyaConfig, NoConfig, Subset, read_config
from atelier_materials.dataset.listing import SortedFiles, sort_files
from atelier_materials.dataset.naming import escape_name
from atelier_materials.dataset.pairing import find_owner, read_sidecars, read_tables, stem_of_file
from atelier_materials.dataset.sources import Dataset, SourceFile
from atelier_materials.errors import DatasetUnusable

TRAIN_SPLITS = frozenset({"train", "training"})
OTHER_SPLITS = frozenset({"validation", "valid", "val", "dev", "test", "testing", "eval", "evaluation"})
"""As the datasets library names splits by folders."""
REGULARISATION_FOLDERS = frozenset({"reg", "regularization", "regularisation"})
"""Beside `img/` in what kohya's own tools prepare."""
EXAMPLES = 3
"""Folders that a sentence names."""


@dataclass(frozen=True)
class ListedPicture:
    """A picture and what its layout says of it."""

    file: SourceFile
    captions: tuple[str, ...] = ()
    repeats: int = 1
    mask: SourceFile | None = None


@dataclass
class Listing:
    """A dataset as its layout tells of it."""

    layout: DatasetLayout
    sentence: str
    """What was recognised, to be said aloud. No caption is in it."""
    pictures: list[ListedPicture] = field(default_factory=list)
    """Sorted by path."""
    stray_masks: list[SourceFile] = field(default_factory=list)
    """Without a picture."""


@dataclass(frozen=True)
class _Reading:
    """Which of the files that lie there count."""

    sidecars: bool = True
    tables: bool = True
    folders: bool = True
    """Kohya's names of folders."""
    splits: bool = False
    classes: bool = False


NAMED = {
    DatasetLayout.PLAIN: _Reading(sidecars=False, tables=False, folders=False),
    DatasetLayout.SIDECARS: _Reading(tables=False, folders=False),
    DatasetLayout.TABLE: _Reading(sidecars=False, folders=False),
    DatasetLayout.KOHYA: _Reading(tables=False),
    DatasetLayout.IMAGE_FOLDER: _Reading(sidecars=False, folders=False, splits=True, classes=True),
}
"""What a layout means that was named."""
WANTING = {
    DatasetLayout.SIDECARS: "NAME.txt or NAME.caption lies beside a picture",
    DatasetLayout.TABLE: "metadata.jsonl, metadata.csv or metadata.parquet lies there",
    DatasetLayout.KOHYA: "folder with pictures is named NN_words",
    DatasetLayout.KOHYA_TOML: "TOML with [[datasets]] lies at the top",
}


def detect_layout(paths: Iterable[str]) -> DatasetLayout:
    """Return the layout of a folder by the names of its files; a TOML at its top is taken at its word."""
    found = sort_files((SourceFile(path, path, 0) for path in paths), Findings())
    return _detect(found, has_config=bool(found.configs))


def is_telling(folder: str) -> bool:
    """Return whether a folder's name says something of the pictures in it, so that it must not be taken off."""
    return _is_kohya(f"{folder}/x") or folder.lower() in TRAIN_SPLITS | OTHER_SPLITS | REGULARISATION_FOLDERS


def read_listing(dataset: Dataset, layout: DatasetLayout | None, findings: Findings) -> Listing:
    """Return the pictures of a dataset with their captions, repeats and masks.

    Args:
        dataset: where the files lie.
        layout: what the person says it is; None: it is detected.
        findings: what is wrong is added to.

    Raises:
        DatasetUnusable: nothing lies there, far too much does, or nothing of the layout that was named.
        AtelierError: the source cannot be read.
    """
    found = sort_files(dataset.files(), findings)
    config = None
    if layout in {None, DatasetLayout.KOHYA_TOML}:
        config = _read_config(dataset, found.configs, findings)
    detected = layout or _detect(found, has_config=config is not None)
    if layout is not None:
        _require(found, layout, has_config=config is not None)
    for file in found.misnamed:
        findings.add(Finding.CAPTION_MISNAMED, file.path)
    if detected is DatasetLayout.KOHYA_TOML and config is not None:
        pictures = _list_subsets(dataset, found, config, findings)
    else:
        reading = NAMED[layout] if layout else _Reading(splits=detected is DatasetLayout.IMAGE_FOLDER, classes=True)
        if detected is not DatasetLayout.IMAGE_FOLDER:
            reading = replace(reading, classes=False)
        pictures = _list_folders(dataset, found, reading, findings)
    return Listing(
        layout=detected,
        sentence=_describe(detected, found, pictures),
        pictures=[replace(picture, mask=found.masks.get(stem_of(picture.file.path))) for picture in pictures],
        stray_masks=[found.masks[stem] for stem in sorted(found.masks.keys() - set(map(stem_of_file, found.pictures)))],
    )


def _detect(found: SortedFiles, *, has_config: bool) -> DatasetLayout:
    stems = set(map(stem_of_file, found.pictures))
    signs = (
        (has_config, DatasetLayout.KOHYA_TOML),
        (any(_is_kohya(file.path) for file in found.pictures), DatasetLayout.KOHYA),
        (any(_split_of(file.path) in TRAIN_SPLITS for file in found.pictures), DatasetLayout.IMAGE_FOLDER),
        (bool(found.tables), DatasetLayout.TABLE),
        (any(find_owner(file, stems) for file in found.sidecars), DatasetLayout.SIDECARS),
    )
    return next((layout for is_there, layout in signs if is_there), DatasetLayout.PLAIN)


def _require(found: SortedFiles, layout: DatasetLayout, *, has_config: bool) -> None:
    stems = set(map(stem_of_file, found.pictures))
    is_there = {
        DatasetLayout.SIDECARS: any(find_owner(file, stems) for file in found.sidecars),
        DatasetLayout.TABLE: bool(found.tables),
        DatasetLayout.KOHYA: any(_is_kohya(file.path) for file in found.pictures),
        DatasetLayout.KOHYA_TOML: has_config,
    }
    if not is_there.get(layout, True):
        seen = _detect(found, has_config=has_config)
        raise DatasetUnusable(
            f"the layout is said to be {layout}, but no {WANTING[layout]}: leave spec.layout (--layout) out; "
            f"what lies there looks like {seen}"
        )


def _read_config(dataset: Dataset, configs: list[SourceFile], findings: Findings) -> tuple[str, KohyaConfig] | None:
    """Return the first TOML that describes a dataset, with its name; others are passed over, broken ones named."""
    for file in configs:
        try:
            return file.path, read_config(dataset.shelf.read(file.key, 0, MAX_CONFIG_BYTES + 1))  # one more is refused
        except NoConfig:
            continue
        except ConfigRefused as refusal:
            findings.add(Finding.LAYOUT_CONFIG_UNUSABLE, file.path, str(refusal))
    return None


def _list_subsets(
    dataset: Dataset, found: SortedFiles, named: tuple[str, KohyaConfig], findings: Findings
) -> list[ListedPicture]:
    """Return the pictures of kohya's subsets: those in the named folders, not below. The first to name one has it."""
    path, config = named
    for complaint in config.complaints:
        findings.add(Finding.LAYOUT_CONFIG_UNUSABLE, path, complaint)
    for setting in config.not_read:
        findings.add(Finding.LAYOUT_SETTING_NOT_READ, path, setting)
    folders = {file.path: _folder_of(file.path) for file in found.pictures}
    first: dict[str, Subset] = {}
    there = set(folders.values())
    for subset in config.subsets:
        first.setdefault(subset.folder, subset)
        if subset.folder not in there:
            findings.add(Finding.LAYOUT_CONFIG_UNUSABLE, path, f"no picture lies in {escape_name(subset.folder)}")
    taken = {picture: first[folder] for picture, folder in folders.items() if folder in first}
    for picture in [picture for picture, subset in taken.items() if subset.is_regularisation]:
        findings.add(Finding.REGULARISATION_LEFT_OUT, picture)
        del taken[picture]
    suffixes = {stem_of(picture): subset.caption_suffix for picture, subset in taken.items()}
    texts = read_sidecars(dataset, found, findings, suffixes)
    pictures = []
    for file in found.pictures:
        if file.path not in taken:
            continue
        subset = taken[file.path]
        own = tuple(map(subset.complete, texts.get(stem_of(file.path), ())))
        words = (subset.complete(subset.words),) if subset.words else ()
        pictures.append(ListedPicture(file, own or words, subset.repeats))
    return pictures


def _list_folders(dataset: Dataset, found: SortedFiles, reading: _Reading, findings: Findings) -> list[ListedPicture]:
    """Return the pictures of every layout that needs no configuration."""
    pictures = list(_leave_out(found.pictures, reading, findings))
    tables = read_tables(dataset, found, findings) if reading.tables else {}
    texts = read_sidecars(dataset, found, findings, {}) if reading.sidecars else {}
    listed = []
    for file in pictures:
        repeats, words = read_folder_name(file.path) if reading.folders else (1, "")
        if reading.classes and not tables:
            words = words or _name_class(file.path)
        beside = tuple(texts.get(stem_of(file.path), ()))
        captions = beside or tuple(tables.get(file.path, ())) or ((words,) if words else ())
        listed.append(ListedPicture(file, captions, repeats))
    return listed


def _leave_out(pictures: list[SourceFile], reading: _Reading, findings: Findings) -> Iterator[SourceFile]:
    """Yield the pictures to train on: not those of other splits, nor those that kohya keeps for regularisation."""
    is_kohya = reading.folders and any(_is_kohya(file.path) for file in pictures)
    for file in pictures:
        top = _split_of(file.path)
        if reading.splits and top in OTHER_SPLITS:
            findings.add(Finding.SPLIT_LEFT_OUT, file.path)
        elif is_kohya and top in REGULARISATION_FOLDERS:
            findings.add(Finding.REGULARISATION_LEFT_OUT, file.path)
        else:
            yield file


def _folder_of(path: str) -> str:
    folder = str(PurePosixPath(path).parent)
    return "" if folder == "." else folder


def _split_of(path: str) -> str:
    """Return the topmost folder of a path in lower case; nothing for a file at the top."""
    parts = PurePosixPath(path).parts
    return parts[0].lower() if len(parts) > 1 else ""


def _is_kohya(path: str) -> bool:
    return read_folder_name(path) != (1, "")


def _name_class(path: str) -> str:
    """Return the words of a class folder: the picture's own folder, unless that is a split or the top."""
    parts = PurePosixPath(path).parts[:-1]
    own = parts[1:] if parts and parts[0].lower() in TRAIN_SPLITS else parts
    return " ".join(own[0].replace("_", " ").replace("-", " ").split()) if len(own) == 1 else ""


def _describe(layout: DatasetLayout, found: SortedFiles, pictures: list[ListedPicture]) -> str:
    """Return what was recognised, as one sentence."""
    captioned = sum(1 for picture in pictures if picture.captions)
    told = f"{len(pictures)} pictures, {captioned} with a caption"
    if layout is DatasetLayout.PLAIN:
        return f"recognised as a plain folder: {len(pictures)} pictures, no captions"
    if layout is DatasetLayout.SIDECARS:
        return f"recognised as pictures with a caption file of the same name: {told}"
    if layout is DatasetLayout.TABLE:
        return f"recognised as pictures with a table of captions ({_name(file.path for file in found.tables)}): {told}"
    if layout is DatasetLayout.KOHYA_TOML:
        return f"recognised as a kohya dataset described by a TOML ({_name(f.path for f in found.configs)}): {told}"
    if layout is DatasetLayout.KOHYA:
        folders = Counter(PurePosixPath(picture.file.path).parent.name for picture in pictures)
        kohya = [name for name, _ in folders.most_common() if _is_kohya(f"{name}/x")]
        return f"recognised as kohya's folders ({_name(kohya)}): {told}"
    splits = sorted({_split_of(picture.file.path) for picture in pictures} & TRAIN_SPLITS)
    how = "a table" if any(is_table(file.path) for file in found.tables) else "names of class folders"
    return f"recognised as an image folder ({_name(f'{split}/' for split in splits) or 'class folders'}, {how}): {told}"


def _name(names: Iterable[str]) -> str:
    """Return the first names, fit to be printed."""
    listed = [escape_name(name) for name in names]
    return ", ".join(listed[:EXAMPLES]) + (", …" if len(listed) > EXAMPLES else "")
