"""`spec.publish.invokeAI` through the whole cluster: the operator's publish Job installs what was selected."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from atelier_contract.names import KEY_INVOKEAI_TOKEN
from atelier_contract.reasons import Condition, State
from atelier_playground.api import wait_for
from fake_invokeai import FakeInvokeAi
from journey import Room, read_condition

pytestmark = pytest.mark.cluster
TOKEN = "a-token-of-an-administrator"


@pytest.fixture
def invokeai(tmp_path: Path) -> Iterator[FakeInvokeAi]:
    """A server with accounts and nothing installed, where the cluster's pods can reach it."""
    server = FakeInvokeAi(tmp_path / "invokeai", token=TOKEN)
    yield server
    server.stop()


def test_what_is_selected_is_installed(room: Room, invokeai: FakeInvokeAi):
    """The selected checkpoint is in InvokeAI with its trigger and preview, and the job's condition says so."""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "invoke-token"},
        "stringData": {KEY_INVOKEAI_TOKEN: TOKEN},
    }
    room.home.api.create(secret, room.name)
    room.apply_dataset()
    publish = {"invokeAI": {"url": invokeai.url, "credentialsSecretRef": {"name": "invoke-token"}}}
    room.apply_job(steps=10, publish=publish)
    room.wait_state(State.AWAITING_SELECTION)
    room.patch_job("teapot", {"selection": {"checkpoints": ["step-000010"], "finalize": True}})

    def is_told() -> bool:
        return any(read_condition(room.get_status(), Condition.INSTALLED))

    wait_for(is_told, "Installed is told", 300, room.get_status)
    expected = ("True", "AsExpected", f"in InvokeAI at {invokeai.url}: 1 Installed")
    assert read_condition(room.get_status(), Condition.INSTALLED) == expected
    (model,) = invokeai.models.values()
    assert (model["type"], model["base"], model["trigger_phrases"]) == ("lora", "sd-1", ["TKXW"])
    assert model["cover_image"]
