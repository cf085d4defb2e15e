"""Where a role's model may come from: folders and the hub's cache; and what is said when it does not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from httpx2 import HTTPError  # the client of huggingface_hub
from safetensors.torch import load_file, save_file

from fcbench.errors import DataError, MissingError, UsageError
from fcbench.files import write_json
from fcbench.stacks import load_stack
from fcbench.stacks.loading import find_class
from fcbench.stacks.whole import lacking
from tests.toys.tiny import stack_of

COMMIT = "0123456789abcdef0123456789abcdef01234567"
UNET = "diffusers.UNet2DConditionModel"


@pytest.fixture
def cache(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache with the U-Net of ``owner/name``, its branch main at COMMIT; returns the snapshot."""
    cached = tmp_path / "hub" / "models--owner--name"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(COMMIT)
    snapshot = cached / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (weights / "unet").rename(snapshot / "unet")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return snapshot


def test_a_hub_id_is_read_from_the_cache_and_its_commit_noted(cache: Path, tmp_path: Path) -> None:
    stack = stack_of(tmp_path, unet={"class": UNET, "hub": "owner/name", "subfolder": "unet"})
    stack.role("unet")
    assert stack.digests == {"unet": f"owner/name@{COMMIT}"}


def test_arguments_make_another_model_of_the_same_files(cache: Path, tmp_path: Path) -> None:
    part = {"class": UNET, "hub": "owner/name", "subfolder": "unet", "variant": "fp16"}
    assert stack_of(tmp_path, unet=part).digests == {"unet": f"owner/name@{COMMIT} variant=fp16"}


def test_they_do_of_a_folder_and_of_a_single_file(weights: Path, tmp_path: Path) -> None:
    for place in (weights / "unet", weights / "unet" / "config.json"):
        part = {"class": UNET, "path": str(place)}
        plain = stack_of(tmp_path, unet=part).digests["unet"]
        assert len(plain) == 64
        assert stack_of(tmp_path, unet={**part, "variant": "fp16"}).digests["unet"] == f"{plain} variant=fp16"


def test_a_variant_is_fetched_by_its_own_files(cache: Path, tmp_path: Path) -> None:
    part = {"class": UNET, "hub": "owner/name", "subfolder": "unet", "variant": "fp16"}
    wanted = "--include unet/diffusion_pytorch_model.fp16.safetensors"
    with pytest.raises(MissingError, match=wanted):
        stack_of(tmp_path, unet=part).role("unet")
    plain = cache / "unet" / "diffusion_pytorch_model.safetensors"
    plain.rename(plain.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert stack_of(tmp_path, unet=part).role("unet") is not None


def test_a_segmenter_is_known_by_its_detector_s_weights_too(tmp_path: Path) -> None:
    for folder in ("sam", "detector"):
        write_json(tmp_path / folder / "config.json", {})
    part = {"class": "fcbench.stacks.sam.load_sam", "path": str(tmp_path / "sam"), "detector": "detector"}
    before = stack_of(tmp_path, segmenter=part).digests["segmenter"]
    write_json(tmp_path / "detector" / "config.json", {"trained": "on"})
    assert stack_of(tmp_path, segmenter=part).digests["segmenter"] != before


def test_a_pipeline_that_is_a_package_is_known_by_its_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = {"class": "fcbench.stacks.text.load_parser", "place": "en_core_web_sm"}
    digests = set()
    for release in (None, "3.8.0", "3.9.0"):
        monkeypatch.setattr("fcbench.stacks.installed", {"en_core_web_sm": release}.get)
        digests.add(stack_of(tmp_path, parser=part).digests["parser"])
    assert len(digests) == 3


def test_a_commit_that_comes_while_loading_is_noted_then(cache: Path, tmp_path: Path) -> None:
    reference = cache.parent.parent / "refs" / "main"
    reference.rename(tmp_path / "main")
    stack = stack_of(tmp_path, unet={"class": UNET, "hub": "owner/name", "subfolder": "unet"})
    assert stack.digests == {"unet": "owner/name@main"}
    (tmp_path / "main").rename(reference)
    stack.role("unet")
    assert stack.digests == {"unet": f"owner/name@{COMMIT}"}


def test_a_branch_that_is_not_cached_is_known_by_the_commit_that_the_hub_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that what was begun before a download goes on after it."""
    asked = []

    def told(api: object, *, repo_id: str, revision: str | None, **_: object) -> SimpleNamespace:
        asked.append((repo_id, revision))
        return SimpleNamespace(sha=COMMIT)

    monkeypatch.setattr("huggingface_hub.HfApi.repo_info", told)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    part = {"class": UNET, "hub": "owner/name", "subfolder": "unet"}
    for _ in range(2):  # asked for once, then cached
        assert stack_of(tmp_path, unet=part).digests == {"unet": f"owner/name@{COMMIT}"}
    assert stack_of(tmp_path, unet={**part, "revision": "fp16"}).digests == {"unet": f"owner/name@{COMMIT}"}
    assert stack_of(tmp_path, unet={**part, "revision": COMMIT}).digests == {"unet": f"owner/name@{COMMIT}"}
    assert asked == [("owner/name", None), ("owner/name", "fp16")]


def test_the_commit_that_was_written_down_is_loaded_wherever_the_branch_is_by_then(cache: Path, tmp_path: Path) -> None:
    stack = stack_of(tmp_path, unet={"class": UNET, "hub": "owner/name", "subfolder": "unet"})
    (cache.parent.parent / "refs" / "main").write_text("f" * 40)
    stack.role("unet")
    assert stack.digests == {"unet": f"owner/name@{COMMIT}"}


def test_what_is_not_cached_is_named_with_the_command_that_fetches_it(cache: Path, tmp_path: Path) -> None:
    (cache / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    part = {"class": UNET, "hub": "owner/name", "subfolder": "unet", "revision": COMMIT}
    with pytest.raises(MissingError) as caught:
        stack_of(tmp_path, unet=part).role("unet")
    command = f"hf download owner/name --revision {COMMIT} --include unet/config.json --include unet/diffusion_pytorch"
    assert command in str(caught.value)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (HTTPError("proxy says\n  no"), "proxy says no"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_why_nothing_could_be_fetched_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", broken)
    monkeypatch.setattr("huggingface_hub.HfApi.resolve_revision", broken)
    stack = stack_of(tmp_path, unet={"class": UNET, "hub": "owner/name"})
    with pytest.raises(MissingError, match=rf"cannot be fetched \(.*{told}\); where there is a network: hf download"):
        stack.role("unet")


def test_weights_in_parts_are_whole_when_every_part_of_the_index_is_there(cache: Path, tmp_path: Path) -> None:
    folder, name = cache / "unet", "diffusion_pytorch_model"
    tensors = load_file(folder / f"{name}.safetensors")
    (folder / f"{name}.safetensors").unlink()
    parts = {f"{name}-0000{k + 1}-of-00002.safetensors": dict(list(tensors.items())[k::2]) for k in range(2)}
    index = {"metadata": {}, "weight_map": {key: part for part, own in parts.items() for key in own}}
    write_json(folder / f"{name}.safetensors.index.json", index)
    first, second = parts
    save_file(parts[first], folder / first, metadata={"format": "pt"})
    part = {"class": UNET, "hub": "owner/name", "subfolder": "unet"}
    with pytest.raises(MissingError, match=f"lacks {second}"):
        stack_of(tmp_path, unet=part).role("unet")
    save_file(parts[second], folder / second, metadata={"format": "pt"})
    assert stack_of(tmp_path, unet=part).role("unet").state_dict().keys() == tensors.keys()


def test_a_tokenizer_without_its_vocabulary_is_refused(tmp_path: Path) -> None:
    """The library makes one of two tokens, to which every prompt is the same."""
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "tokenizer_config.json").write_text('{"tokenizer_class": "CLIPTokenizer"}')
    part = {"class": "transformers.CLIPTokenizer", "path": "tokenizer"}
    with pytest.raises(DataError, match=r"tokenizer: .* needs a vocabulary: tokenizer.json, or vocab.json with merges"):
        stack_of(tmp_path, tokenizer=part).role("tokenizer")


def test_of_a_hub_s_tokenizer_and_clip_the_vocabulary_is_asked_for(tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer_config.json", "model.safetensors", "vocab.json"):
        (tmp_path / name).write_text("{}")
    for thing in (find_class("transformers.CLIPTokenizer"), find_class("fcbench.stacks.clip.load_clip")):
        assert lacking(tmp_path, thing).startswith("a vocabulary: tokenizer.json")
        (tmp_path / "merges.txt").touch()
        assert lacking(tmp_path, thing) == ""
        (tmp_path / "merges.txt").unlink()


@pytest.mark.parametrize("role", ["captioner.load_blip", "mask2former.load_mask2former", "sam.load_sam"])
def test_what_prepares_pictures_is_asked_for_beside_the_weights(role: str, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    thing = find_class(f"fcbench.stacks.{role}")
    assert lacking(tmp_path, thing) == "preprocessor_config.json"
    (tmp_path / "preprocessor_config.json").write_text("{}")
    assert lacking(tmp_path, thing) == ""


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"class": UNET, "hub": "a/b", "revison": "x"}, "role unet: unknown key 'revison': did you mean revision"),
        ({"class": UNET, "path": "unet", "subfoldr": "y"}, "unknown key 'subfoldr': did you mean subfolder"),
        ({"class": UNET, "path": "unet", "foo": 1}, "unknown key 'foo'"),
        ({"class": UNET}, "comes from nowhere: name a path or a hub id"),
        ({"class": "transformers.CLIPTokenizer", "pad_token": "!"}, "comes from nowhere"),
        ({"class": "transformers.CLIPTokenizer", "path": "t", "revison": "x"}, "did you mean revision"),
        ({"class": "diffusers.DDIMScheduler"}, "comes from nowhere"),
        ({"class": UNET, "path": "unet", "hub": "a/b"}, "a path and a hub id: name one of them"),
    ],
)
def test_a_role_that_is_misdescribed_is_refused(tmp_path: Path, part: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        stack_of(tmp_path, unet=part).role("unet")


def test_a_folder_that_lacks_a_weight_is_refused(weights: Path) -> None:
    file = weights / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    del tensors["conv_in.bias"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"unet: 1 weights of diffusers.UNet2DConditionModel are not there, conv_in"):
        stack_of(weights, unet={"class": UNET, "path": "unet"}).role("unet")


def test_what_a_training_begins_from_is_not_rounded_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fcbench.stacks.find_device", lambda name: "cuda")
    monkeypatch.setattr("fcbench.stacks.loading._place", lambda model, device: model)
    stack = load_stack("mini", unrounded=("unet", "image_encoder"))
    types = {role: stack.role(role).dtype for role in ("unet", "image_encoder", "text_encoder", "vae")}
    full, half = torch.float32, torch.float16
    assert types == {"unet": full, "image_encoder": full, "text_encoder": half, "vae": half}


def test_text_encoders_are_read_with_and_without_the_older_prefix(weights: Path) -> None:
    part = {"class": "transformers.CLIPTextModel", "path": "text_encoder"}
    before = stack_of(weights, text_encoder=part).role("text_encoder").state_dict()
    file = weights / "text_encoder" / "model.safetensors"
    older = {f"text_model.{key}": value for key, value in load_file(file).items()}
    older["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(older, file, metadata={"format": "pt"})
    after = stack_of(weights, text_encoder=part).role("text_encoder").state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
