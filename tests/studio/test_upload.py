"""Sending files into a bucket of each maker: whole, once, resumed, and never something else than was hashed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from atelier_materials.errors import StorageNotConfigured, StorageUnavailable
from atelier_materials.store import s3_sending
from atelier_materials.store.bucket import BucketDescription
from atelier_materials.store.protocol import hash_bytes
from atelier_playground.s3 import FlakyProxy
from atelier_studio.edges import upload as uploading
from atelier_studio.edges.upload import FileChanged, FileUnreadable, LocalFile, Upload, choose_part_bytes, list_folder
from pushed_folders import CountingMeter, lock_folder, open_bucket, write_files
from s3_servers import RunningServer, describe

FILES = {"a.png": b"picture a", "sub/b.png": b"picture b", "sub/copy of a.png": b"picture a", "empty.txt": b""}
SMALL_PARTS_BYTES = 5 << 20
"""The smallest that every server takes."""


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files over 5 MiB go in parts of 5 MiB."""
    monkeypatch.setattr(uploading, "WHOLE_BYTES", SMALL_PARTS_BYTES)
    monkeypatch.setattr(uploading, "PART_BYTES", SMALL_PARTS_BYTES)


def blob(sha256: str) -> str:
    return f"blobs/{sha256}"


def build_upload(bucket: BucketDescription, folder: Path) -> tuple[Upload, CountingMeter]:
    meter = CountingMeter()
    return Upload(open_bucket(bucket), meter, folder / "notes"), meter


def send_folder(bucket: BucketDescription, folder: Path) -> CountingMeter:
    """Send what lies in `folder/pictures` as a push does."""
    upload, meter = build_upload(bucket, folder)
    stored = {entry.key: entry.bytes for entry in upload.opened.store.list("blobs")}
    upload.send_contents(list_folder(folder / "pictures"), blob, stored)
    return meter


def random_file(folder: Path, size: int) -> LocalFile:
    path = folder / "pictures" / "large.tif"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(random.Random(size).randbytes(size))
    return LocalFile("large.tif", path, size)


def test_everything_arrives(any_bucket: BucketDescription, tmp_path: Path) -> None:
    """Every content lies under its sha256, equal contents once, empty ones too."""
    write_files(tmp_path / "pictures", FILES)
    send_folder(any_bucket, tmp_path)
    store = open_bucket(any_bucket).store
    found = {entry.key: store.read(entry.key) for entry in store.list("blobs")}
    assert found == {blob(hash_bytes(data).sha256): data for data in FILES.values()}


def test_tells_what_each_file_is(any_bucket: BucketDescription, tmp_path: Path) -> None:
    """The answer holds every file with its sha256 and size, in the order of the files."""
    files = list_folder(write_files(tmp_path / "pictures", FILES))
    upload, _ = build_upload(any_bucket, tmp_path)
    told = upload.send_contents(files, blob, {})
    assert [(file.path, content) for file, content in told] == [
        (path, hash_bytes(FILES[path])) for path in sorted(FILES)
    ]


def test_sends_nothing_twice(any_bucket: BucketDescription, tmp_path: Path) -> None:
    """A second push of the same folder sends no byte."""
    write_files(tmp_path / "pictures", FILES)
    send_folder(any_bucket, tmp_path)
    assert send_folder(any_bucket, tmp_path).moved == 0


def test_sends_what_is_there_in_part(any_bucket: BucketDescription, tmp_path: Path) -> None:
    """An object of another size under a content's key is what a server kept of a request that broke off: sent again."""
    write_files(tmp_path / "pictures", {"a.png": b"picture a"})
    key = blob(hash_bytes(b"picture a").sha256)
    store = open_bucket(any_bucket).store
    store.write(key, b"pict")
    assert send_folder(any_bucket, tmp_path).moved == len(b"picture a")
    assert store.read(key) == b"picture a"


def test_large_files_go_in_parts(any_bucket: BucketDescription, tmp_path: Path, small_parts: None) -> None:
    """A file of several parts, the last of them short, arrives whole, and its note is gone."""
    file = random_file(tmp_path, 12 << 20)
    send_folder(any_bucket, tmp_path)
    content = hash_bytes(file.source.read_bytes())
    assert open_bucket(any_bucket).store.digest(blob(content.sha256)) == content
    assert not list((tmp_path / "notes").iterdir())


def test_finished_parts_stay(
    any_bucket: BucketDescription, tmp_path: Path, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A push that was killed after two of three parts sends the third alone."""
    file = random_file(tmp_path, 12 << 20)
    killed, _ = build_upload(any_bucket, tmp_path)
    put_part = s3_sending.S3Sender.put_part

    def put_all_but_the_last(*arguments):
        if arguments[3] == 3:  # the part's number
            raise KeyboardInterrupt
        return put_part(*arguments)

    monkeypatch.setattr(uploading, "AT_ONCE", 1)
    with monkeypatch.context() as during:
        during.setattr(s3_sending.S3Sender, "put_part", put_all_but_the_last)
        with pytest.raises(KeyboardInterrupt):
            killed.send_contents([file], blob, {})
    assert send_folder(any_bucket, tmp_path).moved == (12 << 20) - 2 * SMALL_PARTS_BYTES
    content = hash_bytes(file.source.read_bytes())
    assert open_bucket(any_bucket).store.digest(blob(content.sha256)) == content


def test_forgotten_upload_begins_anew(any_bucket: BucketDescription, tmp_path: Path, small_parts: None) -> None:
    """A note about an upload that the server does not know (any more) does no harm."""
    file = random_file(tmp_path, 6 << 20)
    upload, _ = build_upload(any_bucket, tmp_path)
    sha256 = hash_bytes(file.source.read_bytes()).sha256
    note = uploading.name_note(upload.opened.store.address, blob(sha256), sha256, SMALL_PARTS_BYTES)
    write_files(tmp_path / "notes", {note: b"upload-of-yesterday"})
    assert send_folder(any_bucket, tmp_path).moved == 6 << 20


def test_server_that_stumbles_has_forgotten_nothing(
    rclone: RunningServer, tmp_path: Path, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that cannot tell the parts just now is waited for: its upload is not begun anew, nothing sent again."""
    file = random_file(tmp_path, 6 << 20)
    upload, meter = build_upload(rclone.make_bucket(), tmp_path)
    sha256 = hash_bytes(file.source.read_bytes()).sha256
    note = uploading.name_note(upload.opened.store.address, blob(sha256), sha256, SMALL_PARTS_BYTES)
    write_files(tmp_path / "notes", {note: upload._sender.begin_parts(blob(sha256), sha256).encode()})
    began = (tmp_path / "notes" / note).read_text()

    def stumble(**_):
        answer = {"Error": {"Code": "SlowDown"}, "ResponseMetadata": {"HTTPStatusCode": 503}}
        raise ClientError(answer, "ListParts")

    monkeypatch.setattr(upload._sender._client, "list_parts", stumble)
    with pytest.raises(StorageUnavailable):
        upload.send_contents([file], blob, {})
    assert ((tmp_path / "notes" / note).read_text(), meter.moved) == (began, 0)


def test_file_that_shrinks(any_bucket: BucketDescription, tmp_path: Path) -> None:
    """A file that is not what the folder's listing said is refused by its name."""
    files = list_folder(write_files(tmp_path / "pictures", FILES))
    files[0].source.write_bytes(b"pic")
    upload, _ = build_upload(any_bucket, tmp_path)
    with pytest.raises(FileChanged, match=r"a\.png was written while it was being sent"):
        upload.send_contents(files, blob, {})


@pytest.mark.parametrize("size", [10, 6 << 20])
def test_file_that_is_gone(rclone: RunningServer, tmp_path: Path, small_parts: None, size: int) -> None:
    """A file that cannot be read, sent whole or in parts, is told by its name with what to do."""
    file = random_file(tmp_path, size)
    file.source.unlink()
    upload, _ = build_upload(rclone.make_bucket(), tmp_path)
    with pytest.raises(FileUnreadable, match=r"large\.tif cannot be read \(No such file or directory\): let yourself"):
        upload.send_contents([file], blob, {})


def test_part_of_a_file_that_is_gone(rclone: RunningServer, tmp_path: Path, small_parts: None) -> None:
    """A file that goes away between its hash and its parts is told by its name, too."""
    file = random_file(tmp_path, 6 << 20)
    upload, _ = build_upload(rclone.make_bucket(), tmp_path)
    hashed = upload.hash(file)
    file.source.unlink()
    with pytest.raises(FileUnreadable, match=r"large\.tif cannot be read"):
        upload.send_named(file, "base-models/sd15", hashed)


def test_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder below that cannot be looked into is told instead of being passed over: its pictures are meant, too."""
    write_files(tmp_path / "pictures", FILES)
    lock_folder(monkeypatch, tmp_path / "pictures" / "sub")
    with pytest.raises(FileUnreadable, match=r"sub cannot be read \(Permission denied\)"):
        list_folder(tmp_path / "pictures")


def test_folder_of_the_system_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a system keeps for itself at the root of a disk is nobody's pictures, and is passed over."""
    write_files(tmp_path / "disk", {"a.png": b"a", "lost+found/b.png": b"b"})
    lock_folder(monkeypatch, tmp_path / "disk" / "lost+found")
    assert [file.path for file in list_folder(tmp_path / "disk")] == ["a.png"]


def test_large_file_that_changes(any_bucket: BucketDescription, tmp_path: Path, small_parts: None) -> None:
    """A part that is no longer what was hashed is not sent; the key stays empty."""
    file = random_file(tmp_path, 12 << 20)
    upload, meter = build_upload(any_bucket, tmp_path)
    hashed = upload.hash(file)
    with file.source.open("r+b") as changing:
        changing.seek(11 << 20)
        changing.write(b"other")
    with pytest.raises(FileChanged):
        upload.send_named(file, "base-models/sd15", hashed)
    assert meter.moved <= 2 * SMALL_PARTS_BYTES
    assert upload.opened.store.head("base-models/sd15") is None


@pytest.mark.parametrize("size", [10, 6 << 20])
def test_named_files_tell_their_contents(
    any_bucket: BucketDescription, tmp_path: Path, small_parts: None, size: int
) -> None:
    """What was sent under a name is known by its sha256, in one request or in parts."""
    file = random_file(tmp_path, size)
    upload, _ = build_upload(any_bucket, tmp_path)
    hashed = upload.hash(file)
    upload.send_named(file, "base-models/sd15", hashed)
    assert upload.find_sha256("base-models/sd15") == hashed.content.sha256


def test_contents_of_others_are_read(any_bucket: BucketDescription, tmp_path: Path) -> None:
    """What another tool put there is known by reading it."""
    upload, _ = build_upload(any_bucket, tmp_path)
    upload.opened.store.write("base-models/sd15", b"weights")
    assert upload.find_sha256("base-models/sd15") == hash_bytes(b"weights").sha256


def test_wrong_key_is_said(strict_server: RunningServer, tmp_path: Path) -> None:
    """Keys that open nothing are said to be wrong, as by every use of a store."""
    bucket = strict_server.make_bucket()
    wrong = BucketDescription(**{**vars(bucket), "secret_access_key": "guessed"})
    upload, _ = build_upload(wrong, tmp_path)
    with pytest.raises(StorageNotConfigured, match="accessKeyId and secretAccessKey of Secret atelier-storage"):
        upload.send_contents(list_folder(write_files(tmp_path / "pictures", FILES)), blob, {})


def test_what_failed_is_not_counted(rclone: RunningServer, tmp_path: Path) -> None:
    """Bytes of a request that a server did not take are taken back from the count."""
    bucket = rclone.make_bucket()
    with FlakyProxy(rclone.endpoint) as proxy:
        upload, meter = build_upload(describe(proxy.endpoint, bucket.bucket), tmp_path)
        proxy.fail()
        with pytest.raises(StorageUnavailable):
            upload.send_contents(list_folder(write_files(tmp_path / "pictures", FILES)), blob, {})
    assert meter.moved == 0


def test_ten_thousand_parts_at_most() -> None:
    """Parts grow where a file would have more of them than the protocol allows."""
    assert choose_part_bytes(uploading.PART_BYTES * s3_sending.MOST_PARTS) == uploading.PART_BYTES
    assert choose_part_bytes(uploading.PART_BYTES * s3_sending.MOST_PARTS + 1) == 2 * uploading.PART_BYTES


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    """A link to a file is the file; a link to a folder, which may lead round in a circle, is passed over."""
    folder = write_files(tmp_path / "pictures", {"a.png": b"a"})
    (folder / "b.png").symlink_to(folder / "a.png")
    (folder / "again").symlink_to(folder)
    assert [file.path for file in list_folder(folder)] == ["a.png", "b.png"]
