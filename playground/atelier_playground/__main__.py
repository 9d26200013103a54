"""`python -m atelier_playground up|down|status`: a cluster for a person to play with.

`up` leaves a process behind that owns the cluster and ends with `down`; everything lies under build/playground of the
checkout.
"""

from __future__ import annotations

import argparse
import sys

from atelier_playground.errors import PlaygroundError
from atelier_playground.owner import DIRECTORY, NAMESPACE, bring_up, find_owner, own, take_down


def main() -> int:
    """Do what the command line says. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m atelier_playground", description=__doc__)
    parser.add_argument("verb", choices=["up", "down", "status", "own"], help="own: what `up` leaves behind")
    parser.add_argument("--bare", action="store_true", help="up: without the operator")
    arguments = parser.parse_args()
    try:
        if arguments.verb == "own":
            own(with_operator=not arguments.bare)
        elif arguments.verb == "down":
            print("the cluster is down" if take_down() else "no cluster is up")
        else:
            if arguments.verb == "up":
                bring_up(print, with_operator=not arguments.bare)
            return _show_status()
    except PlaygroundError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _show_status() -> int:
    owner = find_owner()
    if owner is None:
        print("no cluster is up; start one with: python -m atelier_playground up")
        return 1
    if not owner.is_ready:
        print(f"the cluster is starting: see {DIRECTORY / 'owner.log'}")
        return 1
    print(f"the cluster is up; its user namespace is {NAMESPACE}, its store {owner.store}")
    print(f"source {DIRECTORY / 'activate'}    # kubectl, kubectl atelier and the cluster, in this shell")
    print(f"export KUBECONFIG={owner.kubeconfig}    # instead: as its administrator, in no namespace")
    return 0


if __name__ == "__main__":
    sys.exit(main())
