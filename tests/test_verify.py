"""The check of a folder: each defect planted is found, and none is found where none was planted."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny_images import (
    PATIENTS,
    SIZE,
    VOLUMES,
    cell,
    draw_biopsies,
    draw_cells,
    draw_file,
    draw_mask,
    draw_retinas,
    draw_volumes,
    draw_xrays,
    name_of,
)

from helpers import __main__, downloads, images, own_images, registry, splits, verify
from helpers.index import load_index

pytestmark = pytest.mark.slow  # many folders are written and read; the fast lane leaves them out


def draw_noise(root: Path, patients: tuple[str, ...] = PATIENTS, each: int = 3) -> Path:
    """Write cells that are nothing but noise: no two are alike, no class is told by its size."""
    draw_cells(root, patients, each)
    for number, path in enumerate(sorted(root.rglob("*.png"))):
        draw_file(path, 20_000 + number)
    return root


DRAWN: Mapping[str, tuple[Callable[[Path], Path], dict[str, int]]] = {
    "malaria": (
        draw_noise,
        {"images": 36, "patients": 6, "Uninfected": 18, "Parasitized": 18},
    ),
    "pneumonia": (draw_xrays, {"images": 56, "NORMAL": 28, "PNEUMONIA": 28}),
    "oct": (draw_retinas, {"images": 48, "CNV": 12, "DME": 12, "DRUSEN": 12, "NORMAL": 12}),
    "breast_cancer": (
        draw_biopsies,
        {"images": 24, "slides": 12, "benign": 12, "malignant": 12},
    ),
    "brain_mri": (
        draw_volumes,
        {"images": 24, "patients": 6, "no tumour": 12, "tumour": 12},
    ),
}
PARTS = {"pneumonia": {"test": {"NORMAL": 8, "PNEUMONIA": 8}}}
CELLS = "cell_images/Parasitized"
HEALTHY = "cell_images/Uninfected"


@pytest.fixture(autouse=True)
def tiny_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry's own entries, with the counts of the tiny sets that are drawn here."""
    real = {name: registry.get(name) for name in DRAWN}
    tiny = {
        name: replace(real[name], counts=counts, parts=PARTS.get(name, {}))
        for name, (_, counts) in DRAWN.items()
    }
    monkeypatch.setattr(registry, "get", lambda name: tiny[name] if name in tiny else real[name])
    monkeypatch.setenv("TUTORIALS_DATA", str(tmp_path / "home"))


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """A folder with 36 cells of six patients, nothing wrong with them."""
    return draw_noise(tmp_path / "cells")


@pytest.fixture
def xrays(tmp_path: Path) -> Path:
    """A folder with 56 X-rays in the official parts, nothing wrong with them."""
    return draw_xrays(tmp_path / "xrays")


def kinds(found: verify.Verification) -> set[str]:
    return {finding.kind for finding in found.findings}


def the(found: verify.Verification, kind: str) -> verify.Finding:
    """Return the one finding of a kind."""
    (finding,) = (one for one in found.findings if one.kind == kind)
    return finding


def marked(found: verify.Verification, kind: str) -> list[str]:
    """Return the paths of the table's rows that have a problem."""
    has = found.images["problems"].str.split("; ").map(lambda problems: kind in problems)
    return list(found.images.loc[has, "path"])


def first(folder: Path, number: int = 0) -> Path:
    return sorted(path for path in folder.iterdir() if path.suffix != ".db")[number]


# -- nothing planted -------------------------------------------------------------------------


@pytest.mark.parametrize("name", DRAWN)
def test_a_folder_without_defects_has_no_finding(tmp_path: Path, name: str) -> None:
    draw, counts = DRAWN[name]
    found = verify.check(name, draw(tmp_path / "data"))
    assert [finding.text for finding in found.findings] == []
    assert found.faults == 0
    assert len(found.images) == len(found.usable) == counts["images"]
    assert set(found.images["problems"]) == {""}
    text = verify.summary(found)
    assert "**0 faults and 0 notices.**" in text
    assert "## Faults" not in text
    assert "Every number that the registry knows is the one found here." in text
    assert str(found.dataset.defects[0]) in text


def test_the_table_tells_size_mode_and_hashes_of_each_image(tmp_path: Path) -> None:
    data = draw_noise(tmp_path / "data")
    place = first(data / CELLS)
    Image.fromarray(np.asarray(Image.open(place).convert("L"))[:20]).save(place)
    found = verify.check("malaria", data)
    row = found.images.set_index("path").loc[f"{CELLS}/{place.name}"]
    assert (row["width"], row["height"], row["mode"]) == (SIZE, 20, "L")
    assert row["bytes"] == place.stat().st_size
    assert (row["class_name"], row["patient"]) == ("Parasitized", PATIENTS[0])
    assert found.images["pixel_hash"].is_unique
    assert found.images["pixel_hash"].str.len().eq(32).all()


def test_nothing_is_decoded_twice_and_no_cache_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images and masks: each file's pixels are loaded once in a call."""
    data = draw_volumes(tmp_path / "data")
    opened: list[str] = []
    original = images._open_upright

    def count(path: str, *rest: object, **more: object) -> object:
        opened.append(str(path))
        return original(path, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(images, "_open_upright", count)
    verify.check("brain_mri", data)
    assert sorted(opened) == sorted(str(path) for path in data.rglob("*.tif"))
    assert not (tmp_path / "home").exists()


def test_patients_of_two_classes_slides_and_tumour_types_are_counted(tmp_path: Path) -> None:
    data = draw_biopsies(tmp_path / "data")
    text = verify.summary(verify.check("breast_cancer", data))
    assert "- 0 of 12 patients have images of more than one class." in text
    assert "- 0 of 12 patients have images of more than one subtype." in text
    assert "- 0 of 12 patients have images of more than one slide." in text
    place = next(data.rglob("SOB_M_DC-14-4000-40-001.png"))
    place.rename(place.with_name("SOB_M_DC-14-12000B-40-001.png"))  # a patient with LC, slide 12000
    text = verify.summary(verify.check("breast_cancer", data))
    assert "- 1 of 12 patients have images of more than one subtype (14-12000: DC, LC)." in text
    assert "of more than one slide (14-12000: 14-12000, 14-12000B)." in text


# -- damage and half a copy ------------------------------------------------------------------


def test_a_cut_and_an_empty_file_are_faults(cells: Path) -> None:
    cut, empty = first(cells / CELLS), first(cells / HEALTHY)
    cut.write_bytes(cut.read_bytes()[:300])
    empty.write_bytes(b"")
    found = verify.check("malaria", cells)
    assert the(found, "unreadable").is_fault
    assert set(marked(found, "unreadable")) == {
        f"{CELLS}/{cut.name}",
        f"{HEALTHY}/{empty.name}",
    }
    assert any("zero bytes" in example for example in the(found, "unreadable").examples)
    fewer = the(found, "too few")
    assert fewer.is_fault
    assert "images 34, not 36; Uninfected 17, not 18; Parasitized 17, not 18" in fewer.text


def test_a_set_of_which_no_image_can_be_read_is_told_as_such(cells: Path) -> None:
    for path in cells.rglob("*.png"):
        path.write_bytes(path.read_bytes()[:60])
    found = verify.check("malaria", cells)
    assert kinds(found) == {"too few", "unreadable"}
    assert len(marked(found, "unreadable")) == 36
    assert the(found, "unreadable").more == 32
    assert "and 32 more: see the column problems of images.csv" in verify.summary(found)
    assert "36 files damaged or useless" in verify.summary(found)


def test_a_file_name_that_is_no_text_is_written_all_the_same(cells: Path, tmp_path: Path) -> None:
    (cells / CELLS / "Thumbs\udcff.db").write_bytes(b"x")
    found = verify.check("malaria", cells)
    verify.write(found, tmp_path / "out")
    for name in ("images.csv", "summary.md"):
        assert "Thumbs\\udcff.db" in (tmp_path / "out" / name).read_text("utf-8")


def test_fewer_patients_are_a_fault_even_where_images_suffice(tmp_path: Path) -> None:
    data = draw_noise(tmp_path / "data", PATIENTS[:3], each=6)
    found = verify.check("malaria", data)
    assert kinds(found) == {"too few"}
    assert "not the whole real set: patients 3, not 6." in the(found, "too few").text


def test_more_than_there_should_be_is_a_notice(tmp_path: Path) -> None:
    found = verify.check("malaria", draw_noise(tmp_path / "data", each=4))
    assert kinds(found) == {"too many"}
    assert not the(found, "too many").is_fault
    assert "images 48, not 36" in the(found, "too many").text


def test_strays_and_files_of_another_name_are_told_apart(cells: Path) -> None:
    (cells / HEALTHY / "Thumbs.db").write_bytes(b"x")
    (cells / HEALTHY / "._C1.png").write_bytes(b"x")
    shutil.copy(first(cells / CELLS), cells / CELLS / "copy of a cell.png")
    found = verify.check("malaria", cells)
    assert kinds(found) == {"stray file", "left out"}
    assert marked(found, "left out") == [f"{CELLS}/copy of a cell.png"]
    assert len(marked(found, "stray file")) == 2
    assert found.faults == 0
    assert len(found.usable) == 36


def test_a_mask_that_is_damaged_or_of_another_size_is_a_fault(tmp_path: Path) -> None:
    data = draw_volumes(tmp_path / "data")
    folders = [data / "kaggle_3m" / volume for volume in VOLUMES]
    (folders[0] / f"{VOLUMES[0]}_1_mask.tif").write_bytes(b"no mask")
    draw_mask(folders[1] / f"{VOLUMES[1]}_3_mask.tif", 20, size=16)
    found = verify.check("brain_mri", data)
    finding = the(found, "unreadable")
    assert finding.is_fault
    assert marked(found, "unreadable") == [
        f"kaggle_3m/{VOLUMES[1]}/{VOLUMES[1]}_3.tif",
        f"kaggle_3m/{VOLUMES[0]}/{VOLUMES[0]}_1.tif",
    ]
    assert any("16×16 instead of 32×32" in example for example in finding.examples)


def test_a_class_that_is_missing_is_said_in_words(cells: Path) -> None:
    shutil.rmtree(cells / HEALTHY)
    with pytest.raises(
        verify.UnusableFolderError, match="class folder Uninfected/ is missing beside"
    ):
        verify.check("malaria", cells)


def test_a_folder_named_like_a_twin_is_called_one(tmp_path: Path) -> None:
    for name in ("malaria-sample-seed3", "malaria-seed0-v2"):
        found = verify.check("malaria", draw_noise(tmp_path / name))
        assert kinds(found) == {"synthetic"}
        assert name in the(found, "synthetic").text
        assert "Every number" not in verify.summary(found)


# -- which release it is ---------------------------------------------------------------------


def write_thumbnails(path: Path, parts: Mapping[str, int], classes: int) -> Path:
    """Write a MedMNIST file of noise, its labels 0, 1, … in turn."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in zip(("train", "val", "test"), parts.values(), strict=True):
        arrays[f"{part}_images"] = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[f"{part}_labels"] = (np.arange(count) % classes)[:, None].astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


@pytest.fixture
def tiny_releases(monkeypatch: pytest.MonkeyPatch) -> None:
    """The releases of the OCT scans, so small that they can be drawn."""
    entry = registry.get("oct")
    numbers = {
        "octmnist": {"train": 16, "valid": 8, "test": 8},
        "oct_v3": {"train": 48, "test": 16},
    }
    tiny = tuple(
        replace(one, counts={"images": sum(numbers[one.name].values())}, parts=numbers[one.name])
        if one.name in numbers
        else one
        for one in entry.releases
    )
    known = registry.get
    monkeypatch.setattr(
        registry,
        "get",
        lambda name: replace(entry, releases=tiny) if name == "oct" else known(name),
    )


@pytest.mark.usefixtures("tiny_releases")
@pytest.mark.parametrize(
    ("parts", "kind", "text"),
    [
        ({"train": 16, "valid": 8, "test": 8}, "", ""),
        ({"train": 12, "valid": 8, "test": 8}, "too few", "set octmnist: images 28, not 32."),
        ({"train": 20, "valid": 8, "test": 4}, "too few", "official test 4, not 8."),
        ({"train": 20, "valid": 8, "test": 8}, "too many", "says of octmnist: images 36, not 32."),
    ],
)
def test_octmnist_is_compared_with_its_own_numbers(
    tmp_path: Path, parts: Mapping[str, int], kind: str, text: str
) -> None:
    found = verify.check("oct", write_thumbnails(tmp_path / "octmnist.npz", parts, 4))
    assert found.release == "octmnist"
    assert kinds(found) == ({kind} if kind else set())
    assert found.faults == (kind == "too few")
    assert text in (the(found, kind).text if kind else "")


@pytest.mark.usefixtures("tiny_releases")
@pytest.mark.parametrize("lost", [0, 1])
def test_release_v3_of_the_scans_is_compared_with_its_own_numbers(
    tmp_path: Path, lost: int
) -> None:
    """Twelve patients train, four are tested and nowhere else: so it is not v2."""
    for number, path in enumerate(sorted(draw_retinas(tmp_path / "drawn", patients=8).rglob("*"))):
        if path.is_file():
            tested = int(path.stem.split("-")[1]) % 1_000 < 2
            part = "test" if tested else "train"
            place = tmp_path / "CellData" / part / path.parent.name / path.name
            draw_file(place, number)
    for path in sorted((tmp_path / "CellData/train/DME").iterdir())[:lost]:
        path.unlink()
    found = verify.check("oct", tmp_path / "CellData")
    assert found.release == "oct_v3"
    assert kinds(found) == ({"too few"} if lost else set())
    if lost:
        assert "real set oct_v3: images 63, not 64." in the(found, "too few").text


@pytest.mark.usefixtures("tiny_releases")
def test_a_release_is_asked_about_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It means the downloaded one; any other folder is shown to be another release."""
    folder = tmp_path / "home" / "downloads" / "octmnist"
    write_thumbnails(folder / "octmnist.npz", {"train": 16, "valid": 8, "test": 8}, 4)
    complete = downloads.Status(folder, True, 0)
    monkeypatch.setattr(downloads, "status", lambda name: complete if name == "octmnist" else None)
    out = tmp_path / "out"
    assert call("data", "verify", "octmnist", "--output", out) == 0
    assert f"# Check of octmnist: {folder}" in capsys.readouterr().out
    assert call("data", "verify", "oct_v3", "--data-dir", folder, "--output", out) == 1
    told = capsys.readouterr().out
    assert "**another release**: This is not oct_v3: it is octmnist" in told


# -- images of one's own -----------------------------------------------------------------------


def list_cells(cells: Path, classes: tuple[str, str], more: str = "") -> Path:
    """Write a CSV file beside the cells, which has two classes and three patients of each."""
    lines = ["path,label,patient"]
    for folder, name in zip((HEALTHY, CELLS), classes, strict=True):
        for path in sorted((cells / folder).iterdir()):
            inside = path.relative_to(cells)
            lines.append(f"{inside.as_posix()},{name},{path.name.partition('thin')[0]}")
    target = cells / "mine.csv"
    target.write_text("\n".join(lines) + "\n" + more, "utf-8")
    return target


@pytest.mark.parametrize("name", ["malaria", "folder"])
def test_images_of_ones_own_are_counted_by_their_own_classes(cells: Path, name: str) -> None:
    for number, path in enumerate(sorted((cells / CELLS).iterdir())):
        draw_file(path, 7_000 + number, (SIZE, SIZE + 8))
    place = list_cells(cells, ("0", "1"))
    found = verify.check(name, place)
    assert kinds(found) == {"size tells the class"}
    assert found.faults == 0  # there is no release of which it could be a part
    text = verify.summary(found)
    whose = "your images for malaria" if name == "malaria" else "your images"
    assert text.startswith(f"# Check of {whose}: {place}\n")
    rows = [line.split() for line in text.splitlines() if line.startswith("|")]
    assert ["|", "0", "|", "18", "|"] in rows
    assert ["|", "1", "|", "18", "|"] in rows
    assert ["|", "40×32", "|", "18", "|", "0", "|", "18", "|"] in rows
    size = next(one for one in found.shortcuts if one.feature == "file size")
    assert (size.class_name, size.area is None) == ("1", False)
    for word in ("registry", "Known defects", "Parasitized |"):
        assert word not in text


def test_lines_that_cannot_be_used_are_faults_wherever_they_point(
    cells: Path, tmp_path: Path
) -> None:
    outside = draw_file(tmp_path / "elsewhere" / "outside.png", 8_000)
    again = sorted((cells / CELLS).iterdir())[0]
    place = list_cells(
        cells,
        ("Uninfected", "Parasitized"),
        f"../outside.jpg,Parasitized,p1\n{outside},Parasitized,p1\nnowhere.png,Uninfected,p2\n"
        f",Uninfected,p2\n{CELLS}/{again.name},Parasitized,{again.name.partition('thin')[0]}\n",
    )
    found = verify.check("malaria", place)
    assert kinds(found) == {"line left out", "line again"}
    finding = the(found, "line left out")
    assert finding.is_fault
    assert finding.text.startswith("3 lines of the CSV file cannot be used.")
    assert finding.examples[0].startswith("../outside.jpg: line 38: the path leaves")
    assert not the(found, "line again").is_fault
    table = found.images.set_index("path")
    assert table.loc[str(outside), "reason"] == ""  # a whole path may lead anywhere
    assert table.loc["../outside.jpg", "bytes"] == 0
    assert len(found.usable) == 37


def test_columns_of_a_csv_file_do_not_hide_what_is_measured(cells: Path) -> None:
    place = list_cells(cells, ("a", "b"))
    head, *lines = place.read_text("utf-8").split()
    place.write_text("\n".join([f"{head},bytes,mode,copies", *(f"{line},x,y,z" for line in lines)]))
    found = verify.check("folder", place)
    assert found.images.columns.is_unique
    assert set(found.images["mode"]) == {"RGB"}
    assert (found.images["bytes"] > 0).all()
    assert set(found.images["copies"]) == {0}


def test_a_folder_of_ones_own_is_read_by_rules(
    cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data", "verify", "folder", "--data-dir", str(cells), "--output", tmp_path / "out"]
    assert call(*words, "--patient-from", r"(C\d+P\d+)thin") == 0
    assert "| patients    | 6 " in capsys.readouterr().out
    assert call(*words, "--class-from", "folder:-9") == 1
    assert "folder:-9" in capsys.readouterr().err
    assert __main__.OWN_IMAGES == own_images.NAME


# -- copies ----------------------------------------------------------------------------------


def test_a_copy_under_the_same_patient(cells: Path) -> None:
    source = first(cells / CELLS)
    shutil.copy(source, cells / CELLS / name_of(PATIENTS[0], 900))
    found = verify.check("malaria", cells)
    assert kinds(found) == {"copy of one patient", "too many"}
    finding = the(found, "copy of one patient")
    assert not finding.is_fault
    assert "1 picture found more than once" in finding.text
    assert "2 files, 1 of them surplus, equal byte for byte" in finding.text
    assert len(marked(found, "copy of one patient")) == 2
    assert finding.examples == (f"{CELLS}/{source.name} = {CELLS}/{name_of(PATIENTS[0], 900)}",)
    assert finding.more == 0


def test_a_copy_saved_in_another_way_is_equal_to_the_pixel(cells: Path) -> None:
    source = first(cells / CELLS)
    Image.open(source).save(cells / CELLS / name_of(PATIENTS[0], 900), compress_level=0)
    found = verify.check("malaria", cells)
    assert "equal pixel for pixel, in files that differ" in the(found, "copy of one patient").text


def test_a_copy_under_another_patient_and_class_is_two_problems(cells: Path) -> None:
    shutil.copy(first(cells / CELLS), cells / HEALTHY / name_of(PATIENTS[5], 2_000))
    found = verify.check("malaria", cells)
    assert kinds(found) == {"copy under two patients", "copy under two classes", "too many"}
    (group,) = set(found.images["copies"]) - {0}
    copies = found.images[found.images["copies"] == group]
    assert set(copies["class_name"]) == {"Parasitized", "Uninfected"}
    assert set(copies["problems"]) == {"copy under two classes; copy under two patients"}


def test_a_copy_in_the_official_test_part_is_a_fault(xrays: Path) -> None:
    target = "test/PNEUMONIA/person99_virus_7.jpeg"
    shutil.copy(xrays / "train/PNEUMONIA/person1_virus_1.jpeg", xrays / target)
    found = verify.check("pneumonia", xrays)
    assert the(found, "copy on both sides").is_fault
    assert target in marked(found, "copy on both sides")
    assert "copy in train and valid" not in kinds(found)


@pytest.mark.parametrize(
    ("trained", "kept"), [(8, "split_official keeps valid"), (60, "split_official merges")]
)
def test_a_copy_in_train_and_valid_is_a_notice(tmp_path: Path, trained: int, kept: str) -> None:
    """What becomes of it, the split decides: the archive's 16 of 5,232 are no validation part."""
    xrays = draw_xrays(tmp_path / "xrays", {"train": trained, "val": 2, "test": 4})
    target = xrays / "val/PNEUMONIA/person99_virus_7.jpeg"
    shutil.copy(xrays / "train/PNEUMONIA/person1_virus_1.jpeg", target)
    draw_file(xrays / "val/PNEUMONIA/person1_virus_7.jpeg", 9_000)
    found = verify.check("pneumonia", xrays)
    for kind in ("copy in train and valid", "patient in train and valid"):
        assert not the(found, kind).is_fault
        assert f". {kept}" in the(found, kind).text
    assert "copy on both sides" not in kinds(found)
    split = splits.split_official(load_index("pneumonia", xrays, image_size=SIZE), seed=0)
    official = split["part"] == "valid"
    assert (split.loc[official, "split"] == "valid").all() == kept.endswith("keeps valid")


def test_flat_pictures_are_no_copies_of_one_another(cells: Path) -> None:
    for number in range(3):
        Image.new("RGB", (SIZE, SIZE), (9, 9, 9)).save(first(cells / CELLS, number))
    found = verify.check("malaria", cells)
    assert kinds(found) == {"flat"}
    assert len(marked(found, "flat")) == 3


@pytest.mark.parametrize(("patient", "is_told"), [(PATIENTS[3], True), (PATIENTS[0], False)])
def test_a_picture_saved_again_is_a_near_copy_of_another_patients_only(
    cells: Path, patient: str, is_told: bool
) -> None:
    """Smaller, as JPEG and a little brighter: no pixel is the same any more."""
    source = first(cells / CELLS)
    picture = cell(np.random.default_rng(7), True, 64)
    Image.fromarray(picture).save(source)
    again = Image.fromarray(np.minimum(picture.astype(int) + 4, 255).astype(np.uint8))
    target = cells / CELLS / name_of(patient, 900, ".jpg")
    again.resize((48, 48), Image.Resampling.BICUBIC).save(target, quality=90)
    found = verify.check("malaria", cells)
    assert ("near copy" in kinds(found)) is is_told
    if is_told:
        assert marked(found, "near copy") == [f"{CELLS}/{source.name}", f"{CELLS}/{target.name}"]
        assert " ~ " in the(found, "near copy").examples[0]
    assert not any(kind.startswith("copy") for kind in kinds(found))


def test_hundreds_that_are_alike_are_one_group(tmp_path: Path) -> None:
    """Cells drawn without any detail: more pairs than pictures, and one group all the same."""
    data = draw_noise(tmp_path / "data", each=30)
    alike = sorted((data / HEALTHY).iterdir())
    for number, path in enumerate(alike):
        picture = cell(np.random.default_rng(number), False)
        Image.fromarray(picture).save(path)
    found = verify.check("malaria", data)
    assert len(alike) == 180
    assert marked(found, "near copy") == [f"{HEALTHY}/{path.name}" for path in alike]
    assert set(found.images["near_copies"]) == {0, 1}


def test_near_copies_in_the_official_test_part_are_counted(xrays: Path) -> None:
    source, target = "train/PNEUMONIA/person1_virus_1.jpeg", "test/PNEUMONIA/person99_virus_7.jpeg"
    picture = np.asarray(Image.open(xrays / source)).astype(int)
    Image.fromarray(np.minimum(picture + 2, 255).astype(np.uint8)).save(xrays / target, quality=95)
    found = verify.check("pneumonia", xrays)
    finding = the(found, "near copy")
    assert not finding.is_fault  # likely, but for a person to see
    assert "1 of them in the official test part and outside of it (2 files" in finding.text
    assert marked(found, "near copy") == [target, source]


# -- patients on both sides ------------------------------------------------------------------


def test_a_patient_on_both_sides_of_the_official_split_is_a_fault(xrays: Path) -> None:
    target = "test/PNEUMONIA/person1_virus_7.jpeg"
    draw_file(xrays / target, 9_000)
    found = verify.check("pneumonia", xrays)
    finding = the(found, "patient on both sides")
    assert finding.is_fault
    assert marked(found, "patient on both sides") == [target]
    # eight patients in the official test part, and the one that does not belong there
    assert "1 of the 9 patients" in finding.text
    assert "5.9 % of the test images" in finding.text
    assert "number on both sides" not in kinds(found)


def test_a_patient_in_train_and_valid_is_a_notice(xrays: Path) -> None:
    target = "val/PNEUMONIA/person1_virus_7.jpeg"
    draw_file(xrays / target, 9_000)
    found = verify.check("pneumonia", xrays)
    assert not the(found, "patient in train and valid").is_fault
    assert marked(found, "patient in train and valid") == [target]
    assert "patient on both sides" not in kinds(found)


def test_a_number_under_another_series_on_the_other_side_is_told_as_such(xrays: Path) -> None:
    """The rule takes person1_virus and person1_bacteria for two children: no fault."""
    for name in ("PNEUMONIA/person1_bacteria_7.jpeg", "NORMAL/NORMAL2-IM-0002-0001.jpeg"):
        draw_file(xrays / "test" / name, hash_of(name))
    found = verify.check("pneumonia", xrays)
    finding = the(found, "number on both sides")
    assert not finding.is_fault
    assert "1 IM and 1 person numbers" in finding.text
    assert "IM-0002 and NORMAL2-IM-0002" in finding.text
    assert "11.1 % of the test images" in finding.text
    assert len(marked(found, "number on both sides")) == 2
    assert "patient on both sides" not in kinds(found)


def hash_of(text: str) -> int:
    """Return a seed that no other picture here has."""
    return 10_000 + sum(text.encode())


# -- sizes -----------------------------------------------------------------------------------


def test_a_size_far_from_the_others_is_odd(cells: Path) -> None:
    odd = first(cells / HEALTHY)
    Image.fromarray(cell(np.random.default_rng(1), False, 100)[:, :60]).save(odd)
    found = verify.check("malaria", cells)
    assert "odd height" in kinds(found)
    assert "odd width" not in kinds(found)  # less than twice as wide
    assert marked(found, "odd height") == [f"{HEALTHY}/{odd.name}"]
    text = the(found, "odd height").text
    assert "in height: 100 pixels, where half of all lie from 32 to 32 pixels." in text


def test_a_size_that_tells_one_of_four_classes(tmp_path: Path) -> None:
    data = draw_retinas(tmp_path / "data")
    for number, path in enumerate(sorted((data / "DME").iterdir())):
        draw_file(path, 7_000 + number, (SIZE, SIZE + 8))
    found = verify.check("oct", data)
    finding = the(found, "size tells the class")
    assert not finding.is_fault
    assert "tells DME from the rest with an AUC of 1.000 (1.000–1.000): larger" in finding.text
    told = {one.feature: one for one in found.shortcuts}
    assert told["width"].tells
    assert told["aspect ratio"].tells
    assert not told["height"].tells
    assert told["height"].area is None
    text = verify.summary(found)
    assert "| 40×32" in text
    assert "the same in all images" in text


def test_a_smaller_size_tells_as_well_as_a_larger_one(cells: Path) -> None:
    for number, path in enumerate(sorted((cells / CELLS).iterdir())):
        draw_file(path, 7_000 + number, (24, SIZE))
    height = next(
        one for one in verify.check("malaria", cells).shortcuts if one.feature == "height"
    )
    assert (height.class_name, height.is_larger) == ("Parasitized", False)
    assert height.area is not None
    assert height.area.value == 1.0


def test_a_size_that_only_chance_gave_a_class_is_no_shortcut(tmp_path: Path) -> None:
    """Widths drawn without regard to the class: the interval holds 0.5 or nearly so."""
    data = draw_noise(tmp_path / "data")
    widths = np.random.default_rng(0).integers(28, 36, 36)
    for number, path in enumerate(sorted(data.rglob("*.png"))):
        draw_file(path, 7_000 + number, (SIZE, int(widths[number])))
    found = verify.check("malaria", data)
    width = next(one for one in found.shortcuts if one.feature == "width")
    assert width.area is not None
    assert width.area.low < verify.SHORTCUT
    assert "size tells the class" not in kinds(found)


def test_colour_that_only_one_class_has_is_a_shortcut(tmp_path: Path) -> None:
    data = draw_xrays(tmp_path / "data")
    for path in data.rglob("NORMAL/*.jpeg"):
        Image.open(path).convert("L").save(path)
    found = verify.check("pneumonia", data)
    colour = next(one for one in found.shortcuts if one.feature == "stored in colour")
    assert colour.tells
    assert colour.is_larger
    assert "28 of 56 images are stored as" in the(found, "stored otherwise").text


def test_a_few_colour_pictures_of_one_class_are_told_though_their_area_is_small(
    tmp_path: Path,
) -> None:
    data = draw_xrays(tmp_path / "data")
    coloured = sorted((data / "train" / "PNEUMONIA").iterdir())[:2]
    for path in data.rglob("*.jpeg"):
        if path not in coloured:
            Image.open(path).convert("L").save(path)
    found = verify.check("pneumonia", data)
    finding = the(found, "stored otherwise")
    assert not finding.is_fault
    assert "2 of 56 images are stored as RGB, not as L like most" in finding.text
    assert finding.text.endswith("all 2 PNEUMONIA.")
    assert len(marked(found, "stored otherwise")) == 2
    assert not any(one.tells for one in found.shortcuts if one.feature == "stored in colour")


# -- the table beside the brain scans ----------------------------------------------------------


@pytest.mark.parametrize("defect", ["none", "patient", "path", "label"])
def test_the_table_beside_the_volumes_is_compared(tmp_path: Path, defect: str) -> None:
    data = draw_volumes(tmp_path / "data")
    index = load_index("brain_mri", data)
    name = index["patient"] + "/" + index["patient"] + "_" + index["slice"].astype(str)
    table = pd.DataFrame(
        {
            "patient_id": index["patient"],
            "image_path": name + ".tif",
            "mask_path": name + "_mask.tif",
            "mask": index["label"],
        }
    )
    if defect == "patient":
        table["patient_id"] = list(VOLUMES) * 4
    elif defect == "path":
        table.loc[0, "image_path"] = f"{VOLUMES[0]}/{VOLUMES[0]}_77.tif"
    elif defect == "label":
        table.loc[[0, 5], "mask"] = 1 - table.loc[[0, 5], "mask"]
    table.to_csv(data / "data_mask.csv", index=False)
    found = verify.check("brain_mri", data)
    texts = {finding.kind: finding.text for finding in found.findings}
    assert found.faults == 0
    if defect == "none":
        assert texts == {}
    elif defect == "patient":
        wrong = int((table["patient_id"] != index["patient"]).sum())
        text = texts.pop("wrong patient in table")
        assert f"patient_id is wrong in {wrong} of 24 rows." in text
        assert "right number of rows" in text
        assert "6 of its 6 ids mix slices" in text
    elif defect == "path":
        assert "in 1 of 24 rows the file named is not there" in texts.pop("missing path in table")
    else:
        assert "in 2 of 24 rows the label is not what" in texts.pop("wrong label in table")
    assert texts == {}


def test_a_table_that_cannot_be_read_is_a_notice(tmp_path: Path) -> None:
    data = draw_volumes(tmp_path / "data")
    (data / "data_mask.csv").write_text("a,b\n1,2\n")
    (finding,) = verify.check("brain_mri", data).findings
    assert (finding.kind, finding.is_fault) == ("table", False)
    assert "has no column patient_id" in finding.text


# -- what is written ---------------------------------------------------------------------------


def test_the_results_are_a_table_and_a_summary_and_are_replaced(
    cells: Path, tmp_path: Path
) -> None:
    first(cells / CELLS).write_bytes(b"")
    target = tmp_path / "out" / "malaria"
    found = verify.check("malaria", cells)
    for _ in range(2):
        verify.write(found, target)
        assert sorted(path.name for path in target.iterdir()) == ["images.csv", "summary.md"]
    table = pd.read_csv(target / "images.csv", keep_default_na=False)
    assert list(table["problems"]) == list(found.images["problems"])
    assert len(table) == 36
    assert (target / "summary.md").read_text("utf-8") == verify.summary(found)
    assert "**2 faults and 0 notices.**" in verify.summary(found)


def test_another_folder_is_never_replaced(cells: Path, tmp_path: Path) -> None:
    found = verify.check("malaria", cells)
    for name in ("images.csv", "thesis.txt"):
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        (folder / name).write_text("mine")
        with pytest.raises(FileExistsError, match="holds something else"):
            verify.write(found, folder)
        assert (folder / name).read_text() == "mine"
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(FileExistsError):
        verify.require_free(file)


# -- the command -------------------------------------------------------------------------------


def call(*words: str | Path) -> int:
    """Return the exit code of a call in this process."""
    try:
        return __main__.main([str(word) for word in words])
    except SystemExit as stop:
        assert isinstance(stop.code, int)
        return stop.code


@pytest.mark.parametrize("planted", [False, True])
def test_the_exit_code_is_one_where_something_needs_a_person(
    cells: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    planted: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    (cells / HEALTHY / "Thumbs.db").write_bytes(b"x")  # a notice is no reason
    if planted:
        first(cells / CELLS).write_bytes(b"")
    assert call("data", "verify", "malaria", "--data-dir", "cells") == int(planted)
    out = capsys.readouterr().out
    assert "# Check of malaria" in out
    assert ("**unreadable**" in out) is planted
    assert (tmp_path / "malaria-verify" / "summary.md").read_text("utf-8") in out


def test_a_folder_that_is_not_the_dataset_is_shown_beside_what_was_expected(
    cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A class is gone: a person is needed, and nothing is written."""
    shutil.rmtree(cells / HEALTHY)
    out = tmp_path / "out"
    assert call("data", "verify", "malaria", "--data-dir", cells, "--output", out) == 1
    told = capsys.readouterr()
    assert "Uninfected/ is missing" in told.err
    assert told.err.startswith("helpers: ")
    assert "Traceback" not in told.err
    assert told.out == ""
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("malaria --data-dir nowhere", "there is no folder"),
        ("malaria", "--data-dir FOLDER"),
        ("malaria --data-dir cells --output cells", "something else than the results"),
        ("malaria --data-dir cells --output note/deep", "cannot be written"),
        ("malaria --folder cells", "unrecognized arguments"),
        ("folder", "--data-dir FOLDER"),
        ("folder --data-dir cells --patient-from (", "is no regular expression"),
        ("folder --data-dir cells --class-from folder:1", "folders are counted"),
        ("", "NAME"),
    ],
)
def test_a_wrong_call_is_one_line_and_two(
    cells: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "note").write_text("a file, where a folder is asked for")
    monkeypatch.setattr(verify, "_look_at", None)  # nothing is started
    assert call("data", "verify", *words.split()) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("words", [[], ["--output", "deep/below/out"]])
def test_a_folder_that_cannot_be_written_is_refused_before_the_work(
    cells: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
) -> None:
    """As on a read-only disk, whose files even the system's administrator cannot write."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(verify, "_look_at", None)

    def refuse(_suffix: str | None, _prefix: str | None, parent: Path) -> str:
        assert parent == tmp_path
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    assert call("data", "verify", "malaria", "--data-dir", "cells", *words) == 2
    told = capsys.readouterr()
    assert "cannot be written (Read-only file system). Name another folder" in told.err
    assert told.out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells"]


def test_an_unknown_dataset_names_the_nearest(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    assert call("data", "verify", "malria", "--data-dir", ".") == 2
    assert "Did you mean 'malaria'?" in capsys.readouterr().err


@pytest.mark.parametrize("when", ["reading", "writing"])
def test_an_interruption_leaves_nothing(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    out = tmp_path / "out"
    before = sorted(tmp_path.rglob("*"))

    told = []

    def interrupt(*_: object) -> str:
        """Stop at the first call, or at the second: by then the table has been written."""
        told.append(1)
        if when == "reading" or len(told) == 2:
            raise KeyboardInterrupt
        return "printed"

    monkeypatch.setattr(verify, "_look_at" if when == "reading" else "summary", interrupt)
    assert call("data", "verify", "malaria", "--data-dir", cells, "--output", out) == 130
    assert sorted(tmp_path.rglob("*")) == before


def test_help_says_what_the_exit_code_means(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("data", "verify", "--help") == 0
    text = capsys.readouterr().out
    assert "data verify: something needs a person" in text
    assert "--output FOLDER" in text


def test_a_wrong_name_is_answered_without_reading_tables() -> None:
    code = (
        "import sys\n"
        "from helpers import __main__\n"
        "assert __main__.main(['data', 'verify', 'malria', '--data-dir', '.']) == 2\n"
        "print([name for name in ('numpy', 'pandas', 'sklearn') if name in sys.modules])\n"
    )
    assert last_line(code) == "[]"


@pytest.mark.slow
def test_neither_keras_nor_an_engine_is_imported(cells: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from helpers import __main__\n"
        f"__main__.main(['data', 'verify', 'malaria', '--data-dir', {str(cells)!r}, "
        f"'--output', {str(tmp_path / 'out')!r}])\n"
        "print([name for name in ('keras', 'tensorflow', 'jax', 'torch') if name in sys.modules])\n"
    )
    assert last_line(code) == "[]"


def last_line(code: str) -> str:
    """Return the last line that some code prints in a Python of its own."""
    checkout = Path(__main__.__file__).resolve().parent.parent
    answer = subprocess.run([sys.executable, "-c", code], cwd=checkout, capture_output=True,
                            text=True, check=True)  # fmt: skip
    return answer.stdout.splitlines()[-1]
