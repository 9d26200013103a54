"""The subcommands of the trainer image, and what each child Job is for."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """One subcommand of the image. All but `TRAIN` are short and ask for no GPU."""

    INSPECT = "inspect"
    """Look at a dataset, write its revision."""
    PREFLIGHT = "preflight"
    """Find everything that can be missing before a GPU is asked for; find a run to adopt."""
    TRAIN = "train"
    """Train, from the last state if there is one."""
    PUBLISH = "publish"
    """Copy the selected checkpoints to `models/` and verify them."""
    COLLECT = "collect"
    """Delete what was not selected, or (when the object is deleted with policy Delete) the whole run."""
