"""The kinds of object the operator touches, and where each lies under the API server's address."""

from __future__ import annotations

from dataclasses import dataclass

from atelier_contract import dataset, names, template, training_job


@dataclass(frozen=True)
class Resource:
    """One kind of object."""

    group: str
    """Empty: the core group."""
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """The `apiVersion` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def root(self) -> str:
        """The path under which its group and version lie."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Return the path of a collection, an object, or a part of one."""
        parts = [self.root]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part]
        return "/".join(parts)


DATASETS = Resource(names.GROUP, names.VERSION, dataset.PLURAL, dataset.KIND)
TRAINING_JOBS = Resource(names.GROUP, names.VERSION, training_job.PLURAL, training_job.KIND)
TEMPLATES = Resource(names.GROUP, names.VERSION, template.PLURAL, template.KIND, namespaced=False)
JOBS = Resource("batch", "v1", "jobs", "Job")
PODS = Resource("", "v1", "pods", "Pod")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
NETWORK_POLICIES = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
SERVICES = Resource("", "v1", "services", "Service")
EVENTS = Resource("", "v1", "events", "Event")
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")

OWNERS = {dataset.KIND: DATASETS, training_job.KIND: TRAINING_JOBS}
"""The kinds that have children."""
WATCHED = (DATASETS, TRAINING_JOBS, TEMPLATES, JOBS, PODS)
"""The kinds whose events wake the operator."""
LABELLED = (JOBS, PODS)
"""Watched kinds that others use too: only those with our label are looked at, and the API server does the sorting."""
SELECTOR = f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"
