"""Many and large contents sent to a bucket: one request each, or in parts that survive whoever sends them.

For a push: the sha256 of what is sent is known already, so it is signed as it is instead of being computed once more,
and a request takes less than half of the general client's processor time. What is sent is counted piece by piece, and
can be broken off between two pieces. A bucket takes a request whole or not at all, so what breaks off leaves nothing
behind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.httpsession import URLLib3Session
from botocore.utils import get_environ_proxies

from atelier_materials.errors import ObjectMissing
from atelier_materials.store.bucket import BucketDescription
from atelier_materials.store.patience import Patience, Unanswered
from atelier_materials.store.s3_errors import translate_error
from atelier_materials.store.s3_store import CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS, open_client

PIECE_BYTES = 256 << 10
"""Between two looks at whether to go on: a tenth of a second at 20 Mbit/s, and few enough calls at 10 Gbit/s."""
SHA256_METADATA = "atelier-sha256"
"""Metadata of an object that was sent under a name of the user's: tells its contents without reading them."""
SMALLEST_PART_BYTES = 5 << 20
"""Of all but the last part: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html."""
MOST_PARTS = 10_000
FIRST_ERROR_STATUS = 300
ERROR_CODE = re.compile(rb"<Code>([A-Za-z0-9]{1,64})</Code>")


class BrokenOff(Exception):
    """The sender was told to stop. Never leaves the edges."""


@dataclass(frozen=True)
class SentPart:
    """A part that the bucket has."""

    number: int
    """From 1."""
    bytes: int
    etag: str
    """The bucket's own word for it, which it asks back in the end. Not trusted to mean anything."""


class S3Sender:
    """Sends contents to one bucket; may be used by several threads.

    Args:
        description: the bucket.
        patience: how long to wait when it does not answer.
        connections: how many threads send at once.
        on_sent: told of every piece by its size in bytes; a negative number takes back what must be sent again.
        is_stopped: asked before every piece; once it says yes, BrokenOff is raised.
    """

    def __init__(
        self,
        description: BucketDescription,
        patience: Patience,
        connections: int,
        *,
        on_sent: Callable[[int], None] = lambda _: None,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._description, self._patience = description, patience
        self._on_sent, self._is_stopped = on_sent, is_stopped
        self._client = open_client(description)
        self._signer = _KnownPayloadAuth(
            self._client._request_signer._credentials,  # noqa: SLF001  (boto3 has no public way to what it resolved)
            "s3",
            description.region,
        )
        self._base = _find_base(self._client, description.bucket)
        open_session: Any = URLLib3Session  # its types know neither a file of certificates nor two timeouts
        self._session = open_session(
            verify=str(description.ca_bundle) if description.ca_bundle else True,
            proxies=get_environ_proxies(self._base),
            timeout=(CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS),
            max_pool_connections=connections,
        )

    def put(self, key: str, data: bytes, sha256: str, *, is_named: bool = False) -> None:
        """Store a content under a key, whatever lay there.

        Args:
            key: where; it consists of checked parts.
            data: all of it.
            sha256: of the data; a bucket that checks it refuses anything else.
            is_named: whether the key is a name and not the sha256: then that is kept beside the object.

        Raises:
            StorageUnavailable, StorageNotConfigured: as every use of a store.
            BrokenOff: the sender was told to stop.
        """
        headers = {f"x-amz-meta-{SHA256_METADATA}": sha256} if is_named else {}
        self._send(key, "", data, sha256, headers)

    def find_sha256(self, key: str) -> str | None:
        """Return what an object was said to hold when it was sent; None where nobody said."""
        answer = self._ask(f"read {key}", lambda: self._client.head_object(Bucket=self._description.bucket, Key=key))
        found: str | None = answer.get("Metadata", {}).get(SHA256_METADATA)
        return found

    def begin_parts(self, key: str, sha256: str) -> str:
        """Begin a content in parts and return the upload's id."""
        asked = {"Bucket": self._description.bucket, "Key": key, "Metadata": {SHA256_METADATA: sha256}}
        answer = self._ask(f"write {key}", lambda: self._client.create_multipart_upload(**asked))
        return str(answer["UploadId"])

    def list_parts(self, key: str, upload: str) -> dict[int, SentPart] | None:
        """Return the parts that an upload has; None where there is no such upload (any more), or no list of it.

        A server that does not answer just now is waited for: it has the parts, and they may be gigabytes.
        """
        asked: dict[str, Any] = {"Bucket": self._description.bucket, "Key": key, "UploadId": upload}
        found: dict[int, SentPart] = {}
        doing = f"write {key}"

        def list_page() -> Any:
            try:
                return self._client.list_parts(**asked)
            except ClientError as error:
                has_list = error.response.get("Error", {}).get("Code") != "NotImplemented"
                if has_list and isinstance(translate_error(error, self._description, doing), Unanswered):
                    raise
                return None

        while True:
            page = self._ask(doing, list_page)
            if page is None:
                return None
            for row in page.get("Parts", []):
                found[row["PartNumber"]] = SentPart(row["PartNumber"], int(row["Size"]), row["ETag"])
            if not page.get("IsTruncated"):
                return found
            asked["PartNumberMarker"] = page["NextPartNumberMarker"]

    def put_part(self, key: str, upload: str, number: int, data: bytes, sha256: str) -> SentPart:
        """Send one part, whose sha256 is known."""
        query = f"partNumber={number}&uploadId={quote(upload, safe='')}"
        headers = self._send(key, query, data, sha256, {})
        return SentPart(number, len(data), headers.get("etag", ""))

    def finish_parts(self, key: str, upload: str, parts: Mapping[int, SentPart]) -> None:
        """Make an object of the parts."""
        rows = [{"PartNumber": number, "ETag": parts[number].etag} for number in sorted(parts)]
        asked = {"Bucket": self._description.bucket, "Key": key, "UploadId": upload}

        def finish() -> None:
            try:
                self._client.complete_multipart_upload(**asked, MultipartUpload={"Parts": rows})
            except ClientError as error:
                # An answer that was lost leaves the object, and no upload.
                is_gone = error.response.get("Error", {}).get("Code") == "NoSuchUpload"
                if not is_gone or not self._is_whole(key, sum(part.bytes for part in parts.values())):
                    raise

        self._ask(f"write {key}", finish)

    def _is_whole(self, key: str, size: int) -> bool:
        try:
            answer = self._client.head_object(Bucket=self._description.bucket, Key=key)
        except ClientError as error:
            if isinstance(translate_error(error, self._description, f"read {key}"), ObjectMissing):
                return False
            raise
        return int(answer["ContentLength"]) == size

    def _send(self, key: str, query: str, data: bytes, sha256: str, headers: Mapping[str, str]) -> Mapping[str, str]:
        doing, url = f"write {key}", self._base + key + (f"?{query}" if query else "")

        def send_once() -> Mapping[str, str]:
            body = _Pieces(data, self._on_sent, self._is_stopped)
            try:
                return self._request(doing, url, body, sha256, headers)
            except BaseException:
                body.take_back()
                raise

        return self._patience.wait_for(lambda: self._translated(doing, send_once))

    def _request(
        self, doing: str, url: str, body: _Pieces, sha256: str, headers: Mapping[str, str]
    ) -> Mapping[str, str]:
        request = AWSRequest("PUT", url, headers={**headers, "Content-Length": str(body.bytes)})
        request.context["sha256"] = sha256
        self._signer.add_auth(request)
        prepared = request.prepare()
        prepared.headers["Content-Length"] = str(body.bytes)
        prepared.body = cast("Any", iter(body))
        answer = self._session.send(prepared)
        if answer.status_code >= FIRST_ERROR_STATUS:
            raise _read_refusal(answer.status_code, answer.content, doing)
        return {str(name).lower(): str(value) for name, value in answer.headers.items()}

    def _ask(self, doing: str, operation: Callable[[], Any]) -> Any:
        return self._patience.wait_for(lambda: self._translated(doing, operation))

    def _translated(self, doing: str, operation: Callable[[], Any]) -> Any:
        if self._is_stopped():
            raise BrokenOff
        try:
            return operation()
        except (BotoCoreError, HTTPClientError, ClientError) as error:
            if self._is_stopped():
                raise BrokenOff from error
            raise translate_error(error, self._description, doing) from error


class _KnownPayloadAuth(S3SigV4Auth):
    """Signs the sha256 that the request says it has."""

    def payload(self, request: AWSRequest) -> str:
        """Return what is signed in place of the body."""
        return str(request.context["sha256"])


class _Pieces:
    """A body that is counted while it goes out."""

    def __init__(self, data: bytes, on_sent: Callable[[int], None], is_stopped: Callable[[], bool]) -> None:
        self._data, self._on_sent, self._is_stopped = memoryview(data), on_sent, is_stopped
        self._counted = 0
        self.bytes = len(data)

    def __iter__(self) -> Iterator[memoryview]:
        for start in range(0, self.bytes, PIECE_BYTES):
            if self._is_stopped():
                raise BrokenOff
            piece = self._data[start : start + PIECE_BYTES]
            yield piece
            self._counted += len(piece)
            self._on_sent(len(piece))

    def take_back(self) -> None:
        """Say that nothing of it arrived."""
        if self._counted:
            self._on_sent(-self._counted)
        self._counted = 0


def _find_base(client: Any, bucket: str) -> str:
    """Return the address of a bucket's objects up to the key, in whatever style the client addresses them."""
    probe = "probe"
    url = urlsplit(client.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": probe}))
    return f"{url.scheme}://{url.netloc}{url.path.removesuffix(probe)}"


def _read_refusal(status: int, body: bytes, doing: str) -> ClientError:
    """Return an error answer as the general client would."""
    found = ERROR_CODE.search(body)
    code = found.group(1).decode() if found else str(status)
    answer: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, doing)
