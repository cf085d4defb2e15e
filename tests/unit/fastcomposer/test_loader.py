from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from fcbench.config import Recipe
from fcbench.errors import DataError, UsageError
from fcbench.fastcomposer.data import open_photos
from fcbench.fastcomposer.loader import Batch, Drawing, batches, fitted, sampling_weights, workers_for
from fcbench.fastcomposer.photos import Photos
from fcbench.fastcomposer.train import train
from fcbench.types import Image, Stack

# Two workers are what is tested, on a machine of one core too
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


@pytest.fixture(scope="module")
def drawing(data: Path, stack: Stack, recipe: Recipe) -> Drawing:
    augmented = recipe.model_copy(update={"augment": True})
    photos = open_photos(data)
    return Drawing(photos, stack.role("tokenizer"), augmented, side=16, reference_side=12, count=3)


def plain(batch: Batch) -> tuple[Any, ...]:
    """A batch as values that can be compared."""
    examples = [
        (e.row, e.ids, e.positions, [m.tobytes() for m in e.masks], [r.tobytes() for r in e.references])
        for e in batch.examples
    ]
    return batch.step, batch.part, examples, batch.noise_seed, batch.random.getstate()


def test_two_workers_make_what_none_makes_and_a_later_start_what_a_whole_run_makes(drawing: Drawing) -> None:
    places = [(step, part) for step in range(3) for part in (2, 3)]
    alone = [plain(batch) for batch in batches(drawing, places, workers=0)]
    assert [plain(batch) for batch in batches(drawing, places, workers=2)] == alone
    assert [plain(batch) for batch in batches(drawing, places[4:], workers=0)] == alone[4:]
    assert [batch[:2] for batch in alone] == places
    assert any(example[4] for batch in alone for example in batch[2])


def test_parts_and_steps_draw_differently(drawing: Drawing) -> None:
    made = [drawing((step, part)) for part in (0, 1) for step in (0, 1)]
    assert len({batch.noise_seed for batch in made}) == 4


def test_loading_leaves_the_global_generator_alone(drawing: Drawing) -> None:
    before = torch.get_rng_state()
    next(iter(batches(drawing, [(0, 0), (1, 0)], workers=0)))
    assert torch.equal(torch.get_rng_state(), before)


def test_photos_whose_caption_has_a_pattern_are_drawn_as_many_times_as_often(drawing: Drawing) -> None:
    photos = Broken()
    for caption in ("a Watercolor painting of a man", "a woman", "a black and white watercolor painting"):
        photos._add(caption, [])
    recipe = drawing.recipe.model_copy(update={"oversample": {"watercolor": 3, "black and White": 5}})
    assert sampling_weights(photos.captions, recipe.oversample) == [1, 3, 1, 5]
    told = replace(drawing, photos=photos, recipe=recipe, count=20_000)
    counts = Counter(told._rows(Random(0)))
    assert [round(counts[row] / 2000) for row in range(4)] == [1, 3, 1, 5]
    both = {"watercolor": 3, "black and white.* painting": 9}
    assert sampling_weights(photos.captions, both) == [1, 3, 1, 9]
    with pytest.raises(UsageError, match=r"^oversample: no caption of the dataset has 'sepia'$"):
        sampling_weights(photos.captions, {"sepia": 2, "watercolor": 2})


class Broken(Photos):
    """One photo that cannot be read."""

    digest = "broken"

    def __init__(self) -> None:
        super().__init__()
        self._add("a man", [])

    def mask(self, row: int, index: int) -> Any:
        raise NotImplementedError

    def name(self, row: int) -> str:
        return "7"

    def _decode(self, row: int) -> Image:
        raise DataError("7.jpg: broken")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_photo_is_one_line_from_a_worker_too(workers: int) -> None:
    with pytest.raises(DataError) as raised:
        list(fitted(Broken(), range(1), 8, 4, workers))
    assert str(raised.value) == "7.jpg: broken"


def test_all_photos_come_fitted_and_in_order(data: Path) -> None:
    photos = open_photos(data)
    made = list(fitted(photos, range(6), 16, 4, workers=0))
    assert [len(images) for images in made] == [4, 2]
    for row, image in enumerate(image for images in made for image in images):
        np.testing.assert_array_equal(image, photos.image(row))


def test_a_processor_that_computes_has_no_workers_beside_it() -> None:
    assert workers_for("cpu") == 0
    assert 1 <= workers_for("cuda") <= 8


def test_a_training_fed_by_workers_ends_at_the_same_weights(
    data: Path, stack: Stack, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for workers in (0, 2):
        monkeypatch.setattr("fcbench.fastcomposer.train.workers_for", lambda device, workers=workers: workers)
        train(data, tmp_path / str(workers), stack, recipe)
    alone, fed = ((tmp_path / str(workers) / "fusion.safetensors").read_bytes() for workers in (0, 2))
    assert alone == fed
