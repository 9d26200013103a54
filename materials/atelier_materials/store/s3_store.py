"""A bucket as a store.

boto3 is told to send checksums only where the protocol demands them: its newer default breaks many servers that speak
S3. Objects are deleted one by one for the same reason: a deletion of many demands a checksum that servers disagree on.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from atelier_contract import names
from atelier_materials.errors import AtelierError, ObjectMissing, StorageNotConfigured
from atelier_materials.store.bucket import BucketDescription
from atelier_materials.store.patience import Patience, Unanswered
from atelier_materials.store.protocol import CHUNK_BYTES, Content, StoredObject, hash_bytes, hash_file, is_there
from atelier_materials.store.s3_errors import describe_endpoint, is_range_refused, translate_error

Result = TypeVar("Result")
CONNECT_TIMEOUT_SECONDS = 10
READ_TIMEOUT_SECONDS = 60
PAGE_OBJECTS = 1000
"""Of a listing: the most that the protocol allows."""


class S3Store:
    """A bucket behind the S3 protocol."""

    def __init__(self, description: BucketDescription, patience: Patience | None = None) -> None:
        self._description = description
        self._patience = patience or Patience()
        self._bucket = description.bucket
        self._client = open_client(description)

    def with_patience(self, patience: Patience) -> S3Store:
        """Return the same bucket, waited for differently; its connections are shared."""
        other = copy.copy(self)
        other._patience = patience  # noqa: SLF001  (our own copy)
        return other

    @property
    def address(self) -> str:
        """What to call it in messages."""
        return f"bucket {self._bucket} at {describe_endpoint(self._description)}"

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield what lies below `prefix/`, sorted by key."""
        # Not every server sorts by key: seaweedfs walks its folders, where `a/1` comes before `a.txt`.
        yield from sorted(self._list_pages(prefix), key=lambda entry: entry.key)

    def _list_pages(self, prefix: str) -> Iterator[StoredObject]:
        asked: dict[str, Any] = {"Bucket": self._bucket, "Prefix": f"{prefix}/" if prefix else ""}
        asked["MaxKeys"] = PAGE_OBJECTS
        while True:
            page = self._ask(f"list {prefix}", lambda: self._client.list_objects_v2(**asked))
            for row in page.get("Contents", []):
                if not row["Key"].endswith("/"):  # some tools make folders as empty objects
                    yield StoredObject(row["Key"], int(row["Size"]), row["LastModified"].timestamp())
            if not page.get("IsTruncated"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]

    def head(self, key: str) -> StoredObject | None:
        """Return what a listing would tell of a key, or None where nothing lies."""
        try:
            answer = self._ask(f"read {key}", lambda: self._client.head_object(Bucket=self._bucket, Key=key))
        except ObjectMissing:
            return None
        return StoredObject(key, int(answer["ContentLength"]), answer["LastModified"].timestamp())

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return a small object's bytes, or a part of them."""
        asked = {"Bucket": self._bucket, "Key": key}
        if start or length is not None:
            asked["Range"] = f"bytes={start}-" if length is None else f"bytes={start}-{start + length - 1}"

        def read_whole() -> bytes:
            try:
                return bytes(self._client.get_object(**asked)["Body"].read())
            except ClientError as error:
                # A part that begins at or behind the end has no bytes; a file says so, a bucket refuses.
                if is_range_refused(error):
                    return b""
                raise

        return self._ask(f"read {key}", read_whole)

    def digest(self, key: str) -> Content:
        """Read an object to its end and return what it is, keeping nothing."""
        return self._ask(f"read {key}", lambda: self._stream(key, lambda _: None))

    def fetch(self, key: str, path: Path) -> Content:
        """Write an object's bytes to a local file, streaming."""

        def fetch_once() -> Content:
            with path.open("wb") as file:
                return self._stream(key, file.write)

        return self._ask(f"read {key}", fetch_once)

    def write(self, key: str, data: bytes) -> Content:
        """Store bytes, whole or not at all."""
        content = hash_bytes(data)
        if not is_there(self, key, content):
            self._ask(f"write {key}", lambda: self._client.put_object(Bucket=self._bucket, Key=key, Body=data))
        return content

    def write_file(self, key: str, path: Path) -> Content:
        """Store a local file, whole or not at all; at most 5 GiB, the protocol's limit for one request."""

        def write_once() -> None:
            with path.open("rb") as file:
                self._client.put_object(Bucket=self._bucket, Key=key, Body=file)

        content = hash_file(path)
        if not is_there(self, key, content):
            self._ask(f"write {key}", write_once)
        return content

    def copy(self, source: str, target: str) -> None:
        """Copy within the bucket, without the bytes passing through this pod."""
        if self.head(target) is not None and is_there(self, target, self.digest(source)):
            return
        origin = {"Bucket": self._bucket, "Key": source}
        self._ask(
            f"copy {source} to {target}",
            lambda: self._client.copy_object(Bucket=self._bucket, Key=target, CopySource=origin),
        )

    def delete(self, keys: Iterable[str]) -> None:
        """Delete exactly these keys, in this order."""
        for key in keys:
            try:
                self._delete_one(key)
            except ObjectMissing:
                continue  # an earlier attempt deleted it

    def presign(self, key: str, seconds: int) -> str:
        """Return a link by which anybody who reads it can download an object for so long. Nothing is asked."""
        asked = {"Bucket": self._bucket, "Key": key}
        return str(self._client.generate_presigned_url("get_object", Params=asked, ExpiresIn=seconds))

    def _delete_one(self, key: str) -> None:
        self._ask(f"delete {key}", lambda: self._client.delete_object(Bucket=self._bucket, Key=key))

    def _stream(self, key: str, take: Callable[[bytes], object]) -> Content:
        digest, size = hashlib.sha256(), 0
        answer = self._client.get_object(Bucket=self._bucket, Key=key)
        for chunk in answer["Body"].iter_chunks(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
            take(chunk)
        return Content(digest.hexdigest(), size)

    def _ask(self, doing: str, operation: Callable[[], Result]) -> Result:
        """Call the bucket, with its errors translated and its silence waited for."""

        def ask_once() -> Result:
            try:
                return operation()
            except (BotoCoreError, HTTPClientError, ClientError) as error:
                raise self._translate(error, doing) from error

        return self._patience.wait_for(ask_once)

    def _translate(self, error: Exception, doing: str) -> AtelierError | Unanswered:
        return translate_error(error, self._description, doing)


def open_client(description: BucketDescription) -> Any:
    """Return boto3's client of a bucket.

    Raises:
        StorageNotConfigured: the endpoint is not an address.
    """
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=READ_TIMEOUT_SECONDS,
        retries={"mode": "standard", "total_max_attempts": 2},  # the rest is Patience's, which says so in the log
        s3={"addressing_style": description.addressing_style},
        signature_version="s3v4",  # links are signed the older way by default, which newer servers refuse
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        with _OPENING:
            return _open_session().client(
                "s3",
                endpoint_url=description.endpoint,
                region_name=description.region,
                verify=str(description.ca_bundle) if description.ca_bundle else None,
                config=config,
                # None for both: boto3 asks the identity that the service account brings.
                aws_access_key_id=description.access_key_id,
                aws_secret_access_key=description.secret_access_key,
            )
    except (ValueError, BotoCoreError) as error:
        raise StorageNotConfigured(
            f"Secret {description.secret_name}: {names.KEY_ENDPOINT} is not an address such as https://s3.example:9000"
        ) from error


@functools.cache
def _open_session() -> boto3.session.Session:
    """Return the one session: what it reads of the service's description takes longer than all else."""
    return boto3.session.Session()


_OPENING = threading.Lock()
"""Held while a client is made: clients may be shared by threads, sessions may not."""
