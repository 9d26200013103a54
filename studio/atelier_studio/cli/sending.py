"""How a verb's change reaches the cluster, or only shows itself with `--dry-run`."""

from __future__ import annotations

from typing import Any

from atelier_studio.actions.documents import write_yaml
from atelier_studio.cli.options import DryRun
from atelier_studio.cli.output import Output, say, show
from atelier_studio.edges.cluster import TRAINING_JOB, Cluster, Object


def send_patch(
    cluster: Cluster,
    job: str,
    patch: Object,
    sentence: str,
    *,
    output: Output | None,
    dry_run: DryRun | None,
    seen: Object | None = None,
) -> None:
    """Merge a patch into a TrainingJob and tell of it.

    Args:
        cluster: where.
        job: name of the TrainingJob.
        patch: the merge patch.
        sentence: what it leads to.
        output: print the changed object instead of the sentence.
        dry_run: client: print the patch and send nothing; server: have it checked and change nothing.
        seen: the TrainingJob as the patch was decided on, where a later one would need another decision.

    Raises:
        ChangedMeanwhile: it is no longer what was seen; nothing was written.
    """
    if dry_run is DryRun.CLIENT:
        say(f"# would be merged into TrainingJob {job}\n{write_yaml(patch)}".rstrip())
        return
    changed = cluster.patch(TRAINING_JOB, job, patch, dry_run=dry_run is DryRun.SERVER, seen=seen)
    tell(changed, sentence, output=output, dry_run=dry_run)


def tell(body: Object, sentence: str, *, output: Output | None, dry_run: DryRun | None) -> None:
    """Print what was done: the object where `-o` asks for one, else a sentence."""
    if output in {None, Output.WIDE}:
        say(sentence if dry_run is None else f"{sentence} (server dry run: accepted, nothing was changed)")
    else:
        empty: tuple[Any, ...] = ()
        show(body, output, empty, empty)
