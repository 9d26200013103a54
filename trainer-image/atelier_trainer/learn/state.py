"""A state: everything a resume needs, as safetensors and JSON.

It holds the trained weights in float32, their running mean where one is kept, the optimiser's moments and every number
of its own, and the recent losses.
There is no random state in it because there is none in the loop. Never pickle: a state lies in the user's bucket, and
reading it must not be able to run anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from atelier_contract.dataset import ModelType
from atelier_contract.manifests import FileEntry, StateManifest
from atelier_materials.errors import InvalidInput
from atelier_trainer.learn.ema import MEAN_PREFIX, RunningMean
from atelier_trainer.learn.files import describe_file
from atelier_trainer.learn.methods.base import Method
from atelier_trainer.learn.methods.embedding import FILE_KEYS
from atelier_trainer.learn.optimizer import join_state, split_state
from atelier_trainer.learn.tensor_files import write_tensors
from atelier_trainer.records import LocalState

WEIGHTS = "weights.safetensors"
MOMENTS = "moments.safetensors"
NUMBERS = "numbers.json"
EMBEDDINGS = [set(keys.values()) for keys in FILE_KEYS.values()]
"""Names of the tensors by which an embedding's file is known."""


def write_state(
    folder: Path,
    step: int,
    parameters: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    losses: list[float],
    *,
    mean: RunningMean,
    run_identity: str,
    exact: bool,
) -> StateManifest:
    """Write a state's files into a new folder and return its manifest; `exact`: whether all steps so far were."""
    folder.mkdir(parents=True)
    weights = {name: p.detach().to("cpu", torch.float32, copy=True) for name, p in parameters.items()}
    moments, numbers = split_state(optimizer)
    write_tensors(folder / WEIGHTS, weights, {})
    write_tensors(folder / MOMENTS, moments | mean.split(), {})
    (folder / NUMBERS).write_text(json.dumps({"optimizer": numbers, "losses": losses, "step": step}, sort_keys=True))
    files = [FileEntry(**describe_file(folder, name)) for name in (WEIGHTS, MOMENTS, NUMBERS)]
    return StateManifest(step=step, run_identity=run_identity, files=files, exact=exact)


def read_state(
    state: LocalState, parameters: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, mean: RunningMean
) -> list[float]:
    """Set weights, optimiser and running mean from a state; return the recent losses.

    Raises:
        InvalidInput: the state holds other parameters than this run trains.
    """
    weights = load_file(state.folder / WEIGHTS)
    shapes = {name: tuple(p.shape) for name, p in parameters.items()}
    if {name: tuple(tensor.shape) for name, tensor in weights.items()} != shapes:
        raise InvalidInput(
            f"the state of step {state.manifest.step} was written for other settings: start the run anew (runId)"
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
    numbers = json.loads((state.folder / NUMBERS).read_text())
    moments = load_file(state.folder / MOMENTS)
    mean.join(moments)
    own = {name: tensor for name, tensor in moments.items() if not name.startswith(MEAN_PREFIX)}
    join_state(optimizer, own, numbers["optimizer"])
    return [float(loss) for loss in numbers["losses"]]


def load_models(paths: Sequence[Path], method: Method) -> None:
    """Set what is trained from the model files of another run (`spec.startFrom`); the optimiser begins anew.

    Args:
        paths: its checkpoint's files.
        method: what to set; a file says of itself which part of it it is.

    Raises:
        InvalidInput: a file is not safetensors, or was trained with other settings.
    """
    models: dict[ModelType, Mapping[str, Tensor]] = {}
    for path in paths:
        try:
            tensors = load_file(path)
        except SafetensorError as error:
            raise InvalidInput(
                f"startFrom: {path.name} is not a safetensors file: choose a published checkpoint"
            ) from error
        models["Embedding" if set(tensors) in EMBEDDINGS else "ConceptModel"] = tensors
    method.load(models)
