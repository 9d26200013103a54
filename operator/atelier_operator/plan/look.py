"""One look at a TrainingJob: the view with a readable spec, the time, and the questions that every stage asks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from atelier_contract.identity import slugify
from atelier_contract.reasons import Condition
from atelier_contract.roles import Role
from atelier_contract.training_job import KIND, TrainingJobSpec
from atelier_contract.training_job_status import TrainingJobStatus
from atelier_operator.model import Meta, ObservedJob, ObservedPod, TrainingJobView
from atelier_operator.plan import conditions, instants
from atelier_operator.plan.children import Owner

LOST_AFTER_SECONDS = 60
"""Beyond its own grace, how long a pod may be Terminating on a node that is not ready before it counts as lost."""
_ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True)
class Look:
    """What a decision is made from."""

    view: TrainingJobView
    spec: TrainingJobSpec
    now: datetime

    @property
    def meta(self) -> Meta:
        """The object's metadata."""
        return self.view.meta

    @property
    def owner(self) -> Owner:
        """The object, as its children name it."""
        return Owner(KIND, self.meta.namespace, self.meta.name, self.meta.uid)

    @property
    def slug(self) -> str:
        """File stem of the model's name; empty for a name without Latin letters or digits."""
        return slugify(self.spec.model_name)

    @property
    def suspended(self) -> bool:
        """Whether the user paused the run."""
        return bool(self.spec.suspend)

    @property
    def stopping(self) -> bool:
        """Whether the user wants the run to end now."""
        return bool(self.spec.stop)

    def find_job(self, name: str) -> ObservedJob | None:
        """Return a child Job of this object, by name."""
        return next((job for job in self.own_jobs() if job.name == name), None)

    def find_namesake(self, name: str) -> ObservedJob | None:
        """Return a Job that has this name but is not this object's."""
        return next((job for job in self.view.jobs if job.name == name and job.owner_uid != self.meta.uid), None)

    def own_jobs(self, role: Role | None = None) -> list[ObservedJob]:
        """Return this object's Jobs, of one role or all, oldest first."""
        own = [job for job in self.view.jobs if job.owner_uid == self.meta.uid]
        return sorted((job for job in own if role in {None, job.role}), key=lambda job: (job.created_at, job.name))

    def claim(
        self, status: TrainingJobStatus, kind: Condition, value: bool | None, reason: str, message: str
    ) -> TrainingJobStatus:
        """Return the status with a condition claimed at this look."""
        return conditions.claim(status, kind, value, reason, message, now=self.now)

    def seconds_since(self, instant: datetime) -> float:
        """Return how long ago something was."""
        return instants.seconds_between(instant, self.now)

    def is_lost(self, pod: ObservedPod) -> bool:
        """Return whether a pod is beyond reach: long past its deletion, on a node that is not ready.

        It may still compute. Its keys in the store are its own, so it harms nothing and need not be waited for.
        """
        if pod.deleted_at is None or pod.node_ready is not False:
            return False
        return self.seconds_since(pod.deleted_at) > LOST_AFTER_SECONDS

    def list_unfenced(self, except_job: str = "") -> list[ObservedPod]:
        """Return the training pods that may still be at work, but for those of one Job."""
        pods = [p for job in self.own_jobs(Role.TRAIN) if job.name != except_job for p in job.pods]
        return [p for p in (*pods, *self.view.orphans) if is_active(p) and not self.is_lost(p)]


def is_active(pod: ObservedPod) -> bool:
    """Return whether a pod has not ended."""
    return pod.phase not in _ENDED


def is_over(job: ObservedJob) -> bool:
    """Return whether a Job has ended, in either way."""
    return job.complete or job.failed


def active_pod(job: ObservedJob) -> ObservedPod | None:
    """Return the newest pod that has not ended; of pods that train together, of those that lead."""
    pods = [pod for pod in job.pods if is_active(pod) and pod.index == 0]
    return max(pods, key=lambda pod: (pod.created_at, pod.name), default=None)


def waiting_pod(job: ObservedJob) -> ObservedPod | None:
    """Return a pod that does not run yet, the leader before others: where pods train together, all wait for it."""
    pods = [pod for pod in job.pods if is_active(pod) and pod.started_at is None and pod.deleted_at is None]
    return min(pods, key=lambda pod: (pod.index, pod.name), default=None)
