"""How a family's parts are loaded: offline, from safetensors alone, without remote code.

The denoiser is most of a base model. It is read in a thread of its own while pictures are encoded, each tensor straight
into the format and onto the device where it is computed with. The libraries' own loaders are of no use for
that: they change process-wide settings while they run (the default number format, how modules make parameters), under
the feet of whatever else computes.

In: a checkpoint in the diffusers layout. Out: modules and configs. Knows no family.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ModelMixin
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from atelier_contract.architectures import FACTS, Architecture
from atelier_contract.tuning import Quantization
from atelier_trainer.errors import BaseModelUnusable
from atelier_trainer.learn.quantization import Quantizer

OFFLINE: dict[str, Any] = {"local_files_only": True, "use_safetensors": True}
"""Loading arguments: nothing is fetched, and pickled weights are not even looked at."""
DENOISER_STEM = "diffusion_pytorch_model"
"""diffusers' name of a denoiser's weights."""


class DiffusersFolder:
    """A checkpoint of parts, each in a folder of its own, whatever the model index names."""

    def __init__(self, folder: Path, quantization: Quantization = "none") -> None:
        self._folder = folder
        self._quantization = quantization

    def read_config(self, name: str) -> dict[str, Any]:
        """Return a part's config."""
        return _read_json(self._folder / name / ("scheduler_config.json" if name == "scheduler" else "config.json"))

    def read_index(self) -> dict[str, Any]:
        """Return the model's index, which training can do without."""
        path = self._folder / "model_index.json"
        return _read_json(path) if path.is_file() else {}

    def load_tokenizer(self, name: str, kind: type[PreTrainedTokenizerBase]) -> PreTrainedTokenizerBase:
        """Return a tokenizer."""
        return kind.from_pretrained(self._folder / name, local_files_only=True)

    def load_encoder(self, name: str, kind: type[PreTrainedModel], dtype: torch.dtype) -> PreTrainedModel:
        """Return a text encoder."""
        model: PreTrainedModel = kind.from_pretrained(self._folder / name, dtype=dtype, **OFFLINE)
        return model

    def load_autoencoder(self) -> AutoencoderKL:
        """Return the picture encoder."""
        model: AutoencoderKL = AutoencoderKL.from_pretrained(self._folder / "vae", dtype=torch.float32, **OFFLINE)
        return model

    def open_denoiser(
        self, name: str, kind: type[ModelMixin], dtype: torch.dtype, device: torch.device
    ) -> PendingModel:
        """Return the denoiser, to be read from one file or from all that its index lists."""
        config = self.read_config(name)
        if config.get("_class_name") != kind.__name__:
            raise ValueError(f"{name}/config.json says {config.get('_class_name')} instead of {kind.__name__}")
        if device.type == "cuda" and device.index is None:  # the current one, which another thread would not know
            device = torch.device("cuda", torch.cuda.current_device())
        with torch.device("meta"):
            model: nn.Module = kind.from_config(config)
        return PendingModel(
            model, stream_tensors(self._list_weights(name), dtype, device), Quantizer(self._quantization)
        )

    def _list_weights(self, name: str) -> list[Path]:
        folder = self._folder / name
        index = folder / f"{DENOISER_STEM}.safetensors.index.json"
        whole = folder / f"{DENOISER_STEM}.safetensors"
        if whole.is_file() or not index.is_file():
            return [whole]
        return [folder / shard for shard in sorted(set(_read_json(index)["weight_map"].values()))]


class PendingModel:
    """A model without memory, and a thread that reads its tensors once it is started.

    The thread does nothing but read, convert and move: modules are made and changed by the caller's thread alone, since
    the libraries change how all modules make parameters while they load one.
    """

    def __init__(self, model: nn.Module, tensors: Iterator[tuple[str, torch.Tensor]], quantizer: Quantizer) -> None:
        """Read nothing yet.

        Args:
            model: on the meta device; it takes the tensors as they are.
            tensors: all of its own.
            quantizer: takes the weights that are kept in few bits as they come: no wide copy of all lies anywhere.
        """
        self._model, self._quantizer = model, quantizer
        quantizer.adopt(model)
        self._read_tensors: Future[dict[str, torch.Tensor]] = Future()
        self._thread = threading.Thread(target=self._read, args=(tensors,), name="denoiser")

    def start(self) -> None:
        """Start to read, if nobody has yet."""
        if self._thread.ident is None:
            self._thread.start()

    def wait(self) -> nn.Module:
        """Return the model when all tensors are read; one too many or too few is refused.

        Raises:
            Whatever the reading raised; RuntimeError, KeyError: the tensors are not the model's.
        """
        self.start()
        tensors = self._read_tensors.result()
        self._model.load_state_dict(tensors, assign=True)
        tensors.clear()  # else what the model puts into another layout would be held twice
        self._quantizer.require_all()
        return self._model

    def _read(self, tensors: Iterator[tuple[str, torch.Tensor]]) -> None:
        take = self._quantizer.take
        try:
            self._read_tensors.set_result({name: tensor for name, tensor in tensors if not take(name, tensor)})
        except BaseException as error:  # noqa: BLE001 - whoever waits is told, whatever it is
            self._read_tensors.set_exception(error)


def stream_tensors(files: list[Path], dtype: torch.dtype, device: torch.device) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors of weights files, converted and moved; ends early when the program ends.

    Each is a copy: tensors that lie in a mapped file have its alignment, on which vectorised sums depend.
    """
    for path in files:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - a handle of a file is no mapping
                if not threading.main_thread().is_alive():
                    return
                yield name, file.get_tensor(name).to(device, dtype, copy=True)


def _read_json(path: Path) -> dict[str, Any]:
    read = json.loads(path.read_text())
    if not isinstance(read, dict):
        raise TypeError(f"{path.parent.name}/{path.name} is no JSON object")
    return read


@contextmanager
def translate_refusals(architecture: Architecture) -> Iterator[None]:
    """Translate what the libraries say of a checkpoint that does not load.

    Raises:
        BaseModelUnusable: a part is missing, broken or not of this family.
    """
    try:
        yield
    except (ImportError, OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise BaseModelUnusable(
            f"the base model does not load as {FACTS[architecture].title} "
            f"({type(error).__name__}: {str(error)[:300]}): "
            "use a checkpoint in the diffusers layout with safetensors weights"
        ) from error


def silence_progress_bars() -> None:
    """Keep the libraries' progress bars out of the pod's log, which people read."""
    transformers_logging.disable_progress_bar()
    diffusers_logging.disable_progress_bar()
