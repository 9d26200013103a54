"""A container's environment variables, resolved as the kubelet resolves them.

In come the image's variables, the container's spec and what the spec refers to; out comes the whole environment, and
command lines with `$(NAME)` replaced.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from atelier_playground.node.client import Client, Object
from atelier_playground.node.sources import Missing, Place, read_data, read_field, read_resource

_REFERENCE = re.compile(r"\$(\$|\((?P<name>[^)]*)\))")


async def build_environment(
    client: Client, pod: Object, container: Object, place: Place, inherited: Mapping[str, str]
) -> dict[str, str]:
    """Build the environment of a container.

    Args:
        client: the API.
        pod: the pod.
        container: the container's spec.
        place: where the pod runs.
        inherited: what the image sets and where the API server is; the container's own variables win.

    Raises:
        Missing: a variable draws on something that is not there and not optional.
    """
    environment = dict(inherited)
    for source in container.get("envFrom") or ():
        environment.update(await _read_all(client, pod, source))
    for variable in container.get("env") or ():
        if "valueFrom" in variable:
            value = await _read_one(client, pod, container, place, variable["valueFrom"])
            if value is not None:
                environment[variable["name"]] = value
        else:
            environment[variable["name"]] = expand(variable.get("value", ""), environment)
    return environment


async def _read_all(client: Client, pod: Object, source: Object) -> dict[str, str]:
    for kind, field in (("configmaps", "configMapRef"), ("secrets", "secretRef")):
        if field in source:
            reference = source[field]
            namespace = pod["metadata"]["namespace"]
            entries = await read_data(client, kind, namespace, reference["name"], reference.get("optional", False))
            prefix = source.get("prefix", "")
            return {prefix + key: value.decode() for key, value in (entries or {}).items()}
    return {}


async def _read_one(client: Client, pod: Object, container: Object, place: Place, source: Object) -> str | None:
    if "fieldRef" in source:
        return read_field(pod, place, source["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in source:
        return read_resource(pod, container, source["resourceFieldRef"])
    kind, field = ("secrets", "secretKeyRef") if "secretKeyRef" in source else ("configmaps", "configMapKeyRef")
    reference = source[field]
    optional = reference.get("optional", False)
    entries = await read_data(client, kind, pod["metadata"]["namespace"], reference["name"], optional)
    if entries is not None and reference["key"] in entries:
        return entries[reference["key"]].decode()
    if optional:
        return None
    raise Missing(f"couldn't find key {reference['key']} in {kind.removesuffix('s')} {reference['name']}")


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by the variable's value; an unknown name stays as it is, and `$$` means `$`."""

    def replace(match: re.Match[str]) -> str:
        if match["name"] is None:
            return "$"
        return environment.get(match["name"], match[0])

    return _REFERENCE.sub(replace, text)


def build_command(
    container: Object, entry_point: Sequence[str], arguments: Sequence[str], environment: Mapping[str, str]
) -> list[str]:
    """Build a container's command line: `command` replaces the entry point, and either replaces the arguments."""
    own_command, own_arguments = container.get("command"), container.get("args")
    words = [*(own_command or entry_point), *(own_arguments or ([] if own_command else arguments))]
    return [expand(word, environment) for word in words]
