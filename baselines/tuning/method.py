"""What a tuned method is: options over a preset, one fit per subject or pair, weights kept as safetensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from safetensors.torch import load_file, save_file

from baselines.tuning.batches import Batches, Photos
from baselines.tuning.loop import Course, Task, Tuner, replace, tune
from baselines.tuning.prior import class_images, pictures_in
from baselines.tuning.recipe import Recipe, changed, preset_name, presets
from fcbench import sampling
from fcbench.errors import UsageError, WeightsError, one_line
from fcbench.types import Capabilities, Image, Prompt, Stack, Subject

PHOTOS = 5
"""Photos of each subject, as in the paper's comparison: with one, a tuned method copies it."""

MOST_SUBJECTS = 2
"""As many as any reference script was used with."""

STATE = "state.pt"
"""What a killed fit goes on from, in its work folder."""


HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}
"""Number formats by the names that the reference scripts give them."""


@dataclass(frozen=True)
class Weights:
    """What a fit leaves: its tensors by name, for whom, and in which file they are kept."""

    subjects: tuple[Subject, ...]
    tensors: Mapping[str, torch.Tensor]
    file: str

    def save(self, folder: Path) -> None:
        """Write them as safetensors."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        replace(folder / self.file, lambda path: save_file(tensors, path))


@dataclass(frozen=True)
class TunedSampler:
    """Draws with what was tuned: ``stack`` has the tuned models in their roles, ``phrase`` names the subjects."""

    stack: Stack
    phrase: str
    steps: int
    guidance: float
    kept: tuple[Weights, ...]

    def __call__(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> list[Image]:
        """One picture for each (prompt, seed)."""
        text = sampling.encode_text(self.stack, [prompt.fill(self.phrase) for prompt in prompts])
        return sampling.draw(self.stack, lambda call: text, seeds, steps=self.steps, guidance=self.guidance)

    def save(self, folder: Path) -> None:
        """Write the weights; those of joined fits in a folder for each subject."""
        for weights in self.kept:
            place = folder if len(self.kept) == 1 else folder / weights.subjects[0].id
            place.mkdir(parents=True, exist_ok=True)
            weights.save(place)


@dataclass
class Tuned(ABC):
    """A method that is tuned on five photos.

    ``preset``: ``reference``, ``face``, ``mini`` or, for DreamBooth, ``text-encoder``; empty: the one named like the
    stack, else ``face``. 0 in ``tuning_steps``, ``learning_rate`` and ``prior_images``, an empty ``mixed_precision``
    and False in ``gradient_checkpointing`` mean the preset's; 0 in ``steps`` and ``guidance`` (of sampling) means the
    stack's.
    ``track``: ``reference`` computes as the script does; ``optimised`` keeps the VAE's means and deviations and frozen
    text embeddings, and takes fused AdamW, channels-last layout and, on a GPU, bfloat16.
    """

    preset: str = ""
    tuning_steps: int = 0
    learning_rate: float = 0.0
    prior_images: int = 0
    mixed_precision: Literal["", "fp16", "bf16"] = ""
    gradient_checkpointing: bool = False
    track: Literal["reference", "optimised"] = "optimised"
    steps: int = 0
    guidance: float = 0.0
    _class_folders: dict[tuple[str, ...], Path] = field(default_factory=dict, init=False, repr=False, compare=False)

    name: ClassVar[str]
    """The name of the entry point and the preset's file."""
    file: ClassVar[str]
    """Where a fit is kept."""

    @property
    def capabilities(self) -> Capabilities:
        """Two subjects, five photos each."""
        return Capabilities(max_subjects=MOST_SUBJECTS, needs_tuning=True, images_per_subject=PHOTOS, resumes=True)

    def recipe(self, stack: Stack) -> Recipe:
        """What is done on this stack: the preset and the options over it."""
        chosen = presets(self.name)[preset_name(self.preset, stack, self.name)]
        return changed(
            chosen,
            steps=self.tuning_steps,
            learning_rate=self.learning_rate,
            prior_images=self.prior_images,
            mixed_precision=self.mixed_precision,
            gradient_checkpointing=self.gradient_checkpointing,
        )

    def prepare(self, stack: Stack, noun: str, *, shelf: Path) -> Path | None:
        """The class images of a class word, in a folder of their own under ``shelf``; None: the recipe wants none."""
        recipe = self.recipe(stack)
        prompt = self.class_prompt(noun)
        if not (prompt and recipe.prior_weight):
            return None
        folder = class_images(
            stack,
            prompt,
            count=recipe.prior_images,
            steps=recipe.prior_steps,
            guidance=recipe.prior_guidance,
            shelf=shelf,
        )
        self._class_folders[_class_key(stack, noun)] = folder
        return folder

    def fit(self, stack: Stack, subjects: Sequence[Subject], *, seed: int, workdir: Path) -> TunedSampler:
        """Tune on the subjects' photos, together or one by one; goes on where it was killed."""
        self._refuse(subjects)
        if len(subjects) > 1 and self.capabilities.joins:
            return self.join(stack, [self._fit_alone(stack, subject, seed, workdir) for subject in subjects])
        if not (workdir / self.file).exists():
            self._train(stack, subjects, seed, workdir).save(workdir)
            (workdir / STATE).unlink(missing_ok=True)
        return self.load(stack, subjects, workdir)

    def load(self, stack: Stack, subjects: Sequence[Subject], folder: Path) -> TunedSampler:
        """A sampler of a fit that was kept in ``folder``. WeightsError for a file that does not fit."""
        file = folder / self.file
        if not file.exists() and len(subjects) > 1:
            return self.join(stack, [self.load(stack, [subject], folder / subject.id) for subject in subjects])
        try:
            return self.sampler(stack, [Weights(tuple(subjects), load_file(file), self.file)])
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            raise WeightsError(f"{file}: not kept by {self.name} on this stack ({one_line(error)})") from error
        except Exception as error:
            if type(error).__name__ != "SafetensorError":
                raise
            raise WeightsError(f"{file}: broken ({one_line(error)})") from error

    def join(self, stack: Stack, samplers: Sequence[TunedSampler]) -> TunedSampler:
        """One sampler of subjects that were fitted alone."""
        return self.sampler(stack, [weights for sampler in samplers for weights in sampler.kept])

    @abstractmethod
    def task(self, stack: Stack, subjects: Sequence[Subject], recipe: Recipe, seed: int) -> TuningTask:
        """The models to train and their loss."""

    @abstractmethod
    def photos(self, stack: Stack, subjects: Sequence[Subject], recipe: Recipe, priors: Sequence[list[Path]]) -> Photos:
        """The photos to train on; ``priors`` are the class images of each subject, none without prior preservation."""

    @abstractmethod
    def sampler(self, stack: Stack, fits: Sequence[Weights]) -> TunedSampler:
        """A sampler of one fit, or of several joined."""

    def class_prompt(self, noun: str) -> str:
        """What class images are drawn with; empty: the method wants none."""
        return ""

    def rate(self, recipe: Recipe) -> float:
        """The effective learning rate."""
        return recipe.learning_rate * (recipe.batch_size * recipe.accumulation if recipe.scale_lr else 1)

    def begin(
        self, stack: Stack, subjects: Sequence[Subject], priors: Sequence[list[Path]], *, seed: int
    ) -> tuple[TuningTask, Tuner, Batches]:
        """A fit before its first step: what is trained, what steps, and its batches. ``priors``: as ``photos``."""
        recipe, fast = self.recipe(stack), self.track == "optimised"
        for role in ("unet", "vae"):  # before copying, however drawing has laid it out: last bits depend on it
            sampling.laid_out(stack.role(role), torch.channels_last if fast else torch.contiguous_format)
        task = self.task(stack, subjects, recipe, seed)
        if recipe.gradient_checkpointing:
            task.checkpoint()
        photos = self.photos(stack, subjects, recipe, [folder for folder in priors if folder])
        batches = Batches(
            task.stack, photos, batch_size=recipe.batch_size, seed=seed, keep=fast, sample=recipe.sample_latents
        )
        course = Course(
            steps=recipe.steps_for(len(subjects)),
            learning_rate=self.rate(recipe),
            passes=batches.passes,
            accumulation=recipe.accumulation,
            clip=recipe.clip,
            schedule=recipe.schedule,
            autocast=self._autocast(recipe, stack),
            fused=fast,
        )
        return task, Tuner(task, course), batches

    def _train(self, stack: Stack, subjects: Sequence[Subject], seed: int, workdir: Path) -> Weights:
        priors = [self._class_images(stack, subject.noun, workdir) for subject in subjects]
        task, tuner, batches = self.begin(stack, subjects, priors, seed=seed)
        tune(tuner, batches, workdir / STATE, f"{self.name} {'+'.join(subject.id for subject in subjects)}")
        return Weights(tuple(subjects), task.weights(), self.file)

    def _autocast(self, recipe: Recipe, stack: Stack) -> torch.dtype | None:
        if recipe.mixed_precision:
            return HALVES[recipe.mixed_precision]
        if self.track != "optimised" or stack.device == "cpu":
            return None
        has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)  # emulated, it is only slow
        return torch.bfloat16 if has_bfloat16 else torch.float16

    def _class_images(self, stack: Stack, noun: str, workdir: Path) -> list[Path]:
        folder = self._class_folders.get(_class_key(stack, noun))
        if folder is None or not folder.is_dir():
            folder = self.prepare(stack, noun, shelf=workdir / "prepared")
        return pictures_in(folder) if folder else []

    def _fit_alone(self, stack: Stack, subject: Subject, seed: int, workdir: Path) -> TunedSampler:
        place = workdir / subject.id
        place.mkdir(parents=True, exist_ok=True)
        return self.fit(stack, [subject], seed=seed, workdir=place)

    def _refuse(self, subjects: Sequence[Subject]) -> None:
        if len(subjects) > MOST_SUBJECTS:
            raise UsageError(f"{self.name} draws {MOST_SUBJECTS} subjects at most, not {len(subjects)}")


def _class_key(stack: Stack, noun: str) -> tuple[str, ...]:
    return noun, stack.name, *stack.digests.values()


class TuningTask(Task, ABC):
    """A task that knows the stack to tokenize with, its models, and what to keep."""

    stack: Stack
    unet: Any
    text_encoder: Any = None
    """Its own, where it trains one or a row of one."""

    def checkpoint(self) -> None:
        """Have the models compute activations again in the backward pass, as the scripts' option does."""
        self.unet.enable_gradient_checkpointing()
        if self.text_encoder is not None:
            encoder = self.text_encoder  # transformers 5.17, the oldest that we take, has the old name alone
            enable = getattr(encoder, "activation_checkpointing_enable", None) or encoder.gradient_checkpointing_enable
            enable({"use_reentrant": False})

    @abstractmethod
    def weights(self) -> Mapping[str, torch.Tensor]:
        """What is kept of the fit."""


class Texts:
    """Text conditioning by the stack's frozen encoder; ``keep``: whether each text's is kept, not recomputed."""

    def __init__(self, stack: Stack, *, keep: bool) -> None:
        self._stack, self._keep = stack, keep
        self._known: dict[tuple[int, ...], torch.Tensor] = {}

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        """Ids (n, tokens) as the last hidden state (n, tokens, dim), without gradient."""
        if not self._keep:
            return sampling.encode_ids(self._stack, ids)
        rows = [tuple(row) for row in ids.tolist()]
        for row in dict.fromkeys(rows):
            if row not in self._known:
                self._known[row] = sampling.encode_ids(self._stack, torch.tensor([row], device=ids.device))
        return torch.cat([self._known[row] for row in rows])
