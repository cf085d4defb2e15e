"""How long a report on 10 000 scored pictures takes, and how large its page is.

    python benchmarks/report.py --methods 10 --people 100

Pictures and scores are made up; each method has people x 10 prompts. Prints seconds of the whole command in a fresh
process, its parts, and whether torch was imported.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

PROGRAM = """
import sys, time
from pathlib import Path
start, cpu = time.perf_counter(), time.process_time()
from fcbench.report import read_runs, write_report
out = Path(sys.argv[1])
runs = read_runs(out, "large")
read = time.process_time() - cpu
page = write_report(out, "large")
print(f"{sum(len(run.generations) for run in runs)} pictures of {len(runs)} methods")
print(f"report: {time.process_time() - cpu - read:.1f} s of processor, of which {read:.1f} s to read the runs")
print(f"on the wall {time.perf_counter() - start - read:.1f} s")
print(f"page: {page.stat().st_size / 1e6:.1f} MB with {page.read_text().count('data:image')} pictures")
print("torch imported:", "torch" in sys.modules)
"""


def main() -> None:
    """Make the runs, report on them in a fresh process, print."""
    from fcbench.types import Prompt
    from tests.unit.fake_runs import cases, fake_run, subjects

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", type=int, default=10)
    parser.add_argument("--people", type=int, default=100)
    given = parser.parse_args()
    kinds = ("accessory", "style", "action", "context")
    prompts = [Prompt(f"prompt-{i}", "{} doing " + str(i), kinds[i % 4]) for i in range(10)]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        wanted = cases(subjects(out, "large", given.people), prompts=prompts)
        for number in range(given.methods):
            fake_run(out, "large", f"method-{number}", wanted, quality=(0.3 + 0.02 * number, 0.25))
        subprocess.run([sys.executable, "-c", PROGRAM, folder], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
