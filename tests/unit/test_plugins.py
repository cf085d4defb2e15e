from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pytest

from fcbench import plugins
from fcbench.errors import FcbenchError, MissingError, UsageError
from fcbench.files import digest_file

MODULE = """
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from fcbench.types import Capabilities

@dataclass(frozen=True)
class Toy:
    steps: int = 20
    alpha: float | None = None
    slow: bool = False
    mode: Literal["a", "b"] = "a"
    folder: Path = Path(".")
    shape: tuple[int, ...] = ()
    capabilities = Capabilities(max_subjects=1)

    def fit(self, stack, subjects, *, seed, workdir): ...

class NoMethod: ...

class Seeing(Toy):
    capabilities = Capabilities(max_subjects=1, sees="insightface")

toy = Toy()
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The working folder holds a module of its own name, importable without being installed."""
    name = f"toy_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return name


def test_a_class_in_the_working_folder_is_found(module: str) -> None:
    assert plugins.load("methods", f"{module}:Toy").capabilities.max_subjects == 1


def test_options_are_converted_by_their_type(module: str) -> None:
    options = {"steps": "5", "alpha": "0.5", "slow": "true", "mode": "b", "folder": "here", "shape": "[1, 2]"}
    toy = plugins.load("methods", f"{module}:Toy", options)
    assert toy == sys.modules[module].Toy(steps=5, alpha=0.5, slow=True, mode="b", folder=Path("here"), shape=(1, 2))
    assert plugins.load("methods", f"{module}:Toy", {"alpha": "null"}).alpha is None  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Toy", {"step": "5"}, "no option 'step': did you mean steps"),
        ("Toy", {"steps": "many"}, "option steps='many': Input should be a valid integer"),
        ("Toy", {"mode": "c"}, "option mode='c'"),
        ("Toy", {"shape": "1, 2"}, "option shape='1, 2': Input should be a valid"),
        ("Toy", {"alpha": "nan"}, "option alpha='nan': no finite number"),
        ("Seeing", {}, r"sees='insightface' must be a tuple of names"),
        ("NoMethod", {"steps": "5"}, "no option 'steps': known: none"),
        ("NoMethod", {}, "is not a Method"),
        ("toy", {}, "names no class"),
        ("Tyo", {}, "has no 'Tyo'"),
    ],
)
def test_a_wrong_name_or_option_is_refused(module: str, name: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plugins.load("methods", f"{module}:{name}", options)


def test_a_module_that_is_nowhere_is_told() -> None:
    with pytest.raises(UsageError, match="there is no module 'no_such_module'"):
        plugins.load("methods", "no_such_module:Toy")


def test_a_package_that_a_plugin_needs_is_named_with_its_command(tmp_path: Path, module: str) -> None:
    (tmp_path / f"{module}.py").write_text("import no_such_package.inner")
    with pytest.raises(MissingError, match="pip install no_such_package"):
        plugins.load("methods", f"{module}:Toy")


def test_a_module_that_breaks_is_told_in_one_line(tmp_path: Path, module: str) -> None:
    (tmp_path / f"{module}.py").write_text("1 / 0")
    with pytest.raises(FcbenchError, match="cannot be imported: ZeroDivisionError: division by zero"):
        plugins.load("methods", f"{module}:Toy")


DEMANDING = """
from __future__ import annotations
from dataclasses import dataclass
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from somewhere import Depth

@dataclass
class Demanding:
    folder: str
    size: int = 0

    def __post_init__(self):
        1 / self.size

@dataclass
class Hinted:
    depth: Depth = 1
"""


def test_an_option_that_must_be_given_is_asked_for(tmp_path: Path, module: str) -> None:
    (tmp_path / f"{module}.py").write_text(DEMANDING)
    with pytest.raises(UsageError, match=r"Demanding needs its option folder: --set folder=\.\.\.$"):
        plugins.load("methods", f"{module}:Demanding", {"size": "1"})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Demanding", {"folder": "here"}, "cannot be made: ZeroDivisionError: division by zero"),
        ("Hinted", {"depth": "2"}, "cannot be made: NameError: name 'Depth' is not defined"),
    ],
)
def test_a_plugin_that_fails_when_it_is_made_is_told_in_one_line(
    tmp_path: Path, module: str, name: str, options: dict[str, str], message: str
) -> None:
    (tmp_path / f"{module}.py").write_text(DEMANDING)
    with pytest.raises(FcbenchError, match=message):
        plugins.load("methods", f"{module}:{name}", options)


def test_an_unknown_method_is_met_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="no method is called 'fastcompser': did you mean fastcomposer"):
        plugins.load("methods", "fastcompser")


def test_our_own_plugins_are_found_like_anyone_s() -> None:
    assert {"fastcomposer", "stable-diffusion"} <= set(plugins.names("methods"))
    assert {"identity", "prompt"} <= set(plugins.names("metrics"))


def test_one_name_from_two_packages_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [EntryPoint("toy", "one:Toy", "fcbench.methods"), EntryPoint("toy", "two:Toy", "fcbench.methods")]
    monkeypatch.setattr(plugins, "entry_points", lambda group: both)
    with pytest.raises(UsageError, match="'toy' is offered by one:Toy and two:Toy"):
        plugins.load("methods", "toy")


def test_code_of_another_package_is_known_by_its_version_and_its_file(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = plugins.load("methods", f"{module}:Toy")
    for version in ("1.0", "2.0"):
        dist = SimpleNamespace(name="their-package", version=version)
        entry = SimpleNamespace(name="toy", value=f"{module}:Toy", dist=dist)
        monkeypatch.setattr(plugins, "entry_points", lambda group, entry=entry: [entry])
        assert plugins.code_of("methods", toy) == {
            "plugin": f"{module}:Toy",
            "package": f"their-package {version}",
            "digest": digest_file(tmp_path / f"{module}.py"),
        }


def test_code_that_no_package_offers_is_known_by_its_file(module: str, tmp_path: Path) -> None:
    toy = plugins.load("methods", f"{module}:Toy")
    file = tmp_path / f"{module}.py"
    assert plugins.code_of("methods", toy) == {"plugin": f"{module}:Toy", "digest": digest_file(file)}
    assert plugins.code_of("methods", plugins.load("methods", "stable-diffusion")) is None
