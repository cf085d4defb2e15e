"""What labelling a photo costs at full size, and how much of it is not the models: the roles of ``sd15``, untrained.

Drawn photos of 1536 px, a folder of JPEG files, become working copies of 1024 px and go through every step. Segmenter,
matcher and sentence encoder have the architectures of ``sd15``'s published weights, with random ones; the captioner is
a BLIP, which a CPU can bear, or BLIP-2. They compute in full, and what they say is replaced by what trained ones would
say, the truth. Parser and face pack are the miniature's, with faces looked for at the sizes of ``sd15``. Only a model's
own forward pass or search counts as inside it (for parser and faces, the whole call): reading, scaling, cutting out,
masks and tables are outside. One process; nothing else should run.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from build_speed import Clock, steps_of
from PIL import Image as Pillow
from torch import Tensor
from torch.nn import functional

from fcbench.build import build_data
from fcbench.build.pipeline import Options
from fcbench.build.shard import device_name
from fcbench.make_stack.captioner import new_tokenizer
from fcbench.make_stack.pool import unseen_scene
from fcbench.stacks import load_stack
from fcbench.stacks.captioner import Blip
from fcbench.stacks.clip import Clip
from fcbench.stacks.clip_score import ClipScore
from fcbench.stacks.faces import load_faces
from fcbench.stacks.initial import initialising
from fcbench.stacks.loading import precision
from fcbench.stacks.mask2former import COCO_THINGS, Mask2Former
from fcbench.stacks.sentences import Sentences
from fcbench.types import Image, Mask, Region, Stack
from fcbench.weights import quiet
from fcbench.world import render, tell

DRAWN, WORKING = 1536, 1024
"""Pixels of a photo's shorter side, and of its working copy's."""
QUERIES, LABELS = 200, 133
"""Of COCO's panoptic Mask2Former."""
BLIP2_SIZE = 364
"""Input pixels of the weights tuned on COCO; others have 224."""
TOKENS = 12
"""Length of a caption, about BLIP's for a photo: a search with random weights would not end it."""
ROLES = {
    "caption": ("captioner",),
    "phrases": ("parser",),
    "segment": ("segmenter",),
    "quality": ("faces",),
    "match": ("matcher", "sentences"),
    "score": ("scorer",),
}
"""Step -> its roles, as in ``fcbench.build.steps``."""


class Truth:
    """What each photo shows; a photo is recognised by how it looks."""

    def __init__(self, photos: int, device: str) -> None:
        scenes = [unseen_scene(number) for number in range(photos)]
        drawn = [render(scene, WORKING) for scene in scenes]
        self._seen = np.stack([_small(picture.image) for picture in drawn])
        self.captions = [tell(scene).text for scene in scenes]
        self.segments = [_queries([figure.mask for figure in picture.figures], device) for picture in drawn]

    def index(self, image: Image) -> int:
        """Which photo this is a copy of."""
        return int(np.abs(self._seen - _small(image)).mean((1, 2, 3)).argmin())


class ToldCaptioner:
    """Computes captions in full, and gives the true ones."""

    def __init__(self, captioner: Blip, truth: Truth) -> None:
        self._captioner, self._truth = captioner, truth

    def captions(self, images: Sequence[Image]) -> list[str]:
        """A caption for each picture."""
        self._captioner.captions(images)
        return [self._truth.captions[self._truth.index(image)] for image in images]


class ToldSegmenter:
    """Segments in full, with queries that answer what is there."""

    def __init__(self, segmenter: Mask2Former, model: ToldQueries, truth: Truth) -> None:
        self._segmenter, self._model, self._truth = segmenter, model, truth

    def regions(self, images: Sequence[Image]) -> list[list[Region]]:
        """The regions of each picture."""
        self._model.told = [self._truth.segments[self._truth.index(image)] for image in images]
        return self._segmenter.regions(images)


class ToldQueries:
    """A Mask2Former that computes in full and answers with the next of what it is ``told``."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.told: list[tuple[Tensor, Tensor]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, pixel_values: Tensor) -> Any:
        """The model's output, its queries' answers replaced."""
        output = self._model(pixel_values=pixel_values)
        count = len(pixel_values)
        now, self.told = self.told[:count], self.told[count:]
        output.class_queries_logits, output.masks_queries_logits = map(torch.stack, zip(*now, strict=True))
        return output


def _queries(people: Sequence[Mask], device: str) -> tuple[Tensor, Tensor]:
    """What a trained model's 200 queries say of these people and the background, at a quarter of 800 px."""
    parts = [*people, ~np.any(people, axis=0)]
    classes = torch.zeros(QUERIES, LABELS + 1, device=device)
    masks = torch.full((QUERIES, 200, 200), -9.0, device=device)
    classes[:, LABELS] = 9.0
    for query, part in enumerate(parts):
        small = torch.from_numpy(part)[None, None].float()
        masks[query] = 18 * functional.interpolate(small, (200, 200), mode="area")[0, 0].to(device) - 9
        classes[query, 0 if query < len(people) else COCO_THINGS] = 18.0
    return classes, masks


def draw(folder: Path, photos: int) -> None:
    """The photos, as a camera leaves them: JPEG files of some megapixels."""
    folder.mkdir()
    for number in range(photos):
        image = render(unseen_scene(number), DRAWN).image
        Pillow.fromarray(image).save(folder / f"{number:04d}.jpg", quality=92)


def stack_of(truth: Truth, device: str, captioner: str, clocks: dict[str, Clock]) -> Stack:
    """The full-size stack, each role loaded now and its models' calls timed by the role's clock."""
    mini = load_stack("mini")
    quiet()
    roles = {
        "captioner": ToldCaptioner(_captioner(captioner, device, clocks["captioner"]), truth),
        "parser": clocks["parser"].watch(mini.role("parser")),
        "segmenter": _segmenter(device, clocks["segmenter"], truth),
        "faces": clocks["faces"].watch(_faces(device)),
        "matcher": _clip(device, clocks["matcher"]),
        "sentences": _sentences(device, clocks["sentences"]),
        "scorer": ClipScore(_clip(device, clocks["scorer"])),
    }
    loaders = {name: functools.partial(lambda role: role, role) for name, role in roles.items()}
    return Stack("full-size", loaders, 512, device, digests=dict.fromkeys(roles, "random weights"))


def _captioner(kind: str, device: str, clock: Clock) -> Blip:
    from transformers import (
        Blip2Config,
        Blip2ForConditionalGeneration,
        Blip2VisionConfig,
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessorPil,
        OPTConfig,
    )

    def blip2(hidden: int, layers: int) -> Any:
        text = OPTConfig(
            vocab_size=50304,
            hidden_size=hidden,
            word_embed_proj_dim=hidden,
            ffn_dim=4 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=32,
        )
        vision = Blip2VisionConfig(image_size=BLIP2_SIZE)
        config = Blip2Config(vision_config=vision.to_dict(), text_config=text.to_dict(), image_token_index=50265)
        return Blip2ForConditionalGeneration(config)

    models: dict[str, Callable[[], Any]] = {
        "blip": lambda: BlipForConditionalGeneration(BlipConfig()),
        "blip2-opt-2.7b-coco": lambda: blip2(2560, 32),
        "blip2-opt-6.7b-coco": lambda: blip2(4096, 32),
    }
    size = 384 if kind == "blip" else BLIP2_SIZE
    model = _untrained(models[kind], device, precision(device))
    processor = BlipImageProcessorPil(size={"height": size, "width": size})
    return Blip(clock.watch(model), processor, _Words(), beams=3, tokens=TOKENS, batch=16)


class _Words:
    """A tokenizer for what an untrained model says."""

    def batch_decode(self, rows: list[list[int]], **options: Any) -> list[str]:
        """Its token ids."""
        return [" ".join(map(str, row)) for row in rows]


def _segmenter(device: str, clock: Clock, truth: Truth) -> ToldSegmenter:
    from transformers import (
        Mask2FormerConfig,
        Mask2FormerForUniversalSegmentation,
        Mask2FormerImageProcessorPil,
        SwinConfig,
    )

    backbone = SwinConfig(
        image_size=384,
        embed_dim=192,
        depths=[2, 2, 18, 2],
        num_heads=[6, 12, 24, 48],
        window_size=12,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    names = {label: "person" if label == 0 else f"label {label}" for label in range(LABELS)}
    config = Mask2FormerConfig(backbone_config=backbone, num_queries=QUERIES, id2label=names)
    model = _untrained(lambda: Mask2FormerForUniversalSegmentation(config), device, precision(device))
    told = ToldQueries(clock.watch(model))
    processor = Mask2FormerImageProcessorPil(size={"shortest_edge": 800, "longest_edge": 1333})
    stuff = range(COCO_THINGS, LABELS)
    segmenter = Mask2Former(told, processor, threshold=0.5, overlap=0.8, stuff=stuff, batch=16)
    return ToldSegmenter(segmenter, told, truth)


def _clip(device: str, clock: Clock) -> Clip:
    from transformers import CLIPConfig, CLIPModel

    text = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "projection_dim": 768}
    vision = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    vision |= {"patch_size": 14, "projection_dim": 768}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=768)
    model = _untrained(lambda: CLIPModel(config), device, torch.float32)
    return Clip(clock.watch(model), load_stack("mini").role("tokenizer"), bicubic=True)


def _sentences(device: str, clock: Clock) -> Sentences:
    from transformers import MPNetConfig, MPNetModel

    model = _untrained(lambda: MPNetModel(MPNetConfig()), device, torch.float32)
    return Sentences(clock.watch(model), new_tokenizer([tell(unseen_scene(number)).text for number in range(100)]))


def _faces(device: str) -> Any:
    import fcbench

    folder = Path(fcbench.__file__).parent / "stacks/mini/faces"
    return load_faces(folder, det_size=[[128, 128], [640, 640]], threads=1, device=device)


def _untrained(make: Callable[[], Any], device: str, dtype: torch.dtype) -> Any:
    with initialising(device, dtype):
        return make().eval()


def _small(image: Image) -> Any:
    return image[::64, ::64].astype(np.float32)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=8)
    parser.add_argument("--device", default="cpu", help="cpu, one thread, or cuda:0")
    parser.add_argument("--captioner", default="blip", choices=("blip", "blip2-opt-2.7b-coco", "blip2-opt-6.7b-coco"))
    arguments = parser.parse_args()
    gpu = arguments.device.startswith("cuda")

    def now() -> float:
        if gpu:
            torch.cuda.synchronize(arguments.device)
        return time.perf_counter()

    clocks = {role: Clock(now) for roles in ROLES.values() for role in roles}
    with TemporaryDirectory() as place:
        folder = Path(place)
        draw(folder / "photos", arguments.photos)
        stack = stack_of(Truth(arguments.photos, arguments.device), arguments.device, arguments.captioner, clocks)
        options: Options = {"source": "folder", "images": folder / "photos", "name": "photos", "short_side": WORKING}
        importlib.import_module("fcbench.build.write")  # loading a library is not a photo's cost
        begun = now()
        counts = build_data(folder, stack=stack, progress=None, **options)
        seconds = now() - begun
        _print(steps_of(folder, "photos"), clocks, seconds, arguments)
        print(counts.summary)
    peak = torch.cuda.max_memory_allocated(arguments.device) if gpu else 0
    print(f"peak: {_resident():.1f} GiB of host memory" + (f", {peak / 2**30:.1f} of the GPU's" if gpu else ""))


def _print(
    steps: dict[str, tuple[int, float]], clocks: dict[str, Clock], seconds: float, arguments: argparse.Namespace
) -> None:
    photos = arguments.photos
    print(
        f"{photos} photos of {DRAWN} px, {arguments.captioner}, on {device_name(arguments.device)}; milliseconds a "
        "photo"
    )
    print(f"{'step':10} {'photos/s':>9} {'all':>9} {'model':>9} {'outside':>9}")
    for step, (items, spent) in steps.items():
        model = sum(clocks[role].seconds for role in ROLES.get(step, ()))
        _line(step, items / max(spent, 1e-9), spent, model, photos)
    rest = seconds - sum(spent for _, spent in steps.values())
    _line("committing", photos / max(rest, 1e-9), rest, 0.0, photos)
    inside = sum(clock.seconds for clock in clocks.values())
    _line("all", photos / seconds, seconds, inside, photos)
    ingest = steps["ingest"][1]
    print(
        f"outside the models: {1 - inside / seconds:.1%}; without ingest, which processes of its own do beside a GPU: "
        f"{1 - inside / (seconds - ingest):.1%}"
    )


def _line(name: str, rate: float, spent: float, model: float, photos: int) -> None:
    parts = (1000 * part / photos for part in (spent, model, spent - model))
    print(f"{name:10} {rate:9.2f} " + " ".join(f"{part:9.1f}" for part in parts))


def _resident() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
