"""What the demo brings to a cluster: it meets nothing of its names there, and takes away only what it brought.

In come documents and folders; out go objects of the API and of the store, each remembered by its uid or key from the
moment it is asked for. On a borrowed cluster all of it goes again, and nothing else: what a person put under the same
names before or meanwhile is not the demo's.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path

from atelier_contract import dataset, names, training_job
from atelier_contract.training_job_status import TrainingJobStatus
from atelier_playground.api import Api, Object, wait_for
from atelier_playground.demo.store import Store
from atelier_playground.errors import PlaygroundError

JOB = "teapot"
DATASET = "teapots"
BASE_MODEL_KEY = ("base-models", "tiny")
PICTURES_KEY = ("pictures", DATASET)
_OBJECTS = ((training_job.KIND, JOB), (dataset.KIND, DATASET))
_KEYS = (BASE_MODEL_KEY, PICTURES_KEY, ("datasets", DATASET), ("runs", JOB))
# A trainer that is told to stop writes its state first; what lasts longer is left to write on.
_PODS_SECONDS = 60


def require_free_names(api: Api, namespace: str, store: Store) -> None:
    """Check that nothing of the demo's names is there. Changes nothing.

    Raises:
        PlaygroundError: an object or a key of that name exists; the message names it.
    """
    way_out = "nothing was changed: name another namespace with --namespace, or delete it if nobody needs it"
    for kind, name in _OBJECTS:
        if api.find(names.API_VERSION, kind, name, namespace) is not None:
            raise PlaygroundError(f"namespace {namespace} has a {kind} {name} already; {way_out}")
    for parts in _KEYS:
        key = store.find_any(store.layout.key(*parts))
        if key is not None:
            raise PlaygroundError(f"bucket {store.bucket_name} holds {key} already; {way_out}")


@dataclass
class Luggage:
    """What one telling brought.

    Args:
        api: the way to the cluster.
        namespace: where the objects go.
        store: the namespace's store.
    """

    api: Api
    namespace: str
    store: Store
    _uids: dict[tuple[str, str], str] = field(default_factory=dict, init=False)
    _keys: list[str] = field(default_factory=list, init=False)

    def upload_folder(self, folder: Path, *key: str) -> int:
        """Upload a folder's files below a key of the namespace. Returns the number of files."""
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        for path in files:
            target = f"{self.store.layout.key(*key)}/{path.relative_to(folder).as_posix()}"
            # Before the upload: one that is cut off may have arrived.
            self._keys.append(target)
            self.store.upload(path, target)
        return len(files)

    def create(self, document: Object) -> None:
        """Create an object; one of its name that came meanwhile is refused and never taken over."""
        created = self.api.create(document, self.namespace)
        self._uids[created["kind"], created["metadata"]["name"]] = created["metadata"]["uid"]

    def take_away(self) -> None:
        """Remove what was brought and what Atelier made of it; published models stay."""
        job = self._find_own(training_job.KIND, JOB)
        pictures = self._find_own(dataset.KIND, DATASET)
        for body in (job, pictures):
            if body is not None:
                self.api.delete(names.API_VERSION, body["kind"], body["metadata"]["name"], self.namespace)
        # Their keys go when nobody writes them any more; a person who may not list pods need not wait.
        with contextlib.suppress(PlaygroundError):
            wait_for(lambda: not self._list_pods(), "the demo's pods have ended", _PODS_SECONDS)
        if job is not None:
            identity = TrainingJobStatus.model_validate(job.get("status") or {}).run_identity
            if identity is not None:
                self.store.delete_below(self.store.layout.run(JOB, identity).key())
        if pictures is not None:
            self.store.delete_below(self.store.layout.dataset(DATASET, "revisions"))
        for key in self._keys:
            self.store.delete(key)

    def _find_own(self, kind: str, name: str) -> Object | None:
        """Return the object that this telling created, unless it has gone or another has taken its name."""
        uid = self._uids.get((kind, name))
        found = None if uid is None else self.api.find(names.API_VERSION, kind, name, self.namespace)
        return found if found is not None and found["metadata"]["uid"] == uid else None

    def _list_pods(self) -> list[Object]:
        uids = set(self._uids.values())
        pods = self.api.list("v1", "Pod", self.namespace) if uids else []
        return [pod for pod in pods if pod["metadata"].get("labels", {}).get(names.LABEL_OWNER_UID) in uids]
