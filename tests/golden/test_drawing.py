"""The denoising loop and delayed subject conditioning against the official pipeline; FCBENCH_GOLDENS names another."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from fcbench.fastcomposer.checkpoint import Checkpoint
from fcbench.fastcomposer.encoder import embed_subjects
from fcbench.fastcomposer.method import FastComposer, FastComposerSampler, first_subject_call
from fcbench.images import to_tensor
from fcbench.sampling import decode_latents, denoise, denoiser_calls, encode_text, tokenize
from fcbench.types import Prompt
from tests.golden.golden_stack import golden_stack, make_scheduler, read, tensors

FACTS = read("d_inference.json")
RUNS: dict[str, Any] = {run["id"]: run for run in FACTS["runs"]}
STEPS = FACTS["num_inference_steps"]


def golden(name: str) -> torch.Tensor:
    return tensors("d_inference.safetensors")[name]


@dataclass(frozen=True)
class Drawn:
    """What our loop made of a recorded run: one entry a call of the denoiser."""

    conditionings: list[str]
    latents: list[torch.Tensor]
    inputs: list[torch.Tensor]
    outputs: list[torch.Tensor]
    final: torch.Tensor


def first_call(run: Any) -> int:
    """Our rule; a run by ``start_merge_step`` is text only up to that call, as an alpha half a step before it is."""
    calls = denoiser_calls(scheduler(run), STEPS)
    alpha = run["value"] if run["entry"] == "alpha" else 1 - (run["value"] + 0.5) / STEPS
    return first_subject_call(alpha, calls, STEPS, switch="official")


def scheduler(run: Any) -> Any:
    return make_scheduler(run["scheduler"], FACTS["schedulers"][run["scheduler"]]["config"])


@functools.cache
def draw(name: str) -> Drawn:
    """Run our loop, and listen to the denoiser and the scheduler."""
    run, unet = RUNS[name], golden_stack()[0].role("unet")
    count, first = run["num_images"], first_call(run)
    conditionings, latents, inputs, outputs = [], [], [], []

    def conditioning(call: int) -> torch.Tensor:
        conditionings.append("text" if call < first else "augmented")
        embeds = golden("text_only_embeds" if call < first else "augmented_embeds")
        return embeds.expand(count, -1, -1)

    class Listening(type(scheduler(run))):  # type: ignore[misc]
        def step(self, *arguments: Any, **options: Any) -> Any:
            made = super().step(*arguments, **options)
            latents.append(made.prev_sample)
            return made

    def listen(module: Any, arguments: Any, made: Any) -> None:
        inputs.append(arguments[0])
        outputs.append(made.sample)

    noise = golden("initial_latents" if count == 1 else f"initial_latents_n{count}")
    listening = Listening.from_config(scheduler(run).config)
    hook = unet.register_forward_hook(listen)
    try:
        final = denoise(
            unet, listening, noise, conditioning, golden("null_embeds"), steps=STEPS, guidance=FACTS["guidance_scale"]
        )
    finally:
        hook.remove()
    return Drawn(conditionings, latents, inputs, outputs, final)


def near(made: torch.Tensor, expected: torch.Tensor) -> None:
    """Latents: at most 2e-3 apart, of a standard deviation of 10 to 20."""
    torch.testing.assert_close(made, expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("name", RUNS)
def test_the_conditioning_of_each_call_is_the_official_one(name: str) -> None:
    drawn, run = draw(name), RUNS[name]
    assert drawn.conditionings == run["conditioning_per_call"]
    assert len(drawn.outputs) == run["unet_calls"]


@pytest.mark.parametrize("name", RUNS)
def test_the_final_latents_are_the_official_ones(name: str) -> None:
    near(draw(name).final, golden(f"run.{name}.final_latents"))


@pytest.mark.parametrize("name", RUNS)
def test_the_latents_after_each_call_are_the_official_ones(name: str) -> None:
    steps = RUNS[name].get("steps_key") or RUNS[RUNS[name]["same_conditioning_as"]]["steps_key"]
    near(torch.stack(draw(name).latents), tensors("d_inference_steps.safetensors")[steps])


LISTENED = [name for name in RUNS if f"run.{name}.unet_input_uncond_half" in tensors("d_inference.safetensors")]


@pytest.mark.parametrize("name", LISTENED)
def test_what_goes_into_the_denoiser_and_comes_out_is_the_official_s(name: str) -> None:
    drawn, count = draw(name), RUNS[name]["num_images"]
    near(torch.stack([batch[:count] for batch in drawn.inputs]), golden(f"run.{name}.unet_input_uncond_half"))
    near(torch.stack(drawn.outputs), golden(f"run.{name}.unet_output_uncond_cond"))


@pytest.mark.parametrize("name", FACTS["schedulers"])
def test_the_schedule_is_the_official_one(name: str) -> None:
    facts = FACTS["schedulers"][name]
    made = make_scheduler(name, facts["config"])
    made.set_timesteps(STEPS)
    assert made.timesteps.tolist() == pytest.approx(facts["timesteps"])
    assert float(made.init_noise_sigma) == pytest.approx(facts["init_noise_sigma"], rel=1e-6)
    if "sigmas" in facts:
        assert made.sigmas.tolist() == pytest.approx(facts["sigmas"], rel=1e-5)


@torch.no_grad()
def test_the_sampler_s_own_conditionings_are_the_official_ones() -> None:
    stack, fusion = golden_stack()
    references = to_tensor([picture.permute(1, 2, 0).numpy() for picture in golden("reference_u8")])
    embeds = embed_subjects(stack.role("image_encoder"), references)
    torch.testing.assert_close(embeds, golden("object_embeds")[0, :, 0], rtol=1e-4, atol=1e-5)
    nouns = ("man", "woman")
    before, _, after = FACTS["prompt_template"].replace(" {m}", "").partition("a man and a woman")
    assert not before, "the recorded prompt starts with its subjects"
    prompt = Prompt("recorded", "{}" + after, "action")
    sampler = FastComposerSampler(
        FastComposer(), stack, Checkpoint(stack.role("unet"), stack.role("image_encoder"), fusion), nouns, embeds
    )
    text = encode_text(stack, [FACTS["entry1_text_only_prompt"]])
    assert torch.equal(tokenize(stack, [FACTS["entry1_text_only_prompt"]]), golden("text_only_input_ids"))
    close = functools.partial(torch.testing.assert_close, rtol=1e-4, atol=1e-5)
    close(text, golden("text_only_embeds"))
    close(encode_text(stack, [""]), golden("null_embeds"))
    close(stack.role("text_encoder")(golden("input_ids")).last_hidden_state, golden("text_hidden_of_cleaned_ids"))
    close(sampler.augment(text, [prompt]), golden("augmented_embeds"))


@torch.no_grad()
def test_latents_are_decoded_as_in_the_official_pipeline() -> None:
    made = decode_latents(golden_stack()[0].role("vae"), golden("decode.latents"))
    picture = ((made + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1)
    torch.testing.assert_close(picture, golden("decode.image_hwc_0_1"), rtol=1e-4, atol=1e-5)


def test_every_scheduler_and_entry_is_recorded() -> None:
    assert {run["scheduler"] for run in RUNS.values()} == set(FACTS["schedulers"])
    assert {run["entry"] for run in RUNS.values()} == {"alpha", "start_merge_step"}
