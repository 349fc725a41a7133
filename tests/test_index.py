"""From folders to a data frame: every layout, every defect named, nothing lost silently."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny_images import (
    CLASSES,
    PATIENTS,
    SIZE,
    cell,
    draw_cells,
    draw_file,
    draw_xrays,
    name_of,
)

from helpers import index as index_module
from helpers import registry, samples
from helpers.index import left_out, load_index, open_pixels, some
from helpers.samples import malaria as malaria_sample
from helpers.splits import require_clean, split_by_patient, split_official

pytestmark = pytest.mark.usefixtures("data_home")


@pytest.fixture
def data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that is the data home of one test."""
    monkeypatch.setenv("TUTORIALS_DATA", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a folder with 36 cells of six patients in the real layout."""
    return draw_cells(tmp_path / "data")


def cells(root: Path, class_name: str) -> Path:
    """Return a class folder."""
    return root / "cell_images" / class_name


def reasons(index: pd.DataFrame) -> dict[str, str]:
    """Return why files were left out, by name."""
    return {Path(item["path"]).name: item["reason"] for item in index.attrs["left_out"]}


# -- what comes out ------------------------------------------------------------------------


def test_one_row_an_image(data: Path) -> None:
    index = load_index("malaria", data)
    assert list(index.columns) == ["path", "label", "class_name", "patient", "split", "part"]
    assert len(index) == 36
    for row in index.itertuples():
        path = Path(str(row.path))
        assert path.is_absolute()
        assert path.is_file()
        assert path.parent.name == row.class_name
        assert path.name.startswith(f"{row.patient}_IMG_")
        assert row.label == {"Uninfected": 0, "Parasitized": 1}[path.parent.name]
    assert set(index["split"]) == {""}
    assert index["patient"].value_counts().to_dict() == dict.fromkeys(PATIENTS, 6)
    assert index.attrs["root"] == str(data)
    assert index.attrs["dataset"] == "malaria"
    assert index.attrs["classes"] == ["Uninfected", "Parasitized"]
    assert index.attrs["left_out"] == []
    assert index.attrs["notes"] == []
    assert index.attrs["cache"] is None
    assert not index.attrs["synthetic"]


def test_without_an_image_size_no_pixel_is_read(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("an image was opened"))
    index = load_index("malaria", data)
    with pytest.raises(ValueError, match="image_size"):
        open_pixels(index)


def test_with_an_image_size_rows_point_into_the_cache(data: Path) -> None:
    wide = Image.fromarray(np.full((10, 40, 3), 200, np.uint8))
    wide.save(cells(data, "Uninfected") / name_of("C9P9thinF", 7))
    index = load_index("malaria", data, image_size=SIZE)
    pixels = open_pixels(index)
    assert pixels.shape == (37, SIZE, SIZE, 3)
    for row in index.itertuples():
        with Image.open(str(row.path)) as picture:
            if picture.size == (SIZE, SIZE):
                np.testing.assert_array_equal(pixels[row.row], np.asarray(picture))
            assert (row.width, row.height) == picture.size
    row = index.set_index("patient").loc["C9P9thinF"]
    assert (row["width"], row["height"]) == (40, 10)
    assert not pixels[row["row"], :10].any()  # cells keep their shape: black above
    assert index["content"].is_unique


def test_a_relative_folder_and_the_home_folder(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_index("malaria", "data").attrs["root"] == str(data)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_index("malaria", "~/data").attrs["root"] == str(data)


# -- layouts -------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["as it is", "inside", "one level deeper", "two deeper"])
def test_the_class_folders_are_found(data: Path, tmp_path: Path, layout: str) -> None:
    root = data
    if layout == "inside":
        root = data / "cell_images"
    elif layout != "as it is":
        root = tmp_path / "archive"
        deep = root / "malaria" if layout == "one level deeper" else root / "a" / "b"
        deep.parent.mkdir(parents=True)
        shutil.move(data, deep)
    assert len(load_index("malaria", root)) == 36


def test_the_folder_that_kaggle_doubled_counts_once(data: Path) -> None:
    shutil.copytree(data / "cell_images", data / "cell_images" / "cell_images")
    for root in (data, data / "cell_images"):
        index = load_index("malaria", root)
        assert len(index) == 36
        assert index["path"].str.count("cell_images").eq(1).all()
        (note,) = index.attrs["notes"]
        assert "more than once" in note
        assert str(Path("cell_images")) in note


def test_folders_in_another_case(data: Path) -> None:
    cells(data, "Parasitized").rename(data / "cell_images" / "PARASITIZED")
    cells(data, "Uninfected").rename(data / "cell_images" / "uninfected")
    index = load_index("malaria", data)
    assert index["class_name"].value_counts().to_dict() == {"Uninfected": 18, "Parasitized": 18}


@pytest.mark.parametrize("suffix", [".jpg", ".JPG", ".jpeg", ".PNG"])
def test_other_endings(tmp_path: Path, suffix: str) -> None:
    draw_cells(tmp_path / "data", suffix=suffix)
    index = load_index("malaria", tmp_path / "data", image_size=SIZE)
    assert len(index) == 36
    assert set(index["patient"]) == set(PATIENTS)


def test_names_with_spaces_and_chinese_characters(tmp_path: Path) -> None:
    patients = ("C1 病人 甲thinF", "C2 病人 乙thinF")
    draw_cells(tmp_path / "疟疾 data", patients=patients)
    index = load_index("malaria", tmp_path / "疟疾 data", image_size=SIZE)
    assert len(index) == 12
    assert set(index["patient"]) == set(patients)


# -- what is refused -----------------------------------------------------------------------


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        load_index("malaria", tmp_path / "nowhere")
    message = str(caught.value)
    assert f"there is no folder {tmp_path / 'nowhere'}" in message
    assert "Uninfected/, Parasitized/" in message
    assert "C33P1thinF_IMG_20150619_114756a_cell_179.png" in message


def test_a_file_instead_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "cells.zip").touch()
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*cells\.zip"):
        load_index("malaria", tmp_path / "cells.zip")


def test_a_folder_that_is_another_dataset(tmp_path: Path) -> None:
    for name in ("NORMAL", "PNEUMONIA"):
        (tmp_path / "data" / name).mkdir(parents=True)
    (tmp_path / "data" / "readme.txt").touch()
    with pytest.raises(ValueError, match="holds no images of the dataset 'malaria'") as caught:
        load_index("malaria", tmp_path / "data")
    message = str(caught.value)
    assert "Expected: a folder with Uninfected/, Parasitized/ in it" in message
    assert "Found: NORMAL/, PNEUMONIA/, readme.txt." in message


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(ValueError, match=r"Found: an empty folder\."):
        load_index("malaria", tmp_path / "data")


def test_one_class_folder_alone_is_not_enough(data: Path) -> None:
    shutil.rmtree(cells(data, "Parasitized"))
    with pytest.raises(ValueError, match=r"Found: cell_images/\."):
        load_index("malaria", data)


def test_an_empty_class_folder(data: Path) -> None:
    shutil.rmtree(cells(data, "Parasitized"))
    cells(data, "Parasitized").mkdir()
    with pytest.raises(ValueError, match=r"'Parasitized'.* no usable image: the folder is empty"):
        load_index("malaria", data)


def test_a_class_of_which_every_image_is_damaged(data: Path) -> None:
    for path in cells(data, "Parasitized").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"18 files were left out; the first, .*zero bytes"):
        load_index("malaria", data, image_size=SIZE)


def test_an_unknown_dataset_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"'malria'. Did you mean 'malaria'"):
        load_index("malria")


def test_a_folder_that_may_not_be_entered_does_not_end_the_search(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "lost+found").mkdir()  # as on the top of any Linux disk; root may enter: simulated
    scandir = os.scandir

    def guarded(path: Any) -> Any:
        if Path(path).name == "lost+found":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert len(load_index("malaria", data)) == 36


# -- what is left out ----------------------------------------------------------------------


def test_what_is_no_usable_image_is_left_out_with_a_reason(data: Path) -> None:
    folder = cells(data, "Uninfected")
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (folder / f"._{name_of('C1P1thinF', 1_001)}").write_bytes(b"Mac OS X")
    (folder / ".DS_Store").touch()
    (folder / name_of("C1P1thinF", 70)).touch()
    (folder / name_of("C1P1thinF", 71)).write_text("no picture", encoding="ascii")
    good = (folder / name_of("C1P1thinF", 1_001)).read_bytes()
    (folder / name_of("C1P1thinF", 72)).write_bytes(good[: len(good) // 2])
    Image.new("RGB", (1, 1)).save(folder / name_of("C1P1thinF", 73))
    Image.new("RGB", (40, 40)).save(folder / "cell_80.png")
    index = load_index("malaria", data, image_size=SIZE)
    assert len(index) == 36
    assert list(index.index) == list(range(36))
    found = reasons(index)
    assert found["Thumbs.db"] == found[".DS_Store"] == "not an image file"
    assert found[f"._{name_of('C1P1thinF', 1_001)}"] == "not an image file"
    assert found[name_of("C1P1thinF", 70)] == "the file is empty (zero bytes)"
    assert "damaged" in found[name_of("C1P1thinF", 71)]
    assert "damaged" in found[name_of("C1P1thinF", 72)]
    assert "too small" in found[name_of("C1P1thinF", 73)]
    assert "gives no patient (expected one like C33P1thinF_IMG_" in found["cell_80.png"]
    assert len(found) == 8
    table = left_out(index)
    assert list(table.columns) == ["file", "reason"]
    assert dict(zip(table["file"], table["reason"], strict=True)) == found
    assert str(data) not in table.to_string()  # a notebook shows this: no absolute path
    # the rows that stay still point at their own pixels
    pixels = open_pixels(index)
    for row in index.itertuples():
        np.testing.assert_array_equal(pixels[row.row], np.asarray(Image.open(str(row.path))))


def test_the_table_of_nothing_left_out_is_empty(data: Path) -> None:
    assert list(left_out(load_index("malaria", data)).columns) == ["file", "reason"]
    assert left_out(load_index("malaria", data)).empty


# -- patients ------------------------------------------------------------------------------


def write_maps(
    data: Path, rename: dict[str, str] | None = None, encoding: str = "ascii", suffix: str = ".png"
) -> None:
    """Write NLM's two lists; ``rename`` gives some files (by stem) another patient."""
    for class_name in CLASSES:
        patients: dict[str, list[str]] = {}
        for path in sorted(cells(data, class_name).iterdir()):
            owner = (rename or {}).get(path.stem, path.name.split("_IMG_")[0])
            patients.setdefault(owner, []).append(path.stem + suffix)
        lines = [f"{owner},{names!r},,\r\n" for owner, names in patients.items()]
        target = data / f"patientid_cellmapping_{class_name.lower()}.csv"
        target.write_bytes("".join(lines).encode(encoding))


@pytest.mark.parametrize("encoding", ["ascii", "utf-8-sig"])
def test_patient_lists_that_agree(data: Path, encoding: str) -> None:
    write_maps(data, encoding=encoding)
    index = load_index("malaria", data)
    assert set(index["patient"]) == set(PATIENTS)
    (note,) = index.attrs["notes"]
    assert "they name 36 of the 36 images and agree with their file names" in note


def test_patient_lists_say_png_where_the_files_are_jpg(tmp_path: Path) -> None:
    data = draw_cells(tmp_path / "data", suffix=".jpg")
    write_maps(data, suffix=".png")
    (note,) = load_index("malaria", data).attrs["notes"]
    assert "they name 36 of the 36 images and agree" in note


@pytest.mark.parametrize("place", ["beside", "inside"])
def test_patient_lists_that_differ_are_believed(data: Path, place: str) -> None:
    stem = name_of("C1P1thinF", 1)[:-4]
    write_maps(data, rename={stem: "C77P77thinF"})
    if place == "inside":
        for path in data.glob("*.csv"):
            path.rename(data / "cell_images" / path.name)
    index = load_index("malaria", data)
    changed = index[index["patient"] == "C77P77thinF"]
    assert [Path(path).stem for path in changed["path"]] == [stem]
    (note,) = index.attrs["notes"]
    assert f"1 of them otherwise than the file name does (such as {stem}.png)" in note
    assert "the list was believed" in note


def test_a_list_may_name_the_patient_of_a_file_whose_name_gives_none(data: Path) -> None:
    folder = cells(data, "Uninfected")
    for name in ("cell_80.png", "cell_81.png"):
        Image.new("RGB", (40, 40)).save(folder / name)
    write_maps(data, rename={"cell_80": "C3P3thinF", "cell_81": "C8P8thinF"})
    index = load_index("malaria", data, image_size=SIZE)
    assert len(index) == 38
    assert reasons(index) == {}
    owners = {Path(path).name: patient for path, patient in zip(
        index["path"], index["patient"], strict=True)}  # fmt: skip
    assert owners["cell_80.png"] == "C3P3thinF"
    assert owners["cell_81.png"] == "C8P8thinF"
    (note,) = index.attrs["notes"]
    assert "name 38 of the 38 images, 2 of them without a patient in the file name and" in note


def test_a_file_that_neither_name_nor_list_knows_is_left_out(data: Path) -> None:
    write_maps(data)
    Image.new("RGB", (40, 40)).save(cells(data, "Uninfected") / "cell_80.png")
    index = load_index("malaria", data)
    assert len(index) == 36
    assert reasons(index)["cell_80.png"].startswith("the name gives no patient")


@pytest.mark.parametrize("deeper", ["cell_images", "a/b/cells"])
def test_patient_lists_are_found_above_the_images(data: Path, deeper: str) -> None:
    stem = name_of("C1P1thinF", 1)[:-4]
    write_maps(data, rename={stem: "C77P77thinF"})
    inner = data / "cell_images" / deeper
    inner.mkdir(parents=True)
    for class_name in CLASSES:
        shutil.move(data / "cell_images" / class_name, inner)
        path = data / f"patientid_cellmapping_{class_name.lower()}.csv"
        path.rename(path.with_name(path.name.upper()))
    index = load_index("malaria", data)
    assert (index["patient"] == "C77P77thinF").sum() == 1


def test_a_list_that_names_a_part_changes_only_that(data: Path) -> None:
    stem = name_of("C1P1thinF", 1)[:-4]
    path = data / "patientid_cellmapping_parasitized.csv"
    path.write_text(f"C77P77thinF,['{stem}.png'],,\n", encoding="ascii")
    index = load_index("malaria", data)
    assert index["patient"].value_counts()["C77P77thinF"] == 1
    assert index["patient"].nunique() == 7
    assert index["patient"].notna().all()


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"C1P1thinF,['a.png'],,\nC2P2thinF,a.png b.png\n", 2),
        (b"<html>404 Not Found</html>\n", 1),
        (b",['a.png']\n", 1),
    ],
)
def test_a_malformed_patient_list_says_where(data: Path, content: bytes, line: int) -> None:
    path = data / "patientid_cellmapping_parasitized.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path}, line {line}: expected") as caught:
        load_index("malaria", data)
    assert "Fetch the file again, or move it away" in str(caught.value)


def test_a_patient_list_in_another_encoding_is_named(data: Path) -> None:
    path = data / "patientid_cellmapping_parasitized.csv"
    path.write_bytes("C1P1thinF,['a.png'],,\n".encode("utf-16"))  # «Unicode text» of Excel
    with pytest.raises(ValueError, match="Fetch the file again, or move it away") as caught:
        load_index("malaria", data)
    assert str(path) in str(caught.value)


def test_one_slide_under_two_microscopes_is_one_patient(tmp_path: Path) -> None:
    two = ("C47P8thin_Original_Motic", "C47P8thinOriginalOlympusCX21")
    data = draw_cells(tmp_path / "data", patients=(*two, "C48P9thinF"))
    assert set(load_index("malaria", data)["patient"]) == {"C47P8thin", "C48P9thinF"}
    write_maps(data)  # the lists have both ids, too: they must not undo it
    index = load_index("malaria", data)
    assert index["patient"].value_counts().to_dict() == {"C47P8thin": 12, "C48P9thinF": 6}
    assert "agree" in index.attrs["notes"][0]


def test_patients_with_one_kind_of_cell(tmp_path: Path) -> None:
    counts = {("Parasitized", patient): 0 for patient in PATIENTS[:3]}
    data = draw_cells(tmp_path / "data", counts=counts)
    kinds = load_index("malaria", data).groupby("patient")["label"].nunique()
    assert list(kinds[list(PATIENTS)]) == [1, 1, 1, 2, 2, 2]


# -- a part of the images ------------------------------------------------------------------


def test_max_images_takes_the_same_share_of_every_patient(tmp_path: Path) -> None:
    counts = {(kind, patient): 4 * n for kind in CLASSES for n, patient in enumerate(PATIENTS, 1)}
    data = draw_cells(tmp_path / "data", counts=counts)
    whole = load_index("malaria", data)
    assert len(whole) == 168
    for seed in range(3):
        part = load_index("malaria", data, max_images=84, seed=seed)
        assert len(part) == 84
        assert set(part["path"]) <= set(whole["path"])
        taken = part.groupby(["patient", "label"]).size()
        for (patient, _), count in taken.items():
            assert count == 2 * (PATIENTS.index(patient) + 1)
        assert list(part.index) == list(range(84))
        assert f"84 of {len(whole)} images were taken (max_images)." in part.attrs["notes"]


def test_max_images_keeps_every_patient_as_long_as_there_is_room(tmp_path: Path) -> None:
    counts = {(kind, PATIENTS[0]): 60 for kind in CLASSES}
    data = draw_cells(tmp_path / "data", each=1, counts=counts)
    for seed in range(10):
        part = load_index("malaria", data, max_images=12, seed=seed)
        assert set(part["patient"]) == set(PATIENTS)
        assert part.groupby(["patient", "label"]).ngroups == 12


def test_max_images_is_a_matter_of_the_seed_alone(data: Path) -> None:
    first = load_index("malaria", data, max_images=15, seed=1)
    pd.testing.assert_frame_equal(first, load_index("malaria", data, max_images=15, seed=1))
    assert set(first["path"]) != set(load_index("malaria", data, max_images=15, seed=2)["path"])


def test_a_test_part_of_patients_of_its_own_stays_whole_unless_it_takes_too_much(
    tmp_path: Path,
) -> None:
    data = draw_xrays(tmp_path / "data", {"train": 20, "test": 2})

    def tested(most: int) -> int:
        part = load_index("pneumonia", data, max_images=most)
        assert len(part) == most
        return int((part["part"] == "test").sum())

    assert (tested(40), tested(32)) == (8, 8)  # of 80 and 8 images
    assert tested(31) < 8
    a_training_child = data / "test" / "PNEUMONIA" / "person1_virus_7.jpeg"
    draw_file(a_training_child, 999)
    assert tested(40) < 8


def test_more_than_there_are_is_all(data: Path) -> None:
    index = load_index("malaria", data, max_images=1_000)
    assert len(index) == 36
    assert index.attrs["notes"] == []


@pytest.mark.parametrize("image_size", [None, SIZE])
def test_too_few_for_every_class_is_refused(data: Path, image_size: int | None) -> None:
    with pytest.raises(ValueError, match="max_images"):
        load_index("malaria", data, max_images=1, image_size=image_size)


# -- where files are written ---------------------------------------------------------------


def test_nothing_is_written_into_the_data_folder(data: Path, data_home: Path) -> None:
    def snapshot() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in [data, *data.rglob("*")]}

    before = snapshot()
    for folder in (data, *data.rglob("*")):
        folder.chmod(0o555 if folder.is_dir() else 0o444)
    try:
        index = load_index("malaria", data, image_size=SIZE)
    finally:
        for folder in (data, *data.rglob("*")):
            folder.chmod(0o755 if folder.is_dir() else 0o644)
    assert len(index) == 36
    assert snapshot() == before
    assert Path(index.attrs["cache"]).parent == data_home / "cache"


# -- the sample ----------------------------------------------------------------------------


@pytest.fixture
def quick_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the sample be drawn with few cells."""
    quick = partial(malaria_sample.draw, patients=6, cells=30)
    monkeypatch.setattr(malaria_sample, "draw", quick)


@pytest.mark.usefixtures("quick_sample")
def test_no_folder_means_the_synthetic_sample(
    data_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    index = load_index("malaria", image_size=SIZE)
    version = samples.version("malaria")
    assert index.attrs["synthetic"]
    assert index.attrs["root"] == str(data_home / "samples" / f"malaria-seed0-v{version}")
    assert len(index) == 30
    assert {"Thumbs.db"} < set(reasons(index))  # and some damaged files
    assert "agree with their file names" in index.attrs["notes"][0]
    assert load_index("malaria", seed=1).attrs["root"] != index.attrs["root"]
    monkeypatch.setattr(samples, "draw", lambda *_: pytest.fail("it was drawn again"))
    assert set(load_index("malaria", image_size=SIZE)["path"]) == set(index["path"])


def test_a_sample_whose_drawing_was_interrupted_is_drawn_again(
    data_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quick = partial(malaria_sample.draw, patients=6, cells=30)
    with monkeypatch.context() as patch:
        patch.setattr(malaria_sample, "draw", quick)
        patch.setattr(malaria_sample, "_write_damaged", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            load_index("malaria")
    assert [path for path in data_home.rglob("*") if path.is_file()] == []
    monkeypatch.setattr(malaria_sample, "draw", quick)
    assert len(load_index("malaria", image_size=SIZE)) == 30


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_two_processes_draw_the_sample_at_once(data_home: Path, checkout: Path) -> None:
    code = (
        "from functools import partial\n"
        "from helpers.index import load_index\n"
        "from helpers.samples import malaria\n"
        "malaria.draw = partial(malaria.draw, patients=6, cells=30)\n"
        "print(len(load_index('malaria', image_size=32)))\n"
    )
    command = [sys.executable, "-c", code]
    runs = [
        subprocess.Popen(command, cwd=checkout, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    assert [run.communicate(timeout=120)[0].strip() for run in runs] == ["30", "30"]
    assert len(list((data_home / "samples").iterdir())) == 1
    assert len(list((data_home / "cache").iterdir())) == 2


# -- real cells ----------------------------------------------------------------------------


@pytest.mark.realdata
def test_the_real_cells(realdata: Path) -> None:
    folder = realdata / "malaria"
    if not folder.is_dir():
        pytest.skip(f"no real cells in {folder}")
    index = load_index("malaria", folder)
    files = [path for path in (folder / "cell_images").glob("*/*") if path.suffix == ".jpg"]
    assert len(index) + len(index.attrs["left_out"]) == len(list((folder).glob("*/*/*")))
    assert len(index) == len(files)
    (note,) = index.attrs["notes"]
    assert f"they name {len(files):,} of the {len(files):,} images" in note
    assert "agree with their file names" in note


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "folder", "pattern"),
    [
        ("breast_cancer", "breakhis", "*.jpg"),
        ("brain_mri", "lgg", "*_mask.tif"),
        ("oct", "oct", "*.jpeg"),
        ("pneumonia", "chest_xray_224", "*.jpeg"),
    ],
)
def test_the_other_real_sets(realdata: Path, name: str, folder: str, pattern: str) -> None:
    root = realdata / folder
    if name not in registry.names() or not root.is_dir():
        pytest.skip(f"no real images in {root}, or no tutorial {name}")
    index = load_index(name, root)
    assert index.attrs["left_out"] == []
    assert len(index) == len([path for path in root.rglob(pattern) if path.is_file()])
    assert index["patient"].notna().all()
    assert require_clean(split_by_patient(index, seed=0)).clean
    if name == "pneumonia":
        split = split_official(index, seed=0)
        assert dict(index["part"].value_counts())["valid"] == 16
        assert (split["split"] == "valid").sum() > 900
        assert require_clean(split_official(index, seed=0, drop_shared=True)).clean


def test_cell_draws_what_the_other_tests_rely_on() -> None:
    """An infected cell is darker than a healthy one, whatever the noise."""
    rng = np.random.default_rng(0)
    infected = [cell(rng, True).mean() for _ in range(20)]
    healthy = [cell(rng, False).mean() for _ in range(20)]
    assert max(infected) < min(healthy)
    assert set(registry.get("malaria").classes) == set(CLASSES)
    assert index_module.COLUMNS[0] == "path"


def test_some_rows_are_no_more_than_there_are() -> None:
    rows = pd.DataFrame({"path": list("abcde")})
    assert len(some(rows, 3, seed=0)) == 3
    assert sorted(some(rows, 9, seed=0)["path"]) == list("abcde")
    assert some(rows, 3, seed=1).equals(some(rows, 3, seed=1))
