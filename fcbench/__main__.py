"""``python -m fcbench``."""

import sys

from fcbench.cli import main

if __name__ == "__main__":
    sys.exit(main())
