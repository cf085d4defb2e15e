"""The tiny Stable Diffusion's configurations, or with weights, in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.toys.tiny import CLASSES, untrained_stack, write_configurations


@pytest.fixture
def configurations(tmp_path: Path) -> Path:
    """A folder with the folder of each model role, a ``config.json`` in it."""
    write_configurations(tmp_path)
    return tmp_path


@pytest.fixture
def weights(configurations: Path) -> Path:
    """A folder a role, with weights."""
    stack = untrained_stack(configurations, *CLASSES)
    for role in CLASSES:
        stack.role(role).save_pretrained(configurations / role)
    return configurations
