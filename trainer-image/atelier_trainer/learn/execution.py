"""How an attempt computes, and whether it repeats how the first one did.

Equal draws give equal weights only if the sums are taken in the same order. What decides that order (threads,
micro-batch, layout, kernels, versions, the processor) is written down by the first attempt and obeyed by the later
ones; what cannot be obeyed makes the attempt inexact, and it says why.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

import torch

from atelier_contract.manifests import ExecutionManifest
from atelier_contract.settings import Settings
from atelier_trainer.learn.compilation import has_compiler

CPU_THREADS = 1
"""On the CPU. A second thread gained 5 % on a quiet machine and lost 97 % beside other work (tiny base, 14 against 0.4
steps a second): pods share cores, and threads that wait for each other spin. It is also one bit pattern everywhere."""
LARGEST_CPU_MICRO_BATCH = 8
"""Pictures in one forward pass on the CPU: more bring no speed there."""
OBEYED = ("threads", "micro_batch", "accumulation", "recomputes")
LIBRARIES = ("torch", "diffusers", "transformers", "peft")
OBEYED_ONLY_IF_EQUAL = ("device", "capability", "precision", "layout", "compile_mode", "optimizer_kernel", "versions")
CompileMode = Literal["eager", "compiled", "captured", "captured compiled"]
FEWEST_COMPILED_STEPS = {"cpu": 20_000, "cuda": 1_000}
"""Of a run whose denoiser is compiled. On two CPU cores the whole denoiser took 370 s to compile and a step of a narrow
one went from 47 to 32 ms, so that it pays from 20,000 steps on, and a run has to wait that long to leave. On a GPU the
repeated blocks compile in about a minute, and a step is worth more."""


@dataclass(frozen=True)
class Execution:
    """How this attempt computes."""

    manifest: ExecutionManifest
    is_first: bool
    """Whether no earlier attempt left a record: this one has to."""
    differences: tuple[str, ...] = ()
    """Sentences about what the first attempt did differently; empty: this attempt is exact."""


def choose_device() -> torch.device:
    """Return the first GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def choose_precision(device: torch.device, settings: Settings) -> torch.dtype:
    """Return the number format of the frozen denoiser."""
    asked = settings.precision
    if asked == "auto":
        asked = "bfloat16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"
    return torch.bfloat16 if asked == "bfloat16" else torch.float32


def plan_execution(
    device: torch.device, settings: Settings, first: ExecutionManifest | None, *, resumes: bool
) -> Execution:
    """Return how to compute: as the first attempt did where it left a record, else by our own choice.

    Args:
        device: where this attempt computes.
        settings: the run's settings.
        first: execution.json of the first attempt; None: this is the first, or it left none.
        resumes: whether there is a state to go on from, which without a record cannot be exact.
    """
    chosen = _choose(device, settings)
    if first is None:
        lost = ("execution.json of the first attempt is missing: exactness cannot be shown",) if resumes else ()
        return Execution(chosen, is_first=True, differences=lost)
    asked = {name: getattr(first, name) for name in OBEYED}
    if can_compute(device, first.compile_mode):
        asked["compile_mode"] = first.compile_mode
    obeyed = chosen.model_copy(update=asked)
    differences = tuple(
        f"not exact: {name.replace('_', ' ')} was {getattr(first, name)}, now it is {getattr(obeyed, name)}"
        for name in OBEYED_ONLY_IF_EQUAL
        if getattr(first, name) != getattr(obeyed, name)
    )
    return Execution(obeyed, is_first=False, differences=differences)


def can_compute(device: torch.device, mode: str) -> bool:
    """Return whether steps can be computed in a mode here."""
    return ("compiled" not in mode or has_compiler()) and ("captured" not in mode or device.type == "cuda")


def apply_execution(manifest: ExecutionManifest) -> None:
    """Make torch compute as the manifest says."""
    torch.set_num_threads(manifest.threads)
    torch.backends.cudnn.benchmark = False  # it would choose kernels by the clock
    torch.backends.cudnn.deterministic = True


def _choose(device: torch.device, settings: Settings) -> ExecutionManifest:
    is_gpu = device.type == "cuda"
    largest = settings.batch_size if is_gpu else LARGEST_CPU_MICRO_BATCH  # on a GPU memory decides, later
    micro_batch = min(settings.micro_batch_size or largest, settings.batch_size)
    return ExecutionManifest(
        threads=CPU_THREADS,
        micro_batch=micro_batch,
        accumulation=-(-settings.batch_size // micro_batch),
        device=device.type,
        capability=_read_capability(device),
        precision=str(choose_precision(device, settings)).removeprefix("torch."),
        layout="channels_last" if is_gpu else "contiguous",
        compile_mode=_choose_mode(device, settings),
        optimizer_kernel="fused",
        versions={"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
    )


def _choose_mode(device: torch.device, settings: Settings) -> CompileMode:
    is_gpu = device.type == "cuda"
    if settings.steps >= FEWEST_COMPILED_STEPS["cuda" if is_gpu else "cpu"] and has_compiler():
        return "captured compiled" if is_gpu else "compiled"
    return "captured" if is_gpu else "eager"


def _read_capability(device: torch.device) -> str:
    if device.type == "cuda":
        return "sm_{}{}".format(*torch.cuda.get_device_capability(device))
    return torch.backends.cpu.get_cpu_capability()
