"""An InvokeAI server that answers as 6.14.2 does where publishing asks, over real HTTP on loopback.

It passes the same tests as the real one (`invokeai_behaviour`). It reads safetensors headers, as little as tells a LoRA
and an embedding of Stable Diffusion 1 from everything else.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import shutil
import threading
import urllib.error
import urllib.parse
import urllib.request
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CROSS_ATTENTION = "attn2_to_k.lora_down.weight"
CHANGEABLE = ("name", "description", "source", "trigger_phrases")


@dataclass
class FakeInvokeAi:
    """The server's state, and how it shall behave.

    Args:
        folder: where installed files and previews go.
        token: what a bearer must hold; empty: nothing is asked for.
    """

    folder: Path
    token: str = ""
    allows_private_addresses: bool = True
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    """Each request as `METHOD path`, in order."""
    stays_waiting: bool = False
    """Installs never end."""
    says: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    """Status, headers and body to answer instead, by path."""

    def __post_init__(self) -> None:
        """Start to answer."""
        self.folder.mkdir(parents=True, exist_ok=True)
        fake = self

        class Handler(_Handler):
            state = fake

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def changes(self) -> list[str]:
        """The requests that were no mere questions."""
        return [asked for asked in self.asked if not asked.startswith("GET ")]

    def stop(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def install(self, source: str, described: dict[str, Any]) -> tuple[int, Any]:
        """Install from a path or a link; the answer's status and body."""
        is_path = Path(source).exists()
        if not is_path and not source.startswith(("http://", "https://")):
            return 409, {"detail": f"Unsupported model source: '{source}'"}
        job: dict[str, Any] = {"id": len(self.jobs), "status": "waiting", "error": None, "config_out": None}
        self.jobs.append(job)
        if self.stays_waiting:
            return 201, job
        key = str(uuid.uuid4())
        target = self.folder / key
        try:
            if is_path:
                shutil.move(source, target)
            else:
                self._download(source, target)
        except (OSError, ValueError) as error:
            job |= {"status": "error", "error": str(error)}
            return 201, {**job, "status": "waiting", "error": None}
        kind, base = identify(target.read_bytes())
        self.models[key] = {
            "key": key,
            "name": described.get("name") or Path(source.partition("?")[0]).stem,
            "description": described.get("description"),
            "type": kind,
            "base": base,
            "hash": f"blake3:{hashlib.sha256(target.read_bytes()).hexdigest()}",
            "file_size": target.stat().st_size,
            "source": source,
            "cover_image": None,
            **({"trigger_phrases": None} if kind == "lora" else {}),
        }
        job |= {"status": "completed", "config_out": dict(self.models[key])}
        return 201, {**job, "status": "waiting", "config_out": None}

    def _download(self, source: str, target: Path) -> None:
        if not self.allows_private_addresses:
            raise ValueError(
                "Refusing to download from 127.0.0.1. Set `allow_private_download_urls` in invokeai.yaml to permit "
                "downloads from loopback and private-network addresses."
            )
        try:
            with urllib.request.urlopen(source, timeout=10) as answer:
                target.write_bytes(answer.read())
        except urllib.error.URLError as error:
            parts = urllib.parse.urlsplit(source)
            raise OSError(f"Max retries exceeded with url: {parts.path}?{parts.query} (Caused by …)") from error


def identify(content: bytes) -> tuple[str, str]:
    """Return type and base of a weights file by InvokeAI's rules, for what our tests bring."""
    try:
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
    except ValueError:
        return "unknown", "unknown"
    widths = [entry["shape"][1] for name, entry in header.items() if name.endswith(CROSS_ATTENTION)]
    if 768 in widths:
        return "lora", "sd-1"
    if header.get("emb_params", {}).get("shape", [0, 0])[1] == 768:
        return "embedding", "sd-1"
    return "unknown", "unknown"


class _Handler(http.server.BaseHTTPRequestHandler):
    """Routes of `/api`."""

    state: FakeInvokeAi

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        asked = {name: values[0] for name, values in urllib.parse.parse_qs(parts.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.state.asked.append(f"{self.command} {parts.path}")
        if parts.path in self.state.says:
            status, headers, content = self.state.says[parts.path]
            self._send(status, content, headers)
            return
        if self.state.token and self.headers.get("Authorization") != f"Bearer {self.state.token}":
            self._send(401, json.dumps({"detail": f"no: {self.headers.get('Authorization')}"}).encode())
            return
        status, told = self._route(parts.path, asked, body)
        self._send(status, told if isinstance(told, bytes) else json.dumps(told).encode())

    do_GET = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815  (the standard library's names)

    def _route(self, path: str, asked: dict[str, str], body: bytes) -> tuple[int, Any]:
        state = self.state
        if path == "/api/v1/app/version":
            return 200, {"version": "6.14.2"}
        if path == "/api/v2/models/":
            wanted = (asked.get("model_type"), asked.get("base_models"))
            return 200, {"models": [m for m in state.models.values() if (m["type"], m["base"]) == wanted]}
        if path == "/api/v2/models/install":
            return state.install(asked["source"], json.loads(body))
        if path.startswith("/api/v2/models/install/"):
            number = int(path.rpartition("/")[2])
            return (200, state.jobs[number]) if number < len(state.jobs) else (404, {"detail": "No such job"})
        key, _, rest = path.removeprefix("/api/v2/models/i/").partition("/")
        model = state.models.get(key)
        if model is None:
            return 404, {"detail": "model not found"}
        return self._change(model, rest, body)

    def _change(self, model: dict[str, Any], rest: str, body: bytes) -> tuple[int, Any]:
        preview = self.state.folder / f"{model['key']}.preview"
        if rest == "image":
            if self.command == "GET":
                return (200, preview.read_bytes()) if preview.exists() else (404, {"detail": "Not Found"})
            preview.write_bytes(body)
            model["cover_image"] = f"{self.state.url}/api/v2/models/i/{model['key']}/image"
            return 200, None
        if self.command == "DELETE":
            del self.state.models[model["key"]]
            return 204, b""
        if self.command == "PATCH":
            model |= {name: value for name, value in json.loads(body).items() if name in CHANGEABLE}
        return 200, model

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
