"""Starting: what a run waits for before its first child, and what is pinned when it no longer waits.

Pinned once and never computed again: spec digest, dataset revisions, trainer image, resolved settings, run identity.
A missing dataset or template is waited for; only what nobody can mend without a new TrainingJob is Invalid.
"""

from __future__ import annotations

from atelier_contract.dataset import DatasetSource, FindingStatus
from atelier_contract.identity import digest_spec, identify_run
from atelier_contract.names import STORE_SECRET
from atelier_contract.reasons import Condition, Finding, Reason, State
from atelier_contract.references import StorageSpec
from atelier_contract.training_job_status import TrainingJobStatus
from atelier_operator.model import ObservedDataset
from atelier_operator.plan import conditions
from atelier_operator.plan.asked import find_conflict, find_recipe
from atelier_operator.plan.look import Look
from atelier_operator.plan.names import is_host_name
from atelier_operator.plan.resolve import resolve
from atelier_operator.plan.state import Verdict

WAIT_SECONDS = 60.0
"""Pause before another look at what is waited for; events come sooner."""
_TYPE_TITLES = {"ConceptModel": "a concept model", "Embedding": "an embedding"}


def is_pinned(status: TrainingJobStatus) -> bool:
    """Return whether the run has started: its dataset no longer matters to whether it goes on."""
    return status.run_identity is not None


def refuse(look: Look, status: TrainingJobStatus) -> Verdict | None:
    """Return an Invalid verdict for what the schema cannot refuse; None: nothing is wrong."""
    if look.spec.pod is None or (look.spec.pod.nodes or 1) == 1 or is_host_name(look.meta.name):
        return None
    message = (
        "with pod.nodes above 1 the TrainingJob's name becomes part of host names: create one whose name begins with a"
        " letter and has no dots"
    )
    return Verdict(status, State.INVALID, message, stalled=Reason.INVALID_INPUT)


def start(look: Look, status: TrainingJobStatus) -> tuple[TrainingJobStatus, Verdict | None]:
    """Return the pinned status, or a verdict that says what is waited for."""
    if is_pinned(status):
        return status, None
    reason, message = _find_lack(look)
    if reason is not None:
        status = look.claim(status, Condition.DATASET_READY, False, reason, message)
        return status, Verdict(status, State.WAITING_FOR_DATASET, message, look_again_seconds=WAIT_SECONDS)
    message = _find_template_lack(look)
    if message:
        return status, Verdict(status, State.WAITING_FOR_DATASET, message, look_again_seconds=WAIT_SECONDS)
    conflict = find_conflict(look.spec, look.view.template)
    if conflict:
        return status, Verdict(status, State.INVALID, conflict, stalled=Reason.INVALID_INPUT)
    return _pin(look, status), None


def _pin(look: Look, status: TrainingJobStatus) -> TrainingJobStatus:
    dataset, prior = look.view.dataset, look.view.prior_dataset
    revision = (dataset and dataset.status.revision) or ""
    prior_revision = (prior and prior.status.revision) or ""
    pictures = (dataset.status.pictures_per_pass or dataset.status.items) if dataset else None
    image = look.view.surroundings.trainer_image
    digest = digest_spec(look.spec)
    status = look.claim(
        status, Condition.DATASET_READY, True, Reason.AS_EXPECTED, f"pinned to revision {revision[:12]}"
    )
    pinned = {
        "spec_digest": digest,
        "dataset_revision": revision,
        "trainer_image": image,
        "prior_dataset_revision": prior_revision or None,
        "resolved": resolve(look.meta.name, look.spec, look.view.template, pictures),
        "run_identity": identify_run(digest, revision, image, prior_revision),
    }
    return status.model_copy(update=pinned)


def _find_lack(look: Look) -> tuple[Reason | None, str]:
    """Return what the datasets lack for this run; None: nothing."""
    dataset, name = look.view.dataset, look.spec.dataset_ref.name
    reason, message = _find_dataset_lack(look, dataset, name)
    if reason is None and dataset and look.spec.model_type not in (dataset.status.usable_for or []):
        return Reason.DATASET_UNUSABLE, _explain_unusable(look, dataset)
    prior = look.spec.prior_dataset_ref
    if reason is not None or prior is None:
        return reason, message
    reason, message = _find_dataset_lack(look, look.view.prior_dataset, prior.name)
    if reason is None and look.view.prior_dataset and not _is_within_reach(look.view.prior_dataset.spec.source):
        message = (
            f"Dataset {prior.name} of priorPreservation lies outside the namespace's own store: upload its pictures,"
            " or let it name a bucket that needs no Secret of its own"
        )
        return Reason.DATASET_UNUSABLE, message
    return reason, message


def _find_dataset_lack(look: Look, dataset: ObservedDataset | None, name: str) -> tuple[Reason | None, str]:
    """Return what any dataset of a run must not lack; None: nothing."""
    if dataset is None:
        return Reason.WAITING_FOR_DATASET, f"there is no Dataset {name} in this namespace yet"
    if not conditions.is_true(dataset.status, Condition.READY) or not dataset.status.revision:
        ready = conditions.find(dataset.status, Condition.READY)
        said = f": {ready.message}" if ready is not None and ready.message else ""
        return Reason.WAITING_FOR_DATASET, f"Dataset {name} is not ready{said}"
    if _name_store(look.spec.storage) != _name_store(dataset.spec.storage):
        message = (
            f"Dataset {name} is kept in {_name_store(dataset.spec.storage)}, this TrainingJob names"
            f" {_name_store(look.spec.storage)}: both must name the same storage"
        )
        return Reason.DATASET_UNUSABLE, message
    return None, ""


def _is_within_reach(source: DatasetSource) -> bool:
    """Return whether a pod reads a source with the store's own credentials: only one dataset's others are mounted."""
    return source.upload is not None or (source.s3 is not None and source.s3.secret_ref is None)


def _explain_unusable(look: Look, dataset: ObservedDataset) -> str:
    """Return why a ready dataset does not serve this type, naming an item and the way out."""
    title = _TYPE_TITLES[look.spec.model_type]
    message = f"Dataset {look.spec.dataset_ref.name} cannot be used for {title}"
    finding = _find_cause(dataset.status.findings or [])
    if finding is None:
        lacking = (dataset.status.items or 0) - (dataset.status.captioned or 0)
        return f"{message}: {lacking} of {dataset.status.items} pictures have no caption"
    example = f", for example {finding.example}" if finding.example else ""
    fix = f": {finding.fix}" if finding.fix else ""
    return f"{message}: {finding.reason} ({finding.count}{example}){fix}"


def _find_cause(findings: list[FindingStatus]) -> FindingStatus | None:
    """Return the finding to show: missing captions first, they are what separates the two types."""
    missing = next((finding for finding in findings if finding.reason == Finding.CAPTION_MISSING), None)
    return missing or next((finding for finding in findings if finding.severity == "Error"), None)


def _find_template_lack(look: Look) -> str:
    ref = look.spec.template_ref
    if ref is None:
        return ""
    if look.view.template is None:
        return f"there is no TrainingTemplate {ref.name} yet"
    if find_recipe(look.spec, look.view.template) is None:
        asked = f"{look.spec.base_model.architecture.value} and {look.spec.model_type}"
        return f"TrainingTemplate {ref.name} has no recipe for {asked}: add one, or leave templateRef out"
    return ""


def _name_store(storage: StorageSpec | None) -> str:
    if storage is not None and storage.persistent_volume_claim is not None:
        claim = storage.persistent_volume_claim
        return f"claim {claim.claim_name}/{claim.path or ''}"
    return f"Secret {storage.secret_ref.name if storage and storage.secret_ref else STORE_SECRET}"
