"""The end of an upload in parts, where a bucket's answer is lost."""

from __future__ import annotations

import pytest
from botocore.exceptions import ConnectionClosedError

from atelier_materials.errors import StorageNotConfigured
from atelier_materials.store.bucket import BucketDescription
from atelier_materials.store.patience import Patience
from atelier_materials.store.protocol import hash_bytes
from atelier_materials.store.s3_sending import S3Sender, SentPart
from atelier_materials.store.s3_store import S3Store
from s3_servers import RunningServer

WEIGHTS = b"weights"
SHA256 = hash_bytes(WEIGHTS).sha256
AT_ONCE = Patience(seconds=0)


def send_part(sender: S3Sender) -> tuple[str, dict[int, SentPart]]:
    """Begin an upload of one part and send it."""
    upload = sender.begin_parts("model", SHA256)
    return upload, {1: sender.put_part("model", upload, 1, WEIGHTS, SHA256)}


def test_end_whose_answer_was_lost(any_bucket: BucketDescription, monkeypatch: pytest.MonkeyPatch) -> None:
    """The object is there and the upload is not: asked again, that is the end of it and no fault of the Secret's."""
    sender = S3Sender(any_bucket, Patience(sleep=lambda _: None), 1)
    upload, parts = send_part(sender)
    complete = sender._client.complete_multipart_upload
    answers = []

    def lose_the_first_answer(**asked):
        answers.append(complete(**asked))
        if len(answers) == 1:
            raise ConnectionClosedError(endpoint_url="http://bucket")

    monkeypatch.setattr(sender._client, "complete_multipart_upload", lose_the_first_answer)
    sender.finish_parts("model", upload, parts)
    assert S3Store(any_bucket, AT_ONCE).read("model") == WEIGHTS


@pytest.mark.parametrize("there", [None, b"other weights"])
def test_end_of_an_upload_that_is_gone(rclone: RunningServer, there: bytes | None) -> None:
    """An upload that was forgotten before its end is told, where nothing or something else lies under the key."""
    bucket = rclone.make_bucket()
    sender = S3Sender(bucket, AT_ONCE, 1)
    upload, parts = send_part(sender)
    sender._client.abort_multipart_upload(Bucket=bucket.bucket, Key="model", UploadId=upload)
    if there is not None:
        S3Store(bucket, AT_ONCE).write("model", there)
    with pytest.raises(StorageNotConfigured, match="NoSuchUpload"):
        sender.finish_parts("model", upload, parts)
