"""What no file of the project says: addresses of package registries, paths of somebody's machine; and what agrees."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from checkout import CHECKOUT, list_files, name_of, read_text

# In pieces, so that this file does not hold what it looks for.
REGISTRIES = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("proxy", "golang", "org"),
        ("deb", "debian", "org"),
    )
]
HOMES = "|".join(("w" + "ork", "r" + "oot", "h" + "ome/[a-z]+", "U" + "sers/[a-z]+"))
MACHINE_PATHS = re.compile(rf"(?<![\w.~-])/(?:{HOMES})/")


def find(pattern: re.Pattern[str]) -> list[str]:
    """Return file, line and match of a pattern in all text files."""
    return [
        f"{name_of(path)}:{text.count(chr(10), 0, match.start()) + 1}: {match.group()}"
        for path in list_files()
        if (text := read_text(path)) is not None
        for match in pattern.finditer(text)
    ]


@pytest.mark.parametrize("host", REGISTRIES)
def test_no_file_names_a_registry(host: str) -> None:
    """Registries are the installer's own setting: a mirror must work without a change here."""
    assert not find(re.compile(re.escape(host)))


def test_no_file_holds_a_path_of_one_machine() -> None:
    """Nothing depends on where one developer's checkout or home lies."""
    assert not find(MACHINE_PATHS)


def test_version_is_the_same_everywhere() -> None:
    """The project's version stands in pyproject.toml; the chart and its default images follow it."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHECKOUT / "charts" / "atelier" / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (project, project)


@pytest.mark.parametrize("path", [path for path in list_files() if path.suffix == ".md"], ids=name_of)
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    """A link to a file of the project has that file at its end."""
    prose = re.sub(r"`[^`\n]*`", "", path.read_text())  # a pattern of the reference looks like a link
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose):
        assert "://" in target or target.startswith("mailto:") or (path.parent / target).exists(), target
