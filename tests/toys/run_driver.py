"""``run_suite`` with the toy stack, as a program that can be killed: SUITE METHOD OUT."""

from __future__ import annotations

import sys
from pathlib import Path

from fcbench import run
from fcbench.config import Suite, load_yaml

if __name__ == "__main__":  # nothing happens on import: the doctest collector imports this file
    run.START = run.START.replace("from fcbench", "import run_toys; run_toys.install_stack(); from fcbench", 1)
    suite, method, out = sys.argv[1:]
    try:
        run.run_suite(load_yaml(suite, Suite), method, out=Path(out))
    except KeyboardInterrupt:
        sys.exit(130)
