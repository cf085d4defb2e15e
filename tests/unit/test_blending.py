"""What became of two people in a picture, under judges that are told what they see."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fcbench.metrics.blending import Blending, Thresholds, calibrate, judge, least_margin
from fcbench.types import Case, Generation, Prompt, Score, Stack, Subject
from tests.unit.test_metrics import Faces, blue

ANN, BO, CY, DI = np.eye(4).tolist()
BLEND = [0.7, 0.68, 0.218, 0.0]
LIMITS = Thresholds(floor=0.3, margin=0.4, same_photos=8, different_photos=48, real_right=1.0)
PHOTOS = {10 * person + view: [(5.0, face)] for person, face in enumerate((ANN, BO, CY, DI), 1) for view in (0, 1)}


class Reader:
    """Reads the class words that it is told, face by face."""

    def __init__(self, words: list[str]) -> None:
        self.words = words

    def figures(self, images: list[Any], boxes: list[Any]) -> list[list[dict[str, dict[str, float]]]]:
        return [
            [{"noun": {word: 0.9, "elf": 0.1}} for word, _ in zip(self.words, faces, strict=False)] for faces in boxes
        ]


class SexedFaces(Faces):
    """Tells of each face a sex, as insightface's packs do."""

    def get(self, bgr: Any) -> list[Any]:
        return [SimpleNamespace(**vars(face), sex="F") for face in super().get(bgr)]


def outcome(
    tmp_path: Path,
    drawn: list[list[float]],
    words: list[str] | None = None,
    nouns: str = "mw",
    kind: type[Faces] = Faces,
) -> Any:
    """The columns of a picture of Ann and Bo that shows ``drawn``, the largest first."""
    people = [
        Subject(
            f"s{number}",
            {"m": "man", "w": "woman", "b": "boy", "g": "girl"}[noun],
            tuple(blue(tmp_path / f"{10 * number + view}.png", 10 * number + view) for view in (0, 1)),
        )
        for number, noun in zip((1, 2, 3, 4), nouns + "mw", strict=True)
    ]
    faces = kind({**PHOTOS, 200: [(9.0 - k, face) for k, face in enumerate(drawn)], 201: [(5.0, CY), (4.0, DI)]})
    prompt = Prompt("snow", "{} in the snow", "context")
    made = [
        Generation(Case(tuple(pair), prompt, 0), blue(tmp_path / f"{level}.png", level), 0, 0, 0, 0)
        for pair, level in ((people[:2], 200), (people[2:], 201))
    ]
    roles: dict[str, Any] = {"faces": lambda: faces}
    if words is not None:
        roles["attributes"] = lambda: Reader(words)
    return Blending()(Stack("toy", roles, 4), made)[0]


def values(row: dict[str, Score]) -> dict[str, float | None]:
    return {name: score.value for name, score in row.items() if score.value != 0 and name != "margin"}


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [
        ([ANN, BO], {"both_right": 1.0}),
        ([BO, ANN], {"both_right": 1.0}),
        ([ANN, BO, CY], {"both_right": 1.0, "extra": 1.0}),
        ([BLEND, BO], {"blended": 1.0}),
        ([ANN, ANN], {"cloned": 1.0}),
        ([ANN, CY], {}),
        ([ANN], {"missing": 1.0}),
        ([], {"missing": 1.0}),
        ([BLEND], {"blended": 1.0, "missing": 1.0}),
    ],
)
def test_each_outcome_is_told_apart(drawn: list[list[float]], expected: dict[str, float], tmp_path: Path) -> None:
    assert values(outcome(tmp_path, drawn, ["man", "woman"] if drawn[:1] == [ANN] else ["woman", "man"])) == expected


def test_people_in_each_others_place_are_swapped_and_not_right(tmp_path: Path) -> None:
    assert values(outcome(tmp_path, [ANN, BO], ["woman", "man"])) == {"swapped": 1.0}


@pytest.mark.parametrize(
    ("drawn", "words", "margin"),
    [
        ([ANN, BO], ["man", "woman"], 1.0),
        ([BO, ANN], ["woman", "man"], 1.0),
        ([ANN, CY], ["man", "woman"], 0.0),  # a stranger is as far from both
        ([BLEND, BO], ["man", "woman"], 0.02),
        ([ANN, ANN], ["man", "woman"], -1.0),
        ([ANN, BO], ["woman", "man"], -1.0),  # swapped
        ([ANN, BO], ["man", "man"], 1.0),  # what is read does not tell them apart: the best sum
        ([ANN], ["man", "woman"], 0.0),
        ([BO], ["man", "woman"], 0.0),
        ([], ["man", "woman"], 0.0),
    ],
)
def test_the_margin_is_of_the_subject_that_fares_worst(
    drawn: list[list[float]], words: list[str], margin: float, tmp_path: Path
) -> None:
    assert outcome(tmp_path, drawn, words)["margin"].value == pytest.approx(margin, abs=1e-6)


def test_of_three_people_those_of_one_class_word_may_trade_faces() -> None:
    faces = np.array([[0.1, 0.8, 0.0], [0.7, 0.2, 0.1], [0.0, 0.1, 0.9]])
    man, woman = {"man": 0.9, "woman": 0.1}, {"man": 0.1, "woman": 0.9}
    assert least_margin(faces, ["man", "man", "woman"], [man, man, woman]) == pytest.approx(0.6)
    assert least_margin(faces, ["man", "man", "woman"], [woman, man, man]) == pytest.approx(-0.8)


def test_of_two_faces_read_alike_the_likelier_woman_is_the_woman() -> None:
    faces = np.array([[0.9, 0.1], [0.0, 0.8]])
    surely, hardly = {"man": 0.99, "woman": 0.01}, {"man": 0.6, "woman": 0.4}
    assert least_margin(faces, ["man", "woman"], [surely, hardly]) == pytest.approx(0.7)
    assert least_margin(faces, ["man", "woman"], [hardly, surely]) == pytest.approx(-0.9)
    assert least_margin(faces, ["man", "woman"], [{"man": 1.0}, {"man": 1.0}]) == pytest.approx(0.7)


def test_two_men_cannot_be_swapped(tmp_path: Path) -> None:
    score = outcome(tmp_path, [ANN, BO], ["woman", "man"], nouns="mm")["swapped"]
    assert score == Score(None, "the prompt does not tell the subjects apart")


@pytest.mark.parametrize(("nouns", "unread"), [("bg", "boy"), ("mg", "girl")])
@pytest.mark.parametrize("drawn", [[ANN, BO], [ANN], []])
def test_class_words_that_nothing_reads_are_not_asked_about(
    drawn: list[list[float]], nouns: str, unread: str, tmp_path: Path
) -> None:
    for row in (
        outcome(tmp_path, drawn, ["man", "woman"], nouns=nouns),
        outcome(tmp_path, drawn, nouns=nouns, kind=SexedFaces),
    ):
        assert row["swapped"] == Score(None, f"nothing here reads '{unread}'")
        assert row["both_right"].value == float(len(drawn) == 2)


def test_without_a_reader_swapping_is_not_asked(tmp_path: Path) -> None:
    row = outcome(tmp_path, [ANN, BO])
    assert row["swapped"] == Score(None, "nothing reads class words in this stack")
    assert row["both_right"].value == 1.0


def test_a_picture_without_faces_counts_as_not_swapped_where_the_detector_reads_class_words(tmp_path: Path) -> None:
    assert outcome(tmp_path, [], kind=SexedFaces)["swapped"] == Score(0.0, "not all subjects are there")


def test_one_subject_cannot_blend_yet_can_be_missing(tmp_path: Path) -> None:
    subject = Subject("ann", "woman", (blue(tmp_path / "10.png", 10),))
    case = Case((subject,), Prompt("snow", "{} in the snow", "context"), 0)
    stack = Stack("toy", {"faces": lambda: Faces({10: PHOTOS[10], 200: []})}, 4)
    (row,) = Blending()(stack, [Generation(case, blue(tmp_path / "200.png", 200), 0, 0, 0, 0)])
    assert row["both_right"] == row["swapped"] == row["margin"] == Score(None, "one subject only")
    assert row["missing"].value == 1.0


def test_a_likeness_of_two_is_a_blend_only_within_the_margin() -> None:
    assert judge(np.array([[0.9], [0.4]]), LIMITS).whose == (0,)
    assert judge(np.array([[0.6], [0.4]]), LIMITS).blended
    assert not judge(np.array([[0.6], [0.2]]), LIMITS).blended
    assert judge(np.array([[0.2], [0.1]]), LIMITS).whose == (None,)


def test_thresholds_are_percentiles_of_real_photos(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, 16))
    seen: dict[int, list[tuple[float, list[float]]]] = {}
    subjects = []
    for number, centre in enumerate(centres):
        levels = [20 * number + view for view in range(6)]
        for level in levels:
            face = centre + rng.normal(0, 0.5, 16)
            seen[level] = [(5.0, (face / np.linalg.norm(face)).tolist())]
        subjects.append(Subject(f"s{number}", "man", tuple(blue(tmp_path / f"{n}.png", n) for n in levels)))
    prompt = Prompt("snow", "{} in the snow", "context")
    made = [Generation(Case((a, b), prompt, 0), tmp_path / "none.png", 0, 0, 0, 0) for a, b in pairwise(subjects)]
    app = Faces(seen)
    limits = calibrate(app, made)
    assert limits is not None
    vectors = {level: np.array(faces[0][1]) for level, faces in seen.items()}
    others = [vectors[20 * a] @ vectors[20 * b + v] for a in range(4) for b in range(4) if a != b for v in range(6)]
    assert limits.floor == pytest.approx(np.percentile(others, 95), abs=1e-6)
    assert (limits.same_photos, limits.different_photos) == (20, 72)
    margins = [
        vectors[20 * a + v] @ vectors[20 * a] - vectors[20 * a + v] @ vectors[20 * b]
        for a, b in ((0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2))
        for v in range(1, 6)
    ]
    assert limits.margin == pytest.approx(np.percentile(margins, 5), abs=1e-6)
    assert limits.real_right is not None
    assert limits.real_right > 0.85


def test_people_with_one_photo_give_a_floor_and_no_margin(tmp_path: Path) -> None:
    people = [Subject(f"s{n}", "man", (blue(tmp_path / f"{n}.png", n),)) for n in (10, 20)]
    case = Case(tuple(people), Prompt("snow", "{} in the snow", "context"), 0)
    limits = calibrate(Faces(PHOTOS), [Generation(case, tmp_path / "none.png", 0, 0, 0, 0)])
    assert limits is not None
    assert (limits.margin, limits.real_right, limits.same_photos) == (None, None, 0)


def test_two_who_are_both_read_as_women_are_not_swapped(tmp_path: Path) -> None:
    assert outcome(tmp_path, [ANN, BO], kind=SexedFaces)["swapped"].value == 0.0


def test_class_words_go_before_any_likeness() -> None:
    faces = np.array([[1.0, -1.0], [-1.0, 1.0]])
    man, woman = {"man": 0.55, "woman": 0.45}, {"man": 0.45, "woman": 0.55}
    assert least_margin(faces, ["man", "woman"], [woman, man]) == pytest.approx(-2.0)


def test_a_real_photo_below_the_floor_is_not_right(tmp_path: Path) -> None:
    own = {11: [(5.0, [0.2, 0.0, 0.98, 0.0])], 21: [(5.0, BO)], 10: [(5.0, ANN)], 20: [(5.0, BO)], 30: [(5.0, CY)]}
    people = [
        Subject(f"s{n}", "man", tuple(blue(tmp_path / f"{photo}.png", photo) for photo in photos))
        for n, photos in enumerate([(10, 11), (20, 21), (30,)])
    ]
    prompt = Prompt("snow", "{} in the snow", "context")
    made = [Generation(Case(tuple(people[:2]), prompt, 0), tmp_path / "none.png", 0, 0, 0, 0)]
    made.append(Generation(Case((people[2],), prompt, 0), tmp_path / "none.png", 0, 0, 0, 0))
    limits = calibrate(Faces(own), made)
    assert limits is not None
    assert limits.floor > 0.2  # a photo of Ann's looks more like Cy
    assert limits.real_right == 0.5
