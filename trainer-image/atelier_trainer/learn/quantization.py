"""A frozen base in 8 or 4 bits, where memory is short: what is trained beside it and exported stays as it is.

Weights of linear layers are kept as one byte or half a byte each, with one scale for every block of neighbours, and are
widened again for the length of a product, in both directions; activations are never rounded. The formats are those of
bitsandbytes: NormalFloat in blocks of 64 (Dettmers et al. 2023, QLoRA) and dynamic 8 bits in blocks of 256 (Dettmers et
al. 2022). Layers at the ends of a denoiser are left alone: they weigh nothing, and everything passes through them.
Text encoders are left alone too: each text is read once, and they leave the device's memory afterwards.

In: a model built without memory, and its tensors as they are read. Out: the same model with lean layers. Knows no
family.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from atelier_contract.tuning import Quantization
from atelier_materials.errors import InvalidInput

BLOCK = {"8bit": 256, "4bit": 64}
"""Neighbouring weights that share a scale."""
BYTES_PER_WEIGHT = {"none": 2.0, "8bit": 1 + 4 / BLOCK["8bit"], "4bit": 0.5 + 4 / BLOCK["4bit"]}
"""With the float32 scales; without quantisation in half precision."""
REPEATED = "block"
"""Part of the names of what a denoiser repeats (down_blocks, mid_block, transformer_blocks): all else is its ends."""


class QuantizedLinear(nn.Linear):
    """A frozen linear layer whose weight [O, I] is kept in few bits.

    Args:
        like: the layer whose place it takes; only its shape and bias are looked at.
        bits: how its weight is kept.
    """

    packed: Tensor
    scales: Tensor
    code: Tensor
    bias: nn.Parameter | None  # type: ignore[assignment]  # the base class forgets that there may be none

    def __init__(self, like: nn.Linear, bits: Quantization) -> None:
        nn.Module.__init__(self)  # not Linear's: it would allocate the weight
        self.in_features, self.out_features, self.bits = like.in_features, like.out_features, bits
        self.register_parameter("bias", like.bias)
        self.register_buffer("packed", torch.empty(0, dtype=torch.uint8), persistent=False)
        self.register_buffer("scales", torch.empty(0), persistent=False)
        self.register_buffer("code", torch.empty(0), persistent=False)
        self.dtype = torch.float32

    @property
    def weight(self) -> Tensor:  # type: ignore[override]  # widened when asked for, so no parameter
        """The weight as the layer computes with it, [O, I]."""
        return widen(self)

    def keep(self, weight: Tensor) -> None:
        """Keep a weight [O, I] in few bits, on its own device; it computes in the weight's number format."""
        library, self.dtype = _load_library(), weight.dtype
        if self.bits == "4bit":
            self.packed, state = library.quantize_4bit(weight, blocksize=BLOCK["4bit"], quant_type="nf4")
        else:
            self.packed, state = library.quantize_blockwise(weight, blocksize=BLOCK["8bit"])
        self.scales, self.code = state.absmax, state.code

    def forward(self, x: Tensor) -> Tensor:
        """Return x W^T + b."""
        answer = WidenedProduct.apply(x, self)
        return torch.as_tensor(answer if self.bias is None else answer + self.bias)


class WidenedProduct(torch.autograd.Function):
    """x W^T, whose weight is widened in each direction anew: nothing wide is kept between them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: QuantizedLinear) -> Tensor:
        """Return the product [..., O] of x [..., I]."""
        ctx.layer = layer
        return functional.linear(x, widen(layer).to(x.dtype))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of x; the weight learns nothing."""
        return gradient @ widen(ctx.layer).to(gradient.dtype), None


def widen(layer: QuantizedLinear) -> Tensor:
    """Return a layer's weight [O, I] in the number format it was given in."""
    library = _load_library()
    shape = torch.Size((layer.out_features, layer.in_features))
    if layer.bits == "4bit":
        state = library.QuantState(
            layer.scales, shape, layer.code, blocksize=BLOCK["4bit"], quant_type="nf4", dtype=layer.dtype
        )
        return torch.as_tensor(library.dequantize_4bit(layer.packed, state))
    state = library.QuantState(layer.scales, shape, layer.code, blocksize=BLOCK["8bit"], dtype=layer.dtype)
    return torch.as_tensor(library.dequantize_blockwise(layer.packed, state)).view(shape)


class Quantizer:
    """Replaces a model's layers before it has tensors, and takes the weights that are kept in few bits.

    Args:
        bits: how weights are kept; `none` replaces nothing.
    """

    def __init__(self, bits: Quantization) -> None:
        self._bits = bits
        self._layers: dict[str, QuantizedLinear] = {}

    def adopt(self, model: nn.Module) -> None:
        """Replace the linear layers of a model's repeated blocks.

        Raises:
            InvalidInput: the library is not installed.
        """
        if self._bits == "none":
            return
        _load_library()
        for path, layer in list(model.named_modules()):
            if type(layer) is nn.Linear and REPEATED in path.split(".", 1)[0]:
                parent, _, child = path.rpartition(".")
                lean = QuantizedLinear(layer, self._bits)
                setattr(model.get_submodule(parent), child, lean)
                self._layers[f"{path}.weight"] = lean

    def take(self, name: str, tensor: Tensor) -> bool:
        """Keep a tensor if it is the weight of a replaced layer; return whether it was."""
        layer = self._layers.pop(name, None)
        if layer is None:
            return False
        if tensor.shape != (layer.out_features, layer.in_features):
            raise ValueError(f"{name} has the shape {list(tensor.shape)}")
        layer.keep(tensor)
        return True

    def require_all(self) -> None:
        """Raise KeyError where a replaced layer was given no weight."""
        if self._layers:
            raise KeyError(f"missing weights: {', '.join(sorted(self._layers)[:3])}")


def _load_library() -> Any:
    try:
        from bitsandbytes import functional as library  # noqa: PLC0415 - optional, and seconds to load
    except ImportError as error:
        raise InvalidInput(
            "tuning.quantization needs the library bitsandbytes, which this image lacks: leave quantization out, or "
            "use the trainer image as published"
        ) from error
    return library
