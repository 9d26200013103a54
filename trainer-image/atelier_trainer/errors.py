"""The trainer's own errors: each knows the exit code it ends the container with and the reason that status will show.

AtelierError                          what is shared with the studio: `atelier_materials.errors`
└── TrainerError                   1  a bug of ours
    ├── BaseModelUnusable         12  missing, incomplete, pickled, or of another architecture
    ├── OutOfMemory               13  the message says which setting to lower
    ├── Diverged                  14  the loss is no longer a number, or far off
    ├── PodTerminated             30  SIGTERM arrived before there was anything to save
    ├── PeerLost                  31  another process of the run is gone
    └── PeersNotFound              1  the processes of a run never met

Torch's errors are translated in `learn/`, those of stores and pictures in `atelier_materials`. What holds for messages
is said there.
"""

from __future__ import annotations

from atelier_contract.exit_codes import ExitCode
from atelier_contract.reasons import Reason
from atelier_materials.errors import AtelierError


class TrainerError(AtelierError):
    """Something that ends a subcommand. Not raised itself, except for our own bugs."""


class BaseModelUnusable(TrainerError):
    """The base model is missing, incomplete, unsafe, of another architecture, or not the one the run began with."""

    exit_code = ExitCode.BASE_MODEL_UNUSABLE
    reason = Reason.BASE_MODEL_UNUSABLE


class OutOfMemory(TrainerError):
    """The device's memory does not suffice. The message says which setting to lower."""

    exit_code = ExitCode.OUT_OF_MEMORY
    reason = Reason.OUT_OF_MEMORY


class Diverged(TrainerError):
    """The loss became non-finite or far off. Nothing that is not finite was saved."""

    exit_code = ExitCode.DIVERGED
    reason = Reason.DIVERGED


class PodTerminated(TrainerError):
    """SIGTERM arrived while things were fetched: nothing is lost, another pod begins anew."""

    exit_code = ExitCode.INTERRUPTED
    reason = Reason.INTERRUPTED


class PeerLost(TrainerError):
    """Another process of the run is gone: nobody can go on alone, and another attempt goes on from the state."""

    exit_code = ExitCode.PEER_LOST
    reason = Reason.PEER_LOST


class PeersNotFound(TrainerError):
    """The processes of a run never met. Attempts are counted: what keeps them apart may not go away by itself."""
