"""What a store says when its Secret opens nothing, at each maker's server: the same words, and the key to mend."""

from __future__ import annotations

from dataclasses import replace

import pytest

from atelier_materials.errors import StorageNotConfigured, StorageUnavailable
from atelier_materials.store.bucket import BucketDescription
from atelier_materials.store.patience import Patience
from atelier_materials.store.s3_store import S3Store
from s3_servers import RunningServer

NO_PATIENCE = Patience(seconds=0)


def ask(description: BucketDescription, what: str) -> str:
    """Return what a store says to a question that it must refuse."""
    store = S3Store(description, NO_PATIENCE)
    questions = {
        "list": lambda: list(store.list("a")),
        "read": lambda: store.read("a"),
        "write": lambda: store.write("a", b"1"),
    }
    with pytest.raises(StorageNotConfigured) as refused:
        questions[what]()
    return str(refused.value)


@pytest.mark.parametrize("what", ["list", "read", "write"])
def test_wrong_secret_key(strict_server: RunningServer, what: str) -> None:
    """A secret key that does not fit is said to be wrong, whatever was asked, and is not repeated."""
    message = ask(replace(strict_server.make_bucket(), secret_access_key="guessed"), what)
    assert "Secret atelier-storage" in message
    assert "guessed" not in message


def test_unknown_access_key(strict_server: RunningServer) -> None:
    """A key id that the server does not know is said to be wrong, and is not repeated."""
    message = ask(replace(strict_server.make_bucket(), access_key_id="nobody"), "list")
    assert "does not accept accessKeyId and secretAccessKey of Secret atelier-storage" in message
    assert "nobody" not in message


def test_missing_bucket(any_server: RunningServer) -> None:
    """A bucket that is not there is named with the key that names it."""
    message = ask(replace(any_server.make_bucket(), bucket="nowhere-at-all"), "list")
    assert message.startswith("bucket nowhere-at-all at http://127.0.0.1")
    assert message.endswith("does not exist: create it, or correct bucket in Secret atelier-storage")


def test_nobody_listens() -> None:
    """An address where nobody answers is unavailable, not wrong: it may come back."""
    description = BucketDescription("atelier-storage", "b", endpoint="http://127.0.0.1:9", access_key_id="a")
    with pytest.raises(StorageUnavailable, match=r"did not answer \(EndpointConnectionError\)"):
        list(S3Store(replace(description, secret_access_key="b"), NO_PATIENCE).list("a"))
