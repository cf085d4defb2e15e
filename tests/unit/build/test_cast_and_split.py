from __future__ import annotations

import hashlib
from collections import Counter

import pytest

from fcbench.build.cast import CAST, SIZES, TIMES, world_scene
from fcbench.build.split import ALIKE, MOST_TEST, SPLITS, split, split_as_listed
from fcbench.make_stack import DATASETS
from fcbench.world import TRAIN_PEOPLE


def test_everybody_of_a_block_is_in_exactly_five_photos_once_each() -> None:
    scenes = [world_scene(index, seed=3)[0] for index in range(3 * len(SIZES))]
    people = [[figure.person.number for figure in scene.figures] for scene in scenes]
    assert all(len(set(numbers)) == len(numbers) for numbers in people)
    times = Counter(number for numbers in people for number in numbers)
    assert set(times.values()) == {TIMES}
    assert len(times) == 3 * CAST
    assert all(number in TRAIN_PEOPLE for number in times)


def test_a_block_mixes_one_two_and_three_people() -> None:
    scenes = [world_scene(index, seed=0)[0] for index in range(len(SIZES))]
    assert Counter(len(scene.figures) for scene in scenes) == {1: 9, 2: 7, 3: 4}


def test_a_photo_is_a_function_of_its_index_and_the_seed() -> None:
    alone = world_scene(47, seed=5)
    for index in range(100):
        world_scene(index, seed=5)
    assert world_scene(47, seed=5) == alone
    assert world_scene(47, seed=6) != alone
    assert world_scene(48, seed=5) != alone


def test_nobody_is_in_two_of_the_datasets_that_the_miniature_is_trained_on() -> None:
    block = len(SIZES)
    known: set[int] = set()
    for photos, seed in DATASETS.values():
        ends = [min(numbers) for numbers in (_cast(0, seed), _cast(photos // block - 1, seed))]
        people = set(range(ends[0], ends[1] + CAST))
        assert len(people) == photos // block * CAST  # one row of people, so that its ends tell of all
        assert not known & people
        known |= people
    assert len(known) == 91_000


def _cast(block: int, seed: int) -> set[int]:
    """The people of a block by number."""
    photos = range(block * len(SIZES), (block + 1) * len(SIZES))
    return {figure.person.number for index in photos for figure in world_scene(index, seed)[0].figures}


def test_nobody_is_in_two_splits() -> None:
    photos = {f"{k:04d}": {f"p{k // 4}", f"p{k // 4 + (k % 8 == 0)}"} for k in range(200)}
    splits = split(photos)
    people = {name: {p for photo in photos if splits[photo] == name for p in photos[photo]} for name in SPLITS}
    assert not people["train"] & people["test"]
    assert not people["train"] & people["validation"]
    assert not people["test"] & people["validation"]
    assert splits.keys() == photos.keys()


def test_photos_of_nobody_known_are_split_one_by_one() -> None:
    splits = split({f"{k:05d}": () for k in range(20_000)})
    shares = {name: count / 20_000 for name, count in Counter(splits.values()).items()}
    assert shares == pytest.approx({"train": 0.9, "validation": 0.05, "test": 0.05}, abs=0.01)  # five standard errors


def test_photos_that_come_or_go_move_no_others() -> None:
    photos = {f"{k:05d}": {f"p{k // 5}", f"p{k // 5 + (k % 20 == 0)}"} for k in range(5000)}
    before = split(photos)
    gone = {photo: people for k, (photo, people) in enumerate(photos.items()) if k % 7 or k % 20 == 0}
    more = photos | {f"{k:05d}": {f"p{k // 5}"} for k in range(5000, 9000)}
    assert split(gone) == {photo: before[photo] for photo in gone}
    assert {photo: name for photo, name in split(more).items() if photo in photos} == before
    assert set(before.values()) == set(SPLITS)


def test_more_photos_of_a_person_move_nobody_else() -> None:
    photos = {f"{k:05d}": {f"p{k // 5:04d}"} for k in range(2000)}
    before = split(photos)
    for number in range(0, 400, 7):
        more = photos | {f"more {number}": {f"p{number:04d}"}}
        assert {photo: name for photo, name in split(more).items() if photo in photos} == before


def test_a_photo_that_looks_like_another_follows_it() -> None:
    photos: dict[str, set[str]] = {f"{k:04d}": set() for k in range(1000)}
    before = split(photos)
    for number in range(0, 1000, 9):
        own = f"{number:04d}"
        found = split({**photos, own: {f"{ALIKE}{own}"}, "twin": {f"{ALIKE}{own}"}})  # sorts last
        assert found.pop("twin") == before[own]
        assert found == before


def people_of(chosen: str) -> list[str]:
    """People whose photos go to a split, where nothing is in the way."""
    found = split({name: {name} for name in (f"n{k}" for k in range(2000))})
    return [name for name in found if found[name] == chosen]


def test_a_group_of_more_than_half_of_all_is_trained_on() -> None:
    name, others = people_of("test")[0], {f"x{k}": {f"x{k}"} for k in range(40)}
    photos = others | {f"{name} {k}": {name} for k in range(40)}
    assert split(photos)[f"{name} 0"] == "test"
    assert split({**photos, f"{name} 40": {name}})[f"{name} 0"] == "train"


def test_people_of_many_photos_stay_where_they_are_as_others_come() -> None:
    photos = {f"{k:04d}": {f"p{k // 20:03d}"} for k in range(1600)}
    before, after = split({photo: photos[photo] for photo in list(photos)[:800]}), split(photos)
    assert {photo: after[photo] for photo in before} == before


def test_train_is_filled_too_where_it_would_be_empty() -> None:
    names = [*people_of("test")[:3], *people_of("validation")[:3]]
    assert set(split({name: {name} for name in names}).values()) == set(SPLITS)


def test_an_empty_split_gets_a_small_group_that_another_can_spare() -> None:
    large = {f"{name} {k}": {name} for name, size in (("a", 1000), ("b", 1001)) for k in range(size)}
    small = {name: {name} for name in people_of("validation")[:2]}
    found = split(large | small)
    assert {found["a 0"], found["b 0"]} == {"train"}
    assert {found[name] for name in small} == {"validation", "test"}


def test_the_choice_for_an_empty_split_rarely_changes_as_others_come() -> None:
    moved = 0
    for trial in range(100):
        photos = {f"{trial} {k}": () for k in range(20)}
        before, after = split(photos), split({**photos, f"{trial} more": ()})
        moved += any(before[photo] != after[photo] for photo in photos)
    assert moved <= 20


def test_names_that_no_text_can_hold_are_split_too() -> None:
    assert split({"a": {"\ud800"}, "b": (), "c": ()}).keys() == {"a", "b", "c"}


def test_the_order_of_the_photos_decides_nothing() -> None:
    photos = {f"{k:04d}": {f"p{k // 5}"} if k % 3 else set() for k in range(600)}
    assert split(dict(reversed(photos.items()))) == split(photos)


def test_a_photo_called_like_a_person_is_not_theirs() -> None:
    photos = {"ann": set(), "1": {"ann"}, "2": {"ann"}, "3": {"bob"}}
    assert split(photos).keys() == photos.keys()


@pytest.mark.parametrize(("groups", "names"), [(1, {"train"}), (2, {"train"}), (3, {"train", "validation", "test"})])
def test_a_few_groups_fill_what_they_can(groups: int, names: set[str]) -> None:
    assert set(split({f"{k:04d}": {f"p{k % groups}"} for k in range(12)}).values()) == names


def test_a_large_group_is_held_out_only_where_no_smaller_one_is_left() -> None:
    sizes = {"a": 20, "b": 19, "c": 1, "d": 8}
    photos = {f"{name}{k}": {name} for name, size in sizes.items() for k in range(size)}
    splits = {
        name: {splits[f"{name}{k}"] for k in range(size)} for splits in [split(photos)] for name, size in sizes.items()
    }
    assert splits["a"] == splits["b"] == {"train"}
    assert {*splits["c"], *splits["d"]} == {"validation", "test"}
    assert len(splits["c"]) == len(splits["d"]) == 1


def test_small_groups_that_all_fit_one_quota_are_shared_out() -> None:
    photos = {f"{name}{k}": {name} for name, size in {"bob": 40, "ann": 1, "cy": 1}.items() for k in range(size)}
    found = split(photos)
    assert {found["ann0"], found["cy0"]} == {"validation", "test"}
    assert {found[f"bob{k}"] for k in range(40)} == {"train"}


def test_a_split_keeps_the_order_and_does_not_change() -> None:
    photos = {f"{k:04d}": {f"p{k // 5}"} for k in range(100)}
    assert split(photos) == split(photos)
    assert list(split(photos)) == list(photos)


def test_a_source_s_own_splits_are_kept_and_a_tenth_of_validation_is_test() -> None:
    listed = {f"{k:05d}": "train" if k < 300 else "validation" for k in range(400)}
    photos: dict[str, set[str]] = {photo: set() for photo in listed}
    splits = split_as_listed(photos, listed)
    assert Counter(splits.values()) == {"train": 300, "validation": 90, "test": 10}
    assert all(splits[photo] == "train" for photo in listed if listed[photo] == "train")
    assert list(splits) == list(photos)
    assert set(split_as_listed({"a": (), "b": ()}, {"a": "train", "b": "train"}).values()) == {"train"}
    others = {"a": "train", "b": "test", "c": "val"}
    assert split_as_listed(dict.fromkeys(others, ()), others) == {"a": "train", "b": "validation", "c": "validation"}


def test_a_photo_that_shares_its_person_with_a_held_out_one_is_held_out_too() -> None:
    listed = {f"{k:05d}": "train" if k < 50 else "validation" for k in range(100)}
    photos = {photo: {f"url {k % 90}"} for k, photo in enumerate(listed)}  # 0 to 9 are copies of 90 to 99
    splits = split_as_listed(photos, listed)
    train = {url for photo in photos if splits[photo] == "train" for url in photos[photo]}
    held_out = {url for photo in photos if splits[photo] != "train" for url in photos[photo]}
    assert not train & held_out
    assert splits["00003"] == splits["00093"] != "train"
    assert sum(name == "train" for name in splits.values()) == 40


def test_test_has_a_tenth_of_validation_at_most_where_people_have_several_photos() -> None:
    listed = {f"{k:02d}": "validation" if k < 20 else "train" for k in range(40)}
    found = split_as_listed({photo: {f"p{int(photo) // 3}"} for photo in listed}, listed)
    assert Counter(found.values())["test"] <= 2


def test_test_takes_no_more_than_a_thousand_photos_of_a_source_s_validation() -> None:
    listed = {f"{k:05d}": "validation" for k in range(12_000)}
    found = Counter(split_as_listed(dict.fromkeys(listed, ()), listed).values())
    assert found == {"validation": 12_000 - MOST_TEST, "test": MOST_TEST}
    assert MOST_TEST == 1000


def test_which_of_a_source_s_validation_is_test_is_a_hash_of_the_first_photo_s_id() -> None:
    listed = {f"{k:05d}": "validation" for k in range(100)}
    found = split_as_listed({photo: {f"url {photo}"} for photo in listed}, listed)
    first = sorted(listed, key=lambda photo: hashlib.sha256(photo.encode()).hexdigest())[:10]
    assert {photo for photo, name in found.items() if name == "test"} == set(first)
