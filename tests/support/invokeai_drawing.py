"""Pictures drawn by an InvokeAI server, through its queue, as its own page asks for them.

A graph of Stable Diffusion 1: model, concept models, two prompts, noise, denoising, decoding. InvokeAI counts eight
pixels to a latent whatever the autoencoder says; the tiny base has four, so a side of 128 is a picture of 64.
"""

from __future__ import annotations

import io
import json
import urllib.request
from dataclasses import dataclass
from typing import Any

from PIL import Image

from atelier_playground.api import wait_for

SIDE_PX = 128
STEPS, GUIDANCE, SCHEDULER = 20, 3.0, "ddim"
"""As the tiny base's own samples are drawn."""
PICTURE_SECONDS = 300
OVER = {"completed", "failed", "canceled"}
NAMES = ("key", "hash", "name", "base", "type")
"""What a graph says of a model."""


@dataclass(frozen=True)
class Drawer:
    """A server and the base model that it draws with."""

    url: str
    base: dict[str, Any]
    """Its record."""

    def draw(self, prompt: str, seed: int, concept_model: dict[str, Any] | None = None) -> Image.Image:
        """Return the picture of a prompt."""
        graph = build_graph(self.base, prompt, seed, concept_model)
        answer = ask(self.url, "POST", "/api/v1/queue/default/enqueue_batch", {"batch": {"graph": graph, "runs": 1}})
        path = f"/api/v1/queue/default/i/{answer['item_ids'][0]}"
        item: dict[str, Any] = {}

        def is_over() -> bool:
            item.update(ask(self.url, "GET", path))
            return item["status"] in OVER

        wait_for(is_over, "the picture is drawn", PICTURE_SECONDS, lambda: item.get("status"))
        assert item["status"] == "completed", f"{item.get('error_type')}: {item.get('error_message')}"
        results = item["session"]["results"].values()
        (name,) = [result["image"]["image_name"] for result in results if result["type"] == "image_output"]
        with urllib.request.urlopen(f"{self.url}/api/v1/images/i/{name}/full", timeout=60) as file:
            return Image.open(io.BytesIO(file.read())).convert("RGB")


def list_records(url: str) -> dict[str, dict[str, Any]]:
    """Return every installed model's record by name, as the server tells it."""
    return {record["name"]: record for record in ask(url, "GET", "/api/v2/models/")["models"]}


def ask(url: str, method: str, path: str, body: Any = None) -> Any:
    """Ask the server something of which our client knows nothing."""
    request = urllib.request.Request(
        f"{url}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def build_graph(
    base: dict[str, Any], prompt: str, seed: int, concept_model: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the graph of one picture."""
    nodes: dict[str, dict[str, Any]] = {
        "base": {"type": "main_model_loader", "model": _name(base)},
        "prompt": {"type": "compel", "prompt": prompt},
        "nothing": {"type": "compel", "prompt": ""},
        "noise": {"type": "noise", "seed": seed, "width": SIDE_PX, "height": SIDE_PX},
        "denoise": {"type": "denoise_latents", "steps": STEPS, "cfg_scale": GUIDANCE, "scheduler": SCHEDULER},
        "decode": {"type": "l2i", "fp32": True},
    }
    source, edges = "base", ["base.vae -> decode.vae"]
    if concept_model is not None:
        nodes["concept"] = {"type": "lora_loader", "lora": _name(concept_model), "weight": 1.0}
        source, edges = "concept", [*edges, "base.unet -> concept.unet", "base.clip -> concept.clip"]
    edges += [
        f"{source}.clip -> prompt.clip",
        f"{source}.clip -> nothing.clip",
        f"{source}.unet -> denoise.unet",
        "prompt.conditioning -> denoise.positive_conditioning",
        "nothing.conditioning -> denoise.negative_conditioning",
        "noise.noise -> denoise.noise",
        "denoise.latents -> decode.latents",
    ]
    return {
        "nodes": {name: {"id": name, **node} for name, node in nodes.items()},
        "edges": [dict(zip(("source", "destination"), map(_end, edge.split(" -> ")), strict=True)) for edge in edges],
    }


def _name(record: dict[str, Any]) -> dict[str, Any]:
    return {name: record[name] for name in NAMES}


def _end(words: str) -> dict[str, str]:
    node, _, field = words.partition(".")
    return {"node_id": node, "field": field}
