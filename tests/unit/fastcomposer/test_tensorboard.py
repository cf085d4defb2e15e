"""What a training writes for TensorBoard, read back by TensorBoard itself: runs where that is installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fcbench.config import Recipe
from fcbench.fastcomposer.tracking import Tracker
from fcbench.store import TrainingFolder

pytest.importorskip("tensorboard", reason="no tensorboard: pip install tensorboard")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what tensorboard brings along
def test_scalars_and_samples_are_read_back_each_step_once(tmp_path: Path, recipe: Recipe) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = TrainingFolder(tmp_path / "mine")
    sheet = np.full((4, 6, 3), 200, np.uint8)
    killed = Tracker(folder, recipe)
    for step in (1, 2, 3):
        killed.scalars(step, {"loss": 1 / step, "idle": 0.25})
    killed.close()  # flushes what a killed process may or may not have written
    again = Tracker(folder, recipe)
    again.scalars(3, {"loss": 9.0, "idle": 0.5})  # the state on disk was that of step 2
    again.sample(3, sheet)
    again.close()
    read = EventAccumulator(str(folder.tensorboard))
    read.Reload()
    assert [(event.step, event.value) for event in read.Scalars("loss")] == [(1, 1.0), (2, 0.5), (3, 9.0)]
    assert [event.value for event in read.Scalars("idle")] == [0.25, 0.25, 0.5]
    (image,) = read.Images("samples")
    assert (image.step, image.height, image.width) == (3, 4, 6)
