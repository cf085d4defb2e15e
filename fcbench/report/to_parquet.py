"""Every picture behind a leaderboard, a row each: for statistics of your own, and for later runs to pair with."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import pyarrow
import pyarrow.json as arrow_json
import pyarrow.parquet as parquet

from fcbench.report.runs import Run
from fcbench.types import Case

GENERATIONS = "generations.parquet"

FIXED = pyarrow.schema(
    [
        ("method", pyarrow.string()),
        ("case", pyarrow.string()),
        ("subjects", pyarrow.list_(pyarrow.string())),
        ("nouns", pyarrow.list_(pyarrow.string())),
        ("prompt_id", pyarrow.string()),
        ("prompt_kind", pyarrow.string()),
        ("text", pyarrow.string()),
        ("seed", pyarrow.int64()),
        ("device", pyarrow.string()),
        ("failure", pyarrow.string()),
        ("fit_seconds", pyarrow.float64()),
        ("sample_seconds", pyarrow.float64()),
    ]
)


def to_parquet(runs: Sequence[Run]) -> bytes:
    """One row per case of each run, drawn or failed; runs in their order, cases by id.

    A column per score follows: null where it does not apply, and then ``notes`` says why. ``text`` is the prompt
    that is scored. Costs of yardsticks and of pictures made elsewhere are null; ``fit_seconds`` is the whole fit of the
    case's subjects, ``sample_seconds`` the picture's share of its batch.
    """
    known = {name: case for run in runs for name, case in run.cases.items()}
    columns = sorted({column for run in runs for column in run.scores})
    scores = [(column, pyarrow.float64()) for column in columns]
    schema = pyarrow.schema([*FIXED, *scores, ("notes", pyarrow.list_(pyarrow.string()))])
    rows = [
        _row(run, name, known.get(name))
        for run in runs
        for name in sorted(run.generations.keys() | run.failures.keys())
    ]
    file = io.BytesIO()
    parquet.write_table(_table(rows, schema), file, compression="zstd")
    return file.getvalue()


def _table(rows: Sequence[dict[str, Any]], schema: pyarrow.Schema) -> pyarrow.Table:
    """Made from JSON lines: from Python's values it would go through pandas, whose import takes longer than this."""
    if not rows:
        return schema.empty_table()
    lines = "\n".join(json.dumps(row, allow_nan=False) for row in rows).encode()
    options = arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")
    return arrow_json.read_json(io.BytesIO(lines), parse_options=options)


def _row(run: Run, name: str, case: Case | None) -> dict[str, Any]:
    """``case`` is None if it failed in every run: then only its id is kept."""
    made = run.generations.get(name)
    scores = {column: of_case[name] for column, of_case in run.scores.items() if name in of_case}
    row: dict[str, Any] = {"method": run.label, "case": name, "device": run.config["device"]}
    if case is not None:
        row |= {"subjects": [s.id for s in case.subjects], "nouns": [s.noun for s in case.subjects]}
        row |= {"prompt_id": case.prompt.id, "prompt_kind": case.prompt.kind, "text": case.text, "seed": case.seed}
    if made is None:
        row["failure"] = run.failures[name]
    elif run.has_costs:
        row |= {"fit_seconds": made.fit_seconds, "sample_seconds": made.sample_seconds}
    row |= {column: score.value for column, score in scores.items()}
    return row | {"notes": [f"{column}: {score.note}" for column, score in sorted(scores.items()) if score.note]}
