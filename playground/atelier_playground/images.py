"""Images of the playground: what a container sees of the machine, and what it starts.

A real image is layers of files; here it is a list of directories of this machine, bound read-only at the paths where
an image would have them. In comes the virtual environment with its source roots; out goes a registry, a JSON file that
maps image names to such views. The node reads the file anew for every pod, so an image can be added to a running
cluster. This module starts nothing.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from atelier_playground.binaries import cache_directory

# The uid of `nonroot` in the distroless images, which many restricted images follow.
NONROOT = 65532

_ENVIRONMENT_PATH = "/opt/venv"
_APPLICATION_PATH = "/app"
_BYTECODE_PATH = "/var/cache/python"

# What a small Linux image has and a program may need. Missing ones are left out.
_SYSTEM_PATHS = (
    "/usr",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/etc/ld.so.cache",
    "/etc/nsswitch.conf",
    "/etc/resolv.conf",
    "/etc/localtime",
)
_MERGED_PATHS = ("/bin", "/sbin", "/lib", "/lib64")


@dataclass(frozen=True)
class Image:
    """A view of the machine and what to start in it.

    Attributes:
        entry_point: the program and its first arguments; a pod's `command` replaces it.
        arguments: default arguments; a pod's `args` replaces them.
        mounts: path in the container → path on this machine, read-only.
        links: path in the container → target of a symbolic link.
        writable: as mounts, but writable; shared by all containers of the image.
        environment: variables that the image sets.
        user: the uid when the pod names none.
        working_directory: where the program starts when the pod says nothing.
    """

    entry_point: Sequence[str]
    arguments: Sequence[str] = ()
    mounts: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    writable: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    user: int = NONROOT
    working_directory: str = "/"


def build_system_image(entry_point: Sequence[str] = ("/bin/sh",)) -> Image:
    """Build an image with the programs and libraries of this machine's /usr and nothing else."""
    mounts = {path: path for path in _SYSTEM_PATHS if Path(path).exists()}
    links = {}
    for path in _MERGED_PATHS:
        if Path(path).is_symlink():
            links[path] = str(Path(path).readlink())
        elif Path(path).exists():
            mounts[path] = path
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/home/nonroot"}
    return Image(entry_point=entry_point, mounts=mounts, links=links, environment=environment)


def build_python_image(source_roots: Sequence[Path], module: str | None = None) -> Image:
    """Build an image that holds this virtual environment and some source roots.

    Args:
        source_roots: directories that go on the module path, and only they: what an image must not contain is then
            not importable, although the environment's own editable install names all of them.
        module: what the image runs, as `python -m` takes it; default: the interpreter alone.
    """
    system = build_system_image()
    base = sys.base_prefix
    mounts = {**system.mounts, _ENVIRONMENT_PATH: sys.prefix}
    # The environment's interpreter is a link into the installation it was made from, wherever that lies.
    if not Path(base).is_relative_to("/usr"):
        mounts[base] = base
    roots = {f"{_APPLICATION_PATH}/{root.name}": os.fspath(root.resolve()) for root in source_roots}
    bytecode = cache_directory() / "bytecode"
    bytecode.mkdir(parents=True, exist_ok=True)
    environment = {
        **system.environment,
        "PATH": f"{_ENVIRONMENT_PATH}/bin:{system.environment['PATH']}",
        "PYTHONPATH": ":".join(roots),
        "PYTHONUNBUFFERED": "1",
        # Installers need not compile, and importing torch from source takes half a minute on each start. A real image
        # carries its bytecode in its layers; here it grows in one directory that the containers share.
        "PYTHONPYCACHEPREFIX": _BYTECODE_PATH,
    }
    interpreter = f"{_ENVIRONMENT_PATH}/bin/python"
    return dataclasses.replace(
        system,
        entry_point=[interpreter, "-m", module] if module else [interpreter],
        mounts={**mounts, **roots},
        writable={_BYTECODE_PATH: os.fspath(bytecode)},
        environment=environment,
        working_directory=_APPLICATION_PATH,
    )


def write_registry(path: Path, images: Mapping[str, Image]) -> None:
    """Write images by name, replacing what was there in one step."""
    document = {name: dataclasses.asdict(image) for name, image in images.items()}
    scratch = path.with_suffix(".writing")
    scratch.write_text(json.dumps(document, indent=1) + "\n")
    scratch.replace(path)


def read_registry(path: Path) -> dict[str, Image]:
    """Read what `write_registry` wrote."""
    return {name: Image(**fields) for name, fields in json.loads(path.read_text()).items()}


def find_image(images: Mapping[str, Image], reference: str) -> Image | None:
    """Find an image by its full reference, or by its name without tag and digest."""
    if reference in images:
        return images[reference]
    name = reference.split("@", 1)[0]
    head, slash, tail = name.rpartition("/")
    return images.get(head + slash + tail.split(":", 1)[0])
