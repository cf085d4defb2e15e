"""DreamBooth, Textual Inversion and Custom Diffusion step by step against the unmodified reference scripts."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file

from baselines.tuning.losses import schedule_of
from tests.golden.tuned_cases import CASES, GOLDENS, TunedCase, tuned_case

TABLE = "text_encoder.embeddings.token_embedding.weight"
DELTA = {"db": 5e-3, "ti": 1e-4, "cd": 3e-3}
"""How far a tensor's change may lie from the recorded one, relative, in the L2 norm."""

pytestmark = pytest.mark.parametrize("name", CASES)


@functools.cache
def replayed(name: str, *, keep: bool = False) -> Replay:
    return Replay(tuned_case(name), keep=keep)


class Replay:
    """A recorded fit made again: losses, norms, the first gradients, weights before and after."""

    def __init__(self, case: TunedCase, *, keep: bool) -> None:
        self.case, self.tuner = case, case.tuner(keep=keep)
        self.task = cast(Any, self.tuner.task)
        task = self.task
        self.first_gradients: dict[str, torch.Tensor] = {}
        self.losses: list[float] = []
        self.norms: list[float] = []
        self.rates: list[float] = []
        self.start = {key: p.detach().clone() for key, p in task.trained.items()}
        self.tuner.optimiser.register_step_pre_hook(self._note)
        self.predictions: list[torch.Tensor] = []
        self.task.unet.register_forward_hook(lambda module, inputs, made: self.predictions.append(made.sample.detach()))
        for micro in range(case.facts["n_micro"]):
            loss, norm = self.tuner.advance(case.batch(micro))
            self.losses.append(float(loss))
            self.norms += [] if norm is None else [float(norm)]

    def _note(self, optimiser: torch.optim.Optimizer, *rest: Any) -> None:
        self.rates.append(optimiser.param_groups[0]["lr"])
        if not self.first_gradients:
            gradients = {key: p.grad for key, p in self.tuner.task.trained.items()}
            self.first_gradients = {key: g.clone() for key, g in gradients.items() if g is not None}

    @property
    def change(self) -> dict[str, torch.Tensor]:
        end = self.tuner.task.trained
        return {key: (end[key].detach().double() - start.double()) for key, start in self.start.items()}


def recorded_name(name: str) -> str:
    """What the reference script calls one of our trained tensors."""
    if ".attn2." not in name or name.startswith("unet."):
        return name
    layer, _, part = name.partition(".attn2.")
    tail = part.replace("to_out.0.", "to_out_custom_diffusion.0.") if "to_out" in part else ""
    return f"unet.{layer}.attn2.processor.{tail or part.replace('.weight', '_custom_diffusion.weight')}"


def pairs(case: TunedCase, ours: Mapping[str, torch.Tensor], kind: str) -> Iterator[tuple[str, torch.Tensor, Any]]:
    """Our tensors beside the recorded ones of a kind (grad0, delta): rows of the table are compared alone."""
    for name, tensor in ours.items():
        if case.facts["method"] == "db":
            picked = torch.linspace(0, tensor.numel() - 1, min(96, tensor.numel())).round().long()
            golden = case.final[f"{kind}_sample.{name}"]
            yield name, tensor.flatten()[picked], golden
        elif ".attn2." in name:
            yield name, tensor, case.final[f"{'final' if kind == 'delta' else kind}.{recorded_name(name)}"]
        else:
            table = case.final[f"{'final' if kind == 'delta' else kind}.{TABLE}"]
            yield name, tensor, table[-len(tensor) :]


def distance(made: torch.Tensor, golden: torch.Tensor) -> float:
    return float((made.double() - golden.double()).norm() / golden.double().norm())


def test_losses(name: str) -> None:
    replay = replayed(name)
    assert replay.losses == pytest.approx(replay.case.facts["losses"], rel=2e-6)


def test_gradient_norms_before_clipping(name: str) -> None:
    replay = replayed(name)
    assert replay.norms == pytest.approx(replay.case.facts["preclip_grad_norm"], rel=1e-5)


def test_learning_rates(name: str) -> None:
    replay = replayed(name)
    assert replay.rates == pytest.approx([step["lr"][0] for step in replay.case.facts["optimizer_steps"]], rel=1e-12)


def test_the_same_tensors_are_trained(name: str) -> None:
    case = tuned_case(name)
    ours = {recorded_name(key) if case.facts["method"] != "db" else key for key in replayed(name).start}
    table = {TABLE} if case.facts["method"] != "db" else set()
    golden = set(case.facts["trained"])
    assert {key for key in ours if "unet." in key or key.startswith("text_encoder.")} | table == golden


def test_first_gradients(name: str) -> None:
    """Values where they were recorded, else each tensor's norm."""
    replay = replayed(name)
    if not any(key.startswith("grad0") for key in replay.case.final):
        norms = {key: float(gradient.norm()) for key, gradient in replay.first_gradients.items()}
        golden = {key: facts["grad0_l2"] for key, facts in replay.case.facts["trained"].items()}
        assert norms.keys() == golden.keys()
        made, wanted = (torch.tensor([found[key] for key in golden]) for found in (norms, golden))
        assert distance(made, wanted) <= 1e-5
        return
    both = list(pairs(replay.case, replay.first_gradients, "grad0"))
    made = torch.cat([tensor.flatten() for _, tensor, _ in both])
    assert distance(made, torch.cat([golden.flatten() for _, _, golden in both])) <= 1e-5


def test_predictions_and_text(name: str) -> None:
    replay = replayed(name)
    for micro, made in enumerate(replay.predictions[: replay.case.facts["n_micro"]]):
        golden = replay.case.steps[f"micro{micro}.model_pred"]
        torch.testing.assert_close(made, golden, rtol=0, atol=1e-4)
    fresh: Any = replay.case.tuner().task
    text = fresh.text(replay.case.batch(0).ids)
    golden = replay.case.steps["micro0.encoder_hidden_states"]
    torch.testing.assert_close(text.detach(), golden, rtol=0, atol=3e-5)


@pytest.mark.parametrize("keep", [False, True], ids=["reference", "optimised"])
def test_changes_of_the_weights(name: str, keep: bool) -> None:
    replay = replayed(name, keep=keep)
    case, rate = replay.case, replay.rates[0]
    for key, made, golden in pairs(case, replay.change, "delta"):
        if key.endswith("k_proj.bias"):
            continue  # its true gradient is 0: what is there is rounding
        expected = golden if case.facts["method"] == "db" else golden.double() - replay.start[key].double()
        assert distance(made, expected) <= DELTA[case.facts["method"]], key
        apart = (made.double() - expected.double()).abs()
        assert float(apart.max()) <= 0.1 * rate, key


def test_nearly_every_element_changed_as_recorded(name: str) -> None:
    replay = replayed(name)
    case = replay.case
    near = total = 0
    for key, made, golden in pairs(case, replay.change, "delta"):
        if not key.endswith("k_proj.bias"):
            expected = golden if case.facts["method"] == "db" else golden.double() - replay.start[key].double()
            near += int(((made.double() - expected.double()).abs() <= 0.02 * replay.rates[0]).sum())
            total += made.numel()
    assert near >= 0.999 * total


def test_the_tuned_model_predicts_as_recorded(name: str) -> None:
    replay = replayed(name)
    final, task = replay.case.final, replay.task
    if replay.case.facts["method"] == "cd":  # the script lets the table's unused rows decay; we keep them
        table = task.text_encoder.get_input_embeddings()
        golden = final[f"final.{TABLE}"][: table.old.num_embeddings]
        torch.testing.assert_close(table.old.weight, golden, rtol=0, atol=2e-4)
        table.old = torch.nn.Embedding.from_pretrained(golden)
    with torch.no_grad():
        text = task.text(final["probe_input_ids"])
        made = task.unet.eval()(final["probe_sample"], final["probe_timesteps"], text).sample
    torch.testing.assert_close(text, final["probe_encoder_hidden_states"], rtol=0, atol=3e-5)
    torch.testing.assert_close(made, final["probe_pred"], rtol=0, atol=3e-5)


def test_what_is_kept_is_what_the_script_wrote(name: str) -> None:
    """Shapes and names of the script's files for sampling, where it wrote any that we have."""
    replay = replayed(name)
    kept = replay.task.weights()
    for file in sorted((GOLDENS / name).glob("ref_*.safetensors")):
        for key, golden in load_file(file).items():
            ours = {recorded_name(own).removeprefix("unet."): tensor for own, tensor in kept.items()}
            made = ours[key].detach()
            assert made.shape == golden.shape
            torch.testing.assert_close(made, golden, rtol=0, atol=0.1 * replay.rates[0])


def test_the_schedule_is_the_recorded_one(name: str) -> None:
    schedule = schedule_of(tuned_case(name).stack)
    assert schedule.config.num_train_timesteps == 1000
    assert schedule.config.prediction_type == ("v_prediction" if "vpred" in name else "epsilon")
