"""The recent losses: kept on the device, read late, and the alarm when they are no longer sane.

Reading a loss waits for the device. So a step only files it, and all are read together when someone asks: for a report
every half second or before anything is saved.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

import torch
from torch import Tensor

from atelier_contract.architectures import Architecture
from atelier_contract.settings import Settings
from atelier_trainer.errors import Diverged

WINDOW_STEPS = 50
FEWEST_STEPS = 10
"""Below this many losses, their mean says nothing yet."""
FAR_OFF = 2.0
"""Times the loss of a model which always answers 0. More than that, on average over the window, is worse than knowing
nothing: the weights are being destroyed."""
TARGET_VARIANCE = {
    Architecture.STABLE_DIFFUSION_1: 1.0,
    Architecture.STABLE_DIFFUSION_XL: 1.0,
    Architecture.FLUX_1: 2.0,
}
"""Of what the denoiser is asked for: noise and velocity have variance 1, a flow's noise less picture has both."""


def find_limit(architecture: Architecture, settings: Settings) -> float:
    """Return the mean loss beyond which a run has diverged; weights only make losses smaller.

    Huber's function of an error of standard deviation σ is at most its line, on average 2δσ√(2/π) for normal errors.
    """
    variance = TARGET_VARIANCE[architecture]
    nothing = variance
    if settings.loss == "huber":
        nothing = min(variance, 2 * settings.huber_delta * math.sqrt(2 * variance / math.pi))
    return FAR_OFF * nothing


class LossWindow:
    """Losses of the last steps."""

    def __init__(self, earlier: Iterable[float] = (), limit: float = FAR_OFF) -> None:
        """Begin with the losses of an earlier attempt; `limit`: mean beyond which the run has diverged."""
        self.limit = limit
        self._read: deque[float] = deque(earlier, maxlen=WINDOW_STEPS)
        self._pending: list[Tensor] = []

    def note(self, loss: Tensor) -> None:
        """File a step's loss, a scalar on the device."""
        self._pending.append(loss)

    def read(self, step: int) -> list[float]:
        """Return the losses of the last steps, oldest first; wait for the device.

        Raises:
            Diverged: a loss is not finite, or their mean is far off.
        """
        if self._pending:
            self._read.extend(torch.stack(self._pending).tolist())
            self._pending.clear()
        losses = list(self._read)
        mean = sum(losses) / max(1, len(losses))
        if not math.isfinite(mean) or (len(losses) >= FEWEST_STEPS and mean > self.limit):
            raise Diverged(
                f"the loss became {mean:.3g} near step {step} (about 0.1 is usual): "
                "lower spec.learningRate, or raise spec.tuning.warmupSteps"
            )
        return losses
