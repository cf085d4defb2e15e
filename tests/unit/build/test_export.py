"""Every layout holds what the Parquet holds, read by code that knows that layout alone."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from datasets import load_dataset
from PIL import Image as Pillow

from fcbench.build import build_data
from fcbench.build.export import export
from fcbench.build.export_panoptic import write_panoptic
from fcbench.build.rows import Row, Rows, picture
from fcbench.build.segmap import paint
from fcbench.errors import UsageError
from fcbench.fastcomposer.official_data import FolderPhotos
from fcbench.files import write_image
from fcbench.masks import box_of, decode_mask, encode_mask
from fcbench.stacks import load_stack
from fcbench.store import DataFolder, data_folder
from fcbench.types import Mask
from tests.toys.build_toys import stack_file

PHOTOS = 65


class Letters:
    """A tokenizer of one token a character."""

    bos_token_id, eos_token_id, pad_token_id, model_max_length = 0, 1, 2, 400

    def __call__(self, text: str, **options: Any) -> Any:
        return SimpleNamespace(input_ids=[3 + ord(letter) for letter in text])


class FewLetters(Letters):
    model_max_length = 20


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> DataFolder:
    out = tmp_path_factory.mktemp("out")
    build_data(out, photos=PHOTOS, stack=load_stack(str(stack_file(out))), progress=None)
    return data_folder(out, "world")


@pytest.fixture(scope="module")
def rows(built: DataFolder) -> dict[str, tuple[str, Row]]:
    """By id: the split, and the row."""
    opened = Rows(built)
    return {row["id"]: (split, row) for split in opened.splits for row in opened.of(split)}


def read_official(root: Path, split: str) -> list[dict[str, Any]]:
    """As ``official_dataset_format.md`` has it, and nothing else: image, map, caption and crops by their boxes."""
    found = []
    for photo in (root / f"image_ids_{split}.txt").read_text().split("\n")[:-1]:
        assert photo.isdigit()
        assert int(photo) >= 0
        stem = root / photo[:5] / photo
        image = np.asarray(Pillow.open(f"{stem}.jpg"))
        ids = np.load(f"{stem}.npy")
        record = json.loads(Path(f"{stem}.json").read_text())
        assert image.shape == (*ids.shape, 3)
        ends = [segment["end"] for segment in record["segments"]]
        assert len(set(ends)) == len(ends)
        for segment in record["segments"]:
            h1, w1, h2, w2 = segment["bbox"]  # the names of the official comment
            assert (ids[w1:w2, h1:h2] == segment["id"]).sum() == (ids == segment["id"]).sum() > 0
            assert record["caption"][segment["end"] - 1].isalnum()
        found.append({"id": photo, "image": image, "ids": ids, **record, "name": photo})
    return found


def test_the_official_folder_is_read_by_code_that_knows_that_format_only(
    built: DataFolder, rows: dict[str, tuple[str, Row]], tmp_path: Path
) -> None:
    counts = export(built, "fastcomposer", tmp_path / "official", Letters())
    assert counts["photos"] == PHOTOS
    train, test = (read_official(tmp_path / "official", split) for split in ("train", "test"))
    assert {photo["name"] for photo in train} == {name for name, (split, _) in rows.items() if split == "train"}
    assert {photo["name"] for photo in test} == {name for name, (split, _) in rows.items() if split == "test"}
    everything = (tmp_path / "official" / "image_ids.txt").read_text().split()
    assert sorted(everything) == sorted(rows)
    for photo in train:
        row = rows[photo["name"]][1]
        assert photo["ids"].dtype == np.uint8
        assert photo["caption"] == row["caption"]
        assert abs(photo["image"].astype(int) - picture(row)).mean() < 4
        ours = {segment["id"]: segment for segment in row["segments"]}
        for segment in photo["segments"]:
            assert segment["end"] == ours[segment["id"]]["end"]
            assert segment["bbox"] == list(box_of(photo["ids"] == segment["id"]))
            np.testing.assert_array_equal(photo["ids"] == segment["id"], decode_mask(ours[segment["id"]]["rle"]))


def test_our_trainer_reads_the_official_folder_too(
    built: DataFolder, rows: dict[str, tuple[str, Row]], tmp_path: Path
) -> None:
    export(built, "fastcomposer", tmp_path / "official", Letters())
    photos = FolderPhotos(tmp_path / "official")
    assert len(photos) == sum(split == "train" for split, _ in rows.values())
    for place in range(len(photos)):
        row = rows[photos.name(place)][1]
        ends = sorted(s["end"] for s in row["segments"] if s["end"] is not None)
        assert [segment.end for segment in photos.segments[place]] == ends
        assert photos.mask(place, 0).any()


def test_a_phrase_beyond_the_tokens_is_left_out_and_counted(built: DataFolder, tmp_path: Path) -> None:
    counts = export(built, "fastcomposer", tmp_path / "official", FewLetters())
    assert counts["left out, phrase beyond the tokens"] > 0
    assert all(
        segment["end"] < 20 for photo in read_official(tmp_path / "official", "train") for segment in photo["segments"]
    )


def test_webdataset_streams_the_same_rows(built: DataFolder, rows: dict[str, tuple[str, Row]], tmp_path: Path) -> None:
    export(built, "webdataset", tmp_path / "wds")
    files = {split: str(tmp_path / "wds" / f"{split}-*.tar") for split in ("train", "test")}
    streamed = load_dataset("webdataset", data_files=files, streaming=True, cache_dir=str(tmp_path / "cache"))
    for split in files:
        photos = list(streamed[split])
        assert [found["__key__"] for found in photos] == [name for name, (place, _) in rows.items() if place == split]
        for found in photos:
            row = rows[found["__key__"]][1]
            assert found["json"]["caption"] == row["caption"]
            assert found["json"]["segments"] == row["segments"]
            np.testing.assert_array_equal(np.asarray(found["png"]), picture(row))
            painted, _ = paint(row["segments"], row["height"], row["width"])
            np.testing.assert_array_equal(np.asarray(found["segmap.png"]), painted)


def test_equal_rows_give_equal_tar_files_of_as_many_photos_as_one_holds(
    built: DataFolder, rows: dict[str, tuple[str, Row]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fcbench.build.export_webdataset.PHOTOS", 20)
    for name in ("a", "b"):
        export(built, "webdataset", tmp_path / name)
    first, second = (sorted((tmp_path / name).glob("*.tar")) for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    held = []
    for file in sorted((tmp_path / "a").glob("train-*.tar")):
        with tarfile.open(file) as tar:
            held.append(len(tar.getnames()) // 3)
    whole, rest = divmod(sum(split == "train" for split, _ in rows.values()), 20)
    assert whole > 1
    assert held == [20] * whole + [rest] * (rest > 0)


def test_imagefolder_is_loaded_with_its_maps(
    built: DataFolder, rows: dict[str, tuple[str, Row]], tmp_path: Path
) -> None:
    export(built, "imagefolder", tmp_path / "folder")
    loaded = load_dataset("imagefolder", data_dir=str(tmp_path / "folder"), cache_dir=str(tmp_path / "cache"))
    assert sum(split.num_rows for split in loaded.values()) == PHOTOS
    for found in loaded["train"]:
        row = rows[found["id"]][1]
        assert (found["caption"], found["segments"]) == (row["caption"], row["segments"])
        np.testing.assert_array_equal(np.asarray(found["image"]), picture(row))
        painted, _ = paint(row["segments"], row["height"], row["width"])
        np.testing.assert_array_equal(np.asarray(found["segmap"]), painted)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_coco_is_read_by_pycocotools(
    built: DataFolder, rows: dict[str, tuple[str, Row]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pycocotools.coco import COCO

    export(built, "coco", tmp_path / "coco")
    seen = 0
    for split in ("train", "validation", "test"):
        coco = COCO(str(tmp_path / "coco" / "annotations" / f"instances_{split}.json"))
        captions = COCO(str(tmp_path / "coco" / "annotations" / f"captions_{split}.json"))
        assert coco.cats[1]["name"] == "person"
        for number, image in coco.imgs.items():
            row = rows[image["fcbench_id"]][1]
            assert (tmp_path / "coco" / split / image["file_name"]).read_bytes() == row["image"]["bytes"]
            assert captions.imgToAnns[number][0]["caption"] == row["caption"]
            for instance, segment in zip(coco.imgToAnns[number], row["segments"], strict=True):
                x, y, width, height = instance["bbox"]
                assert [x, y, x + width, y + height] == segment["bbox"]
                assert instance["end"] == segment["end"]
                np.testing.assert_array_equal(coco.annToMask(instance).astype(bool), decode_mask(segment["rle"]))
            seen += 1
    assert seen == PHOTOS


def read_panoptic(path: Path) -> dict[int, Mask]:
    """By id the masks of a map, as COCO has them: R + 256 G + 256^2 B."""
    bytes_of = np.asarray(Pillow.open(path)).astype(np.int64)
    ids = bytes_of @ np.array([1, 256, 256**2])
    return {number: ids == number for number in np.unique(ids).tolist() if number}


def test_coco_s_panoptic_maps_hold_the_same_masks_areas_and_boxes(
    built: DataFolder, rows: dict[str, tuple[str, Row]], tmp_path: Path
) -> None:
    counts = export(built, "coco", tmp_path / "coco")
    seen, overlapping = 0, 0
    for split in ("train", "validation", "test"):
        told, instances = (
            json.loads((tmp_path / "coco" / "annotations" / f"{kind}_{split}.json").read_text())
            for kind in ("panoptic", "instances")
        )
        assert told["categories"][0] == {"id": 1, "name": "person", "supercategory": "", "isthing": 1}
        names = {image["id"]: image["fcbench_id"] for image in told["images"]}
        rles = {instance["id"]: instance["segmentation"] for instance in instances["annotations"]}
        for photo in told["annotations"]:
            row = rows[names[photo["image_id"]]][1]
            masks = read_panoptic(tmp_path / "coco" / "annotations" / f"panoptic_{split}" / photo["file_name"])
            assert set(masks) == {info["id"] for info in photo["segments_info"]}
            union = np.logical_or.reduce([decode_mask(segment["rle"]) for segment in row["segments"]])
            np.testing.assert_array_equal(np.logical_or.reduce(list(masks.values())), union)
            for info in photo["segments_info"]:
                mask, whole = masks[info["id"]], decode_mask(rles[info["id"]])
                x, y, width, height = info["bbox"]
                assert (x, y, x + width, y + height) == box_of(mask)
                assert (info["area"], info["category_id"], info["iscrowd"]) == (mask.sum(), 1, 0)
                assert not (mask & ~whole).any()
                overlapping += bool((mask != whole).any())
            seen += len(masks)
    assert seen == counts["segments"] - counts["segments without a place in the panoptic maps"]
    assert overlapping == 0  # the world's masks are of what is seen: they are the same


def test_of_panoptic_segments_that_overlap_the_smaller_is_whole_and_ids_take_three_bytes(tmp_path: Path) -> None:
    large, small = np.ones((4, 6), bool), np.zeros((4, 6), bool)
    small[1:3, 1:3] = True
    masks = (large, small, small)
    segments = [segment(number, mask) for number, mask in enumerate(masks, 1)]
    row = {"id": "x", "height": 4, "width": 6, "segments": segments}
    first = 1 + 2 * 256 + 3 * 256**2
    own = [{"id": first + k, "category_id": 1 + k, "iscrowd": 0} for k in range(3)]
    told = write_panoptic(tmp_path, row, own, 9)
    assert told["segments_info"] == [
        {"id": first, "category_id": 1, "area": 20, "bbox": [0, 0, 6, 4], "iscrowd": 0},
        {"id": first + 2, "category_id": 3, "area": 4, "bbox": [1, 1, 2, 2], "iscrowd": 0},
    ]
    assert (told["image_id"], told["file_name"]) == (9, "x.png")
    found = read_panoptic(tmp_path / "x.png")
    np.testing.assert_array_equal(found[first + 2], small)
    np.testing.assert_array_equal(found[first], ~small)


def segment(number: int, mask: Mask) -> dict[str, Any]:
    return {"id": number, "rle": encode_mask(mask), "area": int(mask.sum())}


def test_of_two_masks_that_overlap_the_smaller_lies_on_top() -> None:
    large, small = np.ones((4, 4), bool), np.zeros((4, 4), bool)
    small[1:3, 1:3] = True
    for order in ((1, large), (2, small)), ((2, small), (1, large)):
        painted, numbers = paint([segment(number, mask) for number, mask in order], 4, 4)
        assert set(numbers) == {1, 2}
        np.testing.assert_array_equal(painted == 2, small)
    painted, numbers = paint([segment(300, small), segment(7, small)], 4, 4)
    assert len(numbers) == 1
    assert set(np.unique(painted)) <= {0, 1, 2}


def test_ids_that_are_no_digits_are_numbered_and_listed(tmp_path: Path) -> None:
    mask = np.zeros((40, 30), bool)
    mask[10:20, 5:] = True
    for place, name in enumerate(("ann", "bo")):
        write_image(tmp_path / "in" / f"{name}.png", np.full((40, 30, 3), 50 * place, np.uint8))
        sidecar = {"caption": "a man on the beach", "people": [{"mask": encode_mask(mask)}]}
        (tmp_path / "in" / f"{name}.json").write_text(json.dumps(sidecar))
    stack = load_stack(str(stack_file(tmp_path)))
    build_data(tmp_path, source=str(tmp_path / "in"), name="mine", stack=stack, progress=None)
    export(data_folder(tmp_path, "mine"), "fastcomposer", tmp_path / "official", Letters())
    assert [photo["name"] for photo in read_official(tmp_path / "official", "train")] == ["000000000", "000000001"]
    assert "000000000,ann-" in (tmp_path / "official" / "ids.csv").read_text()
    image = Pillow.open(io.BytesIO((tmp_path / "official" / "00000" / "000000001.jpg").read_bytes()))
    assert image.size == (30, 40)


def test_nothing_is_overwritten_and_no_half_is_left(
    built: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine.txt").touch()
    with pytest.raises(UsageError, match="there already"):
        export(built, "coco", tmp_path / "there")
    with pytest.raises(UsageError, match="did you mean webdataset"):
        export(built, "webdatasets", tmp_path / "x")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("fcbench.build.export_imagefolder.map_bytes", fail)
    with pytest.raises(OSError, match="disk full"):
        export(built, "imagefolder", tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
