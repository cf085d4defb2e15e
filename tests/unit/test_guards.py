"""What must stay true of the repository itself."""

from __future__ import annotations

import importlib.util
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fcbench

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("folder", ["datasets", "reports"])
def test_no_code_lies_in_a_data_folder(folder: str) -> None:
    assert (ROOT / folder).is_dir()
    assert not list((ROOT / folder).rglob("*.py*"))


def test_hugging_face_s_datasets_is_the_one_that_is_imported_from_the_checkout() -> None:
    program = "from datasets import load_dataset; print(load_dataset.__module__)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "datasets.load"


def test_importing_fcbench_loads_nothing_heavy() -> None:
    program = "import sys, fcbench; print({'torch', 'numpy', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_all_is_sorted_and_every_name_in_it_exists() -> None:
    assert fcbench.__all__ == sorted(fcbench.__all__)
    assert all(hasattr(fcbench, name) for name in fcbench.__all__)


def test_all_names_every_error_and_every_public_class_of_types() -> None:
    from fcbench import errors, types

    public = {
        name
        for module in (errors, types)
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__ and not name.startswith("_")
    }
    assert public == set(fcbench.__all__) - {"__version__"}


def test_a_name_that_is_not_public_is_refused() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        _ = fcbench.nothing


def test_the_version_is_that_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert fcbench.__version__ == project["version"]


def test_constraints_pin_every_requirement_and_name_no_host_and_no_build() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    pinned = {line.partition("==")[0].lower() for line in lines}
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    assert {re.split(r"[^\w.-]", line)[0] for line in wanted} <= pinned


def test_every_entry_point_leads_to_a_file() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    for target in [target for group in groups.values() for target in group.values()]:
        assert importlib.util.find_spec(target.partition(":")[0]), target
