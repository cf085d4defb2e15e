"""YAML files, read into models that refuse what they do not know.

Suites and recipes lie in ``datasets/``, in a checkout beside the package and in a wheel inside it: ``shipped`` finds
both. Each is given either by its name (``mini-single``) or by a path to a YAML file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import comb
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from fcbench.errors import DataError, UsageError, did_you_mean, one_line
from fcbench.types import Prompt
from fcbench.wording import KEBAB, explain

Name: TypeAlias = Annotated[str, Field(pattern=f"^{KEBAB}$")]
"""Kebab-case, as it becomes part of file names."""


Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
"""A probability."""


class Closed(BaseModel):
    """A frozen model in which an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


LONGEST = 236
"""Most characters of a case's name: the 255 of a file's name, less ``.json`` and the mark of a half-written file."""

Model = TypeVar("Model", bound=BaseModel)


class WorldPeople(Closed):
    """Subjects drawn by the miniature world: ``count`` people from number ``first`` on, ``photos`` of each."""

    source: Literal["world"]
    first: int = Field(ge=0)
    count: int = Field(ge=1)
    photos: int = Field(default=5, ge=1)


class FolderPeople(Closed):
    """Subjects photographed: one folder each under ``path``, the reference first by file name."""

    source: Literal["folder"]
    path: Path
    """Looked for beside the YAML file, else in the working folder."""
    nouns: dict[str, str] = Field(min_length=1)
    """The class word of each subject, by the name of its folder."""

    @field_validator("nouns")
    @classmethod
    def _people_can_be_named(cls, nouns: dict[str, str]) -> dict[str, str]:
        for name, noun in nouns.items():
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
                raise ValueError(f"{name!r}: name a person's folder with letters (a-z), digits, - and _ only")
            if not noun.strip():
                raise ValueError(f"{name!r} has no class word: say what prompts call them, as in woman or man")
        return nouns

    @field_validator("path")
    @classmethod
    def _beside_the_file(cls, path: Path, info: ValidationInfo) -> Path:
        folder: Path = (info.context or {}).get("folder", Path())
        return folder / path if (folder / path).exists() else path


class Suite(Closed):
    """Subjects x prompts x seeds. ``group`` subjects share a picture; ``pairs`` or ``trios`` says how many groups."""

    name: Name
    stack: str = "mini"
    subjects: Annotated[WorldPeople | FolderPeople, Field(discriminator="source")]
    group: Literal[1, 2, 3] = 1
    pairs: int | None = Field(default=None, ge=1)
    trios: int | None = Field(default=None, ge=1)
    prompts: tuple[Prompt, ...] = Field(min_length=1)
    seeds: tuple[Annotated[int, Field(ge=-(2**63), lt=2**63)], ...] = Field(default=(0,), min_length=1)
    options: dict[str, dict[str, str | int | float]] = Field(default_factory=dict)
    """By method, its options in this suite, unless a run sets them otherwise."""
    note: str = ""
    """What a reader of the leaderboard must know of the suite."""
    _file: str = PrivateAttr("")

    @property
    def asked_as(self) -> str:
        """What ``--suite`` finds it by: the file it was read from, or its name if it ships."""
        return self._file or self.name

    def options_of(self, method: str, given: Mapping[str, str]) -> dict[str, str]:
        """A method's options, as text: the suite's, overridden by those ``given``."""
        return {key: str(value) for key, value in self.options.get(method, {}).items()} | dict(given)

    @field_validator("prompts")
    @classmethod
    def _prompts_have_one_slot_and_their_own_id(cls, prompts: tuple[Prompt, ...]) -> tuple[Prompt, ...]:
        for prompt in prompts:
            if not re.fullmatch(KEBAB, prompt.id):
                raise ValueError(f"prompt id {prompt.id!r} must be kebab-case: it becomes a file name")
            if prompt.text.count("{}") != 1:
                raise ValueError(f"prompt {prompt.id!r} must hold {{}} once, for the subjects: {prompt.text!r}")
            if re.search(r"\{\}[^\W\d_]", prompt.text):  # the noun would be no word of its own, nor have its token
                raise ValueError(
                    f"prompt {prompt.id!r}: a letter right behind {{}} makes another word: {prompt.text!r}"
                )
        _refuse_twice([prompt.id for prompt in prompts])
        return prompts

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        _refuse_twice(seeds)
        return seeds

    @property
    def groups(self) -> int:
        """How many groups of ``group`` subjects are drawn."""
        return self._people if self.group == 1 else self.pairs or self.trios or 0

    @model_validator(mode="after")
    def _groups_are_counted_by_their_own_name(self) -> Suite:
        for size, name in ((2, "pairs"), (3, "trios")):
            wanted, most = getattr(self, name), comb(self._people, size)
            if self.group == size and wanted is None:
                raise ValueError(f"group: {size} needs {name}, how many of them")
            if self.group != size and wanted is not None:
                raise ValueError(f"{name} are of group: {size}, which is {self.group} here")
            if wanted is not None and wanted > most:
                raise ValueError(f"{self._people} subjects make {most} {name}, not {wanted}")
        return self

    @model_validator(mode="after")
    def _cases_can_name_files(self) -> Suite:
        people = self.subjects
        if isinstance(people, FolderPeople):
            ids = list(people.nouns)
        else:
            ids = [f"p{people.first + people.count - 1:07d}"] * self.group  # as fcbench.world names them
        prompt = max((prompt.id for prompt in self.prompts), key=len)
        longest = f"{'+'.join(sorted(ids, key=len)[-self.group :])}.{prompt}.{max(self.seeds)}"
        if len(longest) > LONGEST:
            raise ValueError(
                f"a picture would have a name of {len(longest)} characters, {LONGEST} are the most: shorten the prompt "
                f"id {prompt!r} or the names of people's folders"
            )
        return self

    @property
    def _people(self) -> int:
        return self.subjects.count if isinstance(self.subjects, WorldPeople) else len(self.subjects.nouns)


class Recipe(Closed):
    """How FastComposer is trained. The paper's recipe is ``recipes/paper.yaml``: not all defaults are its values.

    Probabilities are shares of the training pictures. ``text_only`` is 0 in the published script, 0.1 in the paper.
    """

    name: Name
    stack: str = "mini"
    start: str = ""
    """A FastComposer checkpoint to start from, as ``run`` takes them, or ``stack`` for the stack's own; empty: the
    stack's denoiser and image encoder, and a fusion module that begins from nothing."""
    steps: int = Field(default=150_000, ge=1)
    batch_size: int = Field(default=128, ge=1)
    """Pictures per step, over all processes."""
    accumulation: int = Field(default=1, ge=1)
    """In how many parts, one after the other, each process takes its share of a batch."""
    learning_rate: float = Field(default=1e-5, gt=0)
    vision_learning_rate: float | None = Field(default=None, gt=0)
    """Of the image encoder; the same as the rest where none is given."""
    schedule: Literal["constant", "cosine"] = "constant"
    optimiser: Literal["adamw", "adamw-fused", "adamw-8bit"] = "adamw-fused"
    """``adamw-8bit`` keeps its moments in 8 bits and needs bitsandbytes."""
    average: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the weights' exponential moving average; 0 keeps none."""
    vision_layers: int = Field(default=2, ge=0)
    """How many of the image encoder's last layers are trained."""
    min_margin: float = Field(default=0.0, ge=0)
    """Segments whose phrase won by less than this margin are no subjects; their photo stays. 0 keeps all."""
    max_subjects: int = Field(default=4, ge=1)
    oversample: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = {}
    """How many times as often photos are drawn whose caption matches a pattern (of Python's ``re``, ignoring case), as
    in ``{black and white: 4}``; where it matches several, the largest number counts."""
    subject_drop: Share = 0.1
    text_only: Share = 0.1
    unconditional: Share = 0.1
    other_photo: Share = 0.0
    """How often a subject's reference is taken from another photo of the same person, where there is one."""
    whole_photo: Share = 0.0
    """How often a reference with nobody else in it is taken whole, as in sampling, rather than cut out."""
    mirror: Share = 0.0
    """How often a photo is mirrored, its subjects' masks with it; the published script mirrors every second one."""
    sample_latents: bool = False
    """Whether a photo's latents are drawn from their distribution each time, as the published script does, or are its
    mean."""
    augment: bool = False
    """Whether references are rotated, recoloured, blurred and bent, as the published script does."""
    masked_loss: Share = 0.5
    """How often the loss is taken on the subjects alone."""
    masked_loss_per: Literal["batch", "sample"] = "batch"
    """Whether that is drawn once for all pictures that a process takes together, or for each picture."""
    localization_weight: float = Field(default=1e-3, ge=0)
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the forward pass; weights and their updates are float32. ``auto``: bfloat16 where the device has it."""
    tf32: bool = True
    """On CUDA, whether float32 products may be rounded to TF32."""
    gradient_checkpointing: bool = False
    """Whether the denoiser computes its activations again in the backward pass: less memory, more time."""
    seed: int = 0
    save_every: int = Field(default=0, ge=0)
    """Steps between checkpoints on the way; 0: none. A state to go on from is kept about every minute."""
    keep: int = Field(default=1, ge=0)
    """How many checkpoints on the way are kept: the newest."""
    sample_every: int = Field(default=0, ge=0)
    """Steps between sheets of samples; 0 draws none."""
    validate_every: int = Field(default=0, ge=0)
    """Steps between losses on photos of the validation split; 0 takes none."""
    wandb: str = ""
    """Project of Weights & Biases that the scalars are sent to as well; empty: none."""

    @field_validator("oversample", mode="before")
    @classmethod
    def _read(cls, told: object) -> object:
        """The mapping in ``--set oversample="{watercolor: 3}"``."""
        try:
            return yaml.safe_load(told) if isinstance(told, str) else told
        except yaml.YAMLError:
            return told

    @field_validator("oversample")
    @classmethod
    def _compile(cls, told: dict[str, float]) -> dict[str, float]:
        for pattern in told:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no pattern: {error}") from error
        return told

    @property
    def what_is_learned(self) -> dict[str, Any]:
        """The keys that decide which weights come out; with others changed, a stopped training may go on.

        Not ``start``: what lies there decides, and is told apart by its digest.
        """
        beside = {"save_every", "keep", "sample_every", "validate_every", "wandb"}
        return self.model_dump(exclude={"start", "accumulation", "precision", "gradient_checkpointing"} | beside)


class Collection(Closed):
    """Suites that belong together, run and reported one after the other."""

    name: Name
    suites: tuple[str, ...] = Field(min_length=1)


def load_yaml(name_or_path: str | Path, model: type[Model], folder: str = "suites") -> Model:
    """Read a YAML file, given by its path or by its name in ``datasets/<folder>``, into ``model``.

    Raises UsageError for a name or key that does not exist or a value that does not fit, DataError for broken YAML.
    """
    path = find_yaml(name_or_path, folder)
    return validate(read_yaml(path), model, path)


def find_yaml(name_or_path: str | Path, folder: str) -> Path:
    """The path of a shipped YAML file by its name, or of the user's by its path; UsageError if there is none."""
    text = str(name_or_path)
    known = names(folder)
    if text.removesuffix(".yaml") in known and not Path(text).is_file():
        text = text.removesuffix(".yaml")
    if text.endswith((".yaml", ".yml")) or "/" in text:
        if not Path(text).is_file():
            raise UsageError(f"{text}: no such file")
        return Path(text)
    if text not in known:
        beside = next((f"{text}{end}" for end in (".yaml", ".yml") if Path(f"{text}{end}").is_file()), None)
        if beside:
            raise UsageError(f"no {text!r} in datasets/{folder}: for the file here say {beside}")
        raise UsageError(f"no {text!r} in datasets/{folder}: {did_you_mean(text, known)}")
    return shipped("datasets") / folder / f"{text}.yaml"


def names(folder: str) -> list[str]:
    """The names of the YAML files shipped in ``datasets/<folder>``, sorted."""
    return sorted(path.stem for path in (shipped("datasets") / folder).glob("*.yaml"))


def shipped(folder: str) -> Path:
    """``datasets``, ``reports`` or ``docs``: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "_data" / folder
    return installed if installed.is_dir() else package.parent / folder


def read_yaml(path: Path) -> Any:
    """Plain data from a YAML file; DataError names a file that is not YAML or has a key twice, and the line."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise DataError(f"{path}{line}: not valid YAML ({error.problem})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not valid YAML ({one_line(error, 400)})") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """As ``safe_load``, but a key that is there twice is an error: the last one does not win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in keys:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} is there twice", key.start_mark
                    )
                keys.add(key.value)
        read: dict[Any, Any] = super().construct_mapping(node, deep)
        return read


def validate(data: Any, model: type[Model], path: Path) -> Model:
    """Plain data as ``model``; UsageError names the file, the first wrong key and what was meant."""
    if not isinstance(data, dict):
        raise UsageError(f"{path}: expected keys and values ({', '.join(model.model_fields)})")
    try:
        return model.model_validate(data, context={"folder": path.parent})
    except ValidationError as error:
        raise UsageError(f"{path}: {explain(error.errors(), data, model)}") from error


def set_keys(recipe: Recipe, settings: Mapping[str, str]) -> Recipe:
    """The recipe with some keys set to what a text says; UsageError names the first wrong one and what was meant."""
    for key, text in settings.items():
        data = {**recipe.model_dump(), key: text}
        try:
            recipe = Recipe.model_validate(data)
        except ValidationError as error:
            raise UsageError(f"--set {key}={text}: {explain(error.errors(), data, Recipe)}") from error
    return recipe


def load_suites(name_or_path: str | Path) -> list[Suite]:
    """The suite of that name or path, or all suites of a collection, in its order."""
    return list(_suites(find_yaml(name_or_path, "suites"), ()))


def _suites(path: Path, within: tuple[Path, ...]) -> Iterator[Suite]:
    if path in within:
        raise UsageError(f"{path}: a collection that holds itself")
    data = read_yaml(path)
    if not (isinstance(data, dict) and "suites" in data):
        suite = validate(data, Suite, path)
        if path.parent != shipped("datasets") / "suites":
            suite._file = str(path)
        yield suite
        return
    for member in validate(data, Collection, path).suites:
        beside = path.parent / f"{member}.yaml"
        yield from _suites(beside if beside.is_file() else find_yaml(member, "suites"), (*within, path))


def _refuse_twice(values: list[str] | tuple[int, ...]) -> None:
    seen: set[str | int] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{value!r} is there twice")
        seen.add(value)
