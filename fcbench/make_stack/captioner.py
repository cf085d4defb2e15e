"""The captioner: a small BLIP (arXiv 2201.12086) that tells people of the drawn world apart in words.

Its patches are 4 px, half the contrastive pair's: a small figure's mouth and hat are hardly more (LOG.md). Its words
are the world's, in a vocabulary of BERT's kind.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessorPil,
    BlipTextConfig,
    BlipVisionConfig,
    BlipVisionModel,
)

from fcbench.images import CLIP_MEAN, CLIP_STD, to_clip, to_tensor
from fcbench.loop import Clock, Stateful, run_steps
from fcbench.make_stack.muon import Muon, level_then_down, muon_groups
from fcbench.make_stack.pool import training_scene
from fcbench.types import Image
from fcbench.weights import save_half
from fcbench.world import render, tell

WIDTH, LAYERS = 64, 3
"""Of the picture side, which sees 256 patches."""
TEXT_WIDTH, TEXT_LAYERS = 64, 2
"""Of the word side."""
TOKENS = 64
BATCH = 32
NOUNS, NOUN_WEIGHT = ("man", "woman"), 4.0
"""The words that phrases are found by, hardest to tell for a small figure, and the weight of each in the loss."""
_FIRST = 40_000_000
_ENDS = ("embedding", "predictions")
"""The layers that AdamW trains; Muon has the rest."""
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]")


def new_tokenizer(captions: Sequence[str]) -> BertTokenizer:
    """A tokenizer with every word of the captions as one token, and BLIP's mark for a caption's start."""
    words = sorted({word for caption in captions for word in re.findall(r"\w+|[^\w\s]", caption)})
    vocabulary = {word: number for number, word in enumerate((*_SPECIAL, *words))}
    return BertTokenizer(vocab=vocabulary, bos_token="[DEC]", model_max_length=TOKENS)


def new_captioner(tokenizer: BertTokenizer) -> BlipForConditionalGeneration:
    """The untrained model: 64 px in patches of 4, three layers for pictures, two for words, all 64 wide."""
    vision = BlipVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        image_size=64,
        patch_size=4,
        hidden_act="quick_gelu",
        initializer_range=0.02,
    )
    text = BlipTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        encoder_hidden_size=WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        num_hidden_layers=TEXT_LAYERS,
        num_attention_heads=4,
        max_position_embeddings=TOKENS,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        bos_token_id=tokenizer.convert_tokens_to_ids("[DEC]"),
        eos_token_id=tokenizer.sep_token_id,
        sep_token_id=tokenizer.sep_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = BlipConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=WIDTH, image_text_hidden_size=WIDTH
    )
    return BlipForConditionalGeneration(config)


def new_processor() -> BlipImageProcessorPil:
    """How pictures become the model's input."""
    return BlipImageProcessorPil(size={"height": 64, "width": 64}, image_mean=CLIP_MEAN, image_std=CLIP_STD)


def train_captioner(
    work: Path, clock: Clock, *, steps: int, seed: int
) -> tuple[BlipForConditionalGeneration, BertTokenizer]:
    """Train on scenes drawn as they are needed; the state is kept in ``work/captioner.pt``."""
    torch.manual_seed(seed)
    tokenizer = new_tokenizer([tell(training_scene(number)).text for number in range(3000)])
    model = new_captioner(tokenizer).train()
    optimiser = Muon(muon_groups(model, lr=0.02, adam_lr=2e-3, weight_decay=0.01, skip=_ENDS))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: level_then_down(k, steps))

    weight = torch.ones(len(tokenizer))
    weight[tokenizer.convert_tokens_to_ids(list(NOUNS))] = NOUN_WEIGHT

    def step(k: int) -> dict[str, float]:
        pictures, captions = draw_told(_FIRST + BATCH * (seed * 1_000_000 + k))
        ids = tokenize(tokenizer, captions)
        seen = see(model.vision_model, to_clip(to_tensor(pictures), 64))
        said = model.text_decoder(
            ids[:, :-1], attention_mask=(ids[:, :-1] != tokenizer.pad_token_id).long(), encoder_hidden_states=seen
        ).logits
        wanted = ids[:, 1:]
        real = wanted != tokenizer.pad_token_id
        loss = functional.cross_entropy(said[real], wanted[real], weight=weight)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        return {"loss": loss.item(), "right": float((said.detach().argmax(-1) == wanted)[real].float().mean())}

    state: dict[str, Stateful] = {"model": model, "optimiser": optimiser, "schedule": schedule}
    run_steps("captioner", steps, step, state, work / "captioner.pt", clock)
    return model.eval(), tokenizer


def save_captioner(folder: Path, model: BlipForConditionalGeneration, tokenizer: BertTokenizer) -> None:
    """The model, its words, and how its input is made, as transformers keeps them."""
    save_half(folder, model)
    tokenizer.save_pretrained(folder)
    new_processor().save_pretrained(folder)


def draw_told(first: int, count: int = BATCH) -> tuple[list[Image], list[str]]:
    """Training scenes from number ``first`` on, and a caption of each."""
    scenes = [training_scene(number) for number in range(first, first + count)]
    return [render(scene).image for scene in scenes], [tell(scene).text for scene in scenes]


def see(vision: BlipVisionModel, pixels: Tensor) -> Tensor:
    """What BLIP's picture side makes of ``pixels``, (n, 1 + patches, width), attention by torch in one call.

    The library's own way keeps all 257 x 257 weights and takes twice as long in training; the result is the same.
    """
    states = vision.embeddings(pixels)
    for layer in vision.encoder.layers:
        attention, normed = layer.self_attn, layer.layer_norm1(states)
        n, tokens, width = normed.shape
        query, key, value = attention.qkv(normed).view(n, tokens, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
        found = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(n, tokens, width)
        states = states + attention.projection(found)
        states = states + layer.mlp(layer.layer_norm2(states))
    seen: Tensor = vision.post_layernorm(states)
    return seen


def tokenize(tokenizer: BertTokenizer, captions: Sequence[str]) -> Tensor:
    """Captions between their marks of beginning and end: int64 (n, longest), padded."""
    ids: Tensor = tokenizer(list(captions), padding=True, return_tensors="pt").input_ids
    ids[:, 0] = tokenizer.convert_tokens_to_ids("[DEC]")
    return ids
