"""The demo's story: upload, apply, watch, look, choose, finalize, take home. Each chapter is one method.

It speaks to Atelier only as a user does: objects through the API, files through the store. What it learns it shows on
the console; what it keeps it writes under the output directory.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table

from atelier_contract import dataset, names, training_job
from atelier_contract.conditions import ConditionStatus
from atelier_contract.layout import RunLayout
from atelier_contract.manifests import RunManifest
from atelier_contract.reasons import Condition, State
from atelier_contract.training_job_status import CheckpointStatus, ModelStatus, TrainingJobStatus
from atelier_playground.api import Object
from atelier_playground.cluster import CHECKOUT
from atelier_playground.demo.luggage import BASE_MODEL_KEY, DATASET, JOB, PICTURES_KEY, Luggage
from atelier_playground.demo.progress_bar import ProgressBar
from atelier_playground.demo.stage import Stage
from atelier_playground.demo.store import Store
from atelier_playground.documents import read_documents
from atelier_playground.errors import PlaygroundError, WaitedTooLong
from atelier_studio.actions.sheets import Column, draw_sheet, title_step

_BASE_MODEL = CHECKOUT / "playground" / "base-model" / "weights"
_PICTURES = CHECKOUT / "playground" / "datasets" / "teapots"
_DOCUMENT = Path(__file__).with_name("teapot.yaml")
_DOCUMENT_URI = "s3://atelier/atelier/demo/"
_POLL_SECONDS = 0.5
# A run of the demo takes about two minutes; what takes longer than this is stuck.
_RUN_SECONDS = 900
_SILENCE = (
    f"trainingjob {JOB} has had no status for {_RUN_SECONDS} s: nobody writes one. Look at the operator's pod: "
    f"kubectl get pods -A -l {','.join(f'{key}={value}' for key, value in names.OPERATOR_LABELS.items())}"
)
_NEEDS_A_PERSON = frozenset({State.FAILED, State.INVALID})


@dataclass
class Story:
    """One telling of the demo.

    Args:
        console: where it is told.
        stage: where it plays.
        store: the namespace's store.
        output: where pictures and models are kept.
        now_seconds: a clock that never goes back.
        pause: waits for some seconds.
    """

    console: Console
    stage: Stage
    store: Store
    output: Path
    now_seconds: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep
    _started: float = field(init=False)
    _luggage: Luggage = field(init=False)
    _said: set[str] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self._started = self.now_seconds()
        self._luggage = Luggage(self.stage.api, self.stage.namespace, self.store)

    def tell(self) -> None:
        """Tell it all.

        Raises:
            PlaygroundError: Atelier did not do what the story says; the message is its own.
        """
        try:
            self._upload()
            self._apply()
            status = self._watch({State.AWAITING_SELECTION})
            run = self.store.layout.run(JOB, status.run_identity or "")
            self._show_checkpoints(status)
            self._draw_sheet(run)
            self._finalize(status, run)
        finally:
            if self.stage.is_borrowed:
                self._tidy()

    def _say(self, line: str) -> None:
        minutes, seconds = divmod(int(self.now_seconds() - self._started), 60)
        self.console.print(f"[dim]{minutes}:{seconds:02d}[/] {line}", highlight=False, soft_wrap=True)

    def _say_once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._say(line)

    # Chapter one: what there is

    def _upload(self) -> None:
        parts = self._luggage.upload_folder(_BASE_MODEL, *BASE_MODEL_KEY)
        pictures = self._luggage.upload_folder(_PICTURES, *PICTURES_KEY)
        self._say(f"uploaded a base model ({parts} files) and a folder of pictures with captions ({pictures} files)")

    def _apply(self) -> None:
        root = "/".join(part for part in (self.store.bucket_name, self.store.layout.key()) if part)
        text = _DOCUMENT.read_text().replace(_DOCUMENT_URI, f"s3://{root}/")
        self._say(f"kubectl apply -f teapot.yaml ({len(text.splitlines())} lines)")
        self.console.print(Syntax(text, "yaml", background_color="default", word_wrap=True))
        for document in read_documents(text):
            self._luggage.create(document)

    # Chapter two: the run

    def _watch(self, goals: set[State]) -> TrainingJobStatus:
        """Show states and progress until the job is in one of the goals."""
        deadline = self.now_seconds() + _RUN_SECONDS
        with ProgressBar(self.console, self._say) as bar:
            while True:
                status = self._read_status()
                ready = _find_condition(status, Condition.READY)
                self._show_dataset()
                if ready is not None and ready.reason:
                    self._show_state(ready)
                if status.progress is not None and not status.completion_time:
                    bar.show(status.progress)
                if ready is not None and ready.reason in goals:
                    return status
                is_late = self.now_seconds() > deadline
                if ready is None and is_late:
                    raise WaitedTooLong(_SILENCE)
                if ready is not None and (ready.reason in _NEEDS_A_PERSON or is_late):
                    raise self._explain(status, ready)
                self.pause(_POLL_SECONDS)

    def _read_job(self) -> Object:
        return self.stage.api.get(names.API_VERSION, training_job.KIND, JOB, self.stage.namespace)

    def _read_status(self) -> TrainingJobStatus:
        return TrainingJobStatus.model_validate(self._read_job().get("status") or {})

    def _show_dataset(self) -> None:
        body = self.stage.api.get(names.API_VERSION, dataset.KIND, DATASET, self.stage.namespace)
        status = dataset.DatasetStatus.model_validate(body.get("status") or {})
        if status.revision:
            uses = " and ".join(status.usable_for or ())
            words = f"{status.items} pictures, {status.captioned} captions, usable for {uses}"
            self._say_once(f"dataset [bold]teapots[/]: {words}")

    def _show_state(self, ready: ConditionStatus) -> None:
        """Tell of each state once, with the message it came with."""
        if ready.reason not in self._said:
            self._said.add(ready.reason)
            self._say(f"trainingjob [bold]teapot[/]: [bold]{ready.reason}[/], {ready.message}")

    def _explain(self, status: TrainingJobStatus, ready: ConditionStatus) -> PlaygroundError:
        words = "; ".join(f"{one.type}={one.status} {one.reason} {one.message}" for one in status.conditions)
        kind = PlaygroundError if ready.reason in _NEEDS_A_PERSON else WaitedTooLong
        return kind(f"trainingjob teapot is {ready.reason}: {ready.message}\nall conditions: {words}")

    # Chapter three: what came of it

    def _show_checkpoints(self, status: TrainingJobStatus) -> None:
        table = Table(title="checkpoints", title_justify="left")
        for heading in ("name", "step", "MB", "held-out loss", "samples", "state", ""):
            table.add_column(heading, justify="left" if heading in {"name", "state", ""} else "right")
        for row in status.checkpoints or ():
            mark = "best" if row.best else ""
            size = f"{row.bytes / 1e6:.2f}"
            table.add_row(row.name, str(row.step), size, row.held_out_loss, str(row.samples), row.state, mark)
        self.console.print(table)

    def _draw_sheet(self, run: RunLayout) -> None:
        manifest = RunManifest.model_validate(json.loads(self.store.read(run.manifest)))
        columns = []
        for found in self.store.list_checkpoints(run):
            step, loss = found.manifest.step, found.manifest.held_out_loss
            samples = sorted(found.manifest.samples, key=lambda sample: sample.prompt)
            columns.append(
                Column(
                    title=title_step(step),
                    note="" if loss is None else f"loss {loss:.4f}",
                    pictures=[self.store.read(f"{found.folder}/{sample.name}") for sample in samples],
                )
            )
        path = self.output / "contact-sheet.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_sheet(manifest.prompts, columns).save(path)
        self._say(f"contact sheet, {len(manifest.prompts)} prompts by {len(columns)} steps: {path}")

    # Chapter four: the choice

    def _finalize(self, status: TrainingJobStatus, run: RunLayout) -> None:
        before = self.store.list_sizes(run.attempts())
        chosen = _choose(status.checkpoints or [])
        self._say(f"selecting {' and '.join(chosen)}, and finalizing")
        change = {"spec": {"selection": {"checkpoints": chosen, "finalize": True}}}
        self.stage.api.patch(names.API_VERSION, training_job.KIND, JOB, change, self.stage.namespace)
        status = self._watch({State.FINALIZED})
        for model in status.models or ():
            self._download(model)
        after = self.store.list_sizes(run.attempts())
        gone = sum(before.values()) - sum(after.values())
        objects = f"{len(before)} → {len(after)} objects of checkpoints and states in the bucket"
        self._say(f"freed {status.reclaimed_bytes or 0:,} bytes ({objects}, {gone:,} bytes less)")

    def _download(self, model: ModelStatus) -> None:
        key = self.store.locate(model.key)
        content = self.store.read(key)
        if hashlib.sha256(content).hexdigest() != model.sha256:
            raise PlaygroundError(f"{key} is not what status says: its sha256 differs from {model.sha256}")
        path = self.output / Path(model.key).name
        path.write_bytes(content)
        self._say(f"published [bold]{model.name}[/] from {model.checkpoint}: {key}")
        self._say(f"downloaded {len(content):,} bytes, sha256 verified: {path}")

    # A borrowed cluster

    def _tidy(self) -> None:
        """Remove what the demo brought to a cluster that is not its own; the published models stay."""
        self._luggage.take_away()
        self._say("removed the demo's objects and files; the published models stay in the store")


def _find_condition(status: TrainingJobStatus, kind: Condition) -> ConditionStatus | None:
    return next((one for one in status.conditions if one.type == kind), None)


def _choose(rows: list[CheckpointStatus]) -> list[str]:
    """Choose two checkpoints as a person might: the one marked best, and the last other one."""
    best = next((row for row in rows if row.best), rows[-1])
    others = [row for row in rows if row.name != best.name and row.step > 0]
    return [row.name for row in sorted([*others[-1:], best], key=lambda row: row.step)]
