"""The site as a whole: nothing stale, nothing missing, nothing fetched, and every word of the API explained."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from atelier_contract.reasons import DatasetState, Finding, Reason, State
from checkout import CHECKOUT, PACKAGES, list_modules, name_of
from pages import DOCS, LANGUAGES, Block, list_blocks, read_blocks, split_commands

TROUBLE = DOCS / "troubleshooting.md"
WORDS = sorted({word.value for words in (State, DatasetState, Reason, Finding) for word in words})
MATERIALS = CHECKOUT / "materials" / "atelier_materials"
PAGE_NAMED = re.compile(r'"(docs/[\w/-]+\.md)(?:#([\w-]+))?"')
ENTRY = re.compile(r"^### (\w+)\n\n(.+?)(?=\n#|\Z)", re.MULTILINE | re.DOTALL)
WORDS_A_MINUTE = 200
"""How fast an adult reads a text with facts in it, on the slow side."""


def read_anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as the site makes them."""
    headings = re.findall(r"^#+ (.+?)(?: \{#([\w-]+)\})?$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {
        given or re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title, given in headings
    }


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=CHECKOUT, env=quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_generated_pages_are_fresh() -> None:
    """Fields, commands and the index of reasons are what the program itself says."""
    command = [sys.executable, str(DOCS / "generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_site_fetches_nothing(site: Path) -> None:
    """Neither pictures nor scripts nor styles nor fonts come from elsewhere: reading a page tells nobody of it."""
    asks = re.compile(r"<(?:img|script|link|iframe|source)\b[^>]*?\b(?:src|href)=\"?(?:https?:)?//[^\s\">]+")
    found = [match for page in site.rglob("*.html") for match in asks.findall(page.read_text(encoding="utf-8"))]
    styles = [
        f"{sheet.name}: {match}"
        for sheet in site.rglob("*.css")
        for match in re.findall(r"(?:url\(|@import )['\"]?(?:https?:)?//[^)\"']+", sheet.read_text(encoding="utf-8"))
    ]
    assert (site / "index.html").is_file()
    assert not found + styles


@pytest.mark.parametrize("word", WORDS)
def test_every_word_is_explained(word: str) -> None:
    """Each state, reason and finding has one entry, which says in at least two clauses what it is and what to do."""
    entries = [text for title, text in ENTRY.findall(TROUBLE.read_text(encoding="utf-8")) if title == word]
    assert len(entries) == 1
    assert len(entries[0].split()) >= 8, entries[0]


def test_no_entry_explains_what_is_gone() -> None:
    """An entry of the troubleshooting page belongs to a word that there is."""
    titles = Counter(title for title, _ in ENTRY.findall(TROUBLE.read_text(encoding="utf-8")))
    assert set(titles) <= set(WORDS)


def list_named_pages() -> Iterator[tuple[str, str, str]]:
    """Yield every page that a sentence of the program sends people to, with its anchor."""
    modules = [
        *list_modules("atelier_studio"),
        *sorted(MATERIALS.rglob("*.py")),
        *sorted(PACKAGES["atelier_contract"].rglob("*.py")),
    ]
    for path in modules:
        for page, anchor in PAGE_NAMED.findall(path.read_text(encoding="utf-8")):
            yield name_of(path), page, anchor


def test_pages_that_sentences_name_exist() -> None:
    """`read on: docs/…` leads to a page, and to a heading on it where it names one."""
    named = list(list_named_pages())
    wrong = [
        f"{where}: {page}#{anchor}"
        for where, page, anchor in named
        if not (CHECKOUT / page).is_file() or (anchor and anchor not in read_anchors(CHECKOUT / page))
    ]
    assert named
    assert not wrong


@pytest.mark.parametrize("block", list_blocks(), ids=lambda block: block.name)
def test_every_block_says_what_it_is(block: Block) -> None:
    """A fenced block names one of the languages that tests hold blocks to."""
    assert block.language in LANGUAGES


@pytest.mark.parametrize(
    "block", [b for b in list_blocks() if b.language in {"json", "jsonl", "csv", "toml"}], ids=lambda block: block.name
)
def test_data_on_the_pages_can_be_read(block: Block) -> None:
    """JSON, lines of JSON, CSV and TOML on the pages are what they claim to be."""
    if block.language == "toml":
        assert tomllib.loads(block.text)
    elif block.language == "csv":
        assert len({len(row) for row in csv.reader(io.StringIO(block.text))}) == 1
    else:
        assert [json.loads(line) for line in block.text.splitlines()]


def test_quickstart_is_quick() -> None:
    """At most five commands lead to the first sample picture, twice, and the page is read in ten minutes."""
    page = DOCS / "quickstart.md"
    to_samples = [
        len(commands)
        for block in read_blocks(page)
        if block.language == "sh" and "samples" in block.text and (commands := split_commands(block.text))
    ]
    assert len(to_samples) == 2
    assert max(to_samples) <= 5
    assert len(page.read_text(encoding="utf-8").split()) <= 10 * WORDS_A_MINUTE
