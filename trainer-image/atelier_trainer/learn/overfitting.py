"""Whether a run learns its pictures by heart, told in plain words from what its checkpoints measured.

In: the manifests of a run's checkpoints so far. Out: sentences, none where nothing speaks for it. It is a hint and
decides nothing: the user chooses the checkpoint. What it says follows from manifests alone, so that a resumed run says
the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from atelier_contract.manifests import CheckpointManifest

PATIENCE = 3
"""Checkpoints in a row with a higher held-out loss each: one or two are within the spread of few pictures."""


def explain_overfit(checkpoints: Sequence[CheckpointManifest]) -> list[str]:
    """Return sentences about the newest of a run's checkpoints.

    Args:
        checkpoints: in the order of their steps; step 0, which is the base model, counts as one.
    """
    return [*_explain_loss(checkpoints), *_explain_copies(checkpoints)]


def _explain_loss(checkpoints: Sequence[CheckpointManifest]) -> Iterator[str]:
    """Yield a sentence where the held-out loss rises while the training loss falls."""
    measured = [one for one in checkpoints if one.loss_name == "heldOutLoss" and one.held_out_loss is not None]
    losses = [one.held_out_loss or 0.0 for one in measured]
    rises = 0
    while rises + 1 < len(losses) and losses[-1 - rises] > losses[-2 - rises]:
        rises += 1
    if rises < PATIENCE:
        return
    before, last = measured[-1 - rises].training_loss, measured[-1].training_loss
    best = min(measured, key=lambda one: one.held_out_loss or 0.0)
    if before is None or last is None or last >= before:
        return
    yield (
        f"the held-out loss has risen for {rises} checkpoints while the training loss fell: the run begins to learn "
        f"its pictures by heart. Its lowest held-out loss was at step {best.step}"
    )


def _explain_copies(checkpoints: Sequence[CheckpointManifest]) -> Iterator[str]:
    """Yield a sentence where samples become copies of training pictures."""
    compared = [one for one in checkpoints if one.near_copies is not None]
    if not compared or not compared[-1].near_copies:
        return
    last, first = compared[-1], compared[0]
    if first.step == last.step:
        return
    nearer = first.similarity is None or last.similarity is None or last.similarity > first.similarity
    if nearer and (last.near_copies or 0) > (first.near_copies or 0):
        yield (
            f"{last.near_copies} of {len(last.samples)} samples of step {last.step} are nearly copies of training "
            "pictures: the run learns them by heart. Look at earlier checkpoints, or train fewer steps"
        )
