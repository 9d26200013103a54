"""Archives: what good ones hold is unpacked; hostile ones are refused by name, and leave nothing behind."""

from __future__ import annotations

import gzip
import io
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from atelier_contract.reasons import Finding
from atelier_materials.dataset.archives import ArchiveLimits, is_archive, unpack
from atelier_materials.errors import ArchiveRefused
from hostile_files import Packed, build_tar, build_zip

GOOD = {"teapots/a.png": b"picture", "teapots/a.txt": b"words", "b c/ü.jpg": b"other"}
SMALL = ArchiveLimits(entries=50, free_bytes=1 << 20)
"""Like the real bounds, a thousandfold smaller."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "into").mkdir()
    return tmp_path / "into"


def read_all(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write(folder: Path, name: str, data: bytes) -> Path:
    path = folder.parent / name
    path.write_bytes(data)
    return path


PACKERS: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "a.zip": build_zip,
    "a.tar": build_tar,
    "a.tar.gz": lambda files: build_tar(files, "gz"),
    "a.tar.bz2": lambda files: build_tar(files, "bz2"),
    "a.tar.xz": lambda files: build_tar(files, "xz"),
}


@pytest.mark.parametrize("name", PACKERS)
def test_good_archive_is_unpacked(folder: Path, name: str) -> None:
    """Every file lies where the archive has it, with its bytes."""
    path = write(folder, name, PACKERS[name](GOOD))
    assert (is_archive(path), unpack(path, folder)) == (True, [])
    assert read_all(folder) == GOOD


@pytest.mark.parametrize("name", PACKERS)
def test_cut_off_archive_is_refused(folder: Path, name: str) -> None:
    """An archive that breaks off is not taken for a smaller one."""
    data = PACKERS[name]({**GOOD, "long.png": bytes(range(256)) * 400})
    with pytest.raises(ArchiveRefused) as refused:
        unpack(write(folder, name, data[: len(data) * 2 // 3 // 512 * 512]), folder)
    assert (refused.value.finding, read_all(folder)) == (Finding.ARCHIVE_UNREADABLE, {})


@pytest.mark.parametrize("name", PACKERS)
def test_what_is_hidden_nested_or_badly_named_stays_behind(folder: Path, name: str) -> None:
    """Such entries are left out; those that a person may miss are named, fit to be printed."""
    files = {".DS_Store": b"x", "__MACOSX/a.png": b"x", "a.png": b"x", "more.zip": b"x", "b\u202egnp.png": b"x"}
    left_out = unpack(write(folder, name, PACKERS[name](files)), folder)
    assert [(found.finding, found.path) for found in left_out] == [
        (Finding.ARCHIVE_NESTED, "more.zip"),
        (Finding.NAME_UNSAFE, "b\\u202egnp.png"),
    ]
    assert read_all(folder) == {"a.png": b"x"}


def test_folders_with_backslashes(folder: Path) -> None:
    """Zips made on Windows may divide folders by backslashes."""
    unpack(write(folder, "a.zip", build_zip({"a\\b.png": b"x"})), folder)
    assert read_all(folder) == {"a/b.png": b"x"}


def link(kind: bytes) -> Packed:
    return [("a.png", b"x", {}), ("b.png", b"", {"type": kind, "linkname": "/etc/passwd"})]


def mode(bits: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("a.png")
        info.external_attr = (bits | 0o644) << 16
        archive.writestr(info, "/etc/passwd")
    return buffer.getvalue()


def encrypt(data: bytes) -> bytes:
    """Return a zip whose entry says that it is encrypted, in both of its headers."""
    changed = bytearray(data)
    changed[6] |= 1
    changed[data.find(b"PK\x01\x02") + 8] |= 1
    return bytes(changed)


def lie(data: bytes) -> bytes:
    """Return a tar whose extended header says that it has 4 GiB."""
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 4 << 30
    return header.tobuf(tarfile.USTAR_FORMAT) + data


def go_back(data: bytes) -> bytes:
    """Return a tar whose first entry has a negative size, so that the next one would lie before it."""
    changed = bytearray(data)
    changed[124:136] = b"\xff" * 8 + struct.pack(">i", -1024)
    changed[148:156] = b" " * 8
    changed[148:156] = b"%06o\0 " % sum(changed[:512])
    return bytes(changed)


MANY = {f"{number}.png": b"" for number in range(60)}


def tell_twice(data: bytes) -> bytes:
    """Return a zip whose end record says that its directory has ten bytes, and whose wide end record says the truth."""
    end = data.rfind(b"PK\x05\x06")
    length, start = struct.unpack_from("<2L", data, end + 12)
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, len(MANY), len(MANY), length, start)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    return data[:end] + record + locator + data[end : end + 12] + struct.pack("<L", 10) + data[end + 16 :]


def tell_all(fields: int) -> bytes:
    """Return a tar whose first header sets so many fields for every entry after it."""
    buffer = io.BytesIO()
    told = {f"field{number}": "x" for number in range(fields)}
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers=told) as archive:
        archive.addfile(tarfile.TarInfo("a.png"))
    return buffer.getvalue()


def tell_more(kind: bytes, body: bytes, times: int = 1) -> bytes:
    """Return a tar whose entry has extended headers of this kind before it."""
    header = tarfile.TarInfo("more")
    header.type, header.size = kind, len(body)
    padded = body + bytes(-len(body) % tarfile.BLOCKSIZE)
    return (header.tobuf(tarfile.USTAR_FORMAT) + padded) * times + build_tar({"a.png": b"x"})


def tell(name: str, value: str) -> bytes:
    """Return a field of a pax header of less than a hundred bytes."""
    rest = f" {name}={value}\n"
    return f"{len(rest) + 2}{rest}".encode()


DEEP = {"/".join(["a"] * number + ["b.png"]): b"" for number in (24, 101)}
HOSTILE: dict[str, tuple[str, bytes, Finding]] = {
    "zip slip": ("a.zip", build_zip({"../evil.png": b"x"}), Finding.ARCHIVE_UNSAFE_PATH),
    "zip slip within": ("a.zip", build_zip({"a/../../evil.png": b"x"}), Finding.ARCHIVE_UNSAFE_PATH),
    "zip slip on windows": ("a.zip", build_zip({"..\\evil.png": b"x"}), Finding.ARCHIVE_UNSAFE_PATH),
    "zip absolute": ("a.zip", build_zip({"/tmp/evil.png": b"x"}), Finding.ARCHIVE_UNSAFE_PATH),
    "zip drive": ("a.zip", build_zip({"C:evil.png": b"x"}), Finding.ARCHIVE_UNSAFE_PATH),
    "zip link": ("a.zip", mode(stat.S_IFLNK), Finding.ARCHIVE_LINK),
    "zip device": ("a.zip", mode(stat.S_IFBLK), Finding.ARCHIVE_DEVICE),
    "zip pipe": ("a.zip", mode(stat.S_IFIFO), Finding.ARCHIVE_DEVICE),
    "zip bomb": ("a.zip", build_zip({"a.png": bytes(4 << 20)}, zipfile.ZIP_DEFLATED), Finding.ARCHIVE_BOMB),
    "zip of many": ("a.zip", build_zip(MANY), Finding.ARCHIVE_TOO_MANY_FILES),
    "zip of cases": ("a.zip", build_zip({"a.png": b"x", "A.PNG": b"y"}), Finding.ARCHIVE_NAME_CLASH),
    "zip of accents": ("a.zip", build_zip({"\u00fc.png": b"x", "u\u0308.png": b"y"}), Finding.ARCHIVE_NAME_CLASH),
    "zip of file and folder": ("a.zip", build_zip({"a": b"x", "A/b.png": b"y"}), Finding.ARCHIVE_NAME_CLASH),
    "zip encrypted": ("a.zip", encrypt(build_zip({"a.png": b"x"})), Finding.ARCHIVE_ENCRYPTED),
    "zip rarely packed": ("a.zip", build_zip({"a.png": b"x"}, zipfile.ZIP_LZMA), Finding.ARCHIVE_UNREADABLE),
    "zip of bzip2": ("a.zip", build_zip({"a.png": b"x"}, zipfile.ZIP_BZIP2), Finding.ARCHIVE_UNREADABLE),
    "zip of many, told twice": ("a.zip", tell_twice(build_zip(MANY)), Finding.ARCHIVE_TOO_MANY_FILES),
    "tar slip": ("a.tar", build_tar({"../evil.png": b"x"}), Finding.ARCHIVE_UNSAFE_PATH),
    "tar absolute": ("a.tar", build_tar({"/tmp/evil.png": b"x"}), Finding.ARCHIVE_UNSAFE_PATH),
    "tar link": ("a.tar", build_tar(link(tarfile.SYMTYPE)), Finding.ARCHIVE_LINK),
    "tar hard link": ("a.tar", build_tar(link(tarfile.LNKTYPE)), Finding.ARCHIVE_LINK),
    "tar device": ("a.tar", build_tar(link(tarfile.CHRTYPE)), Finding.ARCHIVE_DEVICE),
    "tar pipe": ("a.tar", build_tar(link(tarfile.FIFOTYPE)), Finding.ARCHIVE_DEVICE),
    "tar twice": ("a.tar", build_tar([("a.png", b"x", {}), ("a.png", b"y", {})]), Finding.ARCHIVE_NAME_CLASH),
    "tar of many": ("a.tar", build_tar(MANY), Finding.ARCHIVE_TOO_MANY_FILES),
    "tar bomb gz": ("a.tgz", build_tar({"a.png": bytes(4 << 20)}, "gz"), Finding.ARCHIVE_BOMB),
    "tar bomb bz2": ("a.tbz2", build_tar({"a.png": bytes(4 << 20)}, "bz2"), Finding.ARCHIVE_BOMB),
    "tar bomb xz": ("a.txz", build_tar({"a.png": bytes(4 << 20)}, "xz"), Finding.ARCHIVE_BOMB),
    "tar with a huge header": ("a.tar", lie(build_tar({"a.png": b"x"})), Finding.ARCHIVE_BOMB),
    "tar of shared fields": ("a.tar", tell_all(1000), Finding.ARCHIVE_BOMB),
    "tar with many long names": ("a.tar", tell_more(b"L", b"b.png", 9), Finding.ARCHIVE_BOMB),
    "tar with a header of digits": ("a.tar", tell_more(b"x", b"1" * 16_000), Finding.ARCHIVE_UNREADABLE),
    "tar with a field cut off": ("a.tar", tell_more(b"x", b"30 path=b.png\n"), Finding.ARCHIVE_UNREADABLE),
    "tar with a field of no size": ("a.tar", tell_more(b"x", tell("size", "?")), Finding.ARCHIVE_UNREADABLE),
    "tar of holes": ("a.tar", tell_more(b"x", tell("GNU.sparse.major", "1")), Finding.ARCHIVE_UNREADABLE),
    "tar of empty streams": ("a.tgz", gzip.compress(b"") * 600 + build_tar({}, "gz"), Finding.ARCHIVE_BOMB),
    "zip of folders": ("a.zip", build_zip(DEEP), Finding.ARCHIVE_TOO_MANY_FILES),
    "tar that goes back": ("a.tar", go_back(build_tar({"a.png": b"x", "b.png": b"y"})), Finding.ARCHIVE_UNREADABLE),
    "zstandard": ("a.tar", b"\x28\xb5\x2f\xfd" + bytes(600), Finding.ARCHIVE_UNREADABLE),
    "no archive": ("a.zip", b"hello", Finding.ARCHIVE_UNREADABLE),
    "empty file": ("a.zip", b"", Finding.ARCHIVE_UNREADABLE),
    "rar": ("a.rar", b"Rar!\x1a\x07\x01\0" + bytes(600), Finding.ARCHIVE_UNREADABLE),
}


def test_what_macs_say_of_a_file_is_taken(folder: Path) -> None:
    """Long fields before an entry, as previews and addresses are on Macs, do not keep its file from being read."""
    rest = b" LIBARCHIVE.xattr.com.apple.ResourceFork=" + b"x" * 200_000 + b"\n"
    unpack(write(folder, "a.tar", tell_more(b"x", b"%d" % (len(rest) + 6) + rest)), folder, SMALL)
    assert (folder / "a.png").read_bytes() == b"x"


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archive_is_refused_by_name(folder: Path, name: str) -> None:
    """The refusal names what is wrong, in a sentence, and nothing was written, inside the folder or beside it."""
    called, data, finding = HOSTILE[name]
    path = write(folder, called, data)
    before = read_all(folder.parent)
    with pytest.raises(ArchiveRefused) as refused:
        unpack(path, folder, SMALL)
    assert refused.value.finding == finding
    assert str(refused.value).startswith(f"{finding}: {called}")
    assert read_all(folder.parent) == before


def test_tar_of_git_archive_is_unpacked(folder: Path) -> None:
    """A few fields that a tar sets for all its entries, as `git archive` does with its commit, are no fault."""
    assert unpack(write(folder, "a.tar", tell_all(2)), folder) == []
    assert read_all(folder) == {"a.png": b""}


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_longest_path_is_read(folder: Path, form: int) -> None:
    """A tar tells a path of 900 bytes in a header of its own, of one kind or the other: it is read whole."""
    path = "/".join(["\u00fc" * 99] * 4) + "/" + "a" * 100 + ".png"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        archive.addfile(tarfile.TarInfo(path))
    assert unpack(write(folder, "a.tar", buffer.getvalue()), folder) == []
    assert read_all(folder) == {path: b""}


def test_long_path_is_left_out_and_shown_short(folder: Path) -> None:
    """What is too long to keep is named by its end, of so many signs as a line can hold."""
    path = "a/" * 1000 + "b.png"
    (found,) = unpack(write(folder, "a.zip", build_zip({path: b"x"})), folder)
    assert (found.finding, found.path) == (Finding.NAME_TOO_LONG, "\u2026" + path[-199:])


def test_packed_in_several_streams(folder: Path) -> None:
    """Tools that pack in parallel write many streams one after another, which are one archive."""
    data = build_tar(GOOD)
    packed = b"".join(gzip.compress(data[start : start + 4096]) for start in range(0, len(data), 4096))
    unpack(write(folder, "a.tgz", packed), folder)
    assert read_all(folder) == GOOD


def test_refusal_shows_names_safely(folder: Path) -> None:
    """A hostile entry's name breaks no line of the terminal."""
    with pytest.raises(ArchiveRefused) as refused:
        unpack(write(folder, "a.zip", build_zip({"../a\x1b[2J\n\u202e.png": b"x"})), folder)
    assert str(refused.value).isprintable()


def test_what_does_not_fit_the_disk_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is unpacked that the disk cannot hold."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 5})())
    with pytest.raises(ArchiveRefused) as refused:
        unpack(write(folder, "a.zip", build_zip(GOOD)), folder)
    assert refused.value.finding == Finding.ARCHIVE_BOMB
