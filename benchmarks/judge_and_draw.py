"""CPU-seconds per picture on the miniature stack: drawing batched, drawing one by one, and scoring.

Run: python benchmarks/judge_and_draw.py
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from baselines.stable_diffusion import StableDiffusion
from fcbench.make_stack.card import PAIR, SINGLE, oracle
from fcbench.metrics.attributes import Attributes
from fcbench.metrics.blending import Blending
from fcbench.metrics.identity import Identity
from fcbench.metrics.prompt import PromptConsistency
from fcbench.stacks import load_stack


def main() -> None:
    """Print each cost with its target, and batched against one by one."""
    stack = load_stack("mini")
    with tempfile.TemporaryDirectory() as folder:
        cases = oracle(Path(folder), 10, 1, SINGLE)
        sampler = StableDiffusion().fit(stack, cases[0].case.subjects, seed=0, workdir=Path(folder))
        prompts = [generation.case.prompt for generation in cases[:16]]
        sampler(prompts[:1], [0])
        batched = _seconds(lambda: sampler(prompts, range(16))) / 16
        single = _seconds(lambda: [sampler(prompts[k : k + 1], [k]) for k in range(4)]) / 4
        scoring = {}
        for size, prompts_of in ((1, SINGLE), (2, PAIR)):
            warm = oracle(Path(folder) / f"warm{size}", 2, size, prompts_of[:2])
            judged = oracle(Path(folder) / f"judged{size}", 200 // len(prompts_of), size, prompts_of)
            for metric in (metrics := (Identity(), PromptConsistency(), Blending(), Attributes())):
                metric(stack, warm)
                scoring[size, metric.name] = _seconds(lambda m=metric, g=judged: m(stack, g)) / len(judged)
    print(
        f"drawing, batch of 16: {batched:.2f} CPU-seconds a picture (target 0.5); one by one {single / batched:.2f} x"
    )
    for size, who in ((1, "single subjects"), (2, "pairs")):
        costs = {metric.name: 1000 * scoring[size, metric.name] for metric in metrics}
        parts = ", ".join(f"{name} {cost:.0f}" for name, cost in costs.items())
        print(
            f"scoring 1000 pictures of {who}: {sum(costs.values()):.0f} CPU-seconds (target 60 on two cores; {parts})"
        )


def _seconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


if __name__ == "__main__":
    main()
