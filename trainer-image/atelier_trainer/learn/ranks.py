"""The processes that train one run together: each computes its rows of every batch, and all hold the same weights.

Every rank makes the same plan of the whole batch, because draws are numbered by the whole batch's items, and computes
its own rows alone. Losses are divided by the whole batch's denominators, so gradients are summed over ranks and never
averaged: then it does not matter whether the rows divide evenly, nor whether a rank has any.

Between steps the ranks agree on one small number (go on, stop, leave). It travels between processors, over gloo, also
where gradients travel between GPUs: agreeing waits for no GPU, and a lost peer is noticed there at once, by its
closed connection.

`accelerate` starts the group (which backend, which device). Its scheduler and its loader are not used: the first steps
once a process, the second deals out what is dealt out here already. What makes processes is the edges' business.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import Tensor

from atelier_trainer.errors import PeerLost, PeersNotFound
from atelier_trainer.records import Place, Workspace

WAIT_SECONDS = 3600.0
"""Longest wait of a rank for another. Rank 0 alone samples, evaluates and waits for a store that does not answer (ten
minutes at most), and pods fetch at different speeds: none of that takes an hour. It is the last resort: a process that
dies closes its connections, which is noticed at once, and a node that vanishes is the operator's business."""
log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Ranks:
    """The only rank there is: it computes everything and waits for nobody."""

    index = 0
    count = 1

    @property
    def leads(self) -> bool:
        """Whether this rank writes, samples, evaluates and reports: rank 0."""
        return self.index == 0

    def rows(self, total: int) -> slice:
        """Return the rows of a batch of `total` that this rank computes: contiguous, sizes one apart, may be none."""
        share, extra = divmod(total, self.count)
        first = self.index * share + min(self.index, extra)
        return slice(first, first + share + (self.index < extra))

    def reduce(self, tensor: Tensor) -> None:
        """Replace a tensor by its sum over all ranks, the same bits on each. Every rank must call it.

        Raises:
            PeerLost: another rank is gone.
        """

    def agree(self, flag: int) -> int:
        """Return the largest of what all ranks say. Every rank must call it.

        Raises:
            PeerLost: another rank is gone.
        """
        return flag


ALONE = Ranks()


class JoinedRanks(Ranks):
    """One of several processes."""

    def __init__(self, state: PartialState) -> None:
        self.index = state.process_index
        self.count = state.num_processes
        self._talk: dist.ProcessGroup | None = None
        if state.device.type == "cuda":  # the group that there is is NCCL's, which carries no processor's number
            talk = dist.new_group(backend="gloo", timeout=timedelta(seconds=WAIT_SECONDS))
            self._talk = talk if isinstance(talk, dist.ProcessGroup) else None

    def reduce(self, tensor: Tensor) -> None:
        """Replace a tensor by its sum over all ranks."""
        _together(lambda: dist.all_reduce(tensor.detach()))

    def agree(self, flag: int) -> int:
        """Return the largest of what all ranks say."""
        said = torch.tensor([flag])
        _together(lambda: dist.all_reduce(said, dist.ReduceOp.MAX, group=self._talk))
        return int(said)


@contextmanager
def joined_ranks(place: Place, device: torch.device) -> Iterator[Ranks]:
    """Join the other ranks for as long as the block runs.

    Args:
        place: which process this is. `accelerate` finds the same in the environment, by torchrun's names.
        device: where this run computes; on CUDA the process's own GPU is chosen here.

    Raises:
        PeersNotFound: the others did not come. It counts as a failure, because it may come again for ever.
        PeerLost: one is gone.
    """
    if place.count == 1:
        yield ALONE
        return
    wait, is_gpu = timedelta(seconds=WAIT_SECONDS), device.type == "cuda"
    who = {"rank": place.index, "world_size": place.count} if is_gpu else {}  # on the CPU accelerate adds them itself
    try:
        ranks = JoinedRanks(PartialState(cpu=not is_gpu, init_method=place.rendezvous, timeout=wait, **who))
        ranks.agree(0)
    except (RuntimeError, PeerLost) as error:
        raise PeersNotFound(
            f"process {place.index} of {place.count} could not reach the others: look whether the run's pods may talk "
            "to each other (NetworkPolicies), then ask for another attempt"
        ) from error
    log.info("rank %d of %d has joined", ranks.index, ranks.count)
    yield ranks
    # Not after an error: with a peer lost, taking the group down would wait for it.
    dist.destroy_process_group()


def require_same(ranks: Ranks, workspace: Workspace) -> None:
    """Make sure that all ranks have the same before them: pods read the store one after another.

    Raises:
        PeerLost: they have not; another attempt will.
    """
    state = workspace.state.manifest if workspace.state else None
    seen = [
        workspace.input.run_identity,
        workspace.base_model_digest,
        str(workspace.run is None),
        *(picture.sha256 for picture in workspace.pictures),
        *([str(state.step), *(file.sha256 for file in state.files)] if state else ()),
    ]
    mark = int.from_bytes(hashlib.sha256("\n".join(seen).encode()).digest()[:7], "big")
    if (ranks.agree(mark), ranks.agree(-mark)) != (mark, -mark):
        raise PeerLost("the pods of this run found different states in the store: a new attempt reads it again")


def _together(collective: Callable[[], _T]) -> _T:
    """Do something that all ranks do.

    Raises:
        PeerLost: the library says that it did not come about. It has no error of its own for a peer that is gone: gloo
            raises RuntimeError, NCCL and the rendezvous subclasses of it.
    """
    try:
        return collective()
    except torch.OutOfMemoryError:  # a RuntimeError too, and this process's own
        raise
    except RuntimeError as error:
        raise PeerLost("another process of this run is gone: a new attempt goes on from the last state") from error
