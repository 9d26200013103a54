"""Kohya's dataset configuration: a TOML that names folders, how often a pass shows them, and what to call them.

Read is what says which pictures there are and what they are called; how to train is the TrainingJob's business, and
such settings are named so that nobody believes they took effect. Everything lies below the folder of the TOML: a path
of somebody's own machine means nothing in a cluster. Pure: bytes in, subsets and complaints out.

What the keys mean: docs/config_README-en.md of kohya-ss/sd-scripts.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath

MAX_CONFIG_BYTES = 256 << 10
"""A thousand subsets with everything that is read of one."""
MOST_DOTS = 300
"""In one line. Parsing a key takes time by the square of its parts; a path or a sentence has a few dots."""
MAX_TEXT_LENGTH = 4000
"""Of one setting. What is put before or behind each caption is held once for each picture."""
MAX_REPEATS = 999
"""As in folder names."""
READ_KEYS = frozenset(
    {"image_dir", "num_repeats", "class_tokens", "caption_extension", "is_reg", "caption_prefix", "caption_suffix"}
)
ELSEWHERE = {
    "shuffle_caption": "tuning.shuffleTags",
    "keep_tokens": "tuning.keepTags",
    "flip_aug": "tuning.flip",
    "resolution": "tuning.resolution",
    "batch_size": "tuning.batchSize",
    "caption_dropout_rate": "tuning.captionDropout",
}
"""Where a TrainingJob says the same."""
REFUSED_KEYS = {
    "metadata_file": "captions of a metadata_file are not read: write them as NAME.txt beside each picture",
    "conditioning_data_dir": "conditioning pictures are for ControlNets, which are not trained here",
}


class NoConfig(Exception):
    """The TOML is something else, such as the settings of a training: it is passed over."""


class ConfigRefused(Exception):
    """The TOML is meant as such a configuration and cannot be read. Becomes a finding, with these words."""


@dataclass(frozen=True)
class Subset:
    """One folder of pictures."""

    folder: str
    """Relative to the TOML; empty: beside it."""
    repeats: int = 1
    words: str = ""
    """Caption of pictures without a caption file."""
    caption_suffix: str | None = None
    """Of caption files, with its dot; None: either of the known ones."""
    prefix: str = ""
    suffix: str = ""
    is_regularisation: bool = False

    def complete(self, caption: str) -> str:
        """Return a caption with what is put before and behind each, divided by spaces as kohya does."""
        return " ".join(part for part in (self.prefix, caption, self.suffix) if part)


@dataclass(frozen=True)
class KohyaConfig:
    """What such a TOML says."""

    subsets: tuple[Subset, ...]
    complaints: tuple[str, ...]
    """Of subsets that cannot be used, in words."""
    not_read: tuple[str, ...]
    """Settings that have their place elsewhere, each with its name there if it has one."""


def read_config(data: bytes) -> KohyaConfig:
    """Return what a dataset configuration says.

    Raises:
        NoConfig: it is none.
        ConfigRefused: it is no TOML, too costly to parse, or its tables are not where they must be.
    """
    text = _read_whole(data)
    try:
        told = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # the library's own error, and Python's at a number of 5,000 digits
        raise ConfigRefused(f"it is no TOML: {error}") from error
    datasets = told.get("datasets")
    if datasets is None:
        raise NoConfig
    general = _expect_table(told.get("general", {}), "general")
    subsets, complaints, others = [], [], set()
    for where, settings in _list_subsets(general, datasets):
        others |= settings.keys() - READ_KEYS - REFUSED_KEYS.keys()
        try:
            subsets.append(_read_subset(settings))
        except ConfigRefused as refusal:
            complaints.append(f"{where}: {refusal}")
    not_read = tuple(f"{key} ({ELSEWHERE[key]})" if key in ELSEWHERE else key for key in sorted(others))
    return KohyaConfig(tuple(subsets), tuple(complaints), not_read)


def _read_whole(data: bytes) -> str:
    """Return the text, unless parsing it would take long by what can be told of it without."""
    try:
        return _judge_cost(data)
    except ConfigRefused:
        if b"datasets" in data:
            raise
        raise NoConfig from None  # another tool's


def _judge_cost(data: bytes) -> str:
    if len(data) > MAX_CONFIG_BYTES:
        raise ConfigRefused(f"it is over {MAX_CONFIG_BYTES >> 10} KiB: split the dataset, each part with its own TOML")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigRefused("it is not UTF-8") from error
    for number, line in enumerate(text.split("\n"), 1):
        if line.count(".") > MOST_DOTS and not line.lstrip().startswith("#"):
            raise ConfigRefused(f"line {number} has over {MOST_DOTS} dots, more than any setting needs: shorten it")
    return text


def _list_subsets(general: Mapping[str, object], datasets: object) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield each subset's settings over its dataset's over the general ones, with what to call it."""
    for number, dataset in enumerate(_expect_tables(datasets, "datasets"), 1):
        inherited = {**general, **{key: value for key, value in dataset.items() if key != "subsets"}}
        for place, subset in enumerate(_expect_tables(dataset.get("subsets", []), "datasets.subsets"), 1):
            yield f"subset {place} of dataset {number}", {**inherited, **subset}


def _read_subset(settings: Mapping[str, object]) -> Subset:
    for key, why in REFUSED_KEYS.items():
        if settings.get(key):
            raise ConfigRefused(why)
    repeats = settings.get("num_repeats", 1)
    if not isinstance(repeats, int) or isinstance(repeats, bool) or not 1 <= repeats <= MAX_REPEATS:
        raise ConfigRefused(f"num_repeats must be a whole number from 1 to {MAX_REPEATS}")
    suffix = _read_text(settings, "caption_extension")
    return Subset(
        folder=_read_folder(_read_text(settings, "image_dir")),
        repeats=repeats,
        words=" ".join(_read_text(settings, "class_tokens").split()),
        caption_suffix=f".{suffix.lstrip('.')}".lower() if suffix else None,
        prefix=_read_text(settings, "caption_prefix").strip(),
        suffix=_read_text(settings, "caption_suffix").strip(),
        is_regularisation=settings.get("is_reg") is True,
    )


def _read_folder(told: str) -> str:
    """Return a folder relative to the TOML, with slashes."""
    if not told:
        raise ConfigRefused("image_dir is missing")
    if PurePosixPath(told).is_absolute() or PureWindowsPath(told).drive or told.startswith(("\\", "~")):
        raise ConfigRefused("image_dir is a path of one machine: write it relative to where the TOML lies")
    path = PurePosixPath(told.replace("\\", "/"))
    if ".." in path.parts:
        raise ConfigRefused("image_dir leads out of the folder: put the TOML above all pictures")
    return "" if str(path) == "." else str(path)


def _read_text(settings: Mapping[str, object], key: str) -> str:
    value = settings.get(key, "")
    if not isinstance(value, str):
        raise ConfigRefused(f"{key} must be text")
    if len(value) > MAX_TEXT_LENGTH:
        raise ConfigRefused(f"{key} is over {MAX_TEXT_LENGTH:,} characters")
    return value


def _expect_table(value: object, name: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ConfigRefused(f"{name} must be a table")
    return value


def _expect_tables(value: object, name: str) -> list[dict[str, object]]:
    if not isinstance(value, list):
        raise ConfigRefused(f"{name} must be a list of tables: write [[{name}]]")
    return [_expect_table(item, name) for item in value]
