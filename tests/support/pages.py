"""The pages that people read, and every fenced block on them: what language, what it presumes, which commands."""

from __future__ import annotations

import functools
import re
import shlex
import textwrap
from dataclasses import dataclass
from pathlib import Path

from checkout import CHECKOUT

DOCS = CHECKOUT / "docs"
README = CHECKOUT / "README.md"
LANGUAGES = ("yaml", "sh", "python", "json", "jsonl", "csv", "toml", "text")
"""`text` is what a program prints and what a folder looks like; everything else is held to what it claims to be."""
_PIECE = re.compile(
    r"<!-- presumes: (?P<presumes>.*?) -->"
    r"|^(?P<indent> *)```(?P<language>\S*)(?P<extra>[^\n]*)\n(?P<text>.*?)^(?P=indent)```[ ]*$",
    re.MULTILINE | re.DOTALL,
)
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page: path of its page in the checkout. Example: docs/quickstart.md.
        line: where it begins.
        language: after the fence.
        title: the file that it is, where it is one that commands use.
        text: without fence and indentation.
        presumes: what must be there before its commands make sense, as the comment above it says.
    """

    page: str
    line: int
    language: str
    title: str
    text: str
    presumes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Where it is, as tests show it."""
        return f"{self.page}:{self.line}"


def list_pages() -> list[Path]:
    """List the pages: README and everything of the site."""
    return [README, *sorted(DOCS.rglob("*.md"))]


@functools.cache
def list_blocks(language: str = "") -> tuple[Block, ...]:
    """List the blocks of all pages, of one language or of any."""
    blocks = (block for page in list_pages() for block in read_blocks(page))
    return tuple(block for block in blocks if language in {"", block.language})


def read_blocks(path: Path) -> list[Block]:
    """Return the blocks of a page, in order."""
    text = path.read_text(encoding="utf-8")
    presumes: tuple[str, ...] = ()
    blocks = []
    for piece in _PIECE.finditer(text):
        if piece["presumes"] is not None:
            presumes = tuple(part.strip() for part in piece["presumes"].split(","))
            continue
        title = _TITLE.search(piece["extra"])
        blocks.append(
            Block(
                page=path.relative_to(CHECKOUT).as_posix(),
                line=text.count("\n", 0, piece.start()) + 1,
                language=piece["language"],
                title=title.group(1) if title else "",
                text=textwrap.dedent(piece["text"]),
                presumes=presumes,
            )
        )
    return blocks


def split_commands(text: str) -> list[str]:
    """Return the commands of a shell block, each on one line and without comments."""
    joined = re.sub(r"\\\n\s*", " ", text)
    lines = [re.sub(r"\s\s+#.*$", "", line) for line in joined.splitlines()]
    return [line for line in lines if shlex.split(line, comments=True)]


def read_words(command: str) -> list[str]:
    """Return the words of a command, without its comment."""
    return shlex.split(command, comments=True)
