"""What full size needs on a CPU: checkpoints and single files load, convert and sample; one step denoises, one trains.

Each in a fresh process, random weights throughout. Prints parameters, seconds and the peak of resident memory, which
must stay under 18 GiB. The checkpoint, 5.2 GiB and three times that while it is converted, is written to ``--folder``
and removed again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

LIMIT, NEEDED = 18.0, 19.0
"""GiB: the most that a step may take, and what must be free before the training step begins."""


def write(folder: Path) -> dict[str, Any]:
    """Write ``pytorch_model.bin`` as the official checkpoint lays it out."""
    import torch

    from fcbench.stacks import load_stack

    stack = load_stack("sd15", random_weights=True)
    weights: dict[str, torch.Tensor] = {}
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for role, prefix in (
        ("text_encoder", "text_encoder"),
        ("image_encoder", "image_encoder"),
        ("vae", "vae"),
        ("unet", "unet"),
        ("fusion", "postfuse_module"),
    ):
        for key, value in stack.role(role).state_dict().items():
            for ours, theirs in names.items() if role == "vae" else ():
                key = key.replace(f"attentions.0.{ours}.", f"attentions.0.{theirs}.")
            weights[f"{prefix}.{key}"] = value
    weights["text_encoder.embeddings.position_ids"] = torch.arange(77)[None]
    weights["image_encoder.vision_model.embeddings.position_ids"] = torch.arange(257)[None]
    torch.save(weights, folder / "pytorch_model.bin")
    return {"parameters": sum(value.numel() for value in weights.values() if value.is_floating_point())}


def load(folder: Path) -> dict[str, Any]:
    """Load it, nothing else."""
    from fcbench.fastcomposer.checkpoint import load_checkpoint
    from fcbench.stacks import load_stack

    parts = load_checkpoint(str(folder / "pytorch_model.bin"), load_stack("sd15", random_weights=True))
    return {"parameters": sum(_count(part) for part in (parts.unet, parts.image_encoder, parts.fusion))}


def sample(folder: Path) -> dict[str, Any]:
    """Draw a picture of 512 px from it in one step, the reference's embedding and the VAE included."""
    import numpy as np

    from fcbench.fastcomposer.method import FastComposer
    from fcbench.files import write_image
    from fcbench.stacks import load_stack
    from fcbench.types import Prompt, Subject

    write_image(folder / "photo.png", np.full((64, 64, 3), 128, np.uint8))
    stack = load_stack("sd15", random_weights=True)
    method = FastComposer(alpha=1.0, steps=1, checkpoint=str(folder / "pytorch_model.bin"))
    sampler = method.fit(stack, [Subject("a", "man", (folder / "photo.png",))], seed=0, workdir=folder)
    (picture,) = sampler([Prompt("snow", "{} in the snow", "context")], [0])
    return {"note": f"picture {picture.shape}, standard deviation {picture.std():.1f}"}


def convert(folder: Path) -> dict[str, Any]:
    """Convert it to our folder and that back to an official file, and compare every tensor's bits."""
    import torch

    from fcbench.fastcomposer.convert import convert
    from fcbench.stacks import load_stack

    stack = load_stack("sd15", random_weights=True)
    first = folder / "pytorch_model.bin"
    ours = convert(str(first), folder / "ours", stack)
    again = convert(str(ours), folder / "again.bin", stack)
    before, after = (torch.load(file, weights_only=True, mmap=True) for file in (first, again))
    assert before.keys() == after.keys()
    assert all(value.dtype == after[name].dtype and value.equal(after[name]) for name, value in before.items())
    return {"note": f"{len(before)} tensors bit-equal after the round trip"}


def single(folder: Path) -> dict[str, Any]:
    """Write all models as one file under Stable Diffusion's own names, load each from it and compare every bit."""
    from safetensors.torch import save_file

    from fcbench.stacks import load_stack
    from tests.toys.ldm_names import single_file

    untrained = load_stack("sd15", random_weights=True)
    file, roles = folder / "v1-5.safetensors", ("unet", "vae", "text_encoder")
    weights = single_file(*(untrained.role(role) for role in roles))
    save_file({name: value.contiguous() for name, value in weights.items()}, file)
    count = len(weights)
    del weights
    read = load_stack(str(file))
    for role in roles:
        before, after = untrained.role(role).state_dict(), read.role(role).state_dict()
        assert before.keys() == after.keys()
        assert all(value.equal(after[name]) for name, value in before.items())
    return {"parameters": sum(_count(read.role(role)) for role in roles), "note": f"{count} tensors in it, bit-equal"}


def denoise(folder: Path) -> dict[str, Any]:
    """One guided denoising step: 512 px, batch 1."""
    import torch

    from fcbench import sampling
    from fcbench.stacks import load_stack

    stack = load_stack("sd15", random_weights=True)
    unet, text = stack.role("unet"), sampling.encode_text(stack, ["a man in the snow"])
    noise, null = sampling.initial_noise([0], (4, 64, 64)), sampling.encode_text(stack, [""])
    with _timed() as seconds:
        made = sampling.denoise(unet, stack.role("scheduler"), noise, lambda call: text, null, steps=1, guidance=5.0)
    assert torch.isfinite(made).all()
    return {"parameters": _count(unet), "note": f"{seconds[0]:.1f} s of it the step"}


def train(folder: Path) -> dict[str, Any]:
    """One training step: 256 px, batch 1, gradient checkpointing; U-Net, fusion, last two vision layers."""
    from speed_training import Training

    from fcbench.stacks import load_stack

    stack = load_stack("sd15", random_weights=True)
    stack.role("unet").config["sample_size"] = 32
    training = Training(stack, 1, "float32", plain=False, copies=False)
    training.unet.enable_gradient_checkpointing()
    parts = (training.unet, training.image_encoder, training.fusion)
    before = next(training.unet.parameters()).detach().clone()
    with _timed() as seconds:
        training.step()
    assert not before.equal(next(training.unet.parameters()))
    trained = sum(p.numel() for part in parts for p in part.parameters() if p.requires_grad)
    return {"parameters": trained, "note": f"{seconds[0]:.1f} s of it the step, loss {training.losses[0]:.4f}"}


STEPS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "write": write,
    "load": load,
    "sample": sample,
    "convert": convert,
    "single": single,
    "denoise": denoise,
    "train": train,
}


def run(name: str, folder: Path) -> bool:
    """Do a step in a process of its own and print its line; whether it succeeded within the limit."""
    if name == "train" and (free := _available()) < NEEDED:
        print(f"{name:8} not begun: {free:.1f} GiB free, {NEEDED:.0f} needed", flush=True)
        return False
    command = [sys.executable, "-W", "ignore", __file__, "--step", name, "--folder", str(folder)]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    if child.returncode:
        last = (child.stderr.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
        print(f"{name:8} failed: {last}", flush=True)
        return False
    told = json.loads(child.stdout.splitlines()[-1])
    parameters = f"{told['parameters'] / 1e6:9.2f} M" if "parameters" in told else f"{'':11}"
    print(f"{name:8} {parameters} {told['seconds']:8.1f} s {told['peak']:7.2f} GiB  {told.get('note', '')}", flush=True)
    return bool(told["peak"] <= LIMIT)


def main() -> None:
    """Measure and print; exit code 1 if a step failed or took too much."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--folder", type=Path, default=None, help="where the checkpoint goes (16 GiB)")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        _child(options.step, options.folder)
        return
    print(f"{'step':8} {'parameters':>11} {'seconds':>10} {'peak resident':>11}")
    with TemporaryDirectory(dir=options.folder) as folder:
        good = [run(name, Path(folder)) for name in options.steps]
    raise SystemExit(0 if all(good) else 1)


def _child(name: str, folder: Path) -> None:
    with contextlib.suppress(OSError):  # if memory runs out, this process is the one to end
        Path("/proc/self/oom_score_adj").write_text("1000")
    begun = time.perf_counter()
    told = STEPS[name](folder)
    told["seconds"] = time.perf_counter() - begun
    status = Path("/proc/self/status").read_text(encoding="ascii")
    told["peak"] = int(status.partition("VmHWM:")[2].split()[0]) / 2**20
    print(json.dumps(told))


@contextlib.contextmanager
def _timed() -> Iterator[list[float]]:
    begun, seconds = time.perf_counter(), [0.0]
    yield seconds
    seconds[0] = time.perf_counter() - begun


def _count(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _available() -> float:
    import psutil

    return float(psutil.virtual_memory().available) / 2**30


if __name__ == "__main__":
    main()
