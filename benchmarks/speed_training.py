"""The ways to train that ``speed.py`` compares: FastComposer's step as we take it, and the plain way.

The plain way keeps the whole attention map of every localised layer until the loss is taken, and updates the weights
with unfused AdamW. Both start from the same weights and see the same batches, so that their losses agree.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from speed_sampling import Way
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from fcbench.attention import attend_in_blocks
from fcbench.diffusion import add_noise, training_scheduler
from fcbench.fastcomposer.encoder import Fusion, embed_subjects
from fcbench.fastcomposer.localize import Localizer, localization_loss, localized_layers
from fcbench.fastcomposer.model import freeze_image_encoder
from fcbench.sampling import encode_text
from fcbench.types import Stack

VISION_LAYERS, WEIGHT = 2, 1e-3
"""The paper's."""


class Training:
    """FastComposer's training step on random latents: float32 weights, ``precision`` in the forward pass.

    ``copies``: whether the stack's models stay as they are. ``watch``: what takes the localisation loss of a U-Net.
    """

    def __init__(
        self, stack: Stack, batch: int, precision: str, *, plain: bool, copies: bool = True, watch: Any = None
    ) -> None:
        take = copy.deepcopy if copies else (lambda model: model)
        self.unet = take(stack.role("unet")).float().train().requires_grad_(True)
        self.image_encoder = take(stack.role("image_encoder")).float()
        freeze_image_encoder(self.image_encoder, VISION_LAYERS)
        torch.manual_seed(0)
        self.fusion = Fusion(self.image_encoder.config.projection_dim).to(stack.device)
        parts = (self.unet, self.image_encoder, self.fusion)
        self._trained = [p for part in parts for p in part.parameters() if p.requires_grad]
        options: dict[str, Any] = {"fused": False} if plain else {"fused": True}
        self._optimiser = torch.optim.AdamW(self._trained, lr=1e-5, weight_decay=1e-2, **options)
        if not plain:
            attend_in_blocks(self.unet)
        watch = watch or (Recorded if plain else Localizer)
        self._localizer: Any = watch(self.unet)
        self._device = torch.device(stack.device).type
        self._precision = getattr(torch, precision)
        self._batch = _Batch(stack, batch, self.image_encoder.config.image_size)
        self.losses: list[float] = []

    def holds(self) -> int:
        """Bytes of weights, gradients and what the optimiser keeps."""
        parts = (self.unet, self.image_encoder, self.fusion)
        weights = [p for part in parts for p in part.parameters()]
        gradients = [p.grad for p in weights if p.grad is not None]
        kept = [t for state in self._optimiser.state.values() for t in state.values()]
        return sum(tensor.nbytes for tensor in (*weights, *gradients, *kept))

    def step(self) -> None:
        """Forward, backward, clip, update."""
        given = self._batch
        with torch.autocast(self._device, self._precision, enabled=self._precision != torch.float32):
            text = self.fusion(given.text, embed_subjects(self.image_encoder, given.references), given.at)
            with self._localizer.watch(given.positions, given.masks):
                made = self.unet(given.noisy, given.times, text).sample
                loss = functional.mse_loss(made.float(), given.target) + WEIGHT * self._localizer.loss()
                self._optimiser.zero_grad(set_to_none=True)
                loss.backward()  # watched too: gradient checkpointing computes the attention again
        torch.nn.utils.clip_grad_norm_(self._trained, 1.0)
        self._optimiser.step()
        self.losses.append(float(loss.detach()))


class _Batch:
    """Random latents with one subject each, whose token is the third and who fills the left half."""

    def __init__(self, stack: Stack, batch: int, reference_size: int) -> None:
        generator = torch.Generator().manual_seed(0)
        config = stack.role("unet").config
        side = config.sample_size
        latents = torch.randn(batch, config.in_channels, side, side, generator=generator)
        noisy, target, times, _ = add_noise(training_scheduler(stack.role("scheduler")), latents, generator)
        self.noisy, self.target, self.times = (tensor.to(stack.device) for tensor in (noisy, target, times))
        self.text = encode_text(stack, ["a man in the snow"] * batch).float()
        self.at = torch.zeros(self.text.shape[:2], dtype=torch.bool, device=stack.device)
        self.at[:, 2] = True
        self.positions = torch.full((batch, 1), 2, device=stack.device)
        self.masks = torch.zeros(batch, 1, stack.image_size, stack.image_size, device=stack.device)
        self.masks[..., : stack.image_size // 2] = 1
        pixels = torch.rand(batch, 3, reference_size, reference_size, generator=generator)
        self.references = (2 * pixels - 1).to(stack.device)


class Recorded:
    """The plain localisation: whole attention maps of all tokens are kept, the loss is taken from them at the end."""

    def __init__(self, unet: Any) -> None:
        self._maps: list[torch.Tensor] = []
        self._watched: tuple[torch.Tensor, torch.Tensor] | None = None
        modules = dict(unet.named_modules())
        for name in localized_layers(unet):
            modules[name].set_processor(self._attend)

    @contextmanager
    def watch(self, positions: torch.Tensor, masks: torch.Tensor) -> Iterator[None]:
        """Record the forward passes in this block."""
        self._maps, self._watched = [], (positions, masks)
        yield

    def loss(self) -> torch.Tensor:
        """The mean over the layers."""
        assert self._watched is not None
        positions, masks = self._watched
        losses = []
        for maps in self._maps:  # (n, heads, positions, tokens)
            side = round(maps.shape[2] ** 0.5)
            resized = functional.interpolate(masks, (side, side), mode="bilinear", antialias=True, align_corners=False)
            index = positions[:, None, None, :].expand(*maps.shape[:3], -1)
            attention = maps.gather(3, index).transpose(2, 3)
            losses.append(localization_loss(attention, resized.flatten(2), positions >= 0))
        return torch.stack(losses).mean()

    def _attend(self, attn: Any, hidden_states: torch.Tensor, encoder_hidden_states: Any = None, **_: Any) -> Any:
        query = attn.head_to_batch_dim(attn.to_q(hidden_states))
        key = attn.head_to_batch_dim(attn.to_k(encoder_hidden_states))
        value = attn.head_to_batch_dim(attn.to_v(encoder_hidden_states))
        maps = attn.get_attention_scores(query, key)
        self._maps.append(maps.unflatten(0, (-1, attn.heads)))
        return attn.to_out[1](attn.to_out[0](attn.batch_to_head_dim(maps @ value)))


def training_ways(stack: Stack, batch: int, precision: str) -> tuple[dict[str, Way], Callable[[], str]]:
    """The plain step first, then ours; and a line on how their losses agree once they have been taken."""
    plain = Training(stack, batch, precision, plain=True)
    ours = Training(stack, batch, precision, plain=False)

    def agree() -> str:
        pairs = list(zip(plain.losses, ours.losses, strict=False))
        if not pairs:
            return "losses: none to compare"
        apart = max(abs(a - b) / abs(a) for a, b in pairs)
        return (
            f"losses of {len(pairs)} steps, last {pairs[-1][0]:.5f} and {pairs[-1][1]:.5f}: at most {apart:.1e} apart"
        )

    ways = {"training, plain": plain, "training, ours": ours}
    return {name: Way(way.step, holds=way.holds) for name, way in ways.items()}, agree


def training_flops(stack: Stack) -> float:
    """Operations of a training step per picture: three times the U-Net's forward; 0 where no peak is known.

    The image encoder, a twentieth of it, is not counted.
    """
    if not stack.device.startswith("cuda"):
        return 0.0
    unet = stack.role("unet")
    size = unet.config.sample_size
    latents = torch.zeros(1, unet.config.in_channels, size, size, device=stack.device, dtype=unet.dtype)
    text = encode_text(stack, [""]).to(unet.dtype)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        unet(latents, torch.tensor(500, device=stack.device), text)
    return 3.0 * counter.get_total_flops()
