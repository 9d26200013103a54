"""What a transfer says of itself while it goes and when it is over."""

from __future__ import annotations

import pytest

from atelier_studio.cli.transferring import LINE_SECONDS, TransferMeter


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_lines_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nobody sees a bar, a line now and then tells files, bytes, rate and time left, on standard error."""
    clock = Clock()
    with TransferMeter("pushing teapots", 4, 60_000_000, clock=clock) as meter:
        meter.move(10_000_000)
        meter.finish_file()
        clock.now = LINE_SECONDS
        meter.move(10_000_000)
    told = capsys.readouterr()
    assert told.err == "pushing teapots: 1 of 4 files, sent 20.0 MB, 2.0 MB/s, 20s left\n"
    assert told.out == ""


def test_what_is_there_shortens_the_way(capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes that need not go make the rest shorter and the rate no faster."""
    clock = Clock()
    with TransferMeter("pushing teapots", 4, 60_000_000, clock=clock) as meter:
        meter.skip(40_000_000)
        clock.now = LINE_SECONDS
        meter.move(10_000_000)
    assert capsys.readouterr().err.endswith("sent 10.0 MB, 1.0 MB/s, 10s left\n")


def test_summary() -> None:
    """In the end it is said what went, how fast, and what was there already."""
    clock = Clock()
    meter = TransferMeter("pushing teapots", 4, 60_000_000, clock=clock)
    meter.skip(40_000_000)
    meter.move(20_000_000)
    clock.now = 4.0
    assert meter.summary() == "sent 20.0 MB in 4s (5.0 MB/s); 40.0 MB were there already"


def test_what_failed_is_taken_back() -> None:
    """Bytes of a request that failed do not count."""
    meter = TransferMeter("pushing teapots", 1, 10, clock=Clock())
    meter.move(10)
    meter.move(-10)
    assert meter.moved == 0
