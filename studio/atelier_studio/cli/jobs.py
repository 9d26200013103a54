"""The verbs that look at jobs or change one field of theirs: list, describe, stop, suspend, resume, retry."""

from __future__ import annotations

from datetime import UTC, datetime

from atelier_studio.actions import describing, steering, tables
from atelier_studio.cli.options import ContextOption, DryRunOption, JobArgument, NamespaceOption, OutputOption
from atelier_studio.cli.output import Output, say, say_aside, show
from atelier_studio.cli.sending import send_patch
from atelier_studio.edges.cluster import TRAINING_JOB, Cluster, Object


def list_jobs(namespace: NamespaceOption = None, context: ContextOption = None, output: OutputOption = None) -> None:
    """Show the TrainingJobs of a namespace: how far, how good, how long still."""
    cluster = Cluster(namespace, context)
    bodies = cluster.list(TRAINING_JOB)
    if not bodies and output in {None, Output.WIDE}:
        say_aside(f"no TrainingJob in namespace {cluster.namespace} yet: `kubectl atelier create` makes one")
        return
    wide = output is Output.WIDE
    columns = tables.WIDE_JOB_COLUMNS if wide else tables.JOB_COLUMNS
    rows = [tables.build_job_row(body, wide=wide) for body in bodies] if output in {None, Output.WIDE} else []
    show(bodies, output, columns, rows)


def describe(
    job: JobArgument, namespace: NamespaceOption = None, context: ContextOption = None, output: OutputOption = None
) -> None:
    """Tell in plain words what a job is, how far it is, what it has brought, and what to do next."""
    body = Cluster(namespace, context).get(TRAINING_JOB, job)
    if output in {None, Output.WIDE}:
        for line in describing.describe_job(body, wide=output is Output.WIDE):
            say(line)
    else:
        show(body, output, (), ())


def stop(
    job: JobArgument,
    *,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    output: OutputOption = None,
    dry_run: DryRunOption = None,
) -> None:
    """End the training now and keep a checkpoint of the current step. Cannot be taken back."""
    cluster = Cluster(namespace, context)
    body = cluster.get(TRAINING_JOB, job)
    change = steering.stop_job(job, tables.read_spec(body), _read_word(body))
    send_patch(cluster, job, change.patch, change.sentence, output=output, dry_run=dry_run)


def suspend(
    job: JobArgument,
    *,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    output: OutputOption = None,
    dry_run: DryRunOption = None,
) -> None:
    """Pause: give the GPU back and keep the state."""
    cluster = Cluster(namespace, context)
    body = cluster.get(TRAINING_JOB, job)
    change = steering.suspend_job(job, tables.read_spec(body), _read_word(body))
    send_patch(cluster, job, change.patch, change.sentence, output=output, dry_run=dry_run)


def resume(
    job: JobArgument,
    *,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    output: OutputOption = None,
    dry_run: DryRunOption = None,
) -> None:
    """Go on after suspend, from the step where it paused."""
    cluster = Cluster(namespace, context)
    body = cluster.get(TRAINING_JOB, job)
    change = steering.resume_job(job, tables.read_spec(body), _read_word(body))
    send_patch(cluster, job, change.patch, change.sentence, output=output, dry_run=dry_run)


def retry(
    job: JobArgument,
    *,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    output: OutputOption = None,
    dry_run: DryRunOption = None,
) -> None:
    """Give a failed job another attempt, from its last state."""
    cluster = Cluster(namespace, context)
    body = cluster.get(TRAINING_JOB, job)
    change = steering.retry_job(job, _read_word(body), datetime.now(UTC).isoformat(timespec="seconds"))
    send_patch(cluster, job, change.patch, change.sentence, output=output, dry_run=dry_run)


def _read_word(body: Object) -> str:
    return tables.read_state(tables.read_status(body))[0]
