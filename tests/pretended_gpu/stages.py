"""``make-stack``'s stages for two steps each on the pretended GPU, into the folder that is named."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from fcbench.loop import Clock
from fcbench.make_stack import detector, embedder, faces, make_base
from fcbench.stacks import find_stack
from tests.e2e.test_make_stack import SIZES


def main(folder: Path) -> None:
    """Judges that were trained for two steps find no face: the other stages have those that ship, and their parser."""
    vars(detector)["STEPS"] = vars(embedder)["STEPS"] = 2
    vars(faces)["score_faces"] = lambda judges: {}
    clock, (new, work) = Clock(60), (folder.parent / name for name in ("judges", "work"))
    new.mkdir()
    faces.train_faces(new, work, clock, seed=0, device="cuda", people=embedder.PEOPLE)
    for role in ("parser", "faces"):
        shutil.copytree(find_stack("mini").parent / role, folder / role)
    make_base(folder, work, clock, device="cuda", sizes=SIZES)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
