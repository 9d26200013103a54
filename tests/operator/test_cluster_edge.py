"""The API server's edge and its fake: one test class, so that the fake cannot drift from the real one."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from atelier_contract import names
from atelier_operator.edges.cluster import API_CALLS, ApiServer, Cluster
from atelier_operator.edges.connection import connect
from atelier_operator.edges.metrics import Metrics
from atelier_operator.edges.resources import CONFIG_MAPS, LEASES, NODES, TRAINING_JOBS
from atelier_operator.errors import AlreadyExists, Conflict, NotFound, Refused, SettingsInvalid, Unavailable
from atelier_playground.cluster import CHECKOUT
from fake_cluster import FakeCluster
from operator_bodies import a_training_job

Json = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """A cluster, and a namespace in it that the test may fill."""

    cluster: Cluster
    namespace: str

    async def make_config_map(self, name: str = "one", **metadata: Any) -> Json:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}, "data": {"a": "1"}}
        return await self.cluster.create(CONFIG_MAPS, self.namespace, body)

    async def make_training_job(self) -> Json:
        body = a_training_job(namespace=self.namespace)
        body["metadata"] = {"name": "one", "namespace": self.namespace}
        return await self.cluster.create(TRAINING_JOBS, self.namespace, body)

    async def apply(self, status: Json, **metadata: Any) -> Json:
        body = {"apiVersion": names.API_VERSION, "kind": "TrainingJob", "metadata": {"name": "one", **metadata}}
        return await self.cluster.apply_status(TRAINING_JOBS, self.namespace, "one", {**body, "status": status})


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.cluster)])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    """A cluster in memory, and a real one."""
    if request.param == "fake":
        yield Place(FakeCluster(), "team")
        return
    cluster = request.getfixturevalue("cluster")
    for path in (CHECKOUT / "crds").glob("*.yaml"):
        cluster.api.apply(yaml.safe_load(path.read_text()))
    namespace = f"edge-{uuid.uuid4().hex[:8]}"
    cluster.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    async with await connect(str(cluster.kubeconfig)) as client:
        yield Place(ApiServer(client, Metrics()), namespace)
    cluster.api.delete("v1", "Namespace", namespace)


class TestCluster:
    """What every cluster does."""

    async def test_what_was_created_is_read(self, place: Place):
        """An object comes back with a UID and a version."""
        made = await place.make_config_map()
        read = await place.cluster.read(CONFIG_MAPS, place.namespace, "one")
        assert (read["data"], read["metadata"]["uid"]) == ({"a": "1"}, made["metadata"]["uid"])

    async def test_a_name_is_given_once(self, place: Place):
        """Creating again says that the name is taken."""
        await place.make_config_map()
        with pytest.raises(AlreadyExists):
            await place.make_config_map()

    async def test_what_is_not_there_is_not_found(self, place: Place):
        """A missing object has its own error."""
        with pytest.raises(NotFound):
            await place.cluster.read(CONFIG_MAPS, place.namespace, "none")

    async def test_an_invalid_object_is_refused(self, place: Place):
        """A refusal is told from a conflict, and carries the server's words."""
        with pytest.raises(Refused, match="RFC 1123"):
            await place.make_config_map("Not_A_Name")

    async def test_a_status_is_written_and_read(self, place: Place):
        """The answer to the write is the whole object with its new version."""
        made = await place.make_training_job()
        written = await place.apply({"kept": "2/10"})
        assert written["status"] == {"kept": "2/10"}
        assert written["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]

    async def test_a_status_decided_from_an_old_version_is_refused(self, place: Place):
        """A stale apply must not silently drop rows that were written since."""
        made = await place.make_training_job()
        await place.apply({"kept": "2/10"})
        with pytest.raises(Conflict):
            await place.apply({"kept": "1/10"}, resourceVersion=made["metadata"]["resourceVersion"])

    async def test_a_status_decided_from_an_earlier_object_is_refused(self, place: Place):
        """A re-created object does not inherit its predecessor's status: no two objects share a version."""
        earlier = await place.make_training_job()
        await place.cluster.delete(TRAINING_JOBS, place.namespace, "one")
        await place.make_training_job()
        with pytest.raises(Conflict):
            await place.apply({"kept": "1/10"}, resourceVersion=earlier["metadata"]["resourceVersion"])

    async def test_a_status_of_a_missing_object_is_not_found(self, place: Place):
        """Applying a status makes no object."""
        with pytest.raises(NotFound):
            await place.apply({"kept": "1/10"})

    async def test_a_status_is_replaced_as_a_whole(self, place: Place):
        """What the next status does not say is gone, rows of lists too."""
        row = {"bytes": 1, "sha256": "ab", "state": "Available"}
        rows = [{"name": f"step-00000{step}", "step": step, **row} for step in (1, 2)]
        await place.make_training_job()
        await place.apply({"kept": "2/10", "checkpoints": rows})
        written = await place.apply({"checkpoints": rows[1:]})
        assert written["status"] == {"checkpoints": rows[1:]}

    async def test_a_merge_changes_only_what_it_names(self, place: Place):
        """Other fields stay."""
        await place.make_config_map()
        merged = await place.cluster.merge(CONFIG_MAPS, place.namespace, "one", {"data": {"b": "2"}})
        assert merged["data"] == {"a": "1", "b": "2"}

    async def test_a_merge_from_an_old_version_is_refused(self, place: Place):
        """A finalizer is not set on an object that has changed since."""
        made = await place.make_config_map()
        await place.cluster.merge(CONFIG_MAPS, place.namespace, "one", {"data": {"b": "2"}})
        stale = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "data": {"a": "3"}}
        with pytest.raises(Conflict):
            await place.cluster.merge(CONFIG_MAPS, place.namespace, "one", stale)

    async def test_a_replacement_of_an_old_version_is_refused(self, place: Place):
        """Of two who take a Lease, one succeeds."""
        body = {"apiVersion": LEASES.api_version, "kind": "Lease", "metadata": {"name": "l"}, "spec": {}}
        made = await place.cluster.create(LEASES, place.namespace, body)
        first = {**made, "spec": {"holderIdentity": "a"}}
        await place.cluster.replace(LEASES, place.namespace, "l", first)
        with pytest.raises(Conflict):
            await place.cluster.replace(LEASES, place.namespace, "l", {**made, "spec": {"holderIdentity": "b"}})

    async def test_a_deletion_needs_the_right_uid(self, place: Place):
        """Another object of the same name survives."""
        await place.make_config_map()
        with pytest.raises(Conflict):
            await place.cluster.delete(CONFIG_MAPS, place.namespace, "one", uid=str(uuid.uuid4()))

    async def test_what_was_deleted_is_gone(self, place: Place):
        """A ConfigMap leaves at once."""
        made = await place.make_config_map()
        await place.cluster.delete(CONFIG_MAPS, place.namespace, "one", uid=made["metadata"]["uid"])
        with pytest.raises(NotFound):
            await place.cluster.read(CONFIG_MAPS, place.namespace, "one")

    async def test_a_finalizer_holds_a_deleted_object(self, place: Place):
        """It stays, with the time of its deletion, until the finalizer is taken off."""
        await place.make_config_map(finalizers=[names.FINALIZER])
        await place.cluster.delete(CONFIG_MAPS, place.namespace, "one")
        held = await place.cluster.read(CONFIG_MAPS, place.namespace, "one")
        assert held["metadata"]["deletionTimestamp"]
        await place.cluster.merge(CONFIG_MAPS, place.namespace, "one", {"metadata": {"finalizers": []}})
        with pytest.raises(NotFound):
            await place.cluster.read(CONFIG_MAPS, place.namespace, "one")

    async def test_a_list_holds_what_carries_the_labels(self, place: Place):
        """Others' objects do not come along."""
        await place.make_config_map("ours", labels={"app": "atelier"})
        await place.make_config_map("theirs", labels={"app": "other"})
        page = await place.cluster.read_page(CONFIG_MAPS, place.namespace, selector="app=atelier", token="")
        assert [item["metadata"]["name"] for item in page.items] == ["ours"]

    async def test_pages_follow_each_other_to_the_end(self, place: Place, monkeypatch: pytest.MonkeyPatch):
        """Every object is on one page, and the last page has no token."""
        monkeypatch.setattr("atelier_operator.edges.cluster._PAGE_SIZE", 2)
        for number in range(5):
            await place.make_config_map(f"c{number}", labels={"app": "atelier"})
        found, token = [], None
        while token != "":
            page = await place.cluster.read_page(
                CONFIG_MAPS, place.namespace, selector="app=atelier", token=token or ""
            )
            found += [item["metadata"]["name"] for item in page.items]
            token = page.next_token
        assert sorted(found) == [f"c{number}" for number in range(5)]

    async def test_an_object_of_no_namespace_is_found_without_one(self, place: Place):
        """Nodes lie outside of namespaces."""
        with pytest.raises(NotFound):
            await place.cluster.read(NODES, "", "no-such-node")


async def test_a_silent_api_server_is_unavailable(tmp_path):
    """A refused connection is not a refusal."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "current-context": "c",
                "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
                "users": [{"name": "c", "user": {"token": "t"}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
            }
        )
    )
    async with await connect(str(kubeconfig)) as client:
        with pytest.raises(Unavailable, match="no answer to get /api/v1/nodes/n"):
            await ApiServer(client, Metrics()).read(NODES, "", "n")


async def test_a_missing_kubeconfig_is_named(tmp_path):
    """The message says which file, and what else can be done."""
    with pytest.raises(SettingsInvalid, match="nowhere"):
        await connect(str(tmp_path / "nowhere"))


def test_no_right_on_secrets_is_ever_asked_for():
    """Promise 8: the operator has no right on Secrets."""
    assert not any("secret" in resource for resources in API_CALLS.values() for resource in resources)
