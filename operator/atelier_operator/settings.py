"""The operator's settings: the only reader of the environment.

In comes a mapping of names to text; out goes one frozen value, checked. The names are the contract's, because the chart
writes what is read here.
"""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from atelier_contract import names
from atelier_operator.errors import SettingsInvalid

_NAMESPACE = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclass(frozen=True)
class Settings:
    """Everything the operator is told from outside."""

    trainer_image: str
    image_pull_policy: str
    namespaces: tuple[str, ...]
    """Empty: all of the cluster."""
    identity: str
    """Holder of the Lease: the pod's name, so that a restarted container goes on at once."""
    operator_namespace: str
    lease_name: str
    host: str
    """Address to serve on; empty: every address."""
    port: int
    concurrency: int
    log_level: int
    kubeconfig: str
    """Path of a kubeconfig; empty: the pod's service account."""


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings.

    Args:
        environment: names and values; the process's own when left out.

    Raises:
        SettingsInvalid: a value is missing or wrong; the message names it and what it may be.
    """
    source = os.environ if environment is None else environment
    image = source.get(names.ENV_TRAINER_IMAGE, "").strip()
    if not image:
        raise SettingsInvalid(f"{names.ENV_TRAINER_IMAGE} is not set: give the trainer image, by digest if possible")
    level = _read_choice(source, names.ENV_LOG_LEVEL, _LOG_LEVELS, default="INFO")
    return Settings(
        trainer_image=image,
        image_pull_policy=_read_choice(source, names.ENV_IMAGE_PULL_POLICY, _PULL_POLICIES, default="IfNotPresent"),
        namespaces=_read_namespaces(source),
        identity=source.get(names.ENV_POD_NAME) or f"{socket.gethostname()}-{os.getpid()}",
        operator_namespace=source.get(names.ENV_POD_NAMESPACE) or "default",
        lease_name=source.get(names.ENV_LEASE_NAME) or names.OPERATOR_LEASE,
        host=source.get(names.ENV_POD_IP, ""),
        port=_read_number(source, names.ENV_OPERATOR_PORT, default=names.OPERATOR_PORT, least=0, most=65535),
        concurrency=_read_number(source, names.ENV_CONCURRENCY, default=16, least=1, most=256),
        log_level=logging.getLevelNamesMapping()[level],
        kubeconfig=source.get("KUBECONFIG", ""),
    )


def _read_choice(source: Mapping[str, str], name: str, choices: tuple[str, ...], *, default: str) -> str:
    value = source.get(name) or default
    if value not in choices:
        raise SettingsInvalid(f"{name} is {value!r}: it must be one of {', '.join(choices)}")
    return value


def _read_number(source: Mapping[str, str], name: str, *, default: int, least: int, most: int) -> int:
    text = source.get(name) or str(default)
    if not text.isdecimal() or not least <= int(text) <= most:
        raise SettingsInvalid(f"{name} is {text!r}: it must be a whole number from {least} to {most}")
    return int(text)


def _read_namespaces(source: Mapping[str, str]) -> tuple[str, ...]:
    found = tuple(part.strip() for part in source.get(names.ENV_NAMESPACES, "").split(",") if part.strip())
    for namespace in found:
        if not _NAMESPACE.match(namespace):
            raise SettingsInvalid(f"{names.ENV_NAMESPACES} holds {namespace!r}: that is not a namespace's name")
    return found
