"""Whose a store is: owner.json, compared before anything is read, written or deleted, and written by whoever is first.

Two clusters on one bucket would overwrite each other's runs unseen. So the first who opens a namespace's store with
both UIDs at hand writes them down, and everyone after that compares.
"""

from __future__ import annotations

from atelier_contract.layout import NamespaceLayout
from atelier_contract.manifests import OwnerManifest
from atelier_materials.errors import ObjectConflict, StorageOwnedByAnother
from atelier_materials.store.documents import find_document, read_document, write_document
from atelier_materials.store.protocol import Store


def claim_store(store: Store, layout: NamespaceLayout, namespace_uid: str, cluster_uid: str | None) -> None:
    """Make sure that a store is this namespace's; claim it where it is nobody's.

    Args:
        store: the namespace's store.
        layout: its keys.
        namespace_uid: of the namespace.
        cluster_uid: of the cluster; None where the person may not read it: then an unclaimed store is left so, for the
            first pod to claim, and a claimed one is known by the namespace's UID, which no other cluster has.

    Raises:
        StorageOwnedByAnother: owner.json names someone else.
    """
    found = find_document(store, layout.owner, OwnerManifest)
    if found is None:
        if cluster_uid is None:
            return
        try:
            write_document(store, layout.owner, OwnerManifest(cluster_uid=cluster_uid, namespace_uid=namespace_uid))
        except ObjectConflict:
            # Another came first; what it wrote is compared like any other.
            found = read_document(store, layout.owner, OwnerManifest)
        else:
            return
    if (found.cluster_uid, found.namespace_uid) != (cluster_uid or found.cluster_uid, namespace_uid):
        raise StorageOwnedByAnother(
            f"{store.address} below {layout.namespace} belongs to namespace UID {found.namespace_uid} of cluster UID "
            f"{found.cluster_uid}, this is {namespace_uid} of {cluster_uid or 'this cluster'}: give this namespace a "
            "prefix of its own. To take the data over after a restore, when the other is gone, delete the object "
            f"{layout.owner}"
        )
