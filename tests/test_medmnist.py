"""MedMNIST's npz files: official parts, images by their address, and what is refused."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny_images import SIZE, draw_file

from helpers import images, medmnist, packed
from helpers.images import UnreadableImageError, build_cache, open_image, read_image
from helpers.index import dataset_of, left_out, load_index, open_pixels, pixels_of, write_csv
from helpers.splits import require_clean, split_by_patient, split_official

COUNTS = {"train": 40, "val": 10, "test": 20}


@pytest.fixture(autouse=True)
def data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that is the data home of one test."""
    monkeypatch.setenv("TUTORIALS_DATA", str(tmp_path / "home"))
    return tmp_path / "home"


def arrays(classes: int = 2, size: int = 28, channels: int = 1) -> dict[str, np.ndarray]:
    """Return what a small MedMNIST file holds; no two images are alike."""
    rng = np.random.default_rng(0)
    found = {}
    for part, count in COUNTS.items():
        shape = (count, size, size) if channels == 1 else (count, size, size, channels)
        found[f"{part}_images"] = rng.integers(0, 256, shape, dtype=np.uint8)
        found[f"{part}_labels"] = (np.arange(count) % classes)[:, None].astype(np.uint8)
    return found


def write(path: Path, content: dict[str, np.ndarray], compressed: bool = True) -> Path:
    """Write arrays as an npz file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save: Any = np.savez_compressed if compressed else np.savez
    save(path, **content)
    return path


@pytest.fixture
def xrays(tmp_path: Path) -> Path:
    """Return a small pneumoniamnist.npz."""
    return write(tmp_path / "data" / "pneumoniamnist.npz", arrays())


# -- the index -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("pneumoniamnist_64", "pneumoniamnist_64"),
        ("PneumoniaMNIST, a copy", "pneumoniamnist"),
    ],
)
def test_a_run_is_recorded_under_the_name_of_the_set(tmp_path: Path, file: str, name: str) -> None:
    archive = write(tmp_path / f"{file}.npz", arrays())
    assert medmnist.name_of(load_index("pneumonia", archive)) == name


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_rows_parts_and_pixels(tmp_path: Path, compressed: bool, channels: int) -> None:
    content = arrays(channels=channels)
    path = write(tmp_path / "pneumoniamnist.npz", content, compressed)
    index = load_index("pneumonia", path, image_size=28)
    assert list(index.columns) == [
        "path", "label", "class_name", "patient", "split", "part", "row", "width", "height",
        "content",
    ]  # fmt: skip
    assert index["part"].value_counts().to_dict() == {"train": 40, "valid": 10, "test": 20}
    assert index.attrs["classes"] == ["NORMAL", "PNEUMONIA"]
    assert index.attrs["source"] == "medmnist"
    assert index.attrs["root"] == str(tmp_path)
    pixels = open_pixels(index)
    for row in index.itertuples():
        place, _, number = str(row.path).rpartition("/")
        file, _, part = place.rpartition("#")
        assert file == str(path)
        truth = content[f"{part}_images"][int(number)]
        truth = np.repeat(truth[..., None], 3, axis=2) if channels == 1 else truth
        np.testing.assert_array_equal(pixels[row.row], truth)
        np.testing.assert_array_equal(read_image(str(row.path), 28), truth)
        assert row.label == content[f"{part}_labels"][int(number), 0]
    assert set(index["width"]) == set(index["height"]) == {28}


def test_the_official_parts_are_kept(xrays: Path) -> None:
    index = load_index("pneumonia", xrays, image_size=SIZE)
    split = split_official(index, seed=0)
    assert split["split"].value_counts().to_dict() == {"train": 40, "test": 20, "valid": 10}
    assert (split["split"] == split["part"]).all()
    assert require_clean(split).clean
    assert require_clean(split_by_patient(index, seed=0)).clean
    assert dataset_of(index).name == "pneumonia"


def test_there_are_no_patients_and_the_notes_begin_with_that(xrays: Path) -> None:
    index = load_index("pneumonia", xrays)
    assert index["patient"].is_unique
    assert index["patient"][0] == "train/0"
    assert not index.attrs["patients_known"]
    assert index.attrs["notes"][0] == index.attrs["warnings"][0]
    assert index.attrs["warnings"][0].startswith("NO PATIENTS ARE KNOWN: MedMNIST does not keep")
    notes = " ".join(index.attrs["notes"])
    assert "images of 28×28 pixels in official parts: train 40, val 10, test 20" in notes
    assert "not the numbers of the official pneumoniamnist (4,708, 524, 624)" in notes


def test_four_classes_of_retinas_in_medmnists_order(tmp_path: Path) -> None:
    path = write(tmp_path / "octmnist_64.npz", arrays(classes=4, size=64))
    index = load_index("oct", path, image_size=SIZE)
    first = index.drop_duplicates("label").sort_values("label")
    assert list(first["class_name"]) == ["CNV", "DME", "DRUSEN", "NORMAL"]
    assert set(index["width"]) == {64}
    assert open_pixels(index).shape == (70, SIZE, SIZE, 3)


def test_the_cache_is_resized_as_read_image_does(xrays: Path) -> None:
    index = load_index("pneumonia", xrays, image_size=48)
    pixels = open_pixels(index)
    for row in index.iloc[[0, 39, 45, 69]].itertuples():
        np.testing.assert_array_equal(pixels[row.row], read_image(str(row.path), 48, "squash"))


def test_a_part_of_the_images(xrays: Path) -> None:
    index = load_index("pneumonia", xrays, image_size=28, max_images=30, seed=1)
    assert len(index) == 30
    for row in index.itertuples():
        np.testing.assert_array_equal(open_pixels(index)[row.row], read_image(str(row.path), 28))
    assert len(load_index("pneumonia", xrays, part="test")) == 20


def test_the_folder_that_holds_the_file(xrays: Path, tmp_path: Path) -> None:
    assert len(load_index("pneumonia", xrays.parent)) == 70
    write(xrays.with_name("pneumoniamnist_64.npz"), arrays(size=64))
    with pytest.raises(ValueError, match=r"holds pneumoniamnist\.npz, pneumoniamnist_64\.npz"):
        load_index("pneumonia", xrays.parent)
    with pytest.raises(ValueError, match="holds no images of the dataset 'oct'"):
        load_index("oct", xrays.parent)


def test_a_folder_with_files_of_the_dataset_is_read_before_the_npz_beside_them(xrays: Path) -> None:
    for number in range(3):
        draw_file(xrays.parent / "NORMAL" / f"IM-000{number}-0001.jpeg", number)
        draw_file(xrays.parent / "PNEUMONIA" / f"person{number}_virus_1.jpeg", number)
    index = load_index("pneumonia", xrays.parent)
    assert (len(index), index.attrs["source"]) == (6, "archive")


def test_how_large_all_pictures_are_is_known_before_they_are_read(
    xrays: Path, tmp_path: Path
) -> None:
    assert pixels_of("pneumonia", xrays) == pixels_of("pneumonia", xrays.parent) == 28
    larger = write(tmp_path / "large" / "pneumoniamnist_64.npz", arrays(size=64))
    assert pixels_of("pneumonia", larger) == pixels_of("folder", larger) == 64
    draw_file(xrays.parent / "train" / "NORMAL" / "IM-0001-0001.jpeg", 0)
    assert pixels_of("pneumonia", xrays.parent) is None  # the class folders are read
    assert pixels_of("pneumonia", None) is None
    with pytest.raises(ValueError, match="is no MedMNIST file"):
        pixels_of("pneumonia", write(tmp_path / "pneumoniamnist.npz", {"x": np.zeros(3)}))


def test_any_medmnist_file_is_a_set_of_ones_own(tmp_path: Path) -> None:
    path = write(tmp_path / "bloodmnist.npz", arrays(classes=8, channels=3))
    index = load_index("folder", path, image_size=SIZE)
    assert index.attrs["classes"] == [str(number) for number in range(8)]
    assert dataset_of(index).classes == tuple(index.attrs["classes"])


def test_no_csv_file_is_written_of_it(xrays: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a data_dir by itself"):
        write_csv(load_index("pneumonia", xrays), tmp_path / "my.csv")


def test_tiny_images_are_left_out_under_their_address(tmp_path: Path) -> None:
    content = arrays(size=8)
    path = write(tmp_path / "pneumoniamnist.npz", content)
    index = load_index("pneumonia", path, image_size=SIZE)
    assert len(index) == 70
    small = {key: part[:, :7] if key.endswith("images") else part for key, part in content.items()}
    write(path, small)
    with pytest.raises(ValueError, match=r"pneumoniamnist\.npz#train/0: 8×7 pixels: too small"):
        load_index("pneumonia", path, image_size=SIZE)


def test_the_list_of_what_was_left_out_names_the_address(xrays: Path) -> None:
    index = load_index("pneumonia", xrays)
    index.attrs["left_out"].append({"path": f"{xrays}#val/3", "reason": "tried"})
    assert list(left_out(index)["file"]) == ["pneumoniamnist.npz#val/3"]


@pytest.mark.skipif(os.name == "nt", reason="rights of another kind")
def test_a_data_folder_that_may_not_be_written(xrays: Path, data_home: Path) -> None:
    xrays.chmod(0o444)
    xrays.parent.chmod(0o555)
    try:
        index = load_index("pneumonia", xrays, image_size=SIZE)
    finally:
        xrays.parent.chmod(0o755)
    assert list(xrays.parent.iterdir()) == [xrays]
    assert Path(index.attrs["cache"]).parent == data_home / "cache"


# -- what is refused -----------------------------------------------------------------------


def test_missing_arrays_are_shown_beside_what_is_there(tmp_path: Path) -> None:
    content = arrays()
    content["images"] = content.pop("train_images")
    path = write(tmp_path / "pneumoniamnist.npz", content)
    with pytest.raises(ValueError, match="is no MedMNIST file: it has no train_images") as caught:
        load_index("pneumonia", path)
    lines = str(caught.value).splitlines()
    heading = next(line for line in lines if "expected" in line)
    assert "found in pneumoniamnist.npz" in heading
    beside = heading.index("found")
    assert "images" in [line[beside:] for line in lines]


@pytest.mark.parametrize("key", ["val_images", "test_labels"])
def test_pickled_objects_are_not_opened(tmp_path: Path, key: str) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.mkdir, (str(tmp_path / "run"),)

    content = arrays() | {key: np.array([Trap()] * 10, dtype=object)}
    path = write(tmp_path / "pneumoniamnist.npz", content)
    with pytest.raises(ValueError, match=f"{key} holds pickled Python objects"):
        load_index("pneumonia", path)
    assert not (tmp_path / "run").exists()


def changed(key: str, value: np.ndarray) -> dict[str, np.ndarray]:
    """Return a small file's arrays with one replaced."""
    return arrays() | {key: value}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (arrays(classes=4), r"has the labels 0, 1, 2, 3, where 0 = NORMAL, 1 = PNEUMONIA are"),
        (arrays(classes=1), "has the labels 0, where"),
        (changed("val_labels", np.zeros((10, 14), np.uint8)), r"val_labels has the shape \(10, 14"),
        (changed("val_labels", np.zeros((9, 1), np.uint8)), "one label for each of the 10 images"),
        (changed("val_labels", np.zeros((10, 1))), "val_labels is of the type float64"),
        (changed("val_images", np.zeros((10, 28, 28))), r"val_images is float64 \(10, 28, 28\)"),
        (changed("val_images", np.zeros((10, 28), np.uint8)), r"val_images is uint8 \(10, 28\)"),
        (changed("val_images", np.zeros((10, 64, 64), np.uint8)), "are of several sizes"),
        (changed("val_images", np.asfortranarray(arrays()["val_images"])), "in C order is meant"),
    ],
)
def test_a_file_that_is_not_the_notebooks(
    tmp_path: Path, content: dict[str, np.ndarray], words: str
) -> None:
    path = write(tmp_path / "mine.npz", content)
    with pytest.raises(ValueError, match=words) as caught:
        load_index("pneumonia", path)
    assert str(path) in str(caught.value)


def test_a_file_of_another_set_names_its_notebook(xrays: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is pneumoniamnist, and the notebook 04_oct") as caught:
        load_index("oct", xrays)
    assert "It belongs to the notebook 05_pneumonia." in str(caught.value)
    breast = write(tmp_path / "breastmnist_224.npz", arrays())
    with pytest.raises(ValueError, match="is breastmnist, and the notebook 05_pneumonia"):
        load_index("pneumonia", breast)
    with pytest.raises(ValueError, match="No set of MedMNIST belongs to 'malaria'") as caught:
        load_index("malaria", xrays)
    assert "pneumoniamnist (05_pneumonia), octmnist (04_oct)" in str(caught.value)


@pytest.mark.parametrize("damage", ["empty", "half", "text"])
def test_a_damaged_file_is_named(xrays: Path, damage: str) -> None:
    content = xrays.read_bytes()
    bad = {"empty": b"", "half": content[: len(content) // 2], "text": b"<html>404</html>"}
    xrays.write_bytes(bad[damage])
    with pytest.raises(ValueError, match="is damaged or no npz archive") as caught:
        load_index("pneumonia", xrays)
    assert str(xrays) in str(caught.value)
    assert "Fetch it again" in str(caught.value)


def test_pixels_that_were_damaged_on_the_way_are_noticed_and_leave_no_cache(
    xrays: Path, data_home: Path
) -> None:
    with zipfile.ZipFile(xrays) as archive:
        start = archive.getinfo("train_images.npy").header_offset + 2_000
    content = bytearray(xrays.read_bytes())
    content[start] ^= 0xFF
    xrays.write_bytes(content)
    with pytest.raises(ValueError, match=r"pneumoniamnist\.npz is damaged"):
        load_index("pneumonia", xrays, image_size=SIZE)
    assert [path for path in data_home.rglob("*") if path.is_file()] == []


def test_a_heading_that_claims_enormous_arrays_is_not_believed(xrays: Path) -> None:
    def claim(key: str, shape: tuple[int, ...]) -> None:
        heading = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            heading,
            {"descr": "|u1", "fortran_order": False, "shape": shape},
        )
        with zipfile.ZipFile(xrays, "w") as archive:
            for name, part in arrays().items():
                content = io.BytesIO()
                np.save(content, part)
                text = (heading if name == key else content).getvalue()
                archive.writestr(f"{name}.npy", text)

    claim("val_images", (10, 10**6, 10**6))
    with pytest.raises(ValueError, match="val_images claims images of 1000000×1000000 pixels"):
        load_index("pneumonia", xrays)
    claim("val_labels", (10**15, 1))
    with pytest.raises(ValueError, match="is damaged or no npz archive"):
        load_index("pneumonia", xrays)
    claim("val_images", (10, 28, 28))  # right, but nothing follows
    with pytest.raises(ValueError, match="it ends too early"):
        load_index("pneumonia", xrays, image_size=28)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file .*octmnist\.npz"):
        load_index("oct", tmp_path / "octmnist.npz")


# -- single images, and memory -------------------------------------------------------------


def test_an_image_is_opened_as_it_is_stored(xrays: Path, tmp_path: Path) -> None:
    with open_image(packed.address(xrays, "test", 3)) as picture:
        assert (picture.mode, picture.size) == ("L", (28, 28))
        np.testing.assert_array_equal(np.asarray(picture), arrays()["test_images"][3])
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    with open_image(tmp_path / "a.png") as picture:
        assert (picture.mode, picture.size) == ("RGB", (30, 20))
    with pytest.raises(UnreadableImageError, match="the file does not exist"):
        open_image(tmp_path / "b.png")


@pytest.mark.parametrize("place", ["test/20", "tast/0"])
def test_an_address_that_leads_nowhere(xrays: Path, place: str) -> None:
    with pytest.raises(UnreadableImageError, match=r"the last image there is 19|holds no array"):
        read_image(f"{xrays}#{place}", 28)


def test_large_members_are_not_kept_in_memory(xrays: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "KEPT", 100)
    monkeypatch.setattr(packed, "_member", lambda *_: pytest.fail("a whole member was unpacked"))
    for number in (39, 0, 17):
        found = packed.read(packed.address(xrays, "train", number))
        np.testing.assert_array_equal(found, arrays()["train_images"][number])


def test_parts_read_in_turn_are_unpacked_once_and_within_the_limit(
    xrays: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacked: list[str] = []
    open_member = packed._open_member

    def counting(opened: Any, archive: Any, member: str) -> Any:
        unpacked.append(member)
        return open_member(opened, archive, member)

    def read_in_turn() -> list[str]:
        monkeypatch.setattr(packed, "_kept", {})
        for number in range(4):
            for part in ("train", "val"):
                found = packed.read(packed.address(xrays, part, number))
                np.testing.assert_array_equal(found, arrays()[f"{part}_images"][number])
        return unpacked

    monkeypatch.setattr(packed, "shape_of", lambda *_: (40, 28, 28))
    monkeypatch.setattr(packed, "_open_member", counting)
    assert read_in_turn() == ["train_images", "val_images"]
    unpacked.clear()
    monkeypatch.setattr(packed, "KEPT", 45 * 28 * 28)  # less than both
    assert read_in_turn() == ["train_images", "val_images"] * 4


def test_a_cache_is_built_in_one_pass_a_block_at_a_time(
    xrays: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    begin = packed.Reader._begin

    def counting(self: packed.Reader, archive: str, part: str) -> None:
        begun.append(part)
        begin(self, archive, part)

    monkeypatch.setattr(packed.Reader, "_begin", counting)
    monkeypatch.setattr(packed, "_member", lambda *_: pytest.fail("a whole member was unpacked"))
    monkeypatch.setattr(images, "_BLOCK", 7)
    index = load_index("pneumonia", xrays, image_size=28)
    assert begun == ["train", "val", "test"]
    truth = arrays()["val_images"]
    np.testing.assert_array_equal(open_pixels(index)[40:50, :, :, 0], truth)


def test_a_changed_file_makes_a_new_cache(xrays: Path) -> None:
    first = load_index("pneumonia", xrays, image_size=28)
    again = load_index("pneumonia", xrays, image_size=28)
    assert again.attrs["cache"] == first.attrs["cache"]
    content = arrays()
    content["train_images"][0] = 7
    write(xrays, content)
    changed_index = load_index("pneumonia", xrays, image_size=28)
    assert changed_index.attrs["cache"] != first.attrs["cache"]
    assert (open_pixels(changed_index)[0] == 7).all()
    assert (read_image(str(changed_index["path"][0]), 28) == 7).all()


@pytest.mark.slow
def test_two_processes_at_once_build_one_cache(
    xrays: Path, data_home: Path, checkout: Path
) -> None:
    code = (
        "import sys; from helpers.index import load_index, open_pixels; "
        "print(int(open_pixels(load_index('pneumonia', sys.argv[1], image_size=28)).sum()))"
    )
    command = [sys.executable, "-c", code, str(xrays)]
    runs = [
        subprocess.Popen(command, cwd=checkout, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    answers = {run.communicate(timeout=120)[0].strip() for run in runs}
    total = sum(int(part.sum()) for key, part in arrays().items() if key.endswith("images"))
    assert answers == {str(3 * total)}
    assert len([path for path in data_home.rglob("*") if path.is_file()]) == 2


def test_files_and_addresses_may_be_mixed_in_one_cache(xrays: Path, tmp_path: Path) -> None:
    Image.new("RGB", (28, 28), (5, 6, 7)).save(tmp_path / "a.png")
    paths = [packed.address(xrays, "val", 9), str(tmp_path / "a.png"),
             packed.address(xrays, "val", 2)]  # fmt: skip
    pixels = build_cache(paths, 28).open()
    np.testing.assert_array_equal(pixels[0, ..., 0], arrays()["val_images"][9])
    assert (pixels[1] == (5, 6, 7)).all()
    np.testing.assert_array_equal(pixels[2, ..., 0], arrays()["val_images"][2])


# -- the real file -------------------------------------------------------------------------


@pytest.mark.realdata
def test_the_real_pneumoniamnist(realdata: Path) -> None:
    path = realdata / "medmnist" / "pneumoniamnist.npz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    index = load_index("pneumonia", path, image_size=28)
    assert index["part"].value_counts().to_dict() == {"train": 4_708, "valid": 524, "test": 624}
    counts = pd.crosstab(index["part"], index["class_name"]).loc["test"].to_dict()
    assert counts == {"NORMAL": 234, "PNEUMONIA": 390}
    assert not any("not the numbers" in note for note in index.attrs["notes"])
    assert index.attrs["left_out"] == []
    split = split_official(index, seed=0, drop_shared=True)
    assert require_clean(split).clean
    # a few pictures are in two parts: they leave training for the one that judges them
    assert (split["split"] != split["part"]).sum() + len(index) - len(split) < 40
    row = index.iloc[5_000]
    np.testing.assert_array_equal(open_pixels(index)[row["row"]], read_image(row["path"], 28))
