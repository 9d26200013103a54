"""How the operator reaches the API server: one reader of credentials for our own calls and for Kopf's watches.

In a pod these are the service account's token (which the cluster renews; it is read again each minute) and authority;
elsewhere a kubeconfig. What comes out is the official client, and the same facts for Kopf.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config.config_exception import ConfigException
from kubernetes.aio.config.incluster_config import load_incluster_config
from kubernetes.aio.config.kube_config import load_kube_config

from atelier_operator.errors import SettingsInvalid

_USER_AGENT = "atelier-operator"
_CONNECTIONS = 32
"""Twice the usual number of objects looked at at once: none of them waits for a connection."""


@dataclass(frozen=True)
class Credentials:
    """What a second client needs to speak to the same API server as the same user."""

    server: str
    ca_file: str | None
    verify: bool
    scheme: str | None
    token: str | None
    certificate_file: str | None
    key_file: str | None


async def connect(kubeconfig: str) -> ApiClient:
    """Return a client of the API server.

    Args:
        kubeconfig: path of a kubeconfig; empty: the pod's service account.

    Raises:
        SettingsInvalid: the kubeconfig cannot be read, or there is no service account.
    """
    configuration = Configuration()
    try:
        if kubeconfig:
            await load_kube_config(config_file=kubeconfig, client_configuration=configuration, persist_config=False)
        else:
            load_incluster_config(client_configuration=configuration)
    except (ConfigException, OSError) as error:
        where = f"the kubeconfig {kubeconfig}" if kubeconfig else "the pod's service account"
        raise SettingsInvalid(f"cannot use {where}: {error}; set KUBECONFIG or run in a pod") from error
    configuration.connection_pool_maxsize = _CONNECTIONS
    client = ApiClient(configuration)
    client.user_agent = _USER_AGENT
    return client


async def read_credentials(client: ApiClient) -> Credentials:
    """Return the client's credentials as they are now, renewed if they must be."""
    configuration = client.configuration
    scheme, _, token = (await configuration.get_api_key_with_prefix("BearerToken") or "").partition(" ")
    ca_file = configuration.ssl_ca_cert
    return Credentials(
        server=configuration.host,
        ca_file=str(Path(ca_file)) if ca_file else None,
        verify=bool(configuration.verify_ssl),
        scheme=scheme.capitalize() or None,
        token=token.strip() or None,
        certificate_file=configuration.cert_file or None,
        key_file=configuration.key_file or None,
    )
