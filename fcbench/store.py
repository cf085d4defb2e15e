"""The only file that knows where things lie.

::

    out/
      data/<name>/                    a dataset
        recipe.json                       what was asked for; written first
        photos/<id>.png  <id>.json        a working copy (.jpg from 512 px on), and its sidecar
        data/train-00000-of-00001.parquet     annotations/ the same rows without pixels
        rejects/rejects.parquet     README.md  ATTRIBUTION.csv     build.json
        missing.txt                       the photos of FFHQ's list that are not in its tree
        meta/00000.json                   what made a shard's rows: models, versions, device, counts, digests
        qa/index.html  evaluation.json    the page to look at; what ``data evaluate`` found
        work/<step>/00000-<key>.jsonl.gz  what each step made of each shard; can be deleted when the build is done
        work/tries.json                   how often photos were tried again (``--retry``)
      subjects/<suite>/<subject>/<k>.png      photos of a suite's subjects; 0 is the reference
      checkpoints/<name>/                     what ``train`` leaves
        work/                                 until it is done: what was begun, latents, the state to go on from
      checkpoints/<name>.training/            how it went
        log.jsonl  tensorboard/  wandb.txt    one line per step; what Weights & Biases calls it
        samples/<step>.png                    a sheet of the same few cases
        steps/<step>/                         checkpoints on the way
        stopped.json                          the batch at which the loss was not finite
      runs/<suite>/<method>[@variant]/        a run
        run.json                          resolved configuration, versions, weight digests, device
        images/<case>.png                 a picture, written before its row
        cases/<case>.json                 the row: the case is done when this exists
        failures/<case>.json              why there is no picture
        fits/<group>.json                 what fitting a group of subjects cost, when it was first done
        scores/<metric>.jsonl             what made the scores, then one line per case
        scores/facts.json                 by metric: what was measured for its scores, such as thresholds
        work/  locks/                     the method's own; held by commands that share the run
        kept/<group>/                     what tuning made, with ``--keep-fits``
      prepared/<digest>/                      what methods make once for a class word
      fits/<digest>/                          fits of one subject that several groups share
      reports/<suite>/leaderboard.{csv,md,tex,json,html}  generations.parquet  manifest.json
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fcbench.errors import DataError
from fcbench.files import read_json, remove_temporaries, write_json, write_text
from fcbench.types import Case, Generation, Prompt, Score, Subject

BY_PHASE = ("prior_seconds", "prior_peak_bytes", "fit_peak_bytes", "sample_peak_bytes")
"""Keys of a committed row that are 0 where nobody measured them."""


@dataclass(frozen=True)
class DataFolder:
    """A dataset on disk, ``out/data/<name>``."""

    path: Path

    @property
    def photos(self) -> Path:
        """Working copies and sidecars."""
        return self.path / "photos"

    @property
    def recipe(self) -> Path:
        """What was asked for; written first, so that a folder never mixes two recipes."""
        return self.path / "recipe.json"

    def photo(self, photo_id: str) -> Path:
        """The working copy of one photo."""
        return self.photos / f"{photo_id}.png"

    def sidecar(self, photo_id: str) -> Path:
        """What is known of one photo; written after it."""
        return self.photos / f"{photo_id}.json"

    @property
    def rejects(self) -> Path:
        """The table of what was left out, and why."""
        return self.path / "rejects" / "rejects.parquet"

    @property
    def attribution(self) -> Path:
        """Who made each photo, and under which licence."""
        return self.path / "ATTRIBUTION.csv"

    @property
    def page(self) -> Path:
        """The page to look at."""
        return self.path / "qa" / "index.html"

    @property
    def evaluation(self) -> Path:
        """What ``data evaluate`` found."""
        return self.path / "evaluation.json"

    @property
    def missing(self) -> Path:
        """The photos of the source's list that are not there, one per line; absent where none is missing."""
        return self.path / "missing.txt"

    @property
    def work(self) -> Path:
        """What each step made of each shard."""
        return self.path / "work"

    def lease(self, shard: int) -> Path:
        """Held by the process that labels a shard."""
        return self.work / "leases" / f"{shard:05d}"

    @property
    def tries(self) -> Path:
        """How often photos were tried again, by id."""
        return self.work / "tries.json"

    @property
    def lock(self) -> Path:
        """Held by whoever builds here."""
        return self.path / ".lock"

    def provenance(self, shard: int) -> Path:
        """What made a shard's rows, and their digests; written after them."""
        return self.path / "meta" / f"{shard:05d}.json"

    @property
    def build(self) -> Path:
        """Counts and provenance; written last, so its existence means that the build is complete."""
        return self.path / "build.json"

    def require_whole(self) -> None:
        """Raise DataError where a build was begun and is not finished: its files may be of two recipes, or too few."""
        if self.recipe.exists() and not self.build.exists():
            raise DataError(f"{self.path}: its build is not finished; run the same fcbench build-data again")

    @property
    def card(self) -> Path:
        """The dataset card, README.md."""
        return self.path / "README.md"

    def shard(self, split: str, index: int = 0, count: int = 1) -> Path:
        """The path of one Parquet shard."""
        return self.path / "data" / f"{split}-{index:05d}-of-{count:05d}.parquet"

    def annotations(self, split: str, index: int = 0, count: int = 1) -> Path:
        """The same rows without their pixels."""
        return self.path / "annotations" / f"{split}-{index:05d}-of-{count:05d}.parquet"

    def shards(self, split: str) -> list[Path]:
        """The Parquet files of a split, sorted; DataError when there are none."""
        found = sorted((self.path / "data").glob(f"{split}-*.parquet"))
        if not found:
            raise DataError(f"{self.path}: no data/{split}-*.parquet there; make it with: fcbench build-data")
        return found


@dataclass(frozen=True)
class RunFolder:
    """What one method made of one suite, ``out/runs/<suite>/<method>[@variant]``."""

    path: Path

    @property
    def config(self) -> Path:
        """Resolved configuration, versions, weight digests, device."""
        return self.path / "run.json"

    @property
    def lock(self) -> Path:
        """Held by the command that draws here."""
        return self.path.with_name(f".{self.path.name}.lock")

    def group_lock(self, group_id: str) -> Path:
        """Held by the command that draws a group, where several share the run."""
        return self.path / "locks" / group_id

    @property
    def record_lock(self) -> Path:
        """Held by the command that says what a shared run is made with; no group's id has a dot."""
        return self.path / "locks" / self.config.name

    @property
    def work(self) -> Path:
        """The method's own folder."""
        return self.path / "work"

    @property
    def prepared(self) -> Path:
        """What methods make once for a class word; all runs under ``out`` share it."""
        return self.path.parents[2] / "prepared"

    def shared_fit(self, digest: str) -> Path:
        """A subject's own fit; all runs under ``out`` share those of equal digests."""
        return self.path.parents[2] / "fits" / digest

    def kept(self, group_id: str) -> Path:
        """What is needed to draw a group's subjects again, if the run was told to keep it."""
        return self.path / "kept" / group_id

    @property
    def label(self) -> str:
        """``method`` or ``method@variant``: the name of the leaderboard's row."""
        return self.path.name

    @property
    def suite(self) -> str:
        """The suite's name."""
        return self.path.parent.name

    def image(self, case_id: str) -> Path:
        """Where a case's picture lies."""
        return self.path / "images" / f"{case_id}.png"

    def row(self, case_id: str) -> Path:
        """Where a case's committed row lies."""
        return self.path / "cases" / f"{case_id}.json"

    def failure(self, case_id: str) -> Path:
        """Where a case's failure is told."""
        return self.path / "failures" / f"{case_id}.json"

    def fit(self, group_id: str) -> Path:
        """Where the cost of a group's fit is kept: a continued run may find the fit itself cached in ``work``."""
        return self.path / "fits" / f"{group_id}.json"

    def commit(self, generation: Generation) -> None:
        """Commit a case whose picture is written; clears an earlier failure."""
        row = asdict(generation)
        row["image"] = generation.image.name
        write_json(self.row(generation.case.id), row)
        self.failure(generation.case.id).unlink(missing_ok=True)

    def fail(self, case: Case, reason: str, trace: str = "") -> None:
        """Commit that a case has no picture, and why; ``trace``: where in the code, for whoever wrote it."""
        write_json(self.failure(case.id), {"case": case.id, "reason": reason, **({"trace": trace} if trace else {})})

    def is_done(self, case_id: str) -> bool:
        """Whether a case's picture is committed, and there."""
        return self.row(case_id).exists() and self.image(case_id).exists()

    def generations(self) -> list[Generation]:
        """All committed generations, by case id."""
        return [self._read(path) for path in sorted((self.path / "cases").glob("*.json"))]

    def failures(self) -> dict[str, str]:
        """Reasons by case id."""
        rows = (read_json(path) for path in sorted((self.path / "failures").glob("*.json")))
        return {row["case"]: row["reason"] for row in rows}

    def _read(self, path: Path) -> Generation:
        row = read_json(path)
        try:
            case = Case(
                tuple(Subject(s["id"], s["noun"], tuple(map(Path, s["images"]))) for s in row["case"]["subjects"]),
                Prompt(**row["case"]["prompt"]),
                row["case"]["seed"],
            )
            numbers = {key: row[key] for key in ("fit_seconds", "sample_seconds", "peak_bytes", "stored_bytes")}
            numbers |= {key: row[key] for key in BY_PHASE if key in row}
            return Generation(case=case, image=self.path / "images" / row["image"], **numbers)
        except (KeyError, TypeError) as error:
            raise DataError(f"{path}: not a committed case ({error}); delete it and run the command again") from error

    def write_scores(self, metric: str, rows: Sequence[tuple[str, dict[str, Score]]], header: dict[str, Any]) -> None:
        """Write one metric's scores: a header line (what made them), then one line per case."""
        lines = [json.dumps({"metric": metric, **header}, default=str)]
        for case_id, scores in rows:
            values = {name: [score.value, score.note] for name, score in scores.items()}
            lines.append(json.dumps({"case": case_id, "scores": values}, allow_nan=False))
        write_text(self.path / "scores" / f"{metric}.jsonl", "\n".join(lines) + "\n")

    def scored(self) -> list[str]:
        """The metrics that have scores, sorted."""
        return sorted(path.stem for path in (self.path / "scores").glob("*.jsonl"))

    def write_facts(self, metric: str, facts: dict[str, Any]) -> None:
        """Write what a metric measured for its scores, beside what others measured."""
        write_json(self.path / "scores" / "facts.json", {**self.read_facts(), metric: facts})

    def read_facts(self) -> dict[str, Any]:
        """What each metric measured for its scores, by metric; empty if nothing was."""
        path = self.path / "scores" / "facts.json"
        return dict(read_json(path)) if path.exists() else {}

    def read_scores(self, metric: str) -> tuple[dict[str, Any], dict[str, dict[str, Score]]]:
        """One metric's header and its scores by case id and column; empty if it was not scored."""
        path = self.path / "scores" / f"{metric}.jsonl"
        if not path.exists():
            return {}, {}
        try:
            header, *rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            scores = {r["case"]: {n: Score(v, note) for n, (v, note) in r["scores"].items()} for r in rows}
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: broken ({error}); delete it and run: fcbench report") from error
        return header, scores


@dataclass(frozen=True)
class TrainingFolder:
    """A training on disk: the checkpoint's folder, and beside it how the training went.

    The checkpoint's digest is of all its files, so nothing else may stay in its folder.
    """

    checkpoint: Path

    @property
    def beside(self) -> Path:
        """How the training went."""
        return self.checkpoint.with_name(f"{self.checkpoint.name}.training")

    @property
    def work(self) -> Path:
        """What a stopped training goes on from; gone when it is done."""
        return self.checkpoint / "work"

    @property
    def begun(self) -> Path:
        """What was begun: recipe, data, stack."""
        return self.work / "training.json"

    @property
    def state(self) -> Path:
        """Weights, optimiser and the number of steps done."""
        return self.work / "state.pt"

    @property
    def latents(self) -> Path:
        """The photos' latents."""
        return self.work / "latents.npy"

    @property
    def photos(self) -> Path:
        """The photos, encoded."""
        return self.work / "photos.arrow"

    @property
    def finished(self) -> Path:
        """The checkpoint's facts; written last, so its existence means that the training is done."""
        return self.checkpoint / "fastcomposer.json"

    @property
    def lock(self) -> Path:
        """Held by the training that is at work."""
        return self.beside / "lock"

    @property
    def has_steps(self) -> bool:
        """Whether anything that was learned is kept: from then on it matters in how many parts batches are drawn."""
        return self.state.exists() or bool(self.steps())

    @property
    def log(self) -> Path:
        """Scalars, one JSON line per step."""
        return self.beside / "log.jsonl"

    @property
    def wandb(self) -> Path:
        """What Weights & Biases calls this training."""
        return self.beside / "wandb.txt"

    @property
    def tensorboard(self) -> Path:
        """The scalars, for TensorBoard."""
        return self.beside / "tensorboard"

    @property
    def stopped(self) -> Path:
        """The batch at which the loss was not finite."""
        return self.beside / "stopped.json"

    def sample(self, step: int) -> Path:
        """The sheet of samples after ``step`` steps."""
        return self.beside / "samples" / f"{step:08d}.png"

    def step(self, step: int) -> Path:
        """The checkpoint after ``step`` steps."""
        return self.beside / "steps" / f"{step:08d}"

    def steps(self) -> list[Path]:
        """The checkpoints on the way, oldest first."""
        return sorted((self.beside / "steps").glob("[0-9]*"))

    def sweep(self) -> None:
        """Remove what a killed process left half written."""
        for folder in (self.checkpoint, self.beside):
            remove_temporaries(folder, "**/.*.tmp")


def runs_of(out: Path, suite: str) -> list[RunFolder]:
    """The runs of a suite, by label."""
    found = sorted((out / "runs" / suite).glob("[!.]*/run.json"))  # what begins with a dot is being written
    return [RunFolder(path.parent) for path in found]


def suites_with_runs(out: Path) -> list[str]:
    """The names of the suites that have runs, sorted."""
    return sorted({path.parent.parent.name for path in (out / "runs").glob("*/[!.]*/run.json")})


def judging_stack(config: Mapping[str, Any]) -> str:
    """The stack that judges a run: its file where it lay when the run was made, else as it was asked for."""
    place = config.get("stack_place")
    return str(place) if place and Path(place).exists() else str(config["stack_file"])


def run_folder(out: Path, suite: str, label: str) -> RunFolder:
    """The folder of one run."""
    return RunFolder(out / "runs" / suite / label)


def data_folder(out: Path, name: str) -> DataFolder:
    """The folder of one dataset."""
    return DataFolder(out / "data" / name)


def data_folders(out: Path) -> list[DataFolder]:
    """The finished datasets, by name."""
    return [DataFolder(path.parent) for path in sorted((out / "data").glob("*/build.json"))]


def dataset_path(out: Path, name_or_path: str) -> Path:
    """A dataset by its name in ``out/data``, or else by the path of its folder."""
    named = data_folder(out, name_or_path).path
    return named if named.is_dir() or not Path(name_or_path).is_dir() else Path(name_or_path)


def report_folder(out: Path, suite: str) -> Path:
    """The folder of one suite's leaderboard."""
    return out / "reports" / suite


def subject_folder(out: Path, suite: str, subject: str) -> Path:
    """The folder of a subject's photos."""
    return out / "subjects" / suite / subject


def checkpoint_folder(out: Path, name: str) -> Path:
    """The folder of a trained checkpoint."""
    return out / "checkpoints" / name
