"""A node's volumes without a cluster: what a pod reads follows what they were made from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from atelier_playground.node.sources import Place
from atelier_playground.node.volumes import Volumes

POD = {
    "metadata": {"name": "pod", "namespace": "team"},
    "spec": {"volumes": [{"name": "control", "configMap": {"name": "control"}}]},
}


class ChangingApi:
    """An API whose ConfigMap changes between the first look and the first list, and never again."""

    def __init__(self) -> None:
        self.looks = 0
        self.read_again = asyncio.Event()

    async def get(self, _path: str) -> dict[str, Any]:
        self.looks += 1
        if self.looks > 1:
            self.read_again.set()
        return {"data": {"stop": "no" if self.looks == 1 else "yes"}}

    async def follow(self, _path: str, _selector: str) -> AsyncIterator[tuple[str, list[Any]]]:
        yield "LISTED", []
        await asyncio.Event().wait()


async def read_after_change(folder: Path) -> str:
    """Make the volume, follow what it is made from, and return what lies in it once that was read again."""
    api = ChangingApi()
    volumes = Volumes(api, folder, Place("node", "127.64.0.2"))
    await volumes.lay_out(POD)
    following = asyncio.create_task(volumes.keep_current(POD))
    await asyncio.wait_for(api.read_again.wait(), 60)
    await asyncio.sleep(0)  # what was read is written without a further wait
    following.cancel()
    return (folder / "control" / "stop").read_text()


def test_a_change_before_the_first_list_arrives(tmp_path: Path):
    """A ConfigMap that changes after its volume was made and before it is followed reaches the pod all the same."""
    assert asyncio.run(read_after_change(tmp_path)) == "yes"
