"""A run from creation to finalization, on the simulated cluster."""

from __future__ import annotations

from atelier_contract.reasons import Condition
from simulated_run import SimulatedRun


def work(run: SimulatedRun) -> None:
    """Let whatever is asked for come up and end well."""
    run.create_pods()
    run.run_pods()
    run.settle()
    run.finish_pods()
    run.settle()


def test_run_goes_from_creation_to_finalized() -> None:
    """A run passes preflight, training, selection, publication, grace and collection, in this order."""
    run = SimulatedRun()
    run.settle()
    seen = [run.state]
    run.create_pods()
    run.run_pods()
    run.finish_pods()
    run.settle()
    seen.append(run.state)
    run.create_pods()
    run.run_pods()
    run.train(30)
    run.settle()
    seen.append(run.state)
    run.finish_pods()
    run.settle()
    seen.append(run.state)
    run.select(50, 100)
    run.settle()
    seen.append(run.state)
    work(run)
    seen.append(run.state)
    run.wait(61)
    run.settle()
    work(run)
    seen.append(run.state)
    assert seen == [
        "Preflight",
        "Scheduling",
        "Training",
        "AwaitingSelection",
        "Publishing",
        "Collecting",
        "Finalized",
    ]
    assert run.store.published == {50, 100}
    assert run.store.checkpoints == {0, 50, 100}, "step 0 is the base model's pictures: not selectable, not collected"
    assert run.is_true(Condition.READY)
    assert run.view.status.kept == "2/10"
    assert run.view.status.reclaimed_bytes == 8000
