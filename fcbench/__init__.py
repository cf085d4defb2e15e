"""Evaluation benchmark and dataset toolkit for subject-driven text-to-image generation around FastComposer.

The nouns are imported when they are first asked for: they need numpy, which ``fcbench --help`` does not.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fcbench.errors import (
    DataError,
    DivergedError,
    FcbenchError,
    MethodError,
    MissingError,
    OutOfTimeError,
    UsageError,
    WeightsError,
)

if TYPE_CHECKING:
    from fcbench.types import (
        Capabilities,
        Captioner,
        Case,
        Generation,
        Grounder,
        Joining,
        Matcher,
        Method,
        Metric,
        Preparing,
        Prompt,
        Region,
        Resolving,
        Sampler,
        Score,
        Scorer,
        Segmenter,
        SentenceEncoder,
        Stack,
        Subject,
    )

__version__ = "0.1.0"

__all__ = [
    "Capabilities",
    "Captioner",
    "Case",
    "DataError",
    "DivergedError",
    "FcbenchError",
    "Generation",
    "Grounder",
    "Joining",
    "Matcher",
    "Method",
    "MethodError",
    "Metric",
    "MissingError",
    "OutOfTimeError",
    "Preparing",
    "Prompt",
    "Region",
    "Resolving",
    "Sampler",
    "Score",
    "Scorer",
    "Segmenter",
    "SentenceEncoder",
    "Stack",
    "Subject",
    "UsageError",
    "WeightsError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("fcbench.types"), name)
