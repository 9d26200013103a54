"""Why a job failed, out of what the cluster still holds about it."""

import json
from typing import Any

import pytest

from atelier_contract.reasons import Condition, Reason
from atelier_studio.actions.describing import describe_job
from atelier_studio.actions.explaining import ADVICE, Evidence, explain, find_last_pod
from atelier_studio.errors import find_page
from journey import build_spec

MOMENT = "2026-11-23T07:00:00Z"
FAILURES = [
    Reason.INVALID_INPUT,
    Reason.DATASET_UNUSABLE,
    Reason.DATASET_CHANGED,
    Reason.BASE_MODEL_UNUSABLE,
    Reason.OUT_OF_MEMORY,
    Reason.OUT_OF_HOST_MEMORY,
    Reason.DIVERGED,
    Reason.STORAGE_UNAVAILABLE,
    Reason.STORAGE_NOT_CONFIGURED,
    Reason.STORAGE_OWNED_BY_ANOTHER,
    Reason.RETRIES_EXHAUSTED,
    Reason.START_DEADLINE_EXCEEDED,
    Reason.DEADLINE_EXCEEDED,
    Reason.PREFLIGHT_FAILED,
    Reason.PUBLISH_FAILED,
    Reason.COLLECT_FAILED,
    Reason.NAME_TAKEN,
    Reason.CREATE_REFUSED,
    Reason.TRAINER_ERROR,
]


def a_condition(kind: Condition, reason: str, message: str = "", status: str = "True") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": MOMENT}


def a_job(*conditions: dict[str, str], **status: Any) -> dict[str, Any]:
    return {
        "kind": "TrainingJob",
        "metadata": {"name": "teapot", "generation": 1},
        "spec": build_spec(),
        "status": {"observedGeneration": 1, "conditions": list(conditions), **status},
    }


def a_failed_job(reason: str, message: str = "the sentence", **status: Any) -> dict[str, Any]:
    ready = a_condition(Condition.READY, "Failed", message, "False")
    return a_job(ready, a_condition(Condition.FAILED, reason, message), **status)


def a_pod(name: str, phase: str, code: int = 1, message: str = "") -> dict[str, Any]:
    ended = {"exitCode": code, "reason": "Error", "message": message}
    containers = [{"name": "trainer", "state": {"terminated": ended}}]
    return {"metadata": {"name": name}, "status": {"phase": phase, "containerStatuses": containers}}


def last_words(reason: Reason, message: str) -> str:
    return json.dumps({"schemaVersion": 1, "role": "train", "reason": reason, "message": message})


def test_the_condition_comes_first():
    """The first lines say what failed, why, in the operator's sentence, and since when."""
    lines = explain(Evidence(a_failed_job(Reason.DIVERGED, "the loss became 90")))
    assert lines[:3] == ["teapot has failed: Diverged", "  the loss became 90", f"  since {MOMENT}"]


@pytest.mark.parametrize("reason", FAILURES)
def test_each_reason_has_advice_and_a_page(reason: Reason):
    """Whatever a run fails of, the last two lines say what to do and where to read on."""
    lines = explain(Evidence(a_failed_job(reason)))
    assert lines[-2] == "what to do: " + ADVICE[reason].format(job="teapot")
    assert lines[-1] == f"read on: {find_page(reason)}"


def test_it_works_while_pods_are_gone():
    """Conditions and attempts stay when pods and logs are gone, and that is said."""
    attempts = [{"id": "a", "node": "gpu-1", "fromStep": 0, "toStep": 120, "seconds": 75, "reason": "NodeLost"}]
    lines = explain(Evidence(a_failed_job(Reason.RETRIES_EXHAUSTED, attempts=attempts)))
    assert "  1. steps 0 to 120 in 1m15s on gpu-1: NodeLost" in lines
    assert "its pods are gone, and their logs with them: they are kept for a day" in lines


def test_last_words_are_told_with_their_code():
    """A pod's termination message is told with its reason and exit code."""
    pod = a_pod("teapot-train-1-x", "Failed", 14, last_words(Reason.DIVERGED, "loss 90 at step 7"))
    lines = explain(Evidence(a_failed_job(Reason.DIVERGED), [pod]))
    assert "  teapot-train-1-x: Diverged (exit code 14): loss 90 at step 7" in lines


def test_a_pod_without_a_word_tells_its_code():
    """A pod that was killed left no message: its exit code is told."""
    lines = explain(Evidence(a_failed_job(Reason.RETRIES_EXHAUSTED), [a_pod("p", "Failed", 137)]))
    assert "  p: Error with exit code 137, without a word" in lines


def test_the_same_sentence_is_told_once():
    """The sentence that went from the log into the condition is not printed again."""
    sentence = "no base model lies at base-models/nowhere"
    pod = a_pod("p", "Failed", 12, last_words(Reason.BASE_MODEL_UNUSABLE, sentence))
    event = {"type": "Warning", "reason": "BaseModelUnusable", "message": sentence, "involvedObject": {"name": "p"}}
    log = [f"ERROR {sentence}"]
    told = "\n".join(explain(Evidence(a_failed_job(Reason.BASE_MODEL_UNUSABLE, sentence), [pod], [event], log)))
    assert told.count(sentence) == 1
    assert "ERROR (as above)" in told


def test_events_and_the_end_of_the_log_are_told():
    """Warnings about the job or its pod, and the last lines of the log, are shown."""
    event = {
        "type": "Warning",
        "reason": "FailedMount",
        "message": "no volume\nfound",
        "count": 3,
        "involvedObject": {"kind": "Pod", "name": "p"},
    }
    log = [f"line {number}" for number in range(30)]
    lines = explain(Evidence(a_failed_job(Reason.TRAINER_ERROR), [a_pod("p", "Failed")], [event], log))
    assert "  pod/p: FailedMount (3 times): no volume found" in lines
    assert "  line 29" in lines
    assert "  line 17" not in lines


def test_a_stalled_job_is_explained_too():
    """A job that has not failed and does not go on is explained by its Stalled condition."""
    body = a_job(
        a_condition(Condition.READY, "Publishing", "", "False"),
        a_condition(Condition.STALLED, Reason.PUBLISH_FAILED, "the store refused"),
    )
    lines = explain(Evidence(body))
    assert lines[:2] == ["teapot does not go on (Publishing): PublishFailed", "  the store refused"]


def test_a_refused_selection_is_explained():
    """A selection that the operator does not act on is a reason not to go on."""
    body = a_job(
        a_condition(Condition.READY, "AwaitingSelection", "choose from step-000010", "True"),
        a_condition(Condition.SELECTION_VALID, Reason.UNKNOWN_CHECKPOINT, "", "False"),
    )
    assert explain(Evidence(body))[0] == "teapot does not go on (AwaitingSelection): UnknownCheckpoint"


def test_a_refused_install_is_explained():
    """A job that ended well and whose models are not in InvokeAI says so, and what installs them."""
    body = a_job(
        a_condition(Condition.READY, "Finalized", "1 model is kept"),
        a_condition(Condition.INSTALLED, Reason.PUBLISH_FAILED, "not installed in InvokeAI: no answer", "False"),
    )
    assert explain(Evidence(body)) == [
        "teapot is Finalized, and not all of its models are in InvokeAI:",
        "  not installed in InvokeAI: no answer",
        f"  since {MOMENT}",
        "",
        "what to do: mend what the message names, then kubectl atelier publish teapot --to invokeai",
        "read on: docs/how-to/publish-to-invokeai.md",
    ]


def test_a_failure_comes_before_a_refused_install():
    """What keeps a job from going on is explained first."""
    refused = a_condition(Condition.INSTALLED, Reason.PUBLISH_FAILED, "no answer", "False")
    body = a_job(a_condition(Condition.FAILED, Reason.DIVERGED, "the loss became 90"), refused)
    assert explain(Evidence(body))[1] == "  the loss became 90"


@pytest.mark.parametrize(("status", "lines"), [("False", 2), ("True", 0)])
def test_a_refused_install_is_described(status: str, lines: int):
    """The description of a job tells that InvokeAI has not got its models; that it has goes without saying."""
    body = a_job(a_condition(Condition.INSTALLED, Reason.PUBLISH_FAILED, "InvokeAI: no answer", status))
    told = [line for line in describe_job(body) if "no answer" in line or "publish teapot --to invokeai" in line]
    assert len(told) == lines


def test_a_job_stopped_before_its_first_checkpoint_leads_somewhere():
    """Where there is nothing to choose from, the next step is not to choose."""
    lines = explain(Evidence(a_job(a_condition(Condition.READY, "AwaitingSelection", "", "True"))))
    assert lines[-1].startswith("next: train anew: kubectl atelier clone teapot NEW")


def test_a_healthy_job_says_so():
    """Asked about a job that is well, it says so and what comes next."""
    lines = explain(Evidence(a_job(a_condition(Condition.READY, "Training", "pod x", "False"))))
    assert lines[0] == "nothing is wrong with teapot: it is Training (pod x)"
    assert lines[1].startswith("next: ")


def test_the_newest_failed_pod_tells_most():
    """The log that is shown is that of the newest pod that failed, not of one that ended well after it."""
    pods = [a_pod("old", "Failed"), a_pod("newer", "Failed"), a_pod("done", "Succeeded", 0)]
    found = find_last_pod(pods)
    assert found is not None
    assert found["metadata"]["name"] == "newer"
    assert find_last_pod([]) is None
