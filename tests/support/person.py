"""Somebody who trains: a normal account with the role `edit` in one namespace, and a terminal that is recorded.

What is typed goes to the real console script in a process of its own; a terminal of a size (a pseudo-terminal) is there
where questions are answered or something is drawn in place. The record becomes pages of the documentation.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.text import Text

from atelier_playground.cluster import Cluster

SCRIPT = Path(sys.prefix) / "bin" / "kubectl-atelier"
COLUMNS, LINES = 120, 40
SECONDS = 400
"""How long a command may take: `watch` waits for a run of some tens of steps on two busy cores."""
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07|\x1b[=>78]")


@dataclass(frozen=True)
class Said:
    """What came of a command: exit code, standard output and standard error (on a terminal all is output)."""

    code: int
    out: str
    err: str = ""


@dataclass
class Person:
    """An account, and what it has typed so far.

    Attributes:
        kubeconfig: with the account's token.
        folder: the current one.
        record: command lines and what they printed.
    """

    kubeconfig: Path
    folder: Path
    record: list[tuple[str, str]] = field(default_factory=list)

    def type(self, *words: str, code: int = 0) -> Said:
        """Run `kubectl atelier` with words, piped, and hold its exit code to the one expected."""
        done = subprocess.run(
            [SCRIPT, *words],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        self.record.append((_join(words), done.stderr + done.stdout))
        assert done.returncode == code, f"{_join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return Said(done.returncode, done.stdout, done.stderr)

    def type_at_terminal(self, *words: str, answers: Sequence[tuple[str, str]] = (), code: int = 0) -> Said:
        """Run `kubectl atelier` at a terminal and answer its questions.

        Args:
            words: what is typed.
            answers: for each question, in their order, a piece of it and the keys that answer it.
            code: the exit code that is expected.
        """
        leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        environment = {**self._environment(), "TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1"}
        started = subprocess.Popen(
            [SCRIPT, *words],
            cwd=self.folder,
            env=environment,
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
        )
        os.close(follower)
        try:
            shown = _converse(leader, list(answers))
            ended = started.wait(timeout=SECONDS)
        finally:
            os.close(leader)
            if started.poll() is None:
                started.kill()
                started.wait()
        self.record.append((_join(words), _replay(shown)))
        assert ended == code, f"{_join(words)}: {ended}\n{shown[-4000:]}"
        return Said(ended, _CONTROL.sub("", shown))

    def complete(self, *words: str) -> str:
        """Return what kubectl's Tab key proposes after `kubectl atelier` and words, the last one unfinished."""
        code = "import sys; from atelier_studio.cli.kubectl_completion import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code, *words], env=self._environment(), capture_output=True, text=True, check=True
        )
        return done.stdout

    def write_record(self, path: Path) -> None:
        """Write everything that was typed and printed as a page of text, and beside it as a picture (.svg)."""
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn = Console(record=True, width=COLUMNS, file=io.StringIO(), highlight=False)
        for line, shown in self.record:
            drawn.print(Text(f"$ {line}", style="bold"))
            drawn.print(Text(shown.rstrip() + "\n"))
        path.write_text("\n".join(f"$ {line}\n{shown.rstrip()}\n" for line, shown in self.record))
        path.with_suffix(".svg").write_text(drawn.export_svg(title="kubectl atelier", unique_id="atelier"))

    def _environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if key not in {"KUBECONFIG", "PYTHONWARNINGS"}}
        size = {"COLUMNS": str(COLUMNS), "LINES": str(LINES)}
        return {**kept, **size, "KUBECONFIG": str(self.kubeconfig), "HOME": str(self.folder)}


def welcome_person(cluster: Cluster, namespace: str, folder: Path) -> Person:
    """Make an account that may edit a namespace and nothing else, and return it with a kubeconfig of its own."""
    account, group = "ada", "rbac.authorization.k8s.io"
    cluster.api.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": namespace}}
    )
    cluster.api.apply(
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": f"{account}-edits", "namespace": namespace},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "edit"},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
        }
    )
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = cluster.api.request("POST", path, request)["status"]["token"]
    document = json.loads(cluster.kubeconfig.read_text())
    document["users"][0]["user"] = {"token": token}
    document["contexts"][0]["context"]["namespace"] = namespace
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(json.dumps(document))
    home = folder / "home"
    home.mkdir()
    return Person(kubeconfig, home)


def _converse(leader: int, answers: list[tuple[str, str]]) -> str:
    """Read a terminal until its program ends, answering each question once it is there."""
    shown, heard, ends_at = "", 0, time.monotonic() + SECONDS
    while time.monotonic() < ends_at:
        if select.select([leader], [], [], 0.5)[0]:
            try:
                piece = os.read(leader, 65536)
            except OSError:  # the program has closed its side
                return shown
            if not piece:
                return shown
            shown += piece.decode(errors="replace")
        asked = _CONTROL.sub("", shown[heard:])
        if answers and answers[0][0] in asked:
            heard = len(shown)
            os.write(leader, answers.pop(0)[1].encode())
    raise AssertionError(f"no end in {SECONDS} s; asked for: {answers[:1]}; shown: {_CONTROL.sub('', shown)[-2000:]}")


def _replay(shown: str) -> str:
    """Return what stands on a terminal at the end of what was sent to it: lines that were drawn over are gone."""
    rows, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07|\x1b[=>78]|\r|\n|[^\x1b\r\n]+", shown):
        if token == "\r":
            column = 0
        elif token == "\n":
            row += 1
        elif token[0] != "\x1b":
            rows[row] = rows[row][:column].ljust(column) + token + rows[row][column + len(token) :]
            column += len(token)
        elif token[-1] in "ABCDGHJK" and token.startswith("\x1b["):
            row, column = _move(rows, row, column, token)
        rows += [""] * (row + 1 - len(rows))
    return "\n".join(line.rstrip() for line in rows)


def _move(rows: list[str], row: int, column: int, token: str) -> tuple[int, int]:
    """Move the cursor, or clear, as a control sequence says; return where it is then."""
    count = int(token[2:-1] or "1") if token[2:-1].isdigit() or not token[2:-1] else 1
    match token[-1]:
        case "A":
            row = max(0, row - count)
        case "B":
            row += count
        case "C":
            column += count
        case "D":
            column = max(0, column - count)
        case "G":
            column = count - 1
        case "K":
            rows[row] = "" if token == "\x1b[2K" else rows[row][:column]
        case "J":
            del rows[row + 1 :]
            rows[row] = rows[row][:column]
        case _:
            pass
    return row, column


def _join(words: Sequence[str]) -> str:
    """Return a command line as it is typed, in quotes where it needs them."""
    return " ".join(["kubectl atelier", *(f'"{word}"' if re.search(r"[\s<>]", word) else word for word in words)])
