"""No network but loopback, no hub, one thread; and which marked tests this machine can run."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, which reads it once

ROOT = Path(__file__).parent.parent
SHIPPED = ROOT / "fcbench" / "stacks" / "mini"


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("weights") and not all((SHIPPED / part).is_dir() for part in ("unet", "fastcomposer")):
        pytest.skip(f"no weights in {SHIPPED.relative_to(ROOT)}: make them with fcbench make-stack")
    if item.get_closest_marker("browser") and not shutil.which("chromium"):
        pytest.skip("no chromium on the path: apt-get install chromium")
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test must not use the network: {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
