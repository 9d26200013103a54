"""Health as Argo CD would see it: the real script in Lua 5.1 as there, on statuses as the operator writes them."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from lupa.lua51 import LuaRuntime

from atelier_contract.reasons import READY_STATES, Condition, Reason, State
from checkout import CHECKOUT

ARGOCD = CHECKOUT / "docs" / "argocd"
SCRIPT = (ARGOCD / "health.lua").read_text()
PATIENT = [state for state in State if state not in (*READY_STATES, State.SUSPENDED, State.FAILED, State.INVALID)]


def to_lua(lua: LuaRuntime, value: Any) -> Any:
    if isinstance(value, dict):
        return lua.table_from({key: to_lua(lua, child) for key, child in value.items()})
    if isinstance(value, list):
        return lua.table_from([to_lua(lua, child) for child in value])
    return value


def judge(document: dict[str, Any]) -> tuple[str, str]:
    """Return health and message of an object."""
    lua = LuaRuntime()
    lua.globals().obj = to_lua(lua, document)
    answer = lua.execute(SCRIPT)
    return answer.status, answer.message


def a_job(*true: Condition, reason: str = State.TRAINING, seen: int = 2, **spec: Any) -> dict[str, Any]:
    """Return a TrainingJob of generation 2 with some conditions true and all others false."""
    conditions = [
        {
            "type": kind.value,
            "status": "True" if kind in true else "False",
            "reason": str(reason) if kind == Condition.READY else str(Reason.AS_EXPECTED),
            "message": f"a sentence on {kind}",
        }
        for kind in Condition
    ]
    return {
        "metadata": {"generation": 2},
        "spec": spec,
        "status": {"observedGeneration": seen, "conditions": conditions},
    }


@pytest.mark.parametrize("kind", [Condition.FAILED, Condition.STALLED])
def test_failed_or_stalled_is_degraded(kind: Condition) -> None:
    """What will not go on by itself is degraded, whatever else is true, and says why."""
    document = a_job(kind, Condition.READY, Condition.SUSPENDED, seen=1, suspend=True)
    assert judge(document) == ("Degraded", f"AsExpected: a sentence on {kind}")


def test_older_status_is_progressing() -> None:
    """A status about the spec before is not taken for the answer to this one."""
    assert judge(a_job(Condition.READY, Condition.SUSPENDED, seen=1, suspend=True))[0] == "Progressing"


def test_paused_by_the_user_is_suspended() -> None:
    """A pause that somebody asked for is no fault and no progress."""
    assert judge(a_job(Condition.SUSPENDED, suspend=True))[0] == "Suspended"


def test_held_by_a_queue_is_progressing() -> None:
    """A run that a queue holds back goes on without anybody."""
    assert judge(a_job(Condition.SUSPENDED, reason=State.QUEUED))[0] == "Progressing"


@pytest.mark.parametrize("state", READY_STATES)
def test_waiting_for_a_person_is_healthy(state: State) -> None:
    """A sync in waves does not wait until somebody selects."""
    assert judge(a_job(Condition.READY, reason=state)) == ("Healthy", f"{state}: a sentence on Ready")


@pytest.mark.parametrize("state", PATIENT)
def test_all_else_is_progressing(state: State) -> None:
    """Queued, running and waiting runs are on their way."""
    assert judge(a_job(reason=state))[0] == "Progressing"


@pytest.mark.parametrize("status", [{}, {"status": {}}, {"status": {"conditions": []}}], ids=str)
def test_new_object_is_progressing(status: dict[str, Any]) -> None:
    """Before the operator's first look there is no status, and that is no error."""
    assert judge({"metadata": {"generation": 1}, "spec": {}, **status})[0] == "Progressing"


def test_configuration_holds_the_script_that_is_tested() -> None:
    """argocd-cm.yaml carries health.lua word for word, for both kinds."""
    data = yaml.safe_load((ARGOCD / "argocd-cm.yaml").read_text())["data"]
    scripts = [text for key, text in data.items() if ".health." in key]
    assert scripts == [SCRIPT, SCRIPT]


def test_what_people_set_by_hand_is_no_drift() -> None:
    """Suspend, stop and selection are left to people."""
    data = yaml.safe_load((ARGOCD / "argocd-cm.yaml").read_text())["data"]
    ignored = yaml.safe_load(data["resource.customizations.ignoreDifferences.atelier.dev_TrainingJob"])
    assert ignored == {"jsonPointers": ["/spec/suspend", "/spec/stop", "/spec/selection"]}
