"""A stand-in for an API server, as far as a push asks one: Datasets of one namespace, its Secret, two namespaces.

For tests of what goes to the store, which need no cluster; those of what the cluster does have a real one.
"""

from __future__ import annotations

import base64
import http.server
import json
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from atelier_contract import names
from atelier_materials.store.bucket import BucketDescription
from pushed_folders import NAMESPACE
from recording_proxy import QuietServer

DATASETS = f"/apis/{names.API_VERSION}/namespaces/{NAMESPACE}/datasets"


class StandInApi:
    """Answers on loopback while its block lasts; keeps the Datasets in `datasets`, by name."""

    def __init__(self, secret: dict[str, str]) -> None:
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in secret.items()}
        self.datasets: dict[str, dict[str, Any]] = {}
        self.fixed = {
            f"/api/v1/namespaces/{NAMESPACE}/secrets/{names.STORE_SECRET}": {"data": encoded},
            f"/api/v1/namespaces/{NAMESPACE}": {"metadata": {"uid": "namespace-1"}},
            "/api/v1/namespaces/kube-system": {"metadata": {"uid": "cluster-1"}},
        }
        self._server = QuietServer(("127.0.0.1", 0), _build_handler(self))

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def write_kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig that leads here, and return its path."""
        address = f"http://127.0.0.1:{self._server.server_address[1]}"
        document = {
            "clusters": [{"name": "stand-in", "cluster": {"server": address}}],
            "users": [{"name": "person", "user": {"token": "t"}}],
            "contexts": [
                {"name": "stand-in", "context": {"cluster": "stand-in", "user": "person", "namespace": NAMESPACE}}
            ],
            "current-context": "stand-in",
        }
        path.write_text(json.dumps(document))
        return path

    def answer(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """Return the document that answers a request, None for what is not there."""
        if path in self.fixed:
            return self.fixed[path]
        name = path.removeprefix(DATASETS).lstrip("/")
        if method == "POST":
            name = body["metadata"]["name"]
            body["metadata"].update({"generation": 1, "resourceVersion": "1", "uid": "u"})
            self.datasets[name] = body
        elif method == "PATCH" and name in self.datasets:
            for part in ("metadata", "spec"):
                self.datasets[name][part] = {**self.datasets[name][part], **body.get(part, {})}
        elif not name:
            return {"items": list(self.datasets.values())}
        return self.datasets.get(name)


def describe_secret(bucket: BucketDescription, endpoint: str | None = None) -> dict[str, str]:
    """Return a bucket as the values of a Secret."""
    return {
        names.KEY_ENDPOINT: endpoint or bucket.endpoint or "",
        names.KEY_BUCKET: bucket.bucket,
        names.KEY_PREFIX: bucket.prefix,
        names.KEY_ACCESS_KEY_ID: bucket.access_key_id or "",
        names.KEY_SECRET_ACCESS_KEY: bucket.secret_access_key or "",
    }


def _build_handler(api: StandInApi) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            found = api.answer(self.command, self.path.partition("?")[0], json.loads(sent or b"{}"))
            body = json.dumps(found or {"kind": "Status", "message": "not found", "code": 404}).encode()
            self.send_response(200 if found is not None else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = _answer  # noqa: N815  # names that http.server looks for

        def log_message(self, *arguments: object) -> None:
            """Say nothing: a test's own output is enough."""

    return Handler
