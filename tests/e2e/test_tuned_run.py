"""A tuned method killed within a fit, and one that diverges, through the runner and its workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fcbench import run
from fcbench.config import Suite
from fcbench.errors import FcbenchError
from tests.toys.tuned_toys import tiny_subjects

ROOT = Path(__file__).parent.parent.parent
TOYS = ROOT / "tests" / "toys"
SHORT = {"preset": "mini", "tuning_steps": "5", "prior_images": "2"}

pytestmark = pytest.mark.weights


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """Two subjects of five photos; workers get a tiny stack, and die where TUNED_KILL says."""
    nouns = {subject.id: subject.noun for subject in tiny_subjects(tmp_path)}
    for file in tmp_path.glob("*.png"):
        name, _, view = file.name.partition("-")
        (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
        file.rename(tmp_path / "photos" / name / view)
    monkeypatch.syspath_prepend(TOYS)
    start = run.START.replace("from fcbench", "import tuned_toys; tuned_toys.install(); from fcbench", 1)
    monkeypatch.setattr(run, "START", start)
    return Suite.model_validate(
        {
            "name": "tuned",
            "stack": "tiny",
            "subjects": {"source": "folder", "path": str(tmp_path / "photos"), "nouns": nouns},
            "prompts": [{"id": "snow", "kind": "context", "text": "{} in the snow"}],
        }
    )


def files(folder: Path) -> dict[str, bytes]:
    """Every picture and every kept weight of a run, by its place."""
    found = [path for kind in ("*.png", "*.safetensors") for path in folder.rglob(kind)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_a_run_killed_within_a_fit_continues_to_the_same_bytes(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(out: str) -> run.RunSummary:
        return run.run_suite(suite, "dreambooth", out=tmp_path / out, options=SHORT, device="cpu", keep_fits=True)

    monkeypatch.setenv("TUNED_KILL", "s1 3")
    with pytest.raises(FcbenchError, match="was killed"):
        draw("killed")
    (state,) = (tmp_path / "killed").rglob("state.pt")
    monkeypatch.delenv("TUNED_KILL")
    monkeypatch.setenv("TUNED_NOTES", str(tmp_path / "steps.txt"))
    continued = draw("killed")
    assert (continued.cases, continued.drawn, continued.failed) == (2, 1, 0)
    assert (tmp_path / "steps.txt").read_text().split() == ["3", "4"], "it began the fit anew"
    assert not state.exists()
    whole = files(draw("whole").folder.path)
    assert {Path(name).suffix for name in whole} == {".png", ".safetensors"}
    assert files(continued.folder.path) == whole


def test_a_fit_that_diverges_fails_its_cases_with_its_reason_and_the_run_goes_on(suite: Suite, tmp_path: Path) -> None:
    options: dict[str, Any] = {**SHORT, "learning_rate": "1e38"}
    summary = run.run_suite(suite, "textual-inversion", out=tmp_path / "out", options=options, device="cpu")
    assert (summary.cases, summary.drawn, summary.failed) == (2, 0, 2)
    reasons = summary.folder.failures()
    assert set(reasons) == {"s0.snow.0", "s1.snow.0"}
    assert all("DivergedError" in told and "lower the learning rate" in told for told in reasons.values())
