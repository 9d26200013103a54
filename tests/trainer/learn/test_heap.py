"""What is freed leaves the process between steps, and stays for the next step otherwise.

Each fact is read in a process of its own: what the C library was told holds for as long as a process lives.
"""

from __future__ import annotations

import subprocess
import sys

PIECE_BYTES = 24 * 2**20
"""Large for a picture's activations, and less than the C library may keep."""
READ_HELD = """
from pathlib import Path
from atelier_trainer.learn.heap import giving_back

def held():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
"""


def read_left(program: str) -> int:
    """Return what a program prints at its end, in bytes."""
    done = subprocess.run(
        [sys.executable, "-c", READ_HELD + program], capture_output=True, text=True, check=True, timeout=60
    )
    return int(done.stdout)


def test_a_piece_freed_in_the_block_leaves_the_process() -> None:
    """Inside the block a large piece is gone with its last use, also after steps that kept theirs."""
    left = read_left(
        f"""
with giving_back():
    pass
with giving_back():
    before = held()
    piece = bytearray(b"x") * {PIECE_BYTES}
    del piece
    print(held() - before)
"""
    )
    assert left < PIECE_BYTES / 4


def test_a_piece_freed_after_the_block_stays() -> None:
    """After the block a step's piece stays with the process, for the next step."""
    left = read_left(
        f"""
with giving_back():
    before = held()
piece = bytearray(b"x") * {PIECE_BYTES}
del piece
print(held() - before)
"""
    )
    assert left > PIECE_BYTES / 2


def test_what_lay_idle_is_given_back_with_the_block() -> None:
    """The block gives back what was freed and kept before it."""
    left = read_left(
        f"""
with giving_back():
    before = held()
piece = bytearray(b"x") * {PIECE_BYTES}
del piece
with giving_back():
    print(held() - before)
"""
    )
    assert left < PIECE_BYTES / 4
