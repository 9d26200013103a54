"""Latents: encoded once, kept rounded, the same for whoever reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from atelier_materials.errors import DatasetUnusable
from atelier_trainer.learn.encodings import MemoryCache, build_keys, read_latents, round_posterior, write_latents
from atelier_trainer.learn.families.base import Posterior
from atelier_trainer.learn.latents import PictureLatents
from atelier_trainer.learn.pausing import Interrupted
from atelier_trainer.records import Picture
from toy_family import MODEL, ToyFamily, no_pause, put_picture

SQUARE = (64, 64)
KEYS = build_keys({}, MODEL, "toy")


@pytest.fixture
def pictures(tmp_path: Path) -> list[Picture]:
    """Three pictures."""
    return [put_picture(tmp_path, name, shade=number * 40) for number, name in enumerate("abc")]


def build(family: ToyFamily, cache: MemoryCache, pictures: list[Picture], *, flip: bool = False) -> PictureLatents:
    """Return latents of square pictures, not encoded yet."""
    return PictureLatents(family, cache, KEYS, pictures, [SQUARE] * len(pictures), flip=flip)


def test_each_side_is_encoded_once(pictures: list[Picture]) -> None:
    """Three pictures and their mirrored sides are six encodings, however often they are read."""
    family = ToyFamily()
    latents = build(family, MemoryCache(), pictures, flip=True)
    latents.fill(no_pause)
    for _ in range(3):
        latents.read(1, flip=True)
    assert family.encoded_pictures == 6


def test_log_tells_how_many_are_encoded(
    pictures: list[Picture], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for a large dataset sees how far its encoding is."""
    monkeypatch.setattr("atelier_trainer.learn.latents.PICTURES_PER_LINE", 2)
    with caplog.at_level("INFO", "atelier_trainer.learn"):
        build(ToyFamily(), MemoryCache(), pictures, flip=True).fill(no_pause)
    assert caplog.messages == [
        "encoding 6 pictures; 0 are kept already",
        "2 of 6 pictures are encoded",
        "4 of 6 pictures are encoded",
    ]


def test_second_run_encodes_nothing(pictures: list[Picture]) -> None:
    """What another run kept is neither encoded nor decoded again: its files may be gone."""
    cache, family = MemoryCache(), ToyFamily()
    build(family, cache, pictures).fill(no_pause)
    for picture in pictures:
        picture.path.unlink()
    build(family, cache, pictures).fill(no_pause)
    assert family.encoded_pictures == 3


def test_reading_from_the_cache_changes_no_bit(pictures: list[Picture]) -> None:
    """The run that encodes and the run that reads train on the same bits."""
    cache = MemoryCache()
    first, second = build(ToyFamily(), cache, pictures), build(ToyFamily(), cache, pictures)
    first.fill(no_pause)
    second.fill(no_pause)
    on_the_way = build(ToyFamily(), MemoryCache(capacity_bytes=0), pictures)
    for index in range(3):
        means = [latents.read(index).mean for latents in (first, second, on_the_way)]
        assert torch.equal(means[0], means[1])
        assert torch.equal(means[0], means[2])


def test_without_space_pictures_are_encoded_on_the_way(pictures: list[Picture]) -> None:
    """Where the space does not suffice, nothing is encoded beforehand and each reading encodes."""
    family = ToyFamily()
    latents = build(family, MemoryCache(capacity_bytes=1), pictures)
    latents.fill(no_pause)
    assert (latents.is_kept, family.encoded_pictures) == (False, 0)
    latents.read(0)
    latents.read(0)
    assert family.encoded_pictures == 2


def test_space_is_asked_for_beforehand(pictures: list[Picture]) -> None:
    """Three pictures of 8 x 8 latents with a deviation each need 768 bytes, known before one is encoded."""
    assert build(ToyFamily(), MemoryCache(capacity_bytes=768), pictures).is_kept
    assert not build(ToyFamily(), MemoryCache(capacity_bytes=767), pictures).is_kept


def test_mirrored_side_is_mirrored(pictures: list[Picture]) -> None:
    """The latents of the mirrored side are those of the plain one, mirrored."""
    latents = build(ToyFamily(), MemoryCache(), pictures, flip=True)
    latents.fill(no_pause)
    plain, mirrored = latents.read(0).mean, latents.read(0, flip=True).mean
    assert torch.allclose(plain.flip(-1).float(), mirrored.float(), atol=2e-3)
    assert not torch.equal(plain, mirrored)


def test_broken_picture_is_named(pictures: list[Picture]) -> None:
    """A file that cannot be decoded ends the run with the path that the user knows."""
    pictures[1].path.write_bytes(pictures[1].path.read_bytes()[:60])
    with pytest.raises(DatasetUnusable, match=r"^photos/b\.png "):
        build(ToyFamily(), MemoryCache(), pictures).fill(no_pause)


def test_broken_picture_costs_no_finished_work(pictures: list[Picture]) -> None:
    """What was encoded before a broken picture is kept: with the file mended, only the rest is encoded."""
    family, cache, whole = ToyFamily(), MemoryCache(), pictures[2].path.read_bytes()
    pictures[2].path.write_bytes(whole[:60])
    with pytest.raises(DatasetUnusable):
        build(family, cache, pictures).fill(no_pause)
    pictures[2].path.write_bytes(whole)
    build(family, cache, pictures).fill(no_pause)
    assert family.encoded_pictures == 3


def test_interruption_costs_no_finished_work(pictures: list[Picture]) -> None:
    """What was encoded before SIGTERM is kept and flushed, so that the next attempt finds it."""
    family, cache = ToyFamily(), FlushedCache()

    def leave_after_two() -> None:
        if family.encoded_pictures == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        build(family, cache, pictures).fill(leave_after_two)
    assert cache.flushed_at == [2]


class FlushedCache(MemoryCache):
    """Notes how many entries it had at each flush."""

    def __init__(self) -> None:
        super().__init__()
        self.flushed_at: list[int] = []

    def flush(self) -> None:
        self.flushed_at.append(len(self._entries))


def test_entry_of_another_length_is_made_again(pictures: list[Picture]) -> None:
    """An entry that is not of the picture's shape is not trusted."""
    cache, family = MemoryCache(), ToyFamily()
    cache.write("latents", KEYS.of_latents(pictures[0].sha256, SQUARE, flip=False), b"short")
    latents = build(family, cache, pictures[:1])
    latents.fill(no_pause)
    assert latents.read(0).mean.shape == (1, 8, 8)


@pytest.mark.parametrize(("deviation", "is_kept"), [(0.5, True), (1e-3, True), (1e-5, False), (0.0, False)])
def test_deviation_is_kept_where_it_matters(deviation: float, is_kept: bool) -> None:
    """A deviation within four times what rounding did to the mean is left out; a larger one is kept."""
    mean = torch.linspace(-1, 1, 64).view(1, 1, 8, 8) / 3
    latents = round_posterior(Posterior(mean, torch.full_like(mean, deviation)))
    assert (latents.deviation is not None) == is_kept


def test_deviation_limit_is_four_roundings() -> None:
    """The limit lies at four times the root mean square of the rounding."""
    mean = torch.linspace(-1, 1, 64).view(1, 1, 8, 8) / 3
    rounding = float((mean.half().float() - mean).square().mean().sqrt())
    for factor, is_kept in ((3.9, False), (4.1, True)):
        latents = round_posterior(Posterior(mean, torch.full_like(mean, factor * rounding)))
        assert (latents.deviation is not None) == is_kept


@pytest.mark.parametrize("deviation", [0.5, 0.0])
def test_latents_survive_being_written(deviation: float) -> None:
    """Bytes and back change nothing, with a deviation and without."""
    mean = torch.randn((1, 4, 3, 5), generator=torch.Generator().manual_seed(1))
    latents = round_posterior(Posterior(mean, torch.full_like(mean, deviation)))
    read = read_latents(memoryview(write_latents(latents)), torch.Size((4, 3, 5)))
    assert read is not None
    assert torch.equal(read.mean, latents.mean)
    assert (read.deviation is None) == (latents.deviation is None)
    if read.deviation is not None and latents.deviation is not None:
        assert torch.equal(read.deviation, latents.deviation)


def test_means_take_two_bytes_a_number() -> None:
    """Without a deviation that matters, 64 numbers are 128 bytes."""
    mean = torch.linspace(-1, 1, 64).view(1, 1, 8, 8) / 3
    assert len(write_latents(round_posterior(Posterior(mean, torch.zeros_like(mean))))) == 128
