"""The denoising loop, with a denoiser that records what it was asked."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
)

from fcbench.errors import UsageError
from fcbench.sampling import (
    DECODED,
    channels_last,
    decode_latents,
    denoise,
    denoiser_calls,
    draw,
    encode_images,
    encode_posterior,
    encode_text,
    initial_noise,
)
from fcbench.stacks import load_stack
from fcbench.types import Stack


class Recorder(torch.nn.Module):
    """Predicts the mean of its conditioning, and remembers it."""

    dtype = torch.float32

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []
        self.given: list[torch.Tensor] = []
        self.times: list[float] = []

    def forward(self, sample: torch.Tensor, timestep: Any, text: torch.Tensor) -> SimpleNamespace:
        self.seen.append(text)
        self.given.append(sample)
        self.times.append(float(timestep))
        return SimpleNamespace(sample=torch.ones_like(sample) * text.mean(dim=(1, 2))[:, None, None, None])


def _same(text: torch.Tensor, call: int) -> torch.Tensor:
    return text


def test_noise_follows_from_the_seed_alone() -> None:
    together = initial_noise([3, 4], (2, 4, 4))
    assert torch.equal(together[1], initial_noise([4], (2, 4, 4))[0])
    assert not torch.equal(together[0], together[1])


def test_conditioning_may_change_at_a_call() -> None:
    unet = Recorder()
    before, after, null = (torch.full((1, 5, 3), value) for value in (1.0, 2.0, 0.0))
    denoise(
        unet,
        DDIMScheduler(),
        torch.zeros(1, 2, 4, 4),
        lambda call: before if call < 3 else after,
        null,
        steps=5,
        guidance=2.0,
    )
    assert [float(text[1].mean()) for text in unet.seen] == [1, 1, 1, 2, 2]
    assert all(float(text[0].mean()) == 0 for text in unet.seen)


def test_guidance_goes_from_the_null_prompt_through_the_given_one() -> None:
    noise, null = torch.zeros(1, 2, 4, 4), torch.zeros(1, 5, 3)
    single = denoise(Recorder(), DDIMScheduler(), noise, lambda call: null + 1, null, steps=1, guidance=3.0)
    direct = denoise(Recorder(), DDIMScheduler(), noise, lambda call: null + 3, null, steps=1, guidance=1.0)
    torch.testing.assert_close(single, direct)


def test_pndm_calls_the_denoiser_once_more_than_its_steps() -> None:
    assert denoiser_calls(PNDMScheduler(skip_prk_steps=True), 50) == 51
    assert denoiser_calls(DDIMScheduler(), 50) == 50


def test_a_schedule_is_followed_to_the_end_whatever_it_counts_in() -> None:
    """Fractional timesteps, and one that comes twice, reach the denoiser as they are."""
    for scheduler in (EulerDiscreteScheduler(timestep_spacing="linspace"), PNDMScheduler(skip_prk_steps=True)):
        unet = Recorder()
        text = torch.zeros(1, 5, 3)
        denoise(unet, scheduler, torch.zeros(1, 2, 4, 4), partial(_same, text), text, steps=7, guidance=2.0)
        scheduler.set_timesteps(7)
        assert unet.times == [float(time) for time in scheduler.timesteps]


def test_a_schedule_that_counts_in_deviations_begins_at_its_own_and_is_scaled_for_the_denoiser() -> None:
    unet, noise, text = Recorder(), initial_noise([3], (2, 4, 4)), torch.zeros(1, 5, 3)
    scheduler = EulerDiscreteScheduler()
    before = dict(vars(scheduler))
    denoise(unet, scheduler, noise, partial(_same, text), text, steps=7, guidance=2.0)
    assert vars(scheduler).keys() == before.keys()
    assert scheduler.num_inference_steps is None  # the stack's own schedule is as it was
    own = EulerDiscreteScheduler()
    own.set_timesteps(7)
    deviation = float(own.init_noise_sigma)
    assert deviation > 10
    for half in unet.given[0].chunk(2):  # of unit deviation again: Karras et al. (2022), c_in
        torch.testing.assert_close(half, noise * deviation / (float(own.sigmas[0]) ** 2 + 1) ** 0.5)


def test_a_codec_s_own_statistics_are_taken_out_and_put_back() -> None:
    torch.manual_seed(0)
    mean, std = [0.5, -2.0], [2.0, 4.0]
    build = partial(AutoencoderKL, block_out_channels=(4,), norm_num_groups=2, latent_channels=2, scaling_factor=0.5)
    plain, scaled = build().eval(), build(latents_mean=mean, latents_std=std).eval()
    scaled.load_state_dict(plain.state_dict())
    batch, noise = torch.rand(3, 3, 4, 4) * 2 - 1, torch.randn(3, 2, 4, 4)
    means, stds = (torch.tensor(values)[:, None, None] for values in (mean, std))
    with torch.no_grad():
        posterior = plain.encode(batch).latent_dist
        expected = (posterior.mean - means) / stds * 0.5
        torch.testing.assert_close(encode_images(scaled, batch), expected)
        drawn = (posterior.mean + posterior.std * noise - means) / stds * 0.5
        torch.testing.assert_close(encode_images(scaled, batch, noise=noise), drawn)
        middle, deviation = encode_posterior(scaled, batch)
        torch.testing.assert_close(middle, expected)
        torch.testing.assert_close(deviation, posterior.std / stds * 0.5)
        torch.testing.assert_close(decode_latents(scaled, expected), plain.decode(posterior.mean).sample)
        torch.testing.assert_close(encode_images(plain, batch), posterior.mean * 0.5)


@pytest.mark.parametrize("kind", [DDPMScheduler, EulerAncestralDiscreteScheduler, LCMScheduler])
def test_what_a_schedule_draws_on_the_way_follows_from_the_picture_s_seed_alone(kind: Any) -> None:
    text, null = torch.ones(2, 5, 3), torch.zeros(1, 5, 3)

    def drawn(*seeds: int) -> torch.Tensor:
        noise = initial_noise(seeds, (2, 4, 4))
        some = partial(_same, text[: len(seeds)])
        return denoise(Recorder(), kind(), noise, some, null, steps=3, guidance=2.0, seeds=seeds)

    together = drawn(3, 4)
    torch.testing.assert_close(together[1:], drawn(4))
    assert torch.equal(together, drawn(3, 4))
    assert not torch.equal(together[:1], together[1:])


def test_a_schedule_that_draws_nothing_is_left_alone() -> None:
    noise, text, null = initial_noise([3], (2, 4, 4)), torch.ones(1, 5, 3), torch.zeros(1, 5, 3)
    for kind in (EulerDiscreteScheduler, DDIMScheduler, partial(PNDMScheduler, skip_prk_steps=True)):
        plain, seeded = (
            denoise(Recorder(), kind(), noise, partial(_same, text), null, steps=3, guidance=2.0, seeds=seeds)
            for seeds in ((), (3,))
        )
        assert torch.equal(plain, seeded)


def test_pieces_that_draw_another_size_than_the_stack_s_are_refused() -> None:
    unet = SimpleNamespace(config=SimpleNamespace(in_channels=4, sample_size=8))
    vae = SimpleNamespace(config=SimpleNamespace(block_out_channels=[8, 8, 8]))
    stack = Stack("odd", {"unet": lambda: unet, "vae": lambda: vae}, image_size=64)
    with pytest.raises(UsageError, match="odd: image_size is 64, its U-Net and VAE draw 32 pixels: set image_size: 32"):
        draw(stack, partial(_same, torch.zeros(1, 5, 3)), [0])


def test_laying_channels_last_changes_no_value() -> None:
    layer = torch.nn.Conv2d(3, 4, 3)
    values = layer.weight.detach().clone()
    assert channels_last(layer).weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(layer.weight, values)
    assert channels_last("not a module") == "not a module"


def test_tokens_beside_the_text_s_are_led_away_from_by_as_many() -> None:
    stack = load_stack("mini", device="cpu")
    text = encode_text(stack, ["a man in the snow"])
    more = torch.cat([text, text[:, :4]], 1)
    null = torch.cat([encode_text(stack, [""]), torch.zeros_like(text[:, :4])], 1)
    (picture,) = draw(stack, partial(_same, more), [1], null=null, steps=2)
    assert picture.shape == (64, 64, 3)
    (plain,) = draw(stack, partial(_same, text), [1], steps=2)
    (same,) = draw(stack, partial(_same, text), [1], null=encode_text(stack, [""]), steps=2)
    assert (same == plain).all()
    assert (picture != plain).any()


def test_more_pictures_than_are_decoded_at_once_come_out_all_as_each_alone() -> None:
    stack = load_stack("mini", device="cpu")
    text = encode_text(stack, ["a man in the snow"])
    seeds = list(range(DECODED + 1))
    made = draw(stack, partial(_same, text.expand(len(seeds), -1, -1)), seeds, steps=1)
    assert len(made) == len(seeds)
    (last,) = draw(stack, partial(_same, text), seeds[-1:], steps=1)
    assert abs(made[-1].astype(int) - last.astype(int)).max() <= 2  # sums are taken in another order


def test_steps_and_guidance_are_the_stack_s_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, float]] = []

    def denoising(unet: Any, scheduler: Any, noise: torch.Tensor, *rest: Any, **told: Any) -> torch.Tensor:
        asked.append((told["steps"], told["guidance"]))
        return noise

    monkeypatch.setattr("fcbench.sampling.denoise", denoising)
    stack = load_stack("mini", device="cpu")
    text = encode_text(stack, ["a man"])
    draw(stack, partial(_same, text), [0])
    draw(stack, partial(_same, text), [0], steps=3, guidance=1.5)
    assert asked == [(stack.sampling["steps"], stack.sampling["guidance"]), (3, 1.5)]
