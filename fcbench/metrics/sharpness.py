"""Optional metric: how sharp a picture is, told from the picture alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fcbench.images import read_image
from fcbench.types import Generation, Image, Score, Stack

LUMA = (0.299, 0.587, 0.114)
"""What red, green and blue add to brightness (ITU-R BT.601)."""


class Sharpness:
    """The variance of the Laplacian in units of the picture's own variance: fine detail against all of it.

    Both are of brightness; the Laplacian has four neighbours and is taken where all five pixels lie in the picture. A
    picture of one brightness scores 0, white noise 20, a picture out of focus next to nothing; contrast does not
    matter. Compare pictures of one size, and methods' means on the same cases: a library has more detail than snow.
    (Pech-Pacheco et al., ICPR 2000, without their normalisation.)
    """

    name = "sharpness"
    unit = "ratio"
    range = (0.0, float("inf"))
    higher_is_better = True
    version = 1
    roles: tuple[str, ...] = ()
    optional = True

    def __call__(self, stack: Stack, generations: Sequence[Generation]) -> list[dict[str, Score]]:
        """The one column for each generation."""
        return [{self.name: Score(sharpness(read_image(generation.image)))} for generation in generations]


def sharpness(image: Image) -> float:
    """The ratio for one picture; 0 below 3 x 3 pixels."""
    light: npt.NDArray[np.float64] = image.astype(np.float64) @ np.array(LUMA)
    spread = float(light.var())
    if min(light.shape) < 3 or spread < 1e-9:
        return 0.0
    inner = light[1:-1, 1:-1]
    laplacian = light[:-2, 1:-1] + light[2:, 1:-1] + light[1:-1, :-2] + light[1:-1, 2:] - 4 * inner
    return float(laplacian.var()) / spread
