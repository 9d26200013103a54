"""What each room holds and may not know, where an import contract of pyproject.toml cannot say it."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from atelier_contract import names
from checkout import CHECKOUT, PACKAGES, list_files, list_modules, list_python, name_of, parse

SOURCE_ROOTS = ("crds", "operator", "trainer-image", "studio", "playground", "benchmarks")
FOGGY_NAMES = {"utils", "util", "common", "helpers", "helper", "manager", "misc"}
UNFINISHED = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")) + r")\b")
OUR_LABEL = re.compile(rf"{re.escape(names.GROUP)}/[a-z]")
BARE_SILENCER = re.compile(r"#\s*(type:\s*ignore(\[[^\]]*\])?|noqa(:\s*[A-Z0-9, ]+)?)\s*$")


def list_roots(path: Path) -> Iterator[str]:
    """Yield the top-level package of every import in a file."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def list_attributes(path: Path) -> Iterator[tuple[int, str]]:
    """Yield every dotted name in a file, with its line."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Attribute):
            yield node.lineno, ast.unparse(node)


def test_source_roots_and_tests_are_no_packages() -> None:
    """`operator` beside the standard library's, and tests in importlib mode, must not be importable as packages."""
    roots = {CHECKOUT / root / "__init__.py" for root in SOURCE_ROOTS}
    assert not [name_of(path) for path in list_python() if path in roots or is_test_package(path)]


def is_test_package(path: Path) -> bool:
    return path.name == "__init__.py" and path.is_relative_to(CHECKOUT / "tests")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_says_what_it_is_for(package: str) -> None:
    """Each module opens with a docstring: what the room is for, what comes in and goes out."""
    modules = list_modules(package)
    assert modules
    assert not [name_of(path) for path in modules if not ast.get_docstring(parse(path))]


def test_no_module_has_a_foggy_name() -> None:
    """A module is named by what it holds: `utils` and its like hold anything."""
    assert not [name_of(path) for path in list_python() if path.stem in FOGGY_NAMES or path.parent.name in FOGGY_NAMES]


def test_contract_needs_pydantic_alone() -> None:
    """Every side can import the contract, because it brings nothing but pydantic with it."""
    roots = {root for path in list_modules("atelier_contract") for root in list_roots(path)}
    assert roots - set(sys.stdlib_module_names) <= {"atelier_contract", "pydantic"}


def test_plan_reads_no_clock() -> None:
    """The operator's plan is told what time it is: the same question has the same answer."""
    plan = [path for path in list_modules("atelier_operator") if "plan" in path.parts]
    asks = {".now", ".utcnow", ".today"}
    found = [
        f"{name_of(path)}:{line} {name}"
        for path in plan
        for line, name in list_attributes(path)
        if any(name.endswith(ask) for ask in asks) and name.startswith(("datetime", "date"))
    ]
    assert plan
    assert not found


@pytest.mark.parametrize("package", ["atelier_operator", "atelier_trainer"])
def test_environment_is_read_in_settings_alone(package: str) -> None:
    """Whatever comes from the environment is named and checked in one place."""
    readers = {
        path.stem
        for path in list_modules(package)
        for _, name in list_attributes(path)
        if name in {"os.environ", "os.getenv"}
    }
    assert readers <= {"settings", "__main__"}  # __main__ hands the environment over


@pytest.mark.parametrize("package", [name for name in PACKAGES if name != "atelier_contract"])
def test_labels_are_spelled_in_the_contract_alone(package: str) -> None:
    """Labels, annotations and finalizers of ours are imported, never spelled again."""
    found = [
        f"{name_of(path)}:{node.lineno} {node.value}"
        for path in list_modules(package)
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and OUR_LABEL.match(node.value)
    ]
    assert not found


def test_nothing_is_left_unfinished() -> None:
    """What is not done yet is an issue, not a comment or an error at run time."""
    comments = [name_of(path) for path in list_python() if UNFINISHED.search(path.read_text())]
    errors = [
        f"{name_of(path)}:{node.lineno}"
        for path in list_python()
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Name) and node.id == "NotImplementedError"
    ]
    assert not comments + errors


def test_every_silenced_check_has_a_reason() -> None:
    """`noqa` and `type: ignore` are followed by a comment that says why."""
    found = [
        f"{name_of(path)}:{number}"
        for path in list_python()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if BARE_SILENCER.search(line)
    ]
    assert not found


def test_every_room_keeps_its_decisions_short() -> None:
    """An entry of a DECISIONS.md is dated and has at most 25 lines."""
    pages = [path for path in list_files() if path.name == "DECISIONS.md"]
    assert pages
    for page in pages:
        for entry in re.split(r"^## ", page.read_text(), flags=re.MULTILINE)[1:]:
            title, lines = entry.splitlines()[0], len(entry.rstrip().splitlines())
            assert re.match(r"20\d\d-\d\d-\d\d: ", title), f"{name_of(page)}: {title!r} has no date"
            assert lines <= 25, f"{name_of(page)}: {title!r} has {lines} lines"
