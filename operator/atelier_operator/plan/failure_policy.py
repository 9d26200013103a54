"""What Kubernetes does when a pod of ours ends badly, rendered from the contract's exit codes.

The rules are read in order and the first that matches holds, so a disruption comes before any exit code: a container
killed by an eviction also has one. A failure policy cannot see that a container was OOMKilled (its exit code, 137, is
that of every SIGKILL); the plan ends such a run itself.
"""

from __future__ import annotations

from atelier_contract import exit_codes, names
from atelier_operator.model import Json

TIME_TO_LIVE_SECONDS = 86_400
"""A finished Job stays for a day, to be looked at; 5,000 runs would fill etcd otherwise."""


def render_failure_policy() -> Json:
    """Return the part of a Job's spec that decides about retries."""
    return {
        "backoffLimit": exit_codes.BACKOFF_LIMIT,
        # The only value that Kubernetes accepts beside a failure policy: a new pod only after the old one has ended.
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                {"action": "Ignore", "onExitCodes": _codes(exit_codes.IGNORED)},
                {"action": "FailJob", "onExitCodes": _codes(exit_codes.FAILING)},
            ]
        },
    }


def _codes(codes: tuple[exit_codes.ExitCode, ...]) -> Json:
    return {"containerName": names.CONTAINER, "operator": "In", "values": sorted(int(code) for code in codes)}
