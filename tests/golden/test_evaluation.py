"""Matching of faces, identity and the scored prompts against the official protocol; FCBENCH_GOLDENS names another."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fcbench.config import FolderPeople, load_suites
from fcbench.files import write_image
from fcbench.metrics.assign import greedy, matched
from fcbench.metrics.identity import Identity, official, strict
from fcbench.metrics.prompt import scored_text
from fcbench.types import Case, Generation, Prompt, Stack, Subject, subject_phrase
from tests.golden.golden_stack import GOLDENS, read

FACTS = read("g_eval_metrics.json")


@pytest.mark.parametrize("index", range(len(FACTS["greedy_matching"])))
def test_greedy_matching_gives_the_official_minimum(index: int) -> None:
    case = FACTS["greedy_matching"][index]
    scores = np.array(case["scores"])
    assert matched(scores, greedy(scores)).min() == pytest.approx(case["result"], rel=1e-6)


class RecordedFaces:
    """Stands in for a face detector: knows its pictures by the level they are filled with."""

    def __init__(self, faces: dict[int, Any]) -> None:
        self._faces = faces

    def get(self, picture: Any) -> list[Any]:
        found = self._faces[int(picture[0, 0, 0])]
        # First found is largest: the official code takes the first, ours the largest.
        return [
            SimpleNamespace(bbox=np.array([0, 0, 9 - place, 9]), normed_embedding=np.array(embedding, np.float32))
            for place, embedding in enumerate(found)
        ]


@pytest.mark.parametrize("index", range(len(FACTS["average_similarity"])))
def test_identity_of_one_subject_is_the_official_similarity(index: int, tmp_path: Path) -> None:
    case = FACTS["average_similarity"][index]
    for level in (1, 2):
        write_image(tmp_path / f"{level}.png", np.full((8, 8, 3), level, np.uint8))
    subject = Subject("one", "man", (tmp_path / "1.png",))
    made = Case((subject,), Prompt("snow", "{} in the snow", "context"), 0)
    generation = Generation(
        case=made, image=tmp_path / "2.png", fit_seconds=0, sample_seconds=0, peak_bytes=0, stored_bytes=0
    )
    faces = RecordedFaces({1: case["reference_face_embeddings"], 2: case["generated_face_embeddings"]})
    (scores,) = Identity()(Stack("fake", {"faces": lambda: faces}, image_size=8), [generation])
    assert scores["identity"].value == pytest.approx(case["result"], rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("group", ["single", "pair"])
def test_the_scored_prompts_are_the_official_ones_in_their_order(group: str) -> None:
    if not (GOLDENS / "prompt_digests.json").exists():
        pytest.skip("this recording has no prompt digests")
    (suite,) = load_suites(f"celeba-{group}")
    for words, digests in read("prompt_digests.json")[group].items():
        phrase = subject_phrase(words.split("|"))
        texts = [" ".join(prompt.fill(phrase).split()) for prompt in suite.prompts]
        assert [hashlib.sha256(text.encode()).hexdigest() for text in texts] == digests, words


def test_the_scored_strings_are_the_official_ones_to_the_last_space() -> None:
    if not (GOLDENS / "g_eval_prompts.json").exists():
        pytest.skip("this recording has no scored strings; FCBENCH_GOLDENS names one that has")
    facts = read("g_eval_prompts.json")
    (suite,) = load_suites("celeba-single")
    nouns = {row["subject_id"]: row["class_word"] for row in facts["subjects"]}
    assert isinstance(suite.subjects, FolderPeople)
    assert suite.subjects.nouns == nouns
    assert [prompt.kind for prompt in suite.prompts] == facts["category_of_prompt"]
    assert facts["counts"]["total_pairs"] == len(facts["pairs"]) == 600
    for row in facts["pairs"]:
        subject = Subject(row["subject_id"], row["class_word"], ())
        case = Case((subject,), suite.prompts[row["prompt_index"]], 0)
        assert scored_text(case) == row["scoring_prompt_empty_token"]


@pytest.mark.parametrize("index", range(len(FACTS["average_similarity"])))
def test_the_strict_protocol_differs_by_the_sign_alone(index: int, tmp_path: Path) -> None:
    case = FACTS["average_similarity"][index]
    references = np.array(case["reference_face_embeddings"][:1], np.float32)
    faces = np.array(case["generated_face_embeddings"], np.float32).reshape(-1, references.shape[1])
    (value,) = strict(faces, references)
    assert max(value, 0.0) == pytest.approx(case["result"], rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("index", range(len(FACTS["greedy_matching"])))
def test_the_official_protocol_takes_the_recorded_minimum(index: int) -> None:
    case = FACTS["greedy_matching"][index]
    scores = np.array(case["scores"])
    faces = np.eye(len(scores), dtype=np.float32)  # so that the references' rows are the similarities
    assert official(faces, scores, None).min() == pytest.approx(max(case["result"], 0.0), rel=1e-6)


def test_the_celeba_suites_draw_as_the_published_loop_does() -> None:
    for group in ("single", "pair"):
        (suite,) = load_suites(f"celeba-{group}")
        assert suite.options["fastcomposer"] == {"alpha": 0.5, "switch": "official"}
        assert [prompt.kind for prompt in suite.prompts] == read("prompt_digests.json")[f"{group}_categories"]
