"""`python -m atelier_playground up|down|status`: a cluster for a person to play with.

`up` leaves a process behind that owns the cluster and ends with `down`; everything lies under build/playground of the
checkout. What that process needs to be found again is in `owner.json` there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from atelier_playground.cluster import CHECKOUT, Cluster
from atelier_playground.errors import PlaygroundError, StartFailed

_DIRECTORY = CHECKOUT / "build" / "playground"
_NAMESPACE = "playground"
_POLL_SECONDS = 0.2
# A cold build of the control plane on a slow machine is inside this.
_START_SECONDS = 3600
_STOP_SECONDS = 60


def main() -> int:
    """Do what the command line says. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m atelier_playground", description=__doc__)
    parser.add_argument("verb", choices=["up", "down", "status", "serve"], help="serve: what `up` leaves behind")
    parser.add_argument("--bare", action="store_true", help="without the operator")
    arguments = parser.parse_args()
    verbs = {"up": _bring_up, "down": _take_down, "status": _show_status, "serve": _serve}
    try:
        return verbs[arguments.verb](bare=arguments.bare)
    except PlaygroundError as error:
        print(error, file=sys.stderr)
        return 1


def read_owner(directory: Path = _DIRECTORY) -> dict[str, Any] | None:
    """Read who owns the cluster under a directory; None when nobody does any more."""
    try:
        owner: dict[str, Any] = json.loads((directory / "owner.json").read_text())
        command = Path(f"/proc/{owner['pid']}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # A process id is used again some day; only our own command line makes it our process.
    return owner if b"atelier_playground" in command else None


def _bring_up(bare: bool) -> int:
    if read_owner() is not None:
        return _show_status(bare=bare)
    shutil.rmtree(_DIRECTORY, ignore_errors=True)
    _DIRECTORY.mkdir(parents=True)
    log = _DIRECTORY / "serve.log"
    command = [sys.executable, "-m", "atelier_playground", "serve", *(["--bare"] if bare else [])]
    with log.open("wb") as sink:
        owner = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True)
    _follow(log, owner)
    return _show_status(bare=bare)


def _follow(log: Path, owner: subprocess.Popen[bytes]) -> None:
    """Print what the owner says until the cluster is ready."""
    deadline = time.monotonic() + _START_SECONDS
    with log.open() as lines:
        while True:
            is_ready = (read_owner() or {}).get("ready", False)
            print(lines.read(), end="", flush=True)
            if is_ready:
                return
            if owner.poll() is not None or time.monotonic() > deadline:
                raise StartFailed(f"the cluster did not start: see {log}")
            time.sleep(_POLL_SECONDS)


def _serve(bare: bool) -> int:
    signal.signal(signal.SIGTERM, _leave)
    cluster = Cluster(directory=_DIRECTORY, report=lambda line: print(line, flush=True))
    _write_owner(cluster, is_ready=False)
    try:
        with cluster:
            cluster.make_user_namespace(_NAMESPACE)
            if not bare:
                print("operator: installing", flush=True)
                cluster.install_operator()
            _write_owner(cluster, is_ready=True)
            signal.pause()
    finally:
        (_DIRECTORY / "owner.json").unlink()
    return 0


def _leave(number: int, frame: object) -> None:
    del number, frame
    sys.exit(0)


def _write_owner(cluster: Cluster, is_ready: bool) -> None:
    owner = {"pid": os.getpid(), "ready": is_ready, "namespace": _NAMESPACE}
    if is_ready:
        owner |= {"kubeconfig": str(cluster.kubeconfig), "store": cluster.store.endpoint}
    scratch = _DIRECTORY / "owner.writing"
    scratch.write_text(json.dumps(owner) + "\n")
    scratch.replace(_DIRECTORY / "owner.json")


def _take_down(bare: bool) -> int:
    del bare
    owner = read_owner()
    if owner is None:
        print("no cluster is up")
        return 0
    os.kill(owner["pid"], signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    while read_owner() is not None:
        if time.monotonic() > deadline:
            raise PlaygroundError(f"process {owner['pid']} has not ended: see {_DIRECTORY / 'serve.log'}")
        time.sleep(_POLL_SECONDS)
    print("the cluster is down")
    return 0


def _show_status(bare: bool) -> int:
    del bare
    owner = read_owner()
    if owner is None:
        print("no cluster is up; start one with: python -m atelier_playground up")
        return 1
    if not owner["ready"]:
        print(f"the cluster is starting: see {_DIRECTORY / 'serve.log'}")
        return 1
    print(f"the cluster is up; its user namespace is {owner['namespace']}, its store {owner['store']}")
    print(f"export KUBECONFIG={owner['kubeconfig']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
