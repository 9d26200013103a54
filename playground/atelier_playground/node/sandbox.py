"""The command line of a sandbox: from an image, a container's spec and its mounts to bubblewrap's arguments.

Pure: it reads nothing but its arguments, so that a test can look at what a container would get. A container sees its
image's view, an own /proc and a minimal /dev, the pod's volumes at their exact paths, and nothing else. It has no
capabilities, no new privileges, process, IPC and host name spaces of its own, and the uid the pod asks for. The network
is the machine's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from atelier_playground.images import Image


@dataclass(frozen=True)
class Mount:
    """One path of this machine as a container sees it."""

    source: str
    target: str
    read_only: bool


@dataclass(frozen=True)
class Sandbox:
    """Everything that decides what one container run sees.

    Attributes:
        image: the view to start from.
        command: the program and its arguments.
        environment: the whole environment.
        mounts: volumes, the termination message file and the pod's own files under /etc.
        user: uid and gid in the container.
        host_name: the pod's name.
        working_directory: where the program starts.
        read_only_root: whether what is no mount refuses writes.
    """

    image: Image
    command: Sequence[str]
    environment: Mapping[str, str]
    mounts: Sequence[Mount]
    user: int
    group: int
    host_name: str
    working_directory: str
    read_only_root: bool


def build_options(sandbox: Sandbox) -> list[str]:
    """Build bubblewrap's options: all that comes before the command, less the file descriptors it reports through."""
    words = [
        *("--unshare-user", "--uid", str(sandbox.user), "--gid", str(sandbox.group)),
        *("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--hostname", sandbox.host_name),
        # As process 1 the program meets what it would meet in a container: signals that it does not handle are
        # ignored, and its orphans are its own to reap.
        *("--as-pid-1", "--die-with-parent", "--new-session", "--cap-drop", "ALL"),
    ]
    for path, source in sorted(sandbox.image.mounts.items()):
        words += ["--ro-bind", source, path]
    for path, target in sorted(sandbox.image.links.items()):
        words += ["--symlink", target, path]
    for path, source in sorted(sandbox.image.writable.items()):
        words += ["--bind", source, path]
    words += ["--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--dir", "/tmp"]
    for home in {sandbox.image.environment.get("HOME", "/"), sandbox.image.working_directory} - {"/"}:
        words += ["--dir", home]
    # Parents first, so that a volume inside another volume is not hidden by it.
    for mount in sorted(sandbox.mounts, key=lambda mount: len(PurePosixPath(mount.target).parts)):
        words += ["--ro-bind" if mount.read_only else "--bind", mount.source, mount.target]
    if sandbox.read_only_root:
        words += ["--remount-ro", "/"]
    words += ["--chdir", sandbox.working_directory, "--clearenv"]
    for name, value in sandbox.environment.items():
        words += ["--setenv", name, value]
    return words


def build_account_files(directory: Path, host_name: str, address: str, user: int) -> list[Mount]:
    """Write the files under /etc that a runtime makes for each pod, and mount them."""
    files = {
        "passwd": f"root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:{user}:{user}:nonroot:/home/nonroot:/sbin/nologin\n",
        "group": f"root:x:0:\nnonroot:x:{user}:\n",
        "hosts": f"127.0.0.1 localhost\n{address} {host_name}\n",
        "hostname": f"{host_name}\n",
    }
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name).write_text(text)
    return [Mount(str(directory / name), f"/etc/{name}", read_only=True) for name in files]
