import copy
from typing import Any

import pytest
import torch
from torch import nn

from fcbench.make_stack.muon import Muon, muon_groups, orthogonal


@pytest.mark.parametrize("shape", [(8, 8), (4, 30), (30, 4)])
def test_orthogonal_has_singular_values_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
    assert values.min() > 0.4
    assert values.max() < 1.3


def test_vectors_and_skipped_layers_move_as_under_adamw() -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"conv_in": nn.Conv2d(3, 4, 3), "middle": nn.Linear(4, 4)})
    groups = muon_groups(model, lr=0.02, adam_lr=1e-3, weight_decay=0.0, skip=("conv_in",))
    assert [len(group["params"]) for group in groups] == [1, 3]
    other = copy.deepcopy(model)
    ours, plain = Muon(groups), torch.optim.AdamW(other.parameters(), lr=1e-3, weight_decay=0.0)
    for each in (model, other):
        each["middle"](each["conv_in"](torch.ones(1, 3, 3, 3)).flatten(1)).square().sum().backward()
    ours.step()
    plain.step()
    for name, weight in model.named_parameters():
        same = torch.equal(weight, other.get_parameter(name))
        assert same == (name != "middle.weight"), name


def test_a_state_is_gone_on_from() -> None:
    def run(steps: range, begin: dict[str, Any] | None = None) -> tuple[nn.Linear, Muon]:
        torch.manual_seed(0)
        model = nn.Linear(5, 3)
        optimiser = Muon(muon_groups(model, lr=0.02, adam_lr=1e-3, weight_decay=0.01))
        if begin:
            model.load_state_dict(copy.deepcopy(begin["model"]))
            optimiser.load_state_dict(copy.deepcopy(begin["optimiser"]))
        for k in steps:
            optimiser.zero_grad()
            model(torch.ones(2, 5) * (k + 1)).square().sum().backward()
            optimiser.step()
        return model, optimiser

    model, optimiser = run(range(1))
    state = {"model": copy.deepcopy(model.state_dict()), "optimiser": copy.deepcopy(optimiser.state_dict())}
    whole, _ = run(range(2))
    gone_on, _ = run(range(1, 2), state)
    assert torch.equal(gone_on.weight, whole.weight)
    forgot, _ = run(range(1, 2), {**state, "optimiser": run(range(0))[1].state_dict()})
    assert not torch.equal(forgot.weight, whole.weight)
