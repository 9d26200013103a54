"""The command line itself: exit codes, errors as sentences, no colour in pipes, and how little it loads."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atelier_contract.reasons import Reason
from atelier_materials.errors import DatasetUnusable, StorageUnavailable
from atelier_studio.cli import completing, output
from atelier_studio.cli.kubectl_completion import complete
from atelier_studio.cli.main import app, run_command
from atelier_studio.cli.output import Output, align, show
from atelier_studio.errors import BadRequest, ClusterRefused, Exit, NotFound, StudioError, find_page

HEAVY = {"kubernetes", "boto3", "botocore", "PIL", "numpy", "questionary", "httpx", "torch", "yaml", "pyarrow"}
SCRIPT = Path(sys.prefix) / "bin" / "kubectl-atelier"


def fail_with(error: BaseException) -> Callable[[], Any]:
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StudioError("it broke"), Exit.FAILED),
        (BadRequest("not so"), Exit.BAD_REQUEST),
        (NotFound("not there"), Exit.BAD_REQUEST),
        (ClusterRefused("no"), Exit.REFUSED),
        (DatasetUnusable("no picture"), Exit.BAD_REQUEST),
        (StorageUnavailable("no answer"), Exit.REFUSED),
        (KeyboardInterrupt(), Exit.INTERRUPTED),
        (SystemExit(2), 2),
        (SystemExit(), Exit.DONE),
    ],
)
def test_errors_end_with_their_code(error: BaseException, code: int, capsys: pytest.CaptureFixture[str]):
    """Scripts decide by exit codes: each kind of error has one, and none shows a traceback."""
    assert run_command(fail_with(error)) == code
    assert "Traceback" not in capsys.readouterr().err


def test_an_error_is_one_sentence_and_a_page(capsys: pytest.CaptureFixture[str]):
    """On standard error stands the sentence, then where to read on."""
    run_command(fail_with(DatasetUnusable("no picture in the folder")))
    page = find_page(Reason.DATASET_UNUSABLE)
    assert capsys.readouterr().err == f"kubectl atelier: no picture in the folder\nread on: {page}\n"


def test_a_fault_of_ours_is_a_sentence_too(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """An unforeseen error is no traceback; a variable shows one to whoever looks into it."""
    monkeypatch.delenv("ATELIER_DEBUG", raising=False)
    assert run_command(fail_with(KeyError("x"))) == Exit.FAILED
    assert "ATELIER_DEBUG=1" in capsys.readouterr().err
    monkeypatch.setenv("ATELIER_DEBUG", "1")
    with pytest.raises(KeyError):
        run_command(fail_with(KeyError("x")))


@pytest.mark.parametrize(
    ("words", "code"), [(("--help",), 0), (("lst",), 2), (("watch",), 2), (("list", "-o", "x"), 2)]
)
def test_what_is_mistyped_ends_with_2(words: tuple[str, ...], code: int):
    """A verb or option that there is not is said by the parser, with the code of mistyped commands."""
    done = subprocess.run([SCRIPT, *words], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr


def test_nothing_slow_is_loaded_at_the_start():
    """Help, completion and refusals load none of the libraries that take longer than the command itself."""
    code = "import sys, atelier_studio.cli.main; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & HEAVY


def test_every_verb_explains_itself():
    """Each command says in a sentence what it does."""
    assert app.registered_commands
    assert not [info.name for info in app.registered_commands if not (info.callback and info.callback.__doc__)]


JOB = {
    "apiVersion": "atelier.dev/v1alpha1",
    "kind": "TrainingJob",
    "metadata": {"name": "teapot", "managedFields": [{"manager": "x"}]},
    "spec": {},
}


def test_json_is_an_object_without_bookkeeping(capsys: pytest.CaptureFixture[str]):
    """`-o json` of one object prints that object, without what only the API server keeps in it."""
    show(JOB, Output.JSON, (), ())
    assert json.loads(capsys.readouterr().out)["metadata"] == {"name": "teapot"}


def test_name_prints_a_line_for_each(capsys: pytest.CaptureFixture[str]):
    """`-o name` prints what xargs can hand to kubectl."""
    show([JOB, JOB], Output.NAME, (), ())
    assert capsys.readouterr().out == "trainingjob.atelier.dev/teapot\n" * 2


def test_tables_are_plain_in_pipes(capsys: pytest.CaptureFixture[str]):
    """Piped, a table has no colour, no frame and no cut line, however long."""
    show([JOB], None, ("NAME", "STATE", "MESSAGE"), [("teapot", "Failed", "x" * 300)])
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert shown.splitlines()[1] == "teapot   Failed   " + "x" * 300


class Terminal(io.StringIO):
    """A terminal as programs see it."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("variable", "is_coloured"), [("", True), ("1", False)])
def test_terminals_get_colours_unless_they_want_none(variable: str, is_coloured: bool, monkeypatch: pytest.MonkeyPatch):
    """State words are coloured on a terminal; NO_COLOR takes the colours away."""
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("NO_COLOR", variable)
    monkeypatch.setattr(output.sys, "stdout", terminal)
    show([JOB], None, ("NAME", "STATE"), [("teapot", "Failed")])
    assert "Failed" in terminal.getvalue()
    assert ("\x1b[31m" in terminal.getvalue()) is is_coloured


def test_narrow_terminals_get_no_empty_lines(monkeypatch: pytest.MonkeyPatch):
    """A row whose last cells are empty ends with its last word: padding would wrap into a line of blanks."""
    terminal = Terminal()
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(output.sys, "stdout", terminal)
    show([JOB], None, ("NAME", "STATE", ""), [("teapot", "Failed", ""), ("cup", "Failed", "the best of all")])
    assert terminal.getvalue().splitlines()[1] == "teapot   Failed"


def test_wide_letters_take_two_places():
    """Columns stand below one another also where a model has a Japanese name."""
    assert align([("急須", "a"), ("teapot", "b")]) == [["急須  ", "a"], ["teapot", "b"]]


def test_kubectl_gets_proposals_with_explanations():
    """The Tab key of kubectl gets a proposal a line, explained after a tab, and the word that no file is meant."""
    lines = complete(["sus"]).splitlines()
    assert lines[0].startswith("suspend\tPause")
    assert lines[-1] == ":4"


def test_kubectl_proposes_files_where_we_propose_nothing():
    """After `dataset push` a folder is meant."""
    assert complete(["dataset", "push", ""]).splitlines()[-1] == ":0"


def test_completion_proposes_no_deleted_checkpoint(monkeypatch: pytest.MonkeyPatch):
    """What was deleted cannot be selected, compared or downloaded: the Tab key leaves it out."""
    rows = [
        {"name": f"step-{step:06d}", "step": step, "bytes": 1, "sha256": "ab", "samples": 0, "state": state}
        for step, state in ((10, "Deleted"), (20, "Published"))
    ]
    body = {**JOB, "status": {"checkpoints": rows}}
    monkeypatch.setattr(completing, "_list_quietly", lambda *_: [body])
    assert complete(["select", "teapot", ""]).splitlines() == ["step-000020\tPublished", ":4"]


def test_completion_without_a_cluster_is_silent(tmp_path: Path):
    """The Tab key never prints an error into the line that is being typed."""
    code = "import sys; sys.argv = ['x', 'watch', '']; from atelier_studio.cli.kubectl_completion import main; main()"
    environment = {**os.environ, "KUBECONFIG": str(tmp_path / "none")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, ":0", "")
