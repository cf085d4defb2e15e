"""Pictures per second that the world draws on one core, beside Pillow filling as many plain pictures of the same size.

Run: python benchmarks/render.py
"""

from __future__ import annotations

import time

import numpy as np
from PIL import Image

from fcbench.world import describe, draw_person, draw_scene, render

COUNT = 1000
TARGET = 600


def main() -> None:
    """Print rate, target, and the ratio to the baseline."""
    begun = time.process_time()
    for number in range(COUNT):
        people = [draw_person(3 * number + k) for k in range(1 + number % 3)]
        scene = draw_scene(people, number)
        render(scene)
        describe(scene, number)
    world = time.process_time() - begun
    begun = time.process_time()
    for _ in range(COUNT):
        np.asarray(Image.new("RGB", (192, 192), (90, 90, 90)).reduce(3))
    plain = time.process_time() - begun
    print(f"world: {COUNT / world:.0f} pictures per CPU-second (target {TARGET}), with masks and captions")
    print(f"plain pictures of the same size: {COUNT / plain:.0f}; a scene takes {world / plain:.0f} times as long")


if __name__ == "__main__":
    main()
