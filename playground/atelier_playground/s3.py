"""An S3 server on loopback over a directory, and a proxy before it that can be told to fail.

`rclone serve s3` keeps buckets as directories and objects as files, so a test can look at the disk. Requests must be
signed with the server's one pair of keys. The proxy passes everything through unchanged until it is told otherwise.
"""

from __future__ import annotations

import http.client
import http.server
import threading
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from atelier_playground.binaries import find_rclone
from atelier_playground.processes import Child, choose_port, is_listening

# Known to everybody who can read this; the server listens on loopback alone.
ACCESS_KEY = "playground"
SECRET_KEY = "playground-secret"
REGION = "us-east-1"

_READY_SECONDS = 120
_HOP_HEADERS = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"})


@dataclass
class S3Server:
    """An S3 server.

    Args:
        directory: where the buckets lie; made when missing.
        log: where the server writes what it has to say.
    """

    directory: Path
    log: Path
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY
    region: str = REGION
    _child: Child | None = field(default=None, init=False)

    def start(self) -> None:
        """Start the server and wait until it listens.

        Raises:
            StartFailed: it ended or stayed silent.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        self._port = choose_port()
        command: list[str | Path] = [
            *(find_rclone(), "serve", "s3", self.directory),
            *("--addr", f"127.0.0.1:{self._port}", "--auth-key", f"{self.access_key},{self.secret_key}"),
            # No settings of the person's own rclone. Its directory cache keeps its default time: every write goes
            # through this server and is seen at once, and a time of 0 makes its clean-up timers spin and lock
            # requests out.
            *("--config", "/dev/null", "--vfs-cache-mode", "off"),
        ]
        self._child = Child("rclone", command, self.log)
        self._child.wait_until(lambda: is_listening(self._port), _READY_SECONDS)

    def stop(self) -> None:
        """End the server; its directory stays."""
        if self._child is not None:
            self._child.stop()

    @property
    def endpoint(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self._port}"

    def make_bucket(self, name: str) -> None:
        """Make a bucket; before the start, because the running server does not look at the disk again."""
        (self.directory / name).mkdir(parents=True, exist_ok=True)


class FlakyProxy:
    """A reverse proxy that answers 503 while it is told to. Use it as a context manager.

    Args:
        upstream: the address of the real server.
    """

    def __init__(self, upstream: str) -> None:
        self._failing = threading.Event()
        self._counted = threading.Lock()
        self.refused = 0
        handler = _build_handler(self, urllib.parse.urlsplit(upstream).netloc)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="flaky-proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def endpoint(self) -> str:
        """The proxy's address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def is_failing(self) -> bool:
        """Whether it answers 503 now."""
        return self._failing.is_set()

    def fail(self) -> None:
        """Answer 503 from now on."""
        self._failing.set()

    def recover(self) -> None:
        """Pass requests through again."""
        self._failing.clear()

    def count_refusal(self) -> None:
        """Count one request answered with 503."""
        with self._counted:
            self.refused += 1


def _build_handler(proxy: FlakyProxy, upstream: str) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if proxy.is_failing:
                proxy.count_refusal()
                self._answer(503, [], b"")
                return
            connection = http.client.HTTPConnection(upstream, timeout=60)
            # The Host header is part of what was signed, so it goes on as it came.
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_HEADERS}
            try:
                connection.request(self.command, self.path, body, headers)
                answer = connection.getresponse()
                self._answer(answer.status, answer.getheaders(), answer.read())
            finally:
                connection.close()

        def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response_only(status)
            given = {name.lower() for name, _ in headers}
            for name, value in headers:
                if name.lower() not in _HOP_HEADERS:
                    self.send_header(name, value)
            if "content-length" not in given:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass  # noqa: N815  # names that http.server looks for

        def log_message(self, *arguments: object) -> None:
            """Say nothing: a test's own output is enough."""

    return Handler
