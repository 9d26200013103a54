"""The playground's S3 server and the proxy that fails on demand."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from atelier_playground.s3 import FlakyProxy, S3Server

BUCKET = "atelier"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A running server with one bucket."""
    directory = tmp_path_factory.mktemp("store")
    started = S3Server(directory / "data", directory / "log")
    started.make_bucket(BUCKET)
    started.start()
    yield started
    started.stop()


@pytest.fixture
def proxy(server: S3Server) -> Iterator[FlakyProxy]:
    """A proxy before the server."""
    with FlakyProxy(server.endpoint) as started:
        yield started


def open_client(server: S3Server, endpoint: str, **other: str):
    """A client without retries, so that each answer is seen."""
    keys = {"aws_access_key_id": server.access_key, "aws_secret_access_key": server.secret_key, **other}
    checksums = {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
    config = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0}, **checksums)
    return boto3.client("s3", endpoint_url=endpoint, region_name=server.region, config=config, **keys)


def test_object_comes_back_through_the_proxy(server: S3Server, proxy: FlakyProxy):
    """What is put through the proxy is read from the server, with its keys."""
    open_client(server, proxy.endpoint).put_object(Bucket=BUCKET, Key="a/b.txt", Body=b"kept")
    body = open_client(server, server.endpoint).get_object(Bucket=BUCKET, Key="a/b.txt")["Body"].read()
    assert body == b"kept"


def test_large_object_comes_back_in_parts(server: S3Server, proxy: FlakyProxy, tmp_path: Path):
    """An upload in several parts arrives whole."""
    path = tmp_path / "large"
    path.write_bytes(bytes(range(256)) * (48 * 1024))
    open_client(server, proxy.endpoint).upload_file(str(path), BUCKET, "large")
    assert open_client(server, server.endpoint).head_object(Bucket=BUCKET, Key="large")["ContentLength"] == 12 * 2**20


def test_deleted_object_leaves_the_listing(server: S3Server, proxy: FlakyProxy):
    """A listing shows an object until it is deleted, and no longer."""
    client = open_client(server, proxy.endpoint)
    client.put_object(Bucket=BUCKET, Key="gone/x", Body=b"1")
    before = client.list_objects_v2(Bucket=BUCKET, Prefix="gone/").get("Contents", [])
    client.delete_object(Bucket=BUCKET, Key="gone/x")
    after = client.list_objects_v2(Bucket=BUCKET, Prefix="gone/").get("Contents", [])
    assert ([one["Key"] for one in before], after) == (["gone/x"], [])


def test_wrong_secret_is_refused(server: S3Server):
    """A request signed with another secret is refused."""
    with pytest.raises(ClientError):
        open_client(server, server.endpoint, aws_secret_access_key="wrong").list_objects_v2(Bucket=BUCKET)


def test_failing_proxy_answers_503_until_it_recovers(proxy: FlakyProxy):
    """While it is told to fail the proxy answers 503 to everything and counts it; afterwards it passes all through."""
    proxy.fail()
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(proxy.endpoint)
    refused.value.close()
    proxy.recover()
    with pytest.raises(urllib.error.HTTPError) as passed:
        urllib.request.urlopen(proxy.endpoint)
    passed.value.close()
    assert (refused.value.code, proxy.refused, passed.value.code) == (503, 1, 400)
