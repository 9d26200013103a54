"""A proxy before an S3 server that remembers what the server has taken whole, and can stop a push at a chosen moment.

A request counts as finished when the server has said so, whether or not the sender lived to hear it. So a push that
was killed and goes on has sent in vain exactly what is finished twice.
"""

from __future__ import annotations

import http.client
import http.server
import random
import sys
import threading
import urllib.parse
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self

HOP_HEADERS = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"})
PHASES = ("before its body", "amid its body", "before the server has it", "before the answer")
"""Moments of a request at which a push may die."""


class QuietServer(http.server.ThreadingHTTPServer):
    """A server that is not surprised when somebody who asks is killed."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a connection that broke; tell of everything else."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class RecordingProxy:
    """Passes everything through; use it as a context manager.

    Args:
        upstream: the address of the real server.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = urllib.parse.urlsplit(upstream).netloc
        self._changed = threading.Condition()
        self._begun = self._in_flight = 0
        self._at: tuple[int, str] | None = None
        self._stop: Callable[[], None] = lambda: None
        self.finished: Counter[str] = Counter()
        """How often the server has taken each content or part whole, by its address."""
        self.bytes: dict[str, int] = {}
        """Size of each of them."""
        self._server = QuietServer(("127.0.0.1", 0), _build_handler(self, self._upstream))

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, name="recording-proxy", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        """The proxy's address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def resent_bytes(self) -> int:
        """What was sent although the server had it."""
        return sum(self.bytes[target] * (times - 1) for target, times in self.finished.items())

    def stop_at(self, number: int, phase: str, stop: Callable[[], None]) -> None:
        """Call something at a moment of the n-th content from now (from 1), once."""
        with self._changed:
            self._begun, self._at, self._stop = 0, (number, phase), stop

    def wait_until_idle(self) -> None:
        """Wait until nothing is on its way to the server."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._in_flight == 0, timeout=60)

    def begin(self) -> int:
        """Count a content that has begun to arrive; return its number."""
        with self._changed:
            self._begun += 1
            self._in_flight += 1
            return self._begun

    def pass_moment(self, number: int, phase: str) -> None:
        """Stop the push if this is the moment."""
        with self._changed:
            if self._at != (number, phase):
                return
            self._at = None
        self._stop()

    def end(self, target: str | None, size: int) -> None:
        """Count a content that is no longer on its way; the target of one that the server has taken."""
        with self._changed:
            self._in_flight -= 1
            if target is not None:
                self.finished[target] += 1
                self.bytes[target] = size
            self._changed.notify_all()


def choose_moment(chance: random.Random, contents: int) -> tuple[int, str]:
    """Return a moment of a push of so many contents."""
    return chance.randint(1, contents), chance.choice(PHASES)


def _build_handler(proxy: RecordingProxy, upstream: str) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            if self.command != "PUT" or not ("/blobs/" in self.path or "partNumber" in self.path):
                self._forward(self.rfile.read(int(self.headers.get("Content-Length", 0))))
                return
            number, taken, body = proxy.begin(), None, b""
            try:
                size = int(self.headers["Content-Length"])
                proxy.pass_moment(number, PHASES[0])
                body = self.rfile.read(size // 2)
                proxy.pass_moment(number, PHASES[1])
                body += self.rfile.read(size - len(body))
                if len(body) == size:
                    proxy.pass_moment(number, PHASES[2])
                    taken = self.path if self._forward(body, number) < 300 else None
            except OSError:  # the sender is gone
                self.close_connection = True
            finally:
                proxy.end(taken, len(body))

        def _forward(self, body: bytes, number: int = 0) -> int:
            connection = http.client.HTTPConnection(upstream, timeout=60)
            # The Host header is part of what was signed, so it goes on as it came.
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_HEADERS}
            try:
                connection.request(self.command, self.path, body, headers)
                answer = connection.getresponse()
                told = answer.read()
            finally:
                connection.close()
            proxy.pass_moment(number, PHASES[3])
            try:
                self._answer(answer.status, answer.getheaders(), told)
            except OSError:
                self.close_connection = True
            return answer.status

        def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response_only(status)
            given = {name.lower() for name, _ in headers}
            for name, value in headers:
                if name.lower() not in HOP_HEADERS:
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
