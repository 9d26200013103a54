"""What a model file says of itself: the few entries by which tools recognise, list and trigger it.

Minimal on purpose: no captions, no folder names, no dates. The file leaves the namespace, and equal weights have to
give equal files. Sources: kohya sd-scripts (`ss_…`, the set its own merge tools keep) and ModelSpec 1.0.1
(`modelspec.…`). A1111 hides a LoRA whose `ss_base_model_version` it does not know, so that is always there.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from atelier_contract.architectures import Architecture
from atelier_contract.inputs import TrainingInput
from atelier_trainer.learn.families.base import Family
from atelier_trainer.learn.methods.base import Method
from atelier_trainer.learn.tensor_files import digest_tensors

KOHYA_BASES = {Architecture.STABLE_DIFFUSION_1: "sd_v1"}
"""`ss_base_model_version` as sd-scripts writes it."""
MODEL_SPEC_BASES = {Architecture.STABLE_DIFFUSION_1: "stable-diffusion-v1"}
"""First half of `modelspec.architecture`."""
MODEL_SPEC_VERSION = "1.0.1"


def build_metadata(
    told: TrainingInput,
    family: Family,
    method: Method,
    tensors: Mapping[str, Tensor],
    *,
    resolution_px: int,
    step: int,
) -> dict[str, str]:
    """Return the header entries of one checkpoint's file."""
    metadata = {
        "format": "pt",
        "ss_base_model_version": KOHYA_BASES[family.architecture],
        "ss_v2": "False",
        "ss_output_name": told.slug or told.job,
        "ss_steps": str(step),
        **method.describe(),
        "modelspec.sai_model_spec": MODEL_SPEC_VERSION,
        "modelspec.architecture": f"{MODEL_SPEC_BASES[family.architecture]}/{method.architecture_suffix()}",
        "modelspec.implementation": "diffusers",
        "modelspec.title": told.model_name,
        "modelspec.resolution": f"{resolution_px}x{resolution_px}",
        "modelspec.prediction_type": family.prediction,
        "modelspec.hash_sha256": f"0x{digest_tensors(tensors)}",
    }
    if method.wording.trigger:
        metadata["modelspec.trigger_phrase"] = method.wording.trigger
    return metadata
