"""Files of this machine sent into a namespace's store: several at once, resumed where an earlier push was killed.

In: files and the keys they belong under. Out: what each of them is, once all of them are in the store. Contents lie
under their sha256, so one listing says what need not be sent again; a file is read once, hashed, and those very bytes
are sent. Large files go in parts, and a note on this machine says which upload they belong to: whoever is killed
between two parts sends the rest next time. Keys and what belongs into a dataset are decided elsewhere.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

from atelier_materials.store.protocol import Content, hash_bytes
from atelier_materials.store.s3_sending import MOST_PARTS, BrokenOff, S3Sender
from atelier_materials.store.volume_store import is_of_the_system
from atelier_studio.edges.store import StudioStore
from atelier_studio.errors import StudioError

AT_ONCE = 8
"""Files, and beside them parts, on their way: enough to hide a bucket's latency on a fast line."""
WHOLE_BYTES = 32 << 20
"""Files up to here are held in memory and sent in one request; larger ones go in parts."""
PART_BYTES = 16 << 20
"""Of a part: at most this much is sent again after a kill. Grows where a file would have too many parts."""
Result = TypeVar("Result")


class FileChanged(StudioError):
    """A file was written while it was sent."""


class FileUnreadable(StudioError):
    """A file or folder of this machine cannot be read, or is gone."""


class Meter(Protocol):
    """Is told how a transfer goes; called by several threads."""

    def move(self, count: int) -> None:
        """Count bytes that went out; a negative number takes back what must go again."""

    def skip(self, count: int) -> None:
        """Count bytes of a file that need not go, because they are in the store already."""

    def finish_file(self) -> None:
        """Count a file that is in the store."""


@dataclass(frozen=True)
class LocalFile:
    """A file of this machine."""

    path: str
    """How it is called where it goes: relative, with `/` between its parts."""
    source: Path
    bytes: int


def find_notes() -> Path:
    """Return the folder of this machine's notes: in the person's cache, where losing it costs parts sent again."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "atelier" / "uploads"


def list_folder(folder: Path) -> list[LocalFile]:
    """Return every regular file below a folder, sorted by path. Links to files are followed, links to folders not.

    Raises:
        FileUnreadable: a file vanished meanwhile, or a folder below may not be read.
    """
    found = []
    for parent, folders, files in os.walk(folder, onerror=_refuse):
        folders.sort()
        for name in files:
            source = Path(parent, name)
            with _reading(source):
                if source.is_file():
                    path = source.relative_to(folder).as_posix()
                    found.append(LocalFile(path, source, source.stat().st_size))
    return sorted(found, key=lambda file: file.path)


@contextmanager
def _reading(source: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _unreadable(source, error) from error


@contextmanager
def open_source(source: Path) -> Iterator[BinaryIO]:
    """Yield a file of this machine, open for reading. Raises FileUnreadable where it cannot be read (to its end)."""
    with _reading(source), source.open("rb") as opened:
        yield opened


@dataclass(frozen=True)
class Hashed:
    """What a file is, whole and by the parts it is sent in."""

    content: Content
    parts: tuple[str, ...]
    """Their sha256. One part where it is sent whole."""


@dataclass
class Upload:
    """Sends files into a store.

    Args:
        opened: the store.
        meter: is told how it goes.
        notes: folder of this machine's notes about uploads in parts.
    """

    opened: StudioStore
    meter: Meter
    notes: Path = field(default_factory=find_notes)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        """Open the connections."""
        # A pause of the patience ends when the sender is told to stop.
        patience = replace(self.opened.patience, sleep=self._pause)
        self._sender = S3Sender(
            self.opened.description,
            patience,
            2 * AT_ONCE,
            on_sent=self.meter.move,
            is_stopped=self._stopped.is_set,
        )

    def send_contents(
        self, files: Sequence[LocalFile], key_of: Callable[[str], str], stored: Mapping[str, int]
    ) -> list[tuple[LocalFile, Content]]:
        """Bring files into the store under their sha256 and return what each of them is, in their order.

        Args:
            files: what to send.
            key_of: the key of a sha256.
            stored: sizes of what the store has, by key.

        Raises:
            FileChanged: a file was written meanwhile.
            FileUnreadable: a file cannot be read.
            StorageUnavailable, StorageNotConfigured: as every use of a store.
        """
        with self._parts() as parts:
            claimed = _Claims(stored)
            send = partial(self._send_content, key_of=key_of, claimed=claimed, parts=parts)
            return list(zip(files, self._run(send, files), strict=True))

    def send_named(self, file: LocalFile, key: str, hashed: Hashed) -> None:
        """Bring a file into the store under a name of the user's; what it is is kept beside it.

        Args:
            file: what to send.
            key: where nothing lies, or the same.
            hashed: what the file is, as `hash` said.
        """
        with self._parts() as parts:
            self._run(partial(self._send_under, key=key, hashed=hashed, parts=parts), [file])

    def find_sha256(self, key: str) -> str:
        """Return what the store holds under a key: as noted beside it, else by reading it."""
        return self._sender.find_sha256(key) or self.opened.store.digest(key).sha256

    def _send_content(
        self, file: LocalFile, key_of: Callable[[str], str], claimed: _Claims, parts: ThreadPoolExecutor
    ) -> Content:
        if file.bytes > WHOLE_BYTES:
            hashed = self.hash(file)
            content = hashed.content
            if claimed.claim(key_of(content.sha256), content.bytes):
                self._send_parts(file, key_of(content.sha256), hashed, parts)
            else:
                self.meter.skip(file.bytes)
        else:
            data = _read_whole(file)
            content = hash_bytes(data)
            if claimed.claim(key_of(content.sha256), content.bytes):
                self._sender.put(key_of(content.sha256), data, content.sha256)
            else:
                self.meter.skip(file.bytes)
        self.meter.finish_file()
        return content

    def _send_under(self, file: LocalFile, key: str, hashed: Hashed, parts: ThreadPoolExecutor) -> None:
        if file.bytes > WHOLE_BYTES:
            self._send_parts(file, key, hashed, parts)
        else:
            data = _read_whole(file)
            if hash_bytes(data) != hashed.content:
                raise _changed(file)
            self._sender.put(key, data, hashed.content.sha256, is_named=True)
        self.meter.finish_file()

    def _send_parts(self, file: LocalFile, key: str, hashed: Hashed, parts: ThreadPoolExecutor) -> None:
        part_bytes = choose_part_bytes(file.bytes)
        sha256 = hashed.content.sha256
        note = self.notes / name_note(self.opened.store.address, key, sha256, part_bytes)
        upload = note.read_text() if note.is_file() else ""
        have = self._sender.list_parts(key, upload) if upload else None
        if have is None:
            upload, have = self._sender.begin_parts(key, sha256), {}
            _write_note(note, upload)
        spans = {number: min(part_bytes, file.bytes - start) for number, start in list_starts(file.bytes, part_bytes)}
        whole = {number: part for number, part in have.items() if spans.get(number) == part.bytes}
        self.meter.skip(sum(part.bytes for part in whole.values()))

        def send_part(number: int) -> None:
            data, expected = _read_part(file, (number - 1) * part_bytes, spans[number]), hashed.parts[number - 1]
            # Only parts of the content that was hashed: an upload that is gone on with has no others.
            if hash_bytes(data).sha256 != expected:
                raise _changed(file)
            whole[number] = self._sender.put_part(key, upload, number, data, expected)

        self._await([parts.submit(send_part, number) for number in spans if number not in whole])
        self._sender.finish_parts(key, upload, whole)
        note.unlink(missing_ok=True)

    def hash(self, file: LocalFile) -> Hashed:
        """Return what a file is. Raises FileChanged while it is written to, FileUnreadable if it cannot be read."""
        part_bytes = choose_part_bytes(file.bytes)
        whole, parts, size = hashlib.sha256(), [], 0
        with open_source(file.source) as source:
            for _ in list_starts(file.bytes, part_bytes):
                if self._stopped.is_set():
                    raise BrokenOff
                part = source.read(part_bytes)
                whole.update(part)
                parts.append(hash_bytes(part).sha256)
                size += len(part)
        if size != file.bytes:
            raise _changed(file)
        return Hashed(Content(whole.hexdigest(), size), tuple(parts))

    def _pause(self, seconds: float) -> None:
        self._stopped.wait(seconds)

    @contextmanager
    def _parts(self) -> Iterator[ThreadPoolExecutor]:
        with ThreadPoolExecutor(AT_ONCE, "part") as pool:
            yield pool

    def _run(self, function: Callable[[LocalFile], Result], files: Iterable[LocalFile]) -> list[Result]:
        """Do something with each file, several at once. Ends early, and cleanly, at a failure and at Ctrl-C."""
        with ThreadPoolExecutor(AT_ONCE, "push") as pool:
            begun = [pool.submit(function, file) for file in files]
            try:
                self._await(begun)
            except BaseException:
                self._stopped.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
            return [future.result() for future in begun]

    def _await(self, begun: Sequence[Future[Result]]) -> None:
        """Wait until all is done; raise what failed first, rather than what broke off because of it."""
        done, _ = wait(begun, return_when=FIRST_EXCEPTION)
        failures = [error for error in (future.exception() for future in done) if error is not None]
        if failures:
            self._stopped.set()
            for future in begun:
                future.cancel()
            wait(begun)
            raise next((error for error in failures if not isinstance(error, BrokenOff)), failures[0])


class _Claims:
    """Which contents the store has or is about to have; each is claimed by one thread."""

    def __init__(self, stored: Mapping[str, int]) -> None:
        self._known = dict(stored)
        self._lock = threading.Lock()

    def claim(self, key: str, size: int) -> bool:
        """Return whether this content must be sent, and from now on is being sent."""
        with self._lock:
            # A server that stores a broken-off request in part shows it by the size.
            if self._known.get(key) == size:
                return False
            self._known[key] = size
            return True


def choose_part_bytes(size: int) -> int:
    """Return how large the parts of a file are: the same for the same file, whoever sends it."""
    part_bytes = PART_BYTES
    while part_bytes * MOST_PARTS < size:
        part_bytes *= 2
    return part_bytes


def list_starts(size: int, part_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield number (from 1) and start of each part."""
    yield from enumerate(range(0, size, part_bytes), 1)


def name_note(*facts: object) -> str:
    """Return the name of a note: what it is about, and nothing that anybody could read out of it."""
    return hash_bytes("\n".join(map(str, facts)).encode()).sha256


def _read_whole(file: LocalFile) -> bytes:
    with open_source(file.source) as source:
        before = os.fstat(source.fileno())
        data = source.read()
        after = os.fstat(source.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or len(data) != file.bytes:
        raise _changed(file)
    return data


def _read_part(file: LocalFile, start: int, length: int) -> bytes:
    with open_source(file.source) as source:
        source.seek(start)
        data = source.read(length)
    if len(data) != length:
        raise _changed(file)
    return data


def _refuse(error: OSError) -> None:
    if is_of_the_system(Path(error.filename).name):
        return
    raise _unreadable(error.filename, error) from error


def _unreadable(source: Path | str, error: OSError) -> FileUnreadable:
    return FileUnreadable(
        f"{source} cannot be read ({error.strerror}): let yourself read it, or take it out of the folder, and push "
        "again; what was sent stays"
    )


def _changed(file: LocalFile) -> FileChanged:
    return FileChanged(
        f"{file.source} was written while it was being sent: push again when nothing writes to it; what was sent stays"
    )


def _write_note(note: Path, text: str) -> None:
    note.parent.mkdir(parents=True, exist_ok=True)
    unfinished = note.with_suffix(f".{os.getpid()}")
    unfinished.write_text(text)
    unfinished.replace(note)
