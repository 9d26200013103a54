"""Promises that hold in whatever order things happen: pods end or vanish, minds change, the operator dies."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from atelier_contract.base import canonical_json
from atelier_contract.names import CONTROL_FILE, MAX_STATUS_BYTES
from atelier_contract.reasons import Condition
from atelier_operator.model import Action, WriteControl
from operator_builders import a_spec, a_view
from simulated_run import SimulatedRun

CODES = st.sampled_from([0, 0, 0, 1, 10, 13, 20, 30, 31, 137])
STEPS = st.sets(st.sampled_from([0, 10, 20, 50, 100, 110]), max_size=3)


class LifeOfARun(RuleBasedStateMachine):
    """Random orders of everything that can happen to one run."""

    @initialize(
        stage=st.integers(0, 6),
        mortal=st.sampled_from([True, False, False, False, False]),
        policy=st.sampled_from(["Retain", "Delete"]),
    )
    def begin(self, stage: int, mortal: bool, policy: str) -> None:
        """Begin somewhere in the life of a run: chance alone rarely reaches its end."""
        spec = a_spec(retention={"graceSeconds": 60}, deletionPolicy=policy)
        self.run = SimulatedRun(view=a_view(spec))
        self.mortal = mortal
        self.published: set[int] = set()
        steps = (self.start_pods, lambda: self.finish_pods(0), self.start_pods, lambda: self.train(30))
        self.run.settle()
        for step in steps[:stage]:
            step()
            self.run.settle()
        if stage > 4:
            self.run.finish_pods()
            self.run.settle()
        if stage > 5:
            self.run.select(20, 50)
            self.run.settle()

    @rule()
    def look(self) -> None:
        self.run.look()

    @rule()
    def look_and_crash(self) -> None:
        self.run.look(crash="between")

    @rule(seconds=st.sampled_from([1, 30, 61, 200, 4000]))
    def wait(self, seconds: int) -> None:
        self.run.wait(seconds)

    @rule()
    def start_pods(self) -> None:
        self.run.create_pods()
        self.run.run_pods()

    @rule(code=CODES)
    def finish_pods(self, code: int) -> None:
        self.run.finish_pods(code)

    @rule(steps=st.sampled_from([7, 30]))
    def train(self, steps: int) -> None:
        self.run.train(steps)

    @rule()
    def evict(self) -> None:
        self.run.evict()

    @rule()
    def lose_node(self) -> None:
        self.run.lose_node()

    @rule()
    def end_orphans(self) -> None:
        self.run.end_orphans()

    @rule(value=st.booleans())
    def suspend(self, value: bool) -> None:
        self.run.edit(suspend=value)

    @rule()
    def stop(self) -> None:
        self.run.edit(stop=True)

    @rule(steps=STEPS, finalize=st.booleans())
    def select(self, steps: set[int], finalize: bool) -> None:
        self.run.select(*steps, finalize=finalize)

    @rule()
    def retry(self) -> None:
        self.run.request_retry()

    @rule(policy=st.sampled_from(["Retain", "Delete"]))
    def change_policy(self, policy: str) -> None:
        self.run.edit(deletion_policy=policy)

    @rule()
    def delete(self) -> None:
        if self.mortal:
            self.run.delete_object()

    @rule(seconds=st.sampled_from([1, 70]), orphans_end=st.booleans())
    def go_on(self, seconds: int, orphans_end: bool) -> None:
        """Let everything under way end well, so that the later stages of a life are reached."""
        for _ in range(3):
            self.run.settle()
            self.start_pods()
            self.run.finish_pods()
            self.run.wait(seconds)
            if orphans_end:
                self.run.end_orphans()

    @rule()
    def pause_and_resume(self) -> None:
        """Pause and resume before the pod has ended."""
        self.run.edit(suspend=True)
        self.run.look()
        self.run.edit(suspend=False)
        self.run.settle()

    @invariant()
    def one_training_pod(self) -> None:
        assert len(self.run.list_unfenced()) <= 1

    @invariant()
    def no_training_after_the_end(self) -> None:
        assert self.run.trained_after_end == []

    @invariant()
    def kept_is_kept(self) -> None:
        if not self.run.store.whole_run_gone:
            assert self.run.store.published <= self.run.store.checkpoints
        assert self.published <= self.run.store.published
        self.published |= self.run.store.published

    @invariant()
    def collects_only_what_may_go(self) -> None:
        for document, status, spec, now in self.run.collected:
            if document.whole_run:
                continue
            doomed = {row.step for row in document.deleted}
            selected = {int(name[5:]) for name in spec.selection.checkpoints} if spec.selection else set()
            published = {int(model.checkpoint[5:]) for model in status.models or []}
            assert not doomed & (selected | published)
            assert selected <= published
            assert status.collection is not None
            assert status.collection.started_at is not None
            assert status.collection.not_before <= now.strftime("%Y-%m-%dT%H:%M:%SZ")

    @invariant()
    def finished_runs_have_one_outcome(self) -> None:
        assert not (self.run.is_true(Condition.COMPLETE) and self.run.is_true(Condition.FAILED))

    @invariant()
    def summary_is_exact(self) -> None:
        if self.run.view.status.conditions:
            kinds = (Condition.READY, Condition.SUSPENDED, Condition.STALLED, Condition.RECONCILING)
            ready, suspended, stalled, reconciling = (self.run.is_true(kind) for kind in kinds)
            assert reconciling == (not (ready or suspended or stalled))
            assert not self.run.is_true(Condition.FAILED) or stalled

    @invariant()
    def status_is_small(self) -> None:
        assert len(canonical_json(self.run.view.status.as_json())) < MAX_STATUS_BYTES

    @rule()
    def come_to_rest(self) -> None:
        """Deciding again on what was decided asks for nothing more than the `stop` that stands there already."""
        self.run.settle()
        plan = self.run.look()
        assert plan is None or [action for action in plan.actions if not self.is_written(action)] == []

    def is_written(self, action: Action) -> bool:
        """Whether an action is a control file's that says so already: writing it is doing nothing."""
        if not isinstance(action, WriteControl):
            return False
        return self.run.inputs[action.config_map][CONTROL_FILE] == action.control.to_bytes().decode()


LifeOfARun.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestLifeOfARun = LifeOfARun.TestCase
