"""What full size takes of a GPU's memory, computed from the sizes of its tensors: without a GPU, without weights.

Trainings by the paper's recipe, each picture with its references, of one or two people; and each method tuning for
one person and drawing one picture. They run unchanged on a pretended GPU (``tests/pretended_gpu``), whose large tensors
have a shape but no numbers. A real one adds what its libraries take (some hundreds of MiB), its kernels' work space and
gaps between blocks; drawing samples and encoding latents on the way are left out.

    python benchmarks/memory.py
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
CHECKPOINTED = "gradient_checkpointing=true"
TRAININGS = (
    *(("batch_size=1",), ("batch_size=4",), ("batch_size=16",)),
    *(("batch_size=1", CHECKPOINTED), ("batch_size=16", CHECKPOINTED), ("batch_size=64", CHECKPOINTED)),
    ("batch_size=16", CHECKPOINTED, "average=0.999"),
)
METHODS = {
    "stable-diffusion": (),
    "fastcomposer": (),
    "textual-inversion": ("tuning_steps=2",),
    "dreambooth-lora": ("tuning_steps=2", "prior_images=2"),
    "custom-diffusion": ("tuning_steps=2", "prior_images=2"),
    "dreambooth": ("tuning_steps=2", "prior_images=2"),
}
"""Two steps of each take as much as a thousand."""


def train(data: Path, out: Path, settings: list[str]) -> float:
    """GiB at the peak of two steps; to be called on the pretended GPU."""
    from fcbench import store
    from fcbench.config import Recipe, load_yaml, set_keys
    from fcbench.fastcomposer import train as training
    from fcbench.stacks import load_stack

    whole = dict.fromkeys(("text_only", "unconditional", "subject_drop"), "0")  # each picture with its references
    few = {"steps": "2", "save_every": "0", "sample_every": "0"}
    changes = {**few, **whole, **dict(each.split("=") for each in settings)}
    recipe = set_keys(load_yaml("paper", Recipe, "recipes"), changes)
    training.save_checkpoint = lambda *_: None  # there are no numbers to save
    stack = load_stack("sd15", device="cuda", random_weights=True)
    training.train(data, store.checkpoint_folder(out, "it"), stack, recipe)
    log = store.TrainingFolder(store.checkpoint_folder(out, "it")).log
    return max(json.loads(line)["peak_gib"] for line in log.read_text().splitlines())


def trainings(gpu: dict[str, str], folder: Path) -> Iterator[tuple[str, float]]:
    """What each training took."""
    build = [sys.executable, "-m", "fcbench", "build-data", "--photos", "120", "--device", "cpu", "--out", str(folder)]
    subprocess.run(build, check=True, cwd=ROOT, stdout=sys.stderr)
    for number, settings in enumerate(TRAININGS):
        asked = ["--train", *settings, "--folder", str(folder), "--number", str(number)]
        done = subprocess.run(
            [sys.executable, __file__, *asked], env=gpu, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
        )
        yield ", ".join(settings), float(done.stdout.splitlines()[-1])


def methods(gpu: dict[str, str], folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """What each method took, its row of the leaderboard."""
    people = {"source": "world", "first": 1_000_000, "count": 1, "photos": 5}
    prompts = [{"id": "snow", "kind": "context", "text": "{} in the snow"}]
    suite = folder / "one.yaml"
    suite.write_text(yaml.safe_dump({"name": "one", "stack": "mini", "subjects": people, "prompts": prompts}))
    command, out = [sys.executable, "-m", "fcbench"], ["--out", str(folder)]
    for method, settings in METHODS.items():
        chosen = [word for each in ("steps=2", *settings) for word in ("--set", each)]
        full = ["--stack", "sd15", "--random-weights", "--device", "cuda", "--suite", str(suite), "--method", method]
        subprocess.run([*command, "run", *full, *chosen, *out], env=gpu, cwd=ROOT, check=True, stdout=sys.stderr)
    subprocess.run([*command, "report", "--device", "cpu", *out], cwd=ROOT, check=True, stdout=sys.stderr)
    with (folder / "reports" / "one" / "leaderboard.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    yield from ((method, rows[method]) for method in METHODS)


def main() -> None:
    """Both tables, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--number", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.train is not None:
        print(train(asked.folder / "data" / "world", asked.folder / asked.number, asked.train))
        return
    sys.path.insert(0, str(ROOT))
    from tests.pretended_gpu import environment

    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        gpu = environment(folder, shapes_alone=True)
        print("| training, recipe paper | GiB |\n| --- | --: |", flush=True)
        for settings, peak in trainings(gpu, folder):
            print(f"| {settings} | {peak:.1f} |", flush=True)
        print("\n| method | tuning, GiB | drawing, GiB | FastComposer's peak goes in |\n| --- | --: | --: | --: |")
        rows = dict(methods(gpu, folder))
        ours = float(rows["fastcomposer"]["peak_gib"])
        for method, row in rows.items():
            tuning = max(float(row["fit_peak_gib"]), float(row["prior_peak_gib"]))
            drawing, peak = float(row["sample_peak_gib"]), float(row["peak_gib"])
            print(f"| {method} | {tuning:.1f} | {drawing:.1f} | {peak / ours:.1f} |")


if __name__ == "__main__":
    main()
