"""How well a caption fits its picture by CLIP: what web-scale datasets are filtered by (LAION, DataComp)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fcbench.stacks.clip import Clip, load_clip
from fcbench.types import Image


class ClipScore:
    """A scorer with the one column ``clip_score``: cosine of picture and caption, -1 to 1."""

    def __init__(self, clip: Clip) -> None:
        self._clip = clip

    def scores(self, images: Sequence[Image], captions: Sequence[str]) -> list[dict[str, float]]:
        """The cosine of each picture with its caption."""
        fits = (self._clip.image_features(images) * self._clip.text_features(captions)).sum(axis=1)
        return [{"clip_score": float(fit)} for fit in fits]


def load_clip_score(
    place: Path | str, *, tokenizer: str | None = None, bicubic: bool = False, device: str = "cpu"
) -> ClipScore:
    """The scorer by the CLIP of a folder or hub id; options and errors are those of :func:`load_clip`."""
    return ClipScore(load_clip(place, tokenizer=tokenizer, bicubic=bicubic, device=device))
