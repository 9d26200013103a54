"""Which pictures are kept out of training to measure with.

In: pictures of the dataset. Out: digests of those held out. Knows no model. A pure function of the pictures' contents,
so that renaming or re-ordering a dataset changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from atelier_trainer.learn.families.base import Pause
from atelier_trainer.learn.pictures import read_thumbnail
from atelier_trainer.records import Picture

FEWEST_PICTURES = 12
"""Below this, every picture is needed for training."""
SHARE = 10
"""One picture in ten."""
MOST_HELD_OUT = 16
MOST_CANDIDATES = 64
"""Pictures looked at in vain before holding out fewer than asked."""
ALIKE_LEVELS = 4.0
"""Mean difference of 16 x 16 thumbnails, in levels of 255, up to which two pictures are near-duplicates. Copies of the
sample teapots at JPEG quality 60 or at half the size differ by up to 3.2; of their 378 pairs, drawings of one subject
in two positions, two lie below 4 and all others above (measured)."""


READERS = 4
"""Threads that decode: Pillow lets go of the interpreter meanwhile, and files are waited for."""
READ_AT_ONCE = 64
"""Pictures between two looks at whether the pod has to go."""


def choose_held_out(pictures: Sequence[Picture], pause: Pause) -> list[str]:
    """Return the sha256 of the pictures to hold out, sorted; empty for fewer than 12 pictures.

    Pictures are taken by content hash. Near-duplicates stay on one side: a picture is held out with all that are like
    it or not at all, and one whose group is too large for what is still wanted is passed over.
    """
    distinct = {picture.sha256: picture for picture in pictures}
    if len(distinct) < FEWEST_PICTURES:
        return []
    digests = sorted(distinct)
    wanted = min(MOST_HELD_OUT, len(digests) // SHARE)
    thumbnails = _read_thumbnails([distinct[digest] for digest in digests], pause)
    held_out: set[int] = set()
    for candidate in range(min(MOST_CANDIDATES, len(digests))):
        if candidate in held_out:
            continue
        group = _find_group(candidate, thumbnails)
        if len(held_out) + len(group) <= wanted:
            held_out |= group
        if len(held_out) == wanted:
            break
    return [digests[index] for index in sorted(held_out)]


def _read_thumbnails(pictures: Sequence[Picture], pause: Pause) -> np.ndarray[tuple[int, int], np.dtype[np.int16]]:
    """Return a row of 768 levels for each picture."""
    rows: list[np.ndarray[tuple[int], np.dtype[np.int16]]] = []
    with ThreadPoolExecutor(READERS, "thumbnail") as readers:
        for first in range(0, len(pictures), READ_AT_ONCE):
            pause()
            paths = [picture.path for picture in pictures[first : first + READ_AT_ONCE]]
            rows.extend(readers.map(read_thumbnail, paths))
    return np.stack(rows)


def _find_group(first: int, thumbnails: np.ndarray[tuple[int, int], np.dtype[np.int16]]) -> set[int]:
    """Return all pictures linked to the first by a chain of near-duplicates, itself included."""
    group, to_visit = {first}, [first]
    while to_visit:
        distances = np.abs(thumbnails - thumbnails[to_visit.pop()]).mean(axis=1)
        found = {int(i) for i in np.flatnonzero(distances <= ALIKE_LEVELS)} - group
        group |= found
        to_visit.extend(found)
    return group
