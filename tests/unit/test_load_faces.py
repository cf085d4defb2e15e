import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from fcbench.errors import DataError, MissingError
from fcbench.make_stack.detector import Detector, export_detector
from fcbench.make_stack.embedder import Embedder, export_embedder
from fcbench.stacks import load_stack, presence
from fcbench.stacks.faces import load_faces


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "buffalo_l"
    torch.manual_seed(0)
    export_detector(Detector(), folder / "det.onnx")
    export_embedder(Embedder(), folder / "rec.onnx")
    return folder


def test_an_absent_folder_is_missing_by_name(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="nowhere: no such face pack"):
        load_faces(tmp_path / "nowhere", (64, 64))


def test_a_folder_without_networks_is_missing_its_detector(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"no det\.onnx"):
        load_faces(tmp_path, (64, 64))


@pytest.mark.parametrize(("file", "role"), [("det.onnx", "recogniser"), ("rec.onnx", "detector")])
def test_half_a_pack_says_which_half_is_missing(pack: Path, tmp_path: Path, file: str, role: str) -> None:
    shutil.copy(pack / file, tmp_path / file)
    with pytest.raises(MissingError, match=f"no face {role}"):
        load_faces(tmp_path, (64, 64))


def test_a_broken_network_is_named(pack: Path, tmp_path: Path) -> None:
    shutil.copy(pack / "rec.onnx", tmp_path / "rec.onnx")
    (tmp_path / "det.onnx").write_bytes(b"torn")
    with pytest.raises(DataError, match=r"det\.onnx.*cannot be read|cannot be read.*det\.onnx"):
        load_faces(tmp_path, (64, 64))


def test_a_name_that_was_not_downloaded_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(MissingError, match=r"insightface-cli model\.download buffalo_l"):
        load_faces(Path("buffalo_l"), (640, 640))
    assert not list(tmp_path.iterdir())


def test_a_downloaded_pack_is_found_by_its_name(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(pack, tmp_path / ".insightface" / "models" / "buffalo_l")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_faces("buffalo_l", [64, 64]).det_model.input_size == (64, 64)
    assert capsys.readouterr() == ("", "")


def test_another_pack_of_the_same_name_is_another_judge(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packs = tmp_path / ".insightface" / "models"
    monkeypatch.setattr(presence, "PACKS", packs)
    found = [load_stack("sd15").digests["faces"]]
    shutil.copytree(pack, packs / "buffalo_l")
    found.append(load_stack("sd15").digests["faces"])
    network = next((packs / "buffalo_l").glob("*.onnx"))
    network.write_bytes(network.read_bytes() + b"x")
    os.utime(network, ns=(1, 1))
    found.append(load_stack("sd15").digests["faces"])
    assert len(set(found)) == 3


def test_without_insightface_the_remedy_is_named(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "insightface.app", None)
    with pytest.raises(MissingError, match="pip install insightface"):
        load_faces(pack, (64, 64))


@pytest.mark.parametrize("threads", [0, 1])
def test_every_network_of_a_pack_runs_on_as_many_threads_as_asked(pack: Path, threads: int) -> None:
    app = load_faces(pack, (64, 64), threads=threads)
    used = [model.session.get_session_options().intra_op_num_threads for model in app.models.values()]
    assert used == [threads] * 2


def test_faces_are_looked_for_at_several_sizes_as_insightface_takes_them(pack: Path) -> None:
    app = load_faces(pack, [[64, 64], [128, 128]])
    assert [tuple(size) for size in app.det_model.input_sizes] == [(64, 64), (128, 128)]


@pytest.mark.parametrize(
    ("device", "built", "gpu"),
    [("cuda", True, 0), ("cuda:3", True, 3), ("cuda:3", False, None), ("cpu", True, None)],
)
def test_faces_are_judged_on_a_gpu_where_onnxruntime_is_built_for_it(
    pack: Path, monkeypatch: pytest.MonkeyPatch, device: str, built: bool, gpu: int | None
) -> None:
    asked: dict[str, Any] = {}

    class Analysis:
        models = ("recognition",)

        def __init__(self, *, name: str, allowed_modules: list[str], **session: Any) -> None:
            asked.update(session)

        def prepare(self, ctx_id: int, det_size: tuple[int, int]) -> None:
            asked.update(ctx_id=ctx_id)

    providers = ["CUDAExecutionProvider"] * built + ["CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: providers)
    monkeypatch.setattr("insightface.app.FaceAnalysis", Analysis)
    load_faces(pack, (64, 64), device=device)
    on_gpu = [] if gpu is None else [("CUDAExecutionProvider", {"device_id": gpu, "use_tf32": 0})]
    assert asked["providers"] == [*on_gpu, "CPUExecutionProvider"]
    assert asked["ctx_id"] == (-1 if gpu is None else gpu)
