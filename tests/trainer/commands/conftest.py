"""Fixtures of the subcommands: a run that can start, and its keys."""

from __future__ import annotations

import pytest

from atelier_contract.inputs import TrainingInput
from atelier_contract.layout import RunLayout
from trainer_pod import IDENTITY, UPLOAD, Tenant, put_teapots


@pytest.fixture
def asked(volume_tenant: Tenant) -> TrainingInput:
    """A run that can start."""
    return volume_tenant.training_input(put_teapots(volume_tenant), UPLOAD)


@pytest.fixture
def run(volume_tenant: Tenant) -> RunLayout:
    """Keys of that run."""
    return volume_tenant.layout.run("teapot", IDENTITY)
