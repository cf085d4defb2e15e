"""The contrastive pair: a small CLIPModel, trained twice with different seeds.

One gives the stack its text encoder and its matcher; the other only judges.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTokenizer, CLIPVisionConfig

from fcbench.images import to_clip, to_tensor
from fcbench.loop import Clock, batch_generator, cosine, fast_autocast, run_steps
from fcbench.make_stack.pool import GROUP, Pool

WIDTH = 96
"""Of both towers, of the projections, and so of the tokens that the denoiser attends to."""
TOKENS = 60
"""The text length of the miniature: its longest captions have fewer words."""
BATCH = 96
GROUPS = 2
"""Whole groups of prompted pictures in a batch."""


def train_tokenizer(captions: Sequence[str]) -> CLIPTokenizer:
    """A byte-pair tokenizer of CLIP's kind in which every word of the captions is one token."""
    tokenizer = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    alphabet = list("abcdefghijklmnopqrstuvwxyz0123456789,.-'!?<>|")
    trainer = trainers.BpeTrainer(
        vocab_size=1200,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        special_tokens=[],
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    learned = Tokenizer.to_str(tokenizer)
    import json

    model = json.loads(learned)["model"]
    vocabulary = dict(model["vocab"])
    for letter in alphabet:  # any word can be spelled, also one that no caption holds
        for piece in (letter, letter + "</w>"):
            vocabulary.setdefault(piece, len(vocabulary))
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary[special] = len(vocabulary)
    merges = [tuple(pair) for pair in model["merges"]]
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=TOKENS)


def new_clip(tokenizer: CLIPTokenizer) -> CLIPModel:
    """The untrained model: 96 wide, two text layers, three vision layers over 8 px patches, 96-d projections."""
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=384,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=TOKENS,
        projection_dim=WIDTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
    vision = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=64,
        patch_size=8,
        projection_dim=WIDTH,
    )
    return CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=WIDTH))


def tokenize(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> torch.Tensor:
    """Texts as ids, int64 (n, tokens), padded with end-of-text as Stable Diffusion does."""
    encoded = tokenizer(
        list(texts), padding="max_length", truncation=True, max_length=tokenizer.model_max_length, return_tensors="pt"
    )
    ids: torch.Tensor = encoded.input_ids
    return ids


def train_clip(
    name: str,
    scenes: Pool,
    prompted: Pool,
    tokenizer: CLIPTokenizer,
    work: Path,
    clock: Clock,
    *,
    steps: int,
    seed: int,
) -> CLIPModel:
    """Train on picture-caption pairs with CLIP's symmetric loss.

    Each batch holds random scenes and whole groups of prompted pictures, which show the same people: else knowing who
    is in a picture would be enough, and small things held or worn would never be learned.
    """
    torch.manual_seed(seed)
    clip = new_clip(tokenizer)
    ids = tokenize(tokenizer, [*scenes.captions, *prompted.captions])
    count, groups = len(scenes.captions), len(prompted.captions) // GROUP
    optimiser = torch.optim.AdamW(clip.parameters(), lr=1.5e-3, weight_decay=0.05, betas=(0.9, 0.98), fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: cosine(k, steps))
    right = torch.arange(BATCH)

    def step(k: int) -> dict[str, float]:
        generator = batch_generator(seed, k)
        alone = torch.randint(count, (BATCH - GROUPS * GROUP,), generator=generator)
        first = torch.randint(groups, (GROUPS, 1), generator=generator) * GROUP
        grouped = (first + torch.arange(GROUP)).flatten()
        rows = torch.cat([alone, count + grouped])
        chosen = [scenes.pictures[i] for i in alone.tolist()] + [prompted.pictures[i] for i in grouped.tolist()]
        batch = _augment(to_tensor(chosen), batch_generator(seed + 1, k))
        words = _trim(ids[rows], tokenizer)
        with fast_autocast("cpu"):
            logits = clip(input_ids=words, pixel_values=to_clip(batch, 64)).logits_per_image.float()
        # Equal texts ("a man in the snow" in both groups) are not each other's negatives.
        same = (words[:, None] == words[None]).all(2) & ~torch.eye(BATCH, dtype=torch.bool)
        logits = logits.masked_fill(same, float("-inf"))
        loss = (functional.cross_entropy(logits, right) + functional.cross_entropy(logits.T, right)) / 2
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(clip.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        return {"loss": loss.item(), "top1": float((logits.detach().argmax(1) == right).float().mean())}

    run_steps(
        name, steps, step, {"clip": clip, "optimiser": optimiser, "schedule": schedule}, work / f"{name}.pt", clock
    )
    return clip.eval()


def _augment(batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Half the batches are blurred or noisy, as generated pictures are; colours and places stay."""
    kind = torch.randint(4, (1,), generator=generator).item()
    if kind == 0:
        return functional.interpolate(functional.avg_pool2d(batch, 2), scale_factor=2.0, mode="bilinear")
    if kind == 1:
        return batch + 0.15 * torch.randn(batch.shape, generator=generator)
    return batch


def _trim(ids: torch.Tensor, tokenizer: CLIPTokenizer) -> torch.Tensor:
    """Drop the columns in which every row is padding (causal attention: nothing before them changes)."""
    words = int((ids != tokenizer.eos_token_id).sum(1).max())
    return ids[:, : words + 1]
