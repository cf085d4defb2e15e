"""The captioner: a small BLIP (arXiv 2201.12086) that tells people of the drawn world apart in words.

Its picture side begins as the contrastive pair's vision tower, as BLIP's own begins as a trained ViT; its words are
the world's, in a vocabulary of BERT's kind.
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
    CLIPModel,
)

from fcbench.images import CLIP_MEAN, CLIP_STD, to_clip, to_tensor
from fcbench.loop import Clock, Stateful, run_steps
from fcbench.make_stack.muon import Muon, level_then_down, muon_groups
from fcbench.make_stack.pool import training_scene
from fcbench.types import Image
from fcbench.weights import save_half
from fcbench.world import render, tell

WIDTH, LAYERS = 96, 3
"""Of the picture side: the contrastive tower's."""
TEXT_WIDTH, TEXT_LAYERS = 56, 2
"""Of the word side: what is left of 0.9 MB in float16."""
TOKENS = 64
BATCH = 32
_FIRST = 40_000_000
_ENDS = ("embedding", "predictions")
"""The layers that AdamW trains, Muon the others."""
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]")


def new_tokenizer(captions: Sequence[str]) -> BertTokenizer:
    """A tokenizer that has every word of the captions whole, and BLIP's mark for where a caption begins."""
    words = sorted({word for caption in captions for word in re.findall(r"\w+|[^\w\s]", caption)})
    vocabulary = {word: number for number, word in enumerate((*_SPECIAL, *words))}
    return BertTokenizer(vocab=vocabulary, bos_token="[DEC]", model_max_length=TOKENS)


def new_captioner(tokenizer: BertTokenizer) -> BlipForConditionalGeneration:
    """The untrained model: 64 px in patches of 8, three layers 96 wide for pictures, two 56 wide for words."""
    vision = BlipVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        image_size=64,
        patch_size=8,
        hidden_act="quick_gelu",
        initializer_range=0.02,
    )
    text = BlipTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        encoder_hidden_size=WIDTH,
        intermediate_size=72,
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


@torch.no_grad()
def begin_from(clip: CLIPModel, captioner: BlipForConditionalGeneration) -> None:
    """Give the captioner's picture side the weights of a contrastive model's vision tower.

    CLIP normalises each token before its layers, BLIP does not: what that step does goes into the
    embeddings, exactly but for the deviation it divides by, which is there the usual one for all tokens.
    """
    there, here = clip.vision_model, captioner.vision_model
    norm = there.pre_layrnorm
    scale = norm.weight / _token_deviation(clip)
    patches = there.embeddings.patch_embedding.weight
    here.embeddings.patch_embedding.weight.copy_((patches - patches.mean(0)) * scale[:, None, None, None])
    here.embeddings.patch_embedding.bias.zero_()
    positions = there.embeddings.position_embedding.weight
    here.embeddings.position_embedding[0].copy_((positions - positions.mean(1, keepdim=True)) * scale + norm.bias)
    first = there.embeddings.class_embedding
    here.embeddings.class_embedding[0, 0].copy_((first - first.mean()) * scale)
    for old, new in zip(there.encoder.layers, here.encoder.layers, strict=True):
        parts = (old.self_attn.q_proj, old.self_attn.k_proj, old.self_attn.v_proj)
        new.self_attn.qkv.weight.copy_(torch.cat([part.weight for part in parts]))
        new.self_attn.qkv.bias.copy_(torch.cat([part.bias for part in parts]))
        new.self_attn.projection.load_state_dict(old.self_attn.out_proj.state_dict())
        for name in ("layer_norm1", "layer_norm2", "mlp"):
            getattr(new, name).load_state_dict(getattr(old, name).state_dict())
    here.post_layernorm.load_state_dict(there.post_layernorm.state_dict())


def train_captioner(
    clip: CLIPModel, work: Path, clock: Clock, *, steps: int, seed: int
) -> tuple[BlipForConditionalGeneration, BertTokenizer]:
    """Train on scenes drawn as they are needed; the state is kept in ``work/captioner.pt``."""
    torch.manual_seed(seed)
    tokenizer = new_tokenizer([tell(training_scene(number)).text for number in range(3000)])
    model = new_captioner(tokenizer).train()
    begin_from(clip, model)
    optimiser = Muon(muon_groups(model, lr=0.02, adam_lr=2e-3, weight_decay=0.01, skip=_ENDS))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: level_then_down(k, steps))

    def step(k: int) -> dict[str, float]:
        pictures, captions = draw_told(_FIRST + BATCH * (seed * 1_000_000 + k))
        ids = tokenize(tokenizer, captions)
        seen = model.vision_model(pixel_values=to_clip(to_tensor(pictures), 64)).last_hidden_state
        said = model.text_decoder(
            ids[:, :-1], attention_mask=(ids[:, :-1] != tokenizer.pad_token_id).long(), encoder_hidden_states=seen
        ).logits
        wanted = ids[:, 1:]
        real = wanted != tokenizer.pad_token_id
        loss = functional.cross_entropy(said[real], wanted[real])
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
    """Training scenes from number ``first`` on, and what is told of each."""
    scenes = [training_scene(number) for number in range(first, first + count)]
    return [render(scene).image for scene in scenes], [tell(scene).text for scene in scenes]


def tokenize(tokenizer: BertTokenizer, captions: Sequence[str]) -> Tensor:
    """Captions between their marks of beginning and end: int64 (n, longest), padded."""
    ids: Tensor = tokenizer(list(captions), padding=True, return_tensors="pt").input_ids
    ids[:, 0] = tokenizer.convert_tokens_to_ids("[DEC]")
    return ids


def _token_deviation(clip: CLIPModel) -> float:
    """The usual deviation within a token that CLIP's first normalisation divides by, over a few scenes."""
    pixels = to_clip(to_tensor(draw_told(_FIRST - 8, 8)[0]), 64)
    return float(clip.vision_model.embeddings(pixels).std(-1, correction=0).mean())
