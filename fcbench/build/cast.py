"""Who is in the world's photos: photo ``index`` of a build is a function of the index and the build's seed alone.

Photos come in blocks of 20 that share a cast of 7 people, each in exactly 5 of them, so that there is always another
photo of somebody and whole blocks can go to one split. Of a block's photos 9 show one person (3 of these are
portraits, like reference photos), 7 show two and 4 show three.
"""

from __future__ import annotations

from functools import lru_cache
from random import Random

from fcbench.world import TRAIN_PEOPLE, Scene, draw_person, draw_scene, portrait

CAST = 7
TIMES = 5
SIZES = (3,) * 4 + (2,) * 7 + (1,) * 9
PORTRAITS = 3


def world_scene(index: int, seed: int) -> tuple[Scene, int]:
    """The scene of a photo, and the seed of its caption."""
    block, place = divmod(index, len(SIZES))
    numbers, is_portrait = _block(block, seed)[place]
    random = Random(f"photo {seed} {index}")
    people = [draw_person(number) for number in numbers]
    if is_portrait:
        scene = portrait(people[0], random.randrange(1 << 20))
    else:
        scene = draw_scene(people, random.randrange(1 << 30))
    return scene, random.randrange(1 << 30)


@lru_cache(maxsize=4)
def _block(block: int, seed: int) -> tuple[tuple[tuple[int, ...], bool], ...]:
    """For each photo of a block the numbers of its people, and whether it is a portrait."""
    random = Random(f"block {seed} {block}")
    first = Random(f"people {seed}").randrange(len(TRAIN_PEOPLE)) + block * CAST
    left = {TRAIN_PEOPLE[(first + k) % len(TRAIN_PEOPLE)]: TIMES for k in range(CAST)}
    photos = []
    for place, size in enumerate(SIZES):
        # Largest groups first, always of those with most photos to come: then nobody is needed twice in one photo.
        chosen = sorted(left, key=lambda number: (-left[number], random.random()))[:size]
        for number in chosen:
            left[number] -= 1
        photos.append((tuple(chosen), place >= len(SIZES) - PORTRAITS))
    random.shuffle(photos)
    return tuple(photos)
