"""The miniature world: deterministic, with exact truth, and in step with the suites."""

from __future__ import annotations

import numpy as np
import pytest

from fcbench.config import load_suites, names
from fcbench.world import (
    PROMPTS,
    TEST_PEOPLE,
    TRAIN_PEOPLE,
    Person,
    describe,
    draw_person,
    draw_scene,
    portrait,
    render,
)


def people(count: int, first: int = 0) -> list[Person]:
    """Training people by number."""
    return [draw_person(TRAIN_PEOPLE[first + k]) for k in range(count)]


def test_equal_scenes_give_equal_pictures_and_other_seeds_do_not() -> None:
    first, again = (render(draw_scene(people(2), 5)).image for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, render(draw_scene(people(2), 6)).image)


def test_test_people_are_no_training_people() -> None:
    assert not set(TRAIN_PEOPLE) & set(TEST_PEOPLE[:10])
    assert TRAIN_PEOPLE[-1] < TEST_PEOPLE[0]


@pytest.mark.parametrize("seed", range(12))
def test_masks_are_disjoint_and_boxes_are_tight(seed: int) -> None:
    drawn = render(draw_scene(people(1 + seed % 3, 10 * seed), seed))
    assert drawn.image.shape == (64, 64, 3)
    assert drawn.image.dtype == np.uint8
    assert np.sum([figure.mask for figure in drawn.figures], axis=0).max() <= 1
    for figure in drawn.figures:
        x1, y1, x2, y2 = figure.box
        assert figure.mask[y1:y2, x1:x2].sum() == figure.mask.sum() > 0
        assert all(
            edge.any() for edge in (figure.mask[y1], figure.mask[y2 - 1], figure.mask[:, x1], figure.mask[:, x2 - 1])
        )


@pytest.mark.parametrize("view", range(6))
def test_keypoints_lie_in_the_face_and_the_picture_s_left_eye_comes_first(view: int) -> None:
    (figure,) = render(portrait(draw_person(view), view)).figures
    left, top, right, bottom = figure.face_box
    assert ((figure.keypoints >= (left, top)) & (figure.keypoints <= (right, bottom))).all()
    eyes, nose, mouth = figure.keypoints[:2], figure.keypoints[2], figure.keypoints[3:]
    assert eyes[0, 0] < eyes[1, 0]
    assert mouth[0, 0] < mouth[1, 0]
    assert eyes[:, 1].max() < nose[1] < mouth[:, 1].max()


@pytest.mark.parametrize("seed", range(30))
def test_a_span_is_the_noun_chunk_of_its_figure(seed: int) -> None:
    scene = draw_scene(people(1 + seed % 3, 7 * seed), seed)
    caption = describe(scene, seed)
    for figure, (start, end) in zip(scene.figures, caption.spans, strict=True):
        assert caption.text[start:end] in (f"a {figure.person.noun}", f"a bald {figure.person.noun}")


def test_the_order_of_words_says_nothing_of_left_and_right() -> None:
    agree = 0
    for seed in range(400):
        scene = draw_scene(people(2, seed), seed)
        (first, _), (second, _) = describe(scene, seed).spans
        agree += (first < second) == (scene.figures[0].x < scene.figures[1].x)
    assert 160 < agree < 240


@pytest.mark.parametrize("prompt", PROMPTS)
def test_every_prompt_draws_what_it_fixes(prompt: str) -> None:
    scene = draw_scene(people(2), 3, prompt=prompt)
    wanted = PROMPTS[prompt]
    assert scene.style == (wanted.style or "photo")
    assert wanted.context in (None, scene.context)
    for figure in scene.figures:
        assert (figure.hat, figure.scarf, figure.shades, figure.holding) == (
            wanted.hat,
            wanted.scarf,
            wanted.shades,
            wanted.holding,
        )


@pytest.mark.parametrize("name", [name for name in names("suites") if name.startswith("mini")])
def test_the_suites_prompts_can_be_drawn(name: str) -> None:
    for suite in load_suites(name):
        for prompt in suite.prompts:
            known = PROMPTS[prompt.id]
            assert (known.text, known.kind) == (prompt.text, prompt.kind)


def test_further_photos_show_the_same_pose_elsewhere_and_every_fourth_is_in_a_style() -> None:
    from fcbench.world import snapshot

    scenes = [snapshot(draw_person(1_500_000), view) for view in range(1, 9)]
    assert [scene.style == "photo" for scene in scenes] == [True, True, True, False] * 2
    assert len({scene.context for scene in scenes}) > 2
    assert scenes[0].figures == portrait(draw_person(1_500_000), 1).figures
    assert scenes == [snapshot(draw_person(1_500_000), view) for view in range(1, 9)]
