"""The plugin as a person types it: the real console script in a process of its own; and what a refusal looks like."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from checkout import CHECKOUT

SCRIPT = Path(sys.prefix) / "bin" / "kubectl-atelier"
LONGEST = 700
"""Letters of a sentence: six lines of a terminal, of which proposals may take some."""
SECONDS = 120
_SENTENCE = re.compile(
    r"^kubectl atelier: (?P<sentence>.+?)(?:\nread on: (?P<page>docs/\S+))?\n?\Z", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Answer:
    """What came of a command."""

    exit_code: int
    out: str
    err: str

    @property
    def everything(self) -> str:
        """All that was printed."""
        return self.out + self.err


@dataclass(frozen=True)
class Terminal:
    """Where somebody types: a folder, a kubeconfig and a namespace. Nobody answers questions there.

    Attributes:
        folder: the current one.
        kubeconfig: the file that KUBECONFIG names.
        namespace: given with every command, where there is one.
        environment: what else is set.
    """

    folder: Path
    kubeconfig: Path | None = None
    namespace: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    def type(self, *words: str) -> Answer:
        """Run `kubectl atelier` with these words."""
        where = ("--namespace", self.namespace) if self.namespace and "check" not in words else ()
        environment = {
            **{key: value for key, value in os.environ.items() if key not in {"KUBECONFIG", "PYTHONWARNINGS"}},
            "KUBECONFIG": str(self.kubeconfig or self.folder / "none"),
            "HOME": str(self.folder),
            "COLUMNS": "200",
            "NO_COLOR": "1",
            **self.environment,
        }
        done = subprocess.run(
            [SCRIPT, *words, *where],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)


def assert_refused(answer: Answer, exit_code: int, *says: str, page: str) -> None:
    """Assert that a command was refused in words.

    Args:
        answer: what came of it.
        exit_code: which one.
        says: each tells what happened, why, or what to do.
        page: where to read on, as the last line says it; empty: typer's own refusal of what was typed, which ends
            with a pointer to the help.
    """
    assert "Traceback" not in answer.everything, answer.everything
    assert answer.exit_code == exit_code, answer.everything
    if not page:
        words = " ".join(re.sub(r"[│╭╮╰╯─]", " ", answer.err).split())
        assert "Try 'kubectl-atelier" in words, answer.err
        assert not [said for said in says if said not in words], words
        return
    found = _SENTENCE.search(answer.err)
    assert found, answer.everything
    sentence = found["sentence"]
    assert not [said for said in says if said not in sentence], sentence
    assert len(sentence) <= LONGEST, len(sentence)
    assert found["page"] == page, answer.err
    assert (CHECKOUT / page.partition("#")[0]).is_file()
