"""The operator as a process of its own against the tests' real API server, watching one namespace."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from atelier_contract import names
from atelier_playground.api import wait_for

MISSING_IMAGE = "atelier.test/no-such-trainer"
"""An image that no node has: Jobs are made, and their pods wait."""


class OperatorProcess:
    """One operator.

    Args:
        kubeconfig: whom it acts as.
        namespace: the namespace it looks after, and where its Lease lies.
        identity: its name in the Lease.
        log: where its words go; added to, never begun anew.
    """

    def __init__(self, kubeconfig: Path, namespace: str, identity: str, log: Path) -> None:
        self._log = log
        environment = {
            **os.environ,
            "KUBECONFIG": str(kubeconfig),
            names.ENV_NAMESPACES: namespace,
            names.ENV_POD_NAME: identity,
            names.ENV_POD_NAMESPACE: namespace,
            names.ENV_POD_IP: "127.0.0.1",
            names.ENV_OPERATOR_PORT: "0",
            names.ENV_TRAINER_IMAGE: MISSING_IMAGE,
        }
        with log.open("ab") as output:
            command = [sys.executable, "-m", "atelier_operator"]
            self._process = subprocess.Popen(command, env=environment, stderr=output)

    def kill(self) -> None:
        """End it as a lost machine would: without a word."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """Ask it to end, and return its exit code; nothing happens when it has ended already."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self.wait_for_end()

    def wait_for_end(self) -> int:
        """Wait until it ends by itself, and return its exit code."""
        return self._process.wait(30)

    def find_address(self) -> str:
        """Wait until it serves, and return where."""
        found = wait_for(lambda: re.findall(r"port=(\d+)", self.read_log()), "the operator serves")
        return f"http://127.0.0.1:{found[-1]}"

    def read_log(self) -> str:
        """Return what it has said."""
        return self._log.read_text()
