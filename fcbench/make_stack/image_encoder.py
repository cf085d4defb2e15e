"""The image encoder: a vision tower of CLIP's class, taught to see who somebody is.

CLIP's own has seen hundreds of millions of photos and knows hair, skin and faces when FastComposer begins; the small
contrastive pair of this stack learns from its captions what people wear and where they are, and hardly who they are
(LOG.md). So this tower is trained by itself: photos of one person lie together (supervised contrastive), and the
looks that the world drew the person from can be read off linearly.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from fcbench.fastcomposer.data import on_noise
from fcbench.fastcomposer.encoder import embed_subjects
from fcbench.images import pad_to_square, resize, to_tensor
from fcbench.loop import Clock, Stateful, cosine, run_steps
from fcbench.make_stack.arrays import read_arrays, write_arrays
from fcbench.make_stack.embedder import supervised_contrastive
from fcbench.make_stack.judge_scores import FIRST, area_under_curve
from fcbench.types import Image
from fcbench.world import TRAIN_PEOPLE, Person, draw_person, draw_scene, portrait, render
from fcbench.world.people import BEARDS, HAIR_STYLES

SIDE = 64
VIEWS = 4
"""Pictures of each person: two portraits, one alone in a scene, one cut out of a scene with others."""
PEOPLE = 32
"""People in a batch, two pictures each."""
_FIRST = 700_000
_STYLES = tuple(sorted({style for styles in HAIR_STYLES.values() for style in styles}))
_BEARDS = tuple(dict.fromkeys(BEARDS))
_GLASSES = ("none", "round", "square")


@dataclass(frozen=True)
class References:
    """Pictures like references, uint8 (people, VIEWS, 64, 64, 3), and the people's looks, float32 (people, n)."""

    pictures: npt.NDArray[np.uint8]
    looks: npt.NDArray[np.float32]


def new_image_encoder(dim: int) -> CLIPVisionModelWithProjection:
    """The untrained tower: three layers, 128 wide, over 8 px patches, projected to ``dim``."""
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=128,
            intermediate_size=512,
            num_hidden_layers=3,
            num_attention_heads=4,
            image_size=SIDE,
            patch_size=8,
            projection_dim=dim,
        )
    )


def looks(person: Person) -> list[float]:
    """What a person was drawn from, as numbers: colours in [0, 1], lengths, and one number for each kind."""
    bald = person.hair_style == "bald"
    colours = [*person.skin, *((0, 0, 0) if bald else person.hair), *person.eye]
    lengths = [person.hair_volume, person.hair_length, person.face_width, person.face_height, person.jaw]
    lengths += [person.eye_size, person.eye_spacing, person.eye_height, person.brow_thickness, person.brow_tilt]
    lengths += [person.nose_width, person.nose_length, person.mouth_width, person.lip, person.ears, person.blush]
    kinds = [bald, person.noun == "man", person.freckles]
    kinds += [person.hair_style == style for style in _STYLES]
    kinds += [person.beard == beard for beard in _BEARDS] + [person.glasses == glasses for glasses in _GLASSES]
    return [*(channel / 255 for channel in colours), *lengths, *map(float, kinds)]


def draw_references(people: int, *, seed: int) -> References:
    """VIEWS pictures of each of ``people`` training people."""
    pictures = np.empty((people, VIEWS, SIDE, SIDE, 3), np.uint8)
    for row in range(people):
        for view in range(VIEWS):
            pictures[row, view] = _view(_person(row), view, Random(f"reference {seed} {row} {view}"))
    found = np.array([looks(_person(row)) for row in range(people)], np.float32)
    return References(pictures, (found - found.mean(0)) / np.maximum(found.std(0), 1e-6))


def kept_references(people: int, work: Path, *, seed: int) -> References:
    """What :func:`draw_references` draws, drawn once into ``work``."""
    file = work / f"references-{people}.npz"
    if not file.exists():
        print(f"references: drawing {people} people {VIEWS} times", file=sys.stderr, flush=True)
        write_arrays(file, vars(draw_references(people, seed=seed)))
    return References(**read_arrays(file))


def train_image_encoder(
    references: References, work: Path, clock: Clock, *, dim: int, steps: int, seed: int
) -> CLIPVisionModelWithProjection:
    """Train the tower on ``references``; the linear reading of looks is thrown away afterwards."""
    torch.manual_seed(seed)
    encoder = new_image_encoder(dim)
    reading = nn.Linear(dim, references.looks.shape[1])
    both = nn.ModuleList([encoder, reading])
    optimiser = torch.optim.AdamW(both.parameters(), lr=1.5e-3, weight_decay=0.05, betas=(0.9, 0.98), fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: cosine(k, steps))
    person = torch.arange(PEOPLE).repeat_interleave(2)

    def step(k: int) -> dict[str, float]:
        random = np.random.default_rng((seed, k))
        rows = random.choice(len(references.pictures), PEOPLE, replace=False).repeat(2)
        views = random.permuted(np.tile(np.arange(VIEWS), (PEOPLE, 1)), axis=1)[:, :2].ravel()
        batch = to_tensor(list(references.pictures[rows, views]))
        mirrored = torch.from_numpy(random.random(len(rows)) < 0.5)
        batch = torch.where(mirrored[:, None, None, None], batch.flip(-1), batch)
        embeds = embed_subjects(encoder, batch)
        truth = torch.from_numpy(references.looks[rows])
        read = functional.mse_loss(reading(embeds), truth)
        alike = supervised_contrastive(embeds, person)
        loss = read + 0.1 * alike
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(both.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        return {"looks": read.item(), "alike": alike.item()}

    state: dict[str, Stateful] = {"model": both, "optimiser": optimiser, "schedule": schedule}
    run_steps("image_encoder", steps, step, state, work / "image_encoder.pt", clock)
    return encoder.eval()


@torch.no_grad()
def encoder_scores(encoder: CLIPVisionModelWithProjection, *, people: int = 300) -> dict[str, float]:
    """How well a tower recognises unseen people in a second portrait, by the cosine of centred embeddings.

    ``auc``: how often a person is nearer to herself than to somebody else; ``top1``: how often nearest of all.
    """
    portraits = [
        [render(portrait(draw_person(FIRST + number), view)).image for number in range(people)] for view in (0, 1)
    ]
    first, second = (embed_subjects(encoder, to_tensor(pictures)).double() for pictures in portraits)
    middle = first.mean(dim=0)
    cosines = functional.normalize(first - middle) @ functional.normalize(second - middle).T
    itself = torch.eye(people, dtype=torch.bool)
    nearest = cosines.argmax(dim=1) == torch.arange(people)
    return {
        "auc": area_under_curve(cosines[itself].numpy(), cosines[~itself].numpy()),
        "top1": float(nearest.double().mean()),
    }


def _person(row: int) -> Person:
    return draw_person(TRAIN_PEOPLE[_FIRST + row])


def _view(person: Person, view: int, random: Random) -> Image:
    if view < 2:
        return render(portrait(person, random.randrange(1 << 20))).image
    others = [draw_person(random.choice(TRAIN_PEOPLE)) for _ in range(random.choice((1, 1, 2)) if view > 2 else 0)]
    drawn = render(draw_scene([person, *others], random.randrange(1 << 30)))
    figure = drawn.figures[0]
    if not others or not figure.mask.any():
        return drawn.image
    return resize(pad_to_square(on_noise(drawn.image, figure.mask, figure.box, random)), SIDE)
