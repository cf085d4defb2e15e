"""What tests of runs share."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.unit.toy_run import Toy


@pytest.fixture
def toy_methods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy methods and their stack, for runs under the folder that is returned; fits are noted in ``fits.txt``."""
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "toys")
    monkeypatch.setitem(sys.modules, "fcbench.stacks", ModuleType("fcbench.stacks"))
    monkeypatch.setitem(sys.modules, "run_toys", importlib.import_module("run_toys"))
    sys.modules["run_toys"].install_stack()
    monkeypatch.setenv("TOY_FITS", str(tmp_path / "fits.txt"))
    return tmp_path


@pytest.fixture
def toy(toy_methods: Path) -> Toy:
    return Toy(toy_methods)
