"""Which pictures are kept out of training to measure with.

In: pictures of the dataset. Out: digests of those held out. Knows no model. A pure function of the pictures' contents,
so that renaming or re-ordering a dataset changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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


def choose_held_out(pictures: Sequence[Picture]) -> list[str]:
    """Return the sha256 of the pictures to hold out, sorted; empty for fewer than 12 pictures.

    Pictures are taken by content hash. Near-duplicates stay on one side: a picture is held out with all that are like
    it or not at all, and one whose group is too large for what is still wanted is passed over.
    """
    distinct = {picture.sha256: picture for picture in pictures}
    if len(distinct) < FEWEST_PICTURES:
        return []
    digests = sorted(distinct)
    wanted = min(MOST_HELD_OUT, len(digests) // SHARE)
    thumbnails = np.stack([read_thumbnail(distinct[digest].path) for digest in digests])
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


def _find_group(first: int, thumbnails: np.ndarray[tuple[int, int], np.dtype[np.int16]]) -> set[int]:
    """Return all pictures linked to the first by a chain of near-duplicates, itself included."""
    group, to_visit = {first}, [first]
    while to_visit:
        distances = np.abs(thumbnails - thumbnails[to_visit.pop()]).mean(axis=1)
        found = {int(i) for i in np.flatnonzero(distances <= ALIKE_LEVELS)} - group
        group |= found
        to_visit.extend(found)
    return group
