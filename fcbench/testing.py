"""The contract of methods, metrics and stacks, as checks that plug-in authors run in their own tests.

::

    def test_my_method_keeps_the_contract(tmp_path):
        check_method(MyMethod(steps=2), load_stack("mini"), subjects, tmp_path)

Each raises AssertionError with what was broken. On a CPU a picture drawn again must be the same, bit for bit.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fcbench.errors import MissingError, UsageError
from fcbench.metrics.contract import ContractError, checked_rows
from fcbench.types import GENERATING, ROLES, Generation, Image, Method, Metric, Prompt, Sampler, Stack, Subject

PROMPTS = (Prompt("snow", "{} in the snow", "context"), Prompt("red-hat", "{} wearing a red hat", "accessory"))


def check_method(method: Method, stack: Stack, subjects: Sequence[Subject], folder: Path) -> None:
    """Fit to each number of ``subjects`` that the method takes, and check what it draws; writes under ``folder``."""
    _check_options(method)
    most = method.capabilities.max_subjects
    before = weights_digest(stack)
    for count in range(1, len(subjects) + 1):
        if most is not None and count > most:
            continue
        _check_fit(method, stack, subjects[:count], folder / str(count))
    if most is not None:
        too_many = [dataclasses.replace(subjects[0], id=f"subject{i}") for i in range(most + 1)]
        fit = partial(method.fit, stack, too_many, seed=0, workdir=_new(folder / "many"))
        _raises(UsageError, fit, f"{most + 1} subjects are too many for fit")
    assert weights_digest(stack) == before, "the method changed the stack's weights"


def _check_options(method: Method) -> None:
    facts = method.capabilities
    assert facts == method.capabilities, "capabilities must be constant"
    assert facts.max_subjects is None or facts.max_subjects >= 1, "max_subjects must be at least 1, or None"
    assert facts.images_per_subject >= 0, "images_per_subject must not be negative"
    assert isinstance(facts.sees, tuple), 'sees must be a tuple of names: ("insightface",)'
    plugin: Any = method
    if dataclasses.is_dataclass(plugin) and not isinstance(plugin, type):
        options = {field.name: getattr(plugin, field.name) for field in dataclasses.fields(plugin) if field.init}
        again = dataclasses.replace(plugin, **json.loads(json.dumps(options)))
        assert again == plugin, f"the options must survive JSON, as run.json keeps them: {options}"


def _check_fit(method: Method, stack: Stack, subjects: Sequence[Subject], folder: Path) -> None:
    before = weights_digest(stack)
    sampler = method.fit(stack, subjects, seed=1, workdir=_new(folder / "first"))
    assert weights_digest(stack) == before, "fit must leave every weight of the stack as it was"
    picture = _draw(sampler, PROMPTS[0], 1)
    _check_picture(picture, stack.image_size)
    assert np.array_equal(_draw(sampler, PROMPTS[0], 1), picture), "the same prompt and seed gave another picture"
    assert not np.array_equal(_draw(sampler, PROMPTS[0], 2), picture), "another seed gave the same picture"
    _check_batch(sampler)
    again = method.fit(stack, subjects, seed=1, workdir=_new(folder / "again"))
    assert np.array_equal(_draw(again, PROMPTS[0], 1), picture), (
        "fitted again with the same seed, it drew another picture"
    )
    kept = _new(folder / "kept")
    sampler.save(kept)
    if method.capabilities.needs_tuning:
        assert any(path.is_file() for path in kept.rglob("*")), "save() wrote nothing, though the method is tuned"


def _check_picture(picture: Image, size: int) -> None:
    assert picture.dtype == np.uint8, f"a picture is uint8, not {picture.dtype}"
    assert picture.shape == (size, size, 3), f"a picture is ({size}, {size}, 3), not {picture.shape}"


def _check_batch(sampler: Sampler) -> None:
    """Check that a batch gives as many pictures, in order: each is nearest to the one that was drawn alone."""
    wanted = [(PROMPTS[0], 1), (PROMPTS[1], 2), (PROMPTS[0], 3)]
    alone = np.stack([_draw(sampler, prompt, seed) for prompt, seed in wanted]).astype(np.float64)
    batch = sampler([prompt for prompt, _ in wanted], [seed for _, seed in wanted])
    assert len(batch) == len(wanted), f"{len(wanted)} prompts gave {len(batch)} pictures"
    for place, picture in enumerate(batch):
        distances = np.abs(alone - picture).mean(axis=(1, 2, 3))
        assert distances[place] == distances.min(), f"picture {place} of a batch is not the one asked for"


def check_metric(metric: Metric, stack: Stack, generations: Sequence[Generation]) -> None:
    """Score ``generations`` (two at least, different) and check what comes back."""
    low, high = metric.range
    assert metric.name, "a metric needs a name"
    assert isinstance(metric.unit, str), "unit must be text; empty, if there is none"
    assert low < high, f"the range must go up: {metric.range}"
    assert isinstance(metric.higher_is_better, bool), "higher_is_better must be True or False"
    rows = metric(stack, generations)
    try:
        checked_rows(metric, [generation.case.id for generation in generations], rows)
    except ContractError as error:
        raise AssertionError(f"{metric.name} {error}") from error
    for row in rows:
        value = row[metric.name].value
        assert value is None or low <= value <= high, f"{value} is outside of {metric.range}"
    assert metric(stack, generations) == rows, "the same generations gave other scores"
    assert metric(stack, generations[::-1]) == rows[::-1], "scores must follow the order of the generations"
    assert metric(stack, []) == [], "no generations must give no rows"


def check_stack(stack: Stack) -> None:
    """Load every role that the stack names and check that it is whole."""
    assert stack.image_size > 0, "image_size is in pixels"
    for role in (*stack.load, *stack.digests):
        assert role in ROLES, f"no role is called {role!r}"
    for role in stack.load:
        assert stack.role(role) is stack.role(role), f"{role} must be loaded once"
        assert stack.random_weights or role in stack.digests, f"{role}: digests must name its weights"
    for role in set(ROLES) - set(stack.load):
        _raises(MissingError, partial(stack.role, role), f"the stack has no {role}")
    _raises(UsageError, partial(stack.role, "no-such-role"), "an unknown role")


def weights_digest(stack: Stack) -> str:
    """Sha256 over all parameters and buffers, their names and modes, of the roles that generate."""
    import torch

    digest = hashlib.sha256()
    for role in GENERATING:
        model = stack.role(role) if role in stack.load else None
        if isinstance(model, torch.nn.Module):
            digest.update(f"{role} training={model.training}".encode())
            for name, tensor in model.state_dict().items():
                digest.update(name.encode())
                digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _draw(sampler: Sampler, prompt: Prompt, seed: int) -> Image:
    pictures = sampler([prompt], [seed])
    assert len(pictures) == 1, f"one prompt gave {len(pictures)} pictures"
    return pictures[0]


def _new(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _raises(error: type[Exception], call: Callable[[], object], what: str) -> None:
    try:
        call()
    except error:
        return
    raise AssertionError(f"{what}: it must raise {error.__name__}")
