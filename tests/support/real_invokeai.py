"""A real InvokeAI server: installed once into the user's cache, started on loopback with a folder of its own.

The environment is named after the digest of its lock and moved into place when it is whole, so that an interrupted
installation is never taken for one. It needs the package registries once; the server itself needs no network.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from atelier_playground.api import wait_for
from atelier_playground.processes import choose_port

LOCK = Path(__file__).resolve().parents[1] / "invokeai" / "requirements.lock"
START_SECONDS = 300
"""It imports torch and makes a database: 7 to 20 s on a quiet machine."""
STOP_SECONDS = 30


def install_environment(lock: Path = LOCK) -> Path:
    """Return the environment that a lock describes, installed on the first call."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "atelier"
    place = cache / f"invokeai-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"
    if place.exists():
        return place
    cache.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=f"{place.name}.", dir=cache))
    try:
        uv = [str(Path(sys.executable).parent / "uv"), "--quiet"]
        subprocess.run([*uv, "venv", "--clear", "--python", sys.executable, making], check=True)
        python = making / "bin" / "python"
        subprocess.run([*uv, "pip", "sync", "--python", python, "--require-hashes", lock], check=True)
        making.chmod(0o755)
        making.rename(place)
    except OSError:
        if not place.exists():  # else another process was faster
            raise
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return place


@dataclass
class RealInvokeAi:
    """One running server.

    Args:
        root: its folder; everything it keeps is below.
    """

    root: Path

    def __post_init__(self) -> None:
        """Start it and wait until it answers."""
        self.root.mkdir(parents=True, exist_ok=True)
        environment = install_environment()
        port = choose_port()
        self.url = f"http://127.0.0.1:{port}"
        told = {
            "INVOKEAI_ROOT": str(self.root),
            "INVOKEAI_HOST": "127.0.0.1",
            "INVOKEAI_PORT": str(port),
            # The tests' links are of this machine; InvokeAI downloads from no private address unless it is told to.
            "INVOKEAI_ALLOW_PRIVATE_DOWNLOAD_URLS": "true",
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "HOME": str(self.root),
            "PATH": os.environ["PATH"],
        }
        self._log = (self.root / "server.log").open("wb")
        # Its own script names its interpreter by the place where it was installed, before the move.
        program = [environment / "bin" / "python", "-c", "from invokeai.app.run_app import run_app; run_app()"]
        self._process = subprocess.Popen(program, env=told, stdout=self._log, stderr=subprocess.STDOUT, cwd=self.root)
        wait_for(self._answers, "InvokeAI answers", START_SECONDS, self.read_log)

    def read_log(self) -> str:
        """Return the end of what it said."""
        return (self.root / "server.log").read_text(errors="replace")[-2000:]

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(f"InvokeAI ended with {self._process.returncode}: {self.read_log()}")
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/app/version", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False
