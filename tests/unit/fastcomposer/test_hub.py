"""Hub ids from a cache that lies ready, without a network."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from fcbench.errors import MissingError
from fcbench.fastcomposer import hub
from fcbench.fastcomposer.checkpoint import find_checkpoint

COMMIT, LATER = "a" * 40, "b" * 40


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache with one commit of owner/name, which is main."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--owner--name"
    for path, content in (("refs/main", COMMIT), (f"snapshots/{COMMIT}/pytorch_model.bin", "weights")):
        (repository / path).parent.mkdir(parents=True)
        (repository / path).write_text(content)
    return repository


def test_a_cached_checkpoint_is_found_by_name_by_branch_and_by_commit(cache: Path) -> None:
    file = cache / "snapshots" / COMMIT / "pytorch_model.bin"
    for place in ("owner/name", "owner/name@main", f"owner/name@{COMMIT}"):
        assert find_checkpoint(place) == file


def test_our_folder_is_found_too(cache: Path) -> None:
    folder = cache / "snapshots" / COMMIT
    (folder / "pytorch_model.bin").rename(folder / "fastcomposer.json")
    assert find_checkpoint("owner/name") == folder


@pytest.mark.parametrize("place", ["owner/other", "owner/name@v2", f"owner/name@{LATER}", "owner/-"])
def test_what_is_not_cached_is_missing_with_the_command(cache: Path, place: str) -> None:
    name, _, revision = place.partition("@")
    command = f"hf download {name}" + (f" --revision {revision}" if revision else "")
    with pytest.raises(MissingError, match=f"{command}$"):
        find_checkpoint(place)


def test_a_repository_of_something_else_is_missing(cache: Path) -> None:
    (cache / "snapshots" / COMMIT / "pytorch_model.bin").unlink()
    with pytest.raises(MissingError, match="no FastComposer checkpoint"):
        find_checkpoint("owner/name")


def test_a_name_is_pinned_to_what_the_hub_says_else_to_what_is_cached(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hub.pin("owner/name") == f"owner/name@{COMMIT}"
    monkeypatch.setattr(hub, "_online", lambda name, revision: LATER)
    assert hub.pin("owner/name") == hub.pin("owner/name@main") == f"owner/name@{LATER}"
    assert hub.pin(f"owner/name@{COMMIT}") == f"owner/name@{COMMIT}"


def test_what_is_not_known_and_what_is_no_hub_id_stay(cache: Path) -> None:
    for place in ("owner/other", "owner/name@v2", str(cache), "out/checkpoints/mine", "fastcomposer"):
        assert hub.pin(place) == place


def test_what_was_pinned_and_fetched_online_is_found_offline(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / "refs" / "main").unlink()  # by its commit it was fetched, and no branch was noted
    with monkeypatch.context() as online:
        online.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: SimpleNamespace(sha=COMMIT))
        assert hub.pin("owner/name") == f"owner/name@{COMMIT}"
    assert hub.pin("owner/name") == f"owner/name@{COMMIT}"
    assert find_checkpoint("owner/name") == cache / "snapshots" / COMMIT / "pytorch_model.bin"


def test_a_part_of_a_repository_is_pinned_offline(cache: Path) -> None:
    rest = {"README.md": {"size": 7, "blob_id": "c" * 40}}
    (cache / "trees").mkdir()
    (cache / "trees" / f"{COMMIT}.json").write_text(json.dumps({"format_version": 1, "files": rest}))
    assert hub.pin("owner/name") == f"owner/name@{COMMIT}"


def test_why_nothing_could_be_fetched_is_told(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> str:
        raise OSError(28, "No space left\non device")

    with pytest.raises(MissingError, match=r"within reach .*offline mode is enabled"):
        find_checkpoint("owner/other")
    monkeypatch.setattr("huggingface_hub.snapshot_download", full)
    with pytest.raises(MissingError, match=r"within reach \(\[Errno 28\] No space left on device\); where there is"):
        find_checkpoint("owner/name")
