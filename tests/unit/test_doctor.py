from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fcbench import doctor
from fcbench.doctor import Finding
from fcbench.stacks import presence


def test_a_package_that_is_absent_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "requires", lambda name: ["numpy>=2", "no-such>=1,<2", 'gone; extra == "sam"'])
    core, extra = doctor._packages()
    assert core.text.startswith("numpy ")
    assert (core.mend, core.needed) == ("pip install 'no-such>=1,<2'", True)
    assert (extra.topic, extra.mend, extra.needed) == ("[sam]", "pip install gone", False)


def test_all_that_the_defaults_need_is_installed_here() -> None:
    core, *extras = doctor._packages()
    assert core.mend == ""
    assert "torch " in core.text
    assert {extra.topic for extra in extras} == {"[sam]", "[ray]", "[gpu]", "[track]", "[dev]"}


def test_a_gpu_that_faces_are_not_judged_on_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert list(doctor._faces()) == []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    (absent,) = doctor._faces()
    assert (absent.mend, absent.needed) == ("pip install --no-deps onnxruntime-gpu", False)
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider"])
    (there,) = doctor._faces()
    assert (there.text, there.mend) == ("judged on the GPU", "")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert list(doctor._faces()) == []


ROLES = """
roles:
  vae: {class: diffusers.AutoencoderKL, path: vae}
  unet: {class: diffusers.UNet2DConditionModel, hub: somebody/net}
  faces: {class: fcbench.stacks.faces.load_faces, place: pack}
  parser: {class: fcbench.stacks.text.load_parser, place: no_such_parser}
"""


def test_a_stack_s_absent_weights_are_told_with_what_brings_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mini").mkdir()
    (tmp_path / "mini" / "stack.yaml").write_text("name: mini\nimage_size: 64" + ROLES)
    monkeypatch.setattr("fcbench.stacks._SHIPPED", tmp_path)
    monkeypatch.setattr(presence, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(presence, "PACKS", tmp_path / "packs")
    (stack,) = doctor._stacks()
    assert (stack.text, stack.needed) == ("mini: 0 of 4 roles, not vae, unet, faces, parser", True)
    assert stack.mend.split("; ") == [
        "fcbench make-stack mini",
        "hf download somebody/net --include config.json --include diffusion_pytorch_model.safetensors "
        "--include 'diffusion_pytorch_model-0*.safetensors' --include diffusion_pytorch_model.safetensors.index.json",
        "insightface-cli model.download pack",
        "python -m spacy download no_such_parser",
    ]
    snapshot = "hub/models--somebody--net/snapshots/abc"
    for folder in ("mini/vae", snapshot, "hub/models--somebody--net/refs", "packs/pack"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "hub/models--somebody--net/refs/main").write_text("abc")
    (tmp_path / snapshot / "config.json").write_text("{}")
    assert next(doctor._stacks()).text == "mini: 2 of 4 roles, not unet, parser"
    (tmp_path / snapshot / "diffusion_pytorch_model.safetensors").touch()
    (stack,) = doctor._stacks()
    assert (stack.text, stack.mend) == (
        "mini: 3 of 4 roles, not parser",
        "python -m spacy download no_such_parser",
    )


def test_only_what_is_needed_is_told_as_missing() -> None:
    assert str(Finding("stack", "mini")) == "ok      stack     mini"
    assert str(Finding("stack", "mini", "make it")) == "MISSING stack     mini\n                  make it"
    assert str(Finding("stack", "sd15", "get it", needed=False)).startswith("absent  stack ")


def test_a_model_is_here_only_in_the_revision_and_subfolder_that_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "HF_HUB_CACHE", str(tmp_path))
    commit = "a" * 40
    folder = tmp_path / "models--somebody--net" / "snapshots" / commit / "tokenizer"
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_text("{}")
    part = {"class": "transformers.CLIPTokenizer", "hub": "somebody/net", "subfolder": "tokenizer", "revision": commit}

    def mend(**other: str) -> str:
        return presence.facts_of("tokenizer", presence.RoleSpec.model_validate({**part, **other}), tmp_path).mend

    assert mend() == ""
    files = "--include 'tokenizer/*.json' --include 'tokenizer/*.txt'"
    assert mend(revision="b" * 40) == f"hf download somebody/net --revision {'b' * 40} {files}"
    assert mend(revision="main") == f"hf download somebody/net --revision main {files}"
    other = files.replace("tokenizer", "tokenizer_2")
    assert mend(subfolder="tokenizer_2") == f"hf download somebody/net --revision {commit} {other}"


def test_facenet_is_here_only_with_its_weights_and_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = presence.RoleSpec.model_validate({"class": "fcbench.stacks.facenet.load_facenet"})
    packages = {"facenet_pytorch": tmp_path}
    monkeypatch.setattr(presence, "_package", packages.get)
    monkeypatch.setattr(presence, "weights_file", lambda: tmp_path / "vgg.pt")
    assert presence.facts_of("facenet", part, tmp_path).mend == "pip install --no-deps facenet-pytorch"
    packages["torchvision"] = tmp_path
    assert presence.facts_of("facenet", part, tmp_path).mend.startswith(f"curl -L --create-dirs -o {tmp_path}/vgg.pt ")
    (tmp_path / "vgg.pt").touch()
    assert presence.facts_of("facenet", part, tmp_path).mend == ""


def test_a_place_that_is_a_local_path_is_looked_at_locally(tmp_path: Path) -> None:
    part = presence.RoleSpec.model_validate({"class": "fcbench.stacks.clip.load_clip", "place": str(tmp_path / "clip")})
    assert presence.facts_of("clip", part, tmp_path).mend == "correct its path"
    (tmp_path / "clip").mkdir()
    assert presence.facts_of("clip", part, tmp_path).mend == ""
