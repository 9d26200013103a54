"""`kubectl atelier publish --to invokeai` into the real server passes what it passes into the fake one."""

from __future__ import annotations

import pytest

from atelier_materials.store.bucket import BucketDescription
from publishing_behaviour import PublishingBehaviour, run, target
from s3_servers import RunningServer, rclone

__all__ = ["rclone", "run", "target"]


@pytest.fixture
def bucket(rclone: RunningServer) -> BucketDescription:
    """An empty bucket."""
    return rclone.make_bucket()


class TestIntoTheRealServer(PublishingBehaviour):
    """InvokeAI 6.14.2."""
