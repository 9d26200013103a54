"""TrainingJobs in the cluster of the person's kubeconfig: read, and patch the few mutable fields.

The official client is imported when first needed: the command must start at once when it only prints help.
"""

from __future__ import annotations

import json
from typing import Any

from atelier_contract import names, training_job
from atelier_contract.training_job import TrainingJobSpec
from atelier_studio.errors import ClusterRefused


class TrainingJobs:
    """TrainingJobs of one namespace, seen with the person's own rights."""

    def __init__(self, namespace: str | None, context: str | None) -> None:
        """Read the kubeconfig.

        Raises:
            ClusterRefused: there is no usable kubeconfig or no such context.
        """
        from kubernetes import client, config  # noqa: PLC0415  (slow import, see the module's docstring)

        try:
            contexts, active = config.list_kube_config_contexts()
            chosen = next((c for c in contexts if c["name"] == context), None) if context else active
            if chosen is None:
                raise ClusterRefused(
                    f"the kubeconfig has no context {context}: `kubectl config get-contexts` lists them"
                )
            config.load_kube_config(context=chosen["name"])
        except config.ConfigException as error:
            raise ClusterRefused(f"no usable kubeconfig: {error}. Set KUBECONFIG or log in to the cluster") from error
        self.namespace: str = namespace or chosen["context"].get("namespace") or "default"
        self._api = client.CustomObjectsApi()
        self._refusal = client.ApiException

    def _call(self, verb: str, *arguments: Any) -> dict[str, Any]:
        method = getattr(self._api, f"{verb}_namespaced_custom_object")
        try:
            body: dict[str, Any] = method(
                names.GROUP, names.VERSION, self.namespace, training_job.PLURAL, *arguments, _request_timeout=30
            )
        except self._refusal as error:
            raise ClusterRefused(read_refusal(error.status, error.body)) from error
        return body

    def list(self) -> list[dict[str, Any]]:
        """Return all TrainingJobs of the namespace, by name."""
        return sorted(self._call("list")["items"], key=lambda body: str(body["metadata"]["name"]))

    def get(self, name: str) -> dict[str, Any]:
        """Return one TrainingJob. Raises ClusterRefused when it is not there."""
        return self._call("get", name)

    def patch(self, name: str, patch: dict[str, Any]) -> dict[str, Any]:
        """Merge a patch into one TrainingJob and return it. Raises ClusterRefused with the API server's words."""
        return self._call("patch", name, patch)

    def read_spec(self, body: dict[str, Any]) -> TrainingJobSpec:
        """Return the typed spec of a TrainingJob."""
        return TrainingJobSpec.model_validate(body["spec"])


def read_refusal(status: int, body: str | None) -> str:
    """Return the API server's own sentence out of an error answer."""
    try:
        message = json.loads(body or "{}").get("message")
    except ValueError:
        message = None
    return str(message or f"the API server answered {status} without a reason")
