"""What a pod draws from the API: ConfigMaps, Secrets, service account tokens and its own fields.

The node may read a ConfigMap or Secret only while a pod bound to it names it; the API server enforces that. Missing
things raise `Missing`, whose message becomes the Event or the waiting reason that a user reads.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
from dataclasses import dataclass
from typing import Any

from atelier_playground.errors import ApiError, PlaygroundError
from atelier_playground.node.client import Client, Object
from atelier_playground.node.quantities import read_quantity


class Missing(PlaygroundError):
    """Something that the pod names and needs is not there."""


@dataclass(frozen=True)
class Place:
    """What the node knows of a pod and the pod itself does not: where it runs."""

    node: str
    address: str
    host_address: str = "127.0.0.1"


async def read_data(client: Client, kind: str, namespace: str, name: str, optional: bool) -> dict[str, bytes] | None:
    """Read the entries of a ConfigMap or Secret.

    Args:
        client: the API.
        kind: `configmaps` or `secrets`.
        namespace: where it lies.
        name: its name.
        optional: whether it may be missing.

    Returns:
        The entries; None when it is missing and optional.

    Raises:
        Missing: it is missing and not optional.
    """
    try:
        document = await client.get(f"/api/v1/namespaces/{namespace}/{kind}/{name}")
    except ApiError as error:
        if error.status != 404:
            raise
        if optional:
            return None
        raise Missing(f'{kind.removesuffix("s")} "{name}" not found') from error
    return decode_data(document)


def decode_data(document: Object) -> dict[str, bytes]:
    """The entries of a ConfigMap or Secret document, as bytes."""
    if document.get("kind") == "Secret" or "type" in document:
        return {key: base64.b64decode(value) for key, value in (document.get("data") or {}).items()}
    text = {key: value.encode() for key, value in (document.get("data") or {}).items()}
    binary = {key: base64.b64decode(value) for key, value in (document.get("binaryData") or {}).items()}
    return {**text, **binary}


async def request_token(client: Client, pod: Object, source: Object) -> tuple[bytes, dt.datetime]:
    """Request a service account token that is valid while the pod lives.

    Args:
        client: the API.
        pod: the pod whose account it is.
        source: the `serviceAccountToken` source of a projected volume.

    Returns:
        The token and the moment it runs out.
    """
    metadata = pod["metadata"]
    account = pod["spec"].get("serviceAccountName", "default")
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {
            "audiences": [source["audience"]] if source.get("audience") else [],
            "expirationSeconds": source.get("expirationSeconds", 3600),
            "boundObjectRef": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
        },
    }
    path = f"/api/v1/namespaces/{metadata['namespace']}/serviceaccounts/{account}/token"
    status = (await client.create(path, body))["status"]
    expires = dt.datetime.fromisoformat(status["expirationTimestamp"])
    return status["token"].encode(), expires


def read_field(pod: Object, place: Place, path: str) -> str:
    """Read a field as the downward API names it.

    Raises:
        Missing: the downward API knows no such field.
    """
    metadata, spec = pod["metadata"], pod["spec"]
    for prefix in ("labels", "annotations"):
        entries = metadata.get(prefix) or {}
        if path == f"metadata.{prefix}":
            return "\n".join(f"{key}={json.dumps(value)}" for key, value in sorted(entries.items()))
        if path.startswith(f"metadata.{prefix}['"):
            return str(entries.get(path.split("'")[1], ""))
    known: dict[str, Any] = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "spec.nodeName": place.node,
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "status.hostIP": place.host_address,
        "status.hostIPs": place.host_address,
        "status.podIP": place.address,
        "status.podIPs": place.address,
    }
    if path not in known:
        raise Missing(f"fieldPath {path} is not one that the downward API offers")
    return str(known[path])


def read_resource(pod: Object, container: Object, source: Object) -> str:
    """Read a container's request or limit as `resourceFieldRef` names it, in units of its divisor, rounded up.

    Raises:
        Missing: the container named by the source, or the resource, is not there.
    """
    name = source.get("containerName", container.get("name"))
    found = next((one for one in pod["spec"]["containers"] if one["name"] == name), None)
    kind, _, resource = source["resource"].partition(".")
    quantity = ((found or {}).get("resources", {}).get(kind) or {}).get(resource)
    if quantity is None:
        raise Missing(f"resource {source['resource']} of container {name} is not set")
    divisor = read_quantity(str(source.get("divisor", "1")))
    return str(math.ceil(read_quantity(quantity) / (divisor or 1)))
