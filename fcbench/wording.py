"""What pydantic finds wrong with the data of a YAML file, in words for whoever wrote it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from fcbench.errors import did_you_mean

KEBAB = r"[a-z0-9]+(-[a-z0-9]+)*"
"""Names that files may be called by."""

_IN_WORDS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "too_short": lambda told: f"expected {told['min_length']} at least, found {told['actual_length']}",
    "tuple_type": lambda _: "expected a list",
    "list_type": lambda _: "expected a list",
    "dict_type": lambda _: "expected keys and values",
    "union_tag_invalid": lambda told: f"expected one of {told['expected_tags']}, found {told['tag']!r}",
    "union_tag_not_found": lambda told: f"the key {told['discriminator']} is missing",
    "string_pattern_mismatch": lambda told: (
        "expected " + ("small letters and digits, hyphens between" if KEBAB in told["pattern"] else told["pattern"])
    ),
}
"""What pydantic says of Python's types, in words for a YAML file."""


def explain(errors: list[ErrorDetails], data: Any, model: type[BaseModel]) -> str:
    """The first error in words; an unknown key goes first, as it is why another one is missing."""
    unknown = ("extra_forbidden", "unexpected_keyword_argument")
    error = min(errors, key=lambda e: e["type"] not in unknown)
    where = ".".join(map(str, _keys(error["loc"], data)))
    if error["type"] in unknown:
        known = _known_keys(model, nested=len(error["loc"]) > 1)
        return f"unknown key {where!r}: {did_you_mean(str(error['loc'][-1]), known)}"
    if error["type"] in ("missing", "missing_argument"):
        return f"the key {where!r} is missing"
    words = _IN_WORDS.get(error["type"])
    message = words(error.get("ctx", {})) if words else error["msg"].removeprefix("Value error, ")
    if error["type"] == "string_type" and isinstance(error["input"], (bool, int, float)):
        message += f"; YAML reads it as {error['input']}: put it in quotes"
    return f"{where}: {message}" if where else message


def _keys(location: tuple[int | str, ...], data: Any) -> Iterator[int | str]:
    """The keys on the way to an error, without pydantic's own marks of which member of a union it tried."""
    for place, part in enumerate(location):
        children: Any = dict(enumerate(data)) if isinstance(data, list) else data
        if isinstance(children, dict) and part not in children and place < len(location) - 1:
            continue
        yield part
        data = children.get(part) if isinstance(children, dict) else None


def _known_keys(model: type[BaseModel], *, nested: bool) -> set[str]:
    schema = model.model_json_schema()
    places = schema.get("$defs", {}).values() if nested else [schema]
    return {key for place in places for key in place.get("properties", {})}
