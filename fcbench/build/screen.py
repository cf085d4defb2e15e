"""Photos that may not be used: under a licence that was not asked for, or taken down."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fcbench.build.records import Item, Licence, Photo, Reject, Sidecar, each
from fcbench.errors import UsageError

FAMILIES = ("by-nc-sa", "by-nc-nd", "by-nc", "by-sa", "by-nd", "by", "cc0", "pd", "usgov")
"""What ``--licences`` can name, the most specific first."""

NAMES = (
    (r"public domain dedication|\bcc0\b|publicdomain/zero", "cc0"),
    (r"public domain|\bpdm?\b", "pd"),
    (r"united states government|\bus ?gov", "usgov"),
)
"""What licences without conditions are called, by Flickr and FFHQ too."""


_BETWEEN, _TAKEN = " | ", " was taken down"


@dataclass(frozen=True)
class Screen:
    """Which licences are allowed, none meaning all; and the ids and sources that were taken down."""

    licences: tuple[str, ...] = ()
    taken_down: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name in self.licences:
            if name not in FAMILIES:
                raise UsageError(f"--licences {name}: known: {', '.join(FAMILIES)}")

    def __call__(self, items: Iterable[Item]) -> Iterator[Item]:
        """Turn what may not be used into rejects."""
        return each(self._judge, items)

    def _judge(self, photo: Photo) -> Item:
        licence = photo.sidecar.licence
        if names := [name for name in (photo.id, licence.source) if name in self.taken_down]:
            return Reject(photo.id, "takedown", "screen", f"{_BETWEEN.join(names)}{_TAKEN}")
        if self.licences and licence_family(licence.licence) not in self.licences:
            return Reject(photo.id, "licence_excluded", "screen", f"its licence is {licence.licence!r}")
        return photo

    def blanked(self, photo: Photo) -> Photo:
        """Of a photo that was taken down, only what records that it was: no name, no word, no segment."""
        source = photo.sidecar.licence.source
        known = Sidecar(licence=Licence(source=source)) if source in self.taken_down else Sidecar()
        return Photo(photo.id, photo.path, photo.width, photo.height, known, fingerprint=photo.fingerprint)


def idle(taken_down: Iterable[str], messages: Iterable[str]) -> list[str]:
    """The names in ``taken_down`` that no photo was rejected for, sorted; ``messages``: those of takedown rejects.

    >>> idle({"a", "b", "c.png"}, ["a | https://x was taken down", "c was taken down"])
    ['b', 'c.png']
    """
    met = {name for message in messages for name in message.removesuffix(_TAKEN).split(_BETWEEN)}
    return sorted(set(taken_down) - met)


def licence_family(licence: str) -> str:
    """What a licence asks for, in short; empty where its name does not say.

    >>> [licence_family(name) for name in ("CC-BY-4.0", "Attribution-NonCommercial License", "CC0-1.0", "mine")]
    ['by', 'by-nc', 'cc0', '']
    """
    told = licence.lower()
    for pattern, family in NAMES:
        if re.search(pattern, told):
            return family
    for words, short in (("attribution", "by"), ("noncommercial", "nc"), ("sharealike", "sa"), ("noderiv[a-z]*", "nd")):
        told = re.sub(words, short, told)
    parts = re.findall(r"\b(by|nc|sa|nd)\b", told)
    family = "-".join(part for part in ("by", "nc", "sa", "nd") if part in parts)
    return family if family in FAMILIES else ""


def read_screen(licences: str, taken_down: Path | None) -> Screen:
    """Licences separated by commas, and a file with one id or source (or URL) per line, # for comments."""
    names = tuple(sorted(filter(None, (name.strip().lower() for name in licences.split(",")))))
    if taken_down is None:
        return Screen(names)
    try:
        lines = taken_down.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{taken_down}: not a list that can be read ({error})") from error
    kept = (line.strip() for line in lines if not line.lstrip().startswith("#"))
    return Screen(names, frozenset(filter(None, kept)))
