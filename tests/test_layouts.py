"""Layouts: classes, official parts, patients with masks; what is missing is named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny_images import (
    BIOPSIES,
    BRAINS,
    RETINAS,
    SIZE,
    STAND_INS,
    VOLUMES,
    draw_biopsies,
    draw_file,
    draw_mask,
    draw_retinas,
    draw_volumes,
    draw_xrays,
)

from helpers import registry
from helpers.index import load_index, open_masks, open_pixels


@pytest.fixture(autouse=True)
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the tests' own entries of the registry, and an empty data home."""
    monkeypatch.setenv("TUTORIALS_DATA", str(tmp_path / "home"))
    monkeypatch.setattr(registry, "get", STAND_INS.__getitem__)


def reasons(index: pd.DataFrame) -> dict[str, str]:
    """Return why files were left out, by name."""
    return {Path(item["path"]).name: item["reason"] for item in index.attrs["left_out"]}


# -- official parts ------------------------------------------------------------------------


def test_parts_side_by_side_are_one_set(tmp_path: Path) -> None:
    index = load_index("pneumonia", draw_xrays(tmp_path / "chest_xray"))
    assert index["part"].value_counts().to_dict() == {"train": 32, "test": 16, "valid": 8}
    for row in index.itertuples():
        path = Path(str(row.path))
        assert path.parent.name == row.class_name
        assert path.parent.parent.name == {"valid": "val"}.get(str(row.part), row.part)
    assert list(index.columns) == [
        "path", "label", "class_name", "patient", "split", "part", "kind",
    ]  # fmt: skip
    assert index.attrs["notes"] == []
    assert index.groupby("class_name")["kind"].unique().map(sorted).to_dict() == {
        "NORMAL": ["normal"],
        "PNEUMONIA": ["bacteria", "virus"],
    }


@pytest.mark.parametrize(
    ("name", "part"), [("Training", "train"), ("validation", "valid"), ("TESTING", "test")]
)
def test_other_names_of_parts(tmp_path: Path, name: str, part: str) -> None:
    draw_xrays(tmp_path / "data", {"train": 2, name: 2})
    assert set(load_index("pneumonia", tmp_path / "data")["part"]) == {"train", part}


def moved(root: Path, places: dict[str, str]) -> Path:
    """Move the parts of an archive to other places below a folder, and return that folder."""
    for part, place in places.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(root.parent / "unpacked" / part, root / place)
    return root


@pytest.mark.parametrize(
    "places",
    [
        {"train": "train/train", "test": "test/test"},
        {"train": "train/train", "test": "test"},
        {"train": "chest_xray_train", "test": "chest_xray_test"},
        {"train": "train/images", "test": "test/images"},
        {"train": "X-rays/Train set", "test": "X-rays/Test set (official)"},
    ],
)
def test_parts_are_known_by_their_folders_however_they_were_unpacked(
    tmp_path: Path, places: dict[str, str]
) -> None:
    draw_xrays(tmp_path / "unpacked", {"train": 5, "test": 2})
    index = load_index("pneumonia", moved(tmp_path / "data", places))
    assert index["part"].value_counts().to_dict() == {"train": 20, "test": 8}
    assert index.attrs["notes"] == []


def test_one_folder_that_only_sounds_like_a_part_is_none(tmp_path: Path) -> None:
    draw_xrays(tmp_path / "unpacked", {"train": 5})
    index = load_index("pneumonia", moved(tmp_path / "data", {"train": "my test images"}))
    assert set(index["part"]) == {""}


def test_the_copy_with_most_parts_is_read(tmp_path: Path) -> None:
    """Unpacking broke off above, and was done again one folder deeper."""
    root = draw_xrays(tmp_path / "data")
    draw_xrays(root / "again", {"train": 8, "val": 2, "test": 4})
    for part in ("train", "test"):
        shutil.rmtree(root / part)
    index = load_index("pneumonia", root)
    assert (len(index), set(index["part"])) == (56, {"train", "valid", "test"})
    (note,) = index.attrs["notes"]
    assert "Read: again/test, again/train, again/val (56 images). Left alone: val (8" in note
    assert index.attrs["warnings"] == []


def test_more_images_left_alone_than_read_are_a_warning(tmp_path: Path) -> None:
    draw_xrays(tmp_path / "data" / "a", {"site": 2})
    draw_xrays(tmp_path / "data" / "b", {"site": 9})
    index = load_index("pneumonia", tmp_path / "data")
    assert len(index) == 8
    (warning,) = index.attrs["warnings"]
    assert "Left alone: b/site (36 images). If you mean these" in warning
    assert index.attrs["notes"][0] == warning


def test_the_larger_copy_of_volumes_is_read(volumes: Path) -> None:
    inner = volumes / "lgg-mri-segmentation" / "kaggle_3m"
    shutil.copytree(volumes / "kaggle_3m", inner)
    shutil.rmtree(sorted((volumes / "kaggle_3m").iterdir())[0])
    index = load_index("brain_mri", volumes)
    assert len(index) == 24
    assert index["path"].str.contains("lgg-mri-segmentation").all()


def test_what_kaggle_doubled_and_what_macos_added_counts_once(tmp_path: Path) -> None:
    root = tmp_path / "archive"
    draw_xrays(root / "chest_xray")
    shutil.copytree(root / "chest_xray", root / "chest_xray" / "chest_xray")
    hidden = root / "chest_xray" / "__MACOSX" / "chest_xray" / "train" / "NORMAL"
    hidden.mkdir(parents=True)
    (hidden / "._IM-0001-0001.jpeg").write_bytes(b"Mac OS X")
    beside = root / "chest_xray" / "train" / "NORMAL" / "._IM-0001-0001.jpeg"
    beside.write_bytes(b"Mac OS X")
    index = load_index("pneumonia", root)
    assert len(index) == 56
    assert index["path"].str.count("chest_xray").eq(1).all()
    (note,) = index.attrs["notes"]
    assert "more than once" in note
    assert str(Path("chest_xray/chest_xray/train")) in note
    assert reasons(index) == {"._IM-0001-0001.jpeg": "not an image file"}


def test_a_part_that_lacks_a_class_is_read_all_the_same(tmp_path: Path) -> None:
    root = draw_xrays(tmp_path / "data")
    shutil.rmtree(root / "test" / "NORMAL")
    index = load_index("pneumonia", root)
    found = index.groupby(["part", "class_name"]).size()
    assert found["test"].to_dict() == {"PNEUMONIA": 8}
    assert index.attrs["notes"] == ["test has no folder NORMAL."]


def test_a_class_that_no_part_has_is_missing(tmp_path: Path) -> None:
    root = draw_xrays(tmp_path / "data")
    for part in ("train", "val", "test"):
        shutil.rmtree(root / part / "NORMAL")
    with pytest.raises(ValueError, match="the class folder NORMAL/ is missing beside PNEUMONIA/"):
        load_index("pneumonia", root)


def test_a_part_alone_and_the_folder_of_a_part(tmp_path: Path) -> None:
    root = draw_xrays(tmp_path / "data", {"train": 3})
    assert set(load_index("pneumonia", root)["part"]) == {"train"}
    # who points at the folder itself means these images as a whole
    assert set(load_index("pneumonia", root / "train")["part"]) == {""}


def test_a_missing_class_folder_shows_found_beside_expected(tmp_path: Path) -> None:
    root = draw_retinas(tmp_path / "data", ("CNV", "DME", "NORMAL"))
    with pytest.raises(ValueError, match="DRUSEN/ is missing") as caught:
        load_index("oct", root)
    message = str(caught.value)
    assert "DRUSEN/ is missing beside CNV/, DME/, NORMAL/ in" in message
    assert "Expected: a folder with CNV/, DME/, DRUSEN/, NORMAL/ in it" in message
    assert "Found: CNV/, DME/, NORMAL/." in message


def test_four_classes_with_and_without_parts(tmp_path: Path) -> None:
    plain = load_index("oct", draw_retinas(tmp_path / "plain"))
    assert plain["label"].value_counts().to_dict() == {0: 12, 1: 12, 2: 12, 3: 12}
    assert set(plain["part"]) == {""}
    for part in ("train", "test"):
        draw_retinas(tmp_path / "parted" / "OCT2017 " / part)  # Kaggle's folder ends in a space
    parted = load_index("oct", tmp_path / "parted")
    assert parted["part"].value_counts().to_dict() == {"train": 48, "test": 48}


def test_another_dataset_with_a_class_of_the_same_name_is_passed_by(tmp_path: Path) -> None:
    """One archive of Kermany's holds both, and both have a class NORMAL."""
    draw_xrays(tmp_path / "CellData" / "chest_xray")
    draw_retinas(tmp_path / "CellData" / "OCT" / "train")
    assert len(load_index("oct", tmp_path)) == 48
    assert len(load_index("pneumonia", tmp_path)) == 56


def test_expected_and_found_stand_side_by_side(tmp_path: Path) -> None:
    root = draw_retinas(tmp_path / "data" / "scans", ("CNV", "DME"))
    with pytest.raises(ValueError, match="holds no images of the dataset 'pneumonia'") as caught:
        load_index("pneumonia", root.parent)
    summary, table = str(caught.value).split("\n\n")[:2]
    assert "Expected: a folder with NORMAL/, PNEUMONIA/ in it" in summary
    assert "Found: scans/." in summary
    heading, _, *lines = table.splitlines()
    beside = heading.index(f"found in {root.parent}")
    left = [line[:beside].strip() for line in lines if line[:beside].strip()]
    assert left == ["any folders/   (or train/, test/)", "NORMAL/", "person7_bacteria_24.jpeg",
                    "PNEUMONIA/", "…"]  # fmt: skip
    assert [line[beside:] for line in lines] == [
        "scans/",
        "  CNV/",
        "    CNV-1000-1.jpeg",
        "    CNV-1000-2.jpeg",
        "    … and 10 more files",
        "  DME/",
        "    DME-2000-1.jpeg",
        "    DME-2000-2.jpeg",
        "    … and 10 more files",
    ]
    assert "For images of your own, give a CSV file" in summary


def test_found_is_shortened_where_there_is_much(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / "data" / f"folder {number:02}").mkdir(parents=True)
        (tmp_path / "data" / f"file {number:02}.txt").touch()
    with pytest.raises(ValueError, match="and 32 more") as caught:
        load_index("oct", tmp_path / "data")
    assert "… and 12 more folders, 18 more files" in str(caught.value)
    assert "folder 08/" not in str(caught.value).split("\n\n")[1]


def test_the_folder_of_one_class_or_one_patient_sends_one_folder_up(tmp_path: Path) -> None:
    root = draw_retinas(tmp_path / "oct")
    with pytest.raises(ValueError, match=f"the folder of one class: give the one above it, {root}"):
        load_index("oct", root / "DME")
    volumes = draw_volumes(tmp_path / "lgg") / "kaggle_3m"
    with pytest.raises(ValueError, match=f"of one patient: give the one above it, {volumes}"):
        load_index("brain_mri", volumes / VOLUMES[0])


def test_other_images_in_the_right_folders_are_sent_to_the_csv_file(tmp_path: Path) -> None:
    for name in ("NORMAL", "PNEUMONIA"):
        draw_file(tmp_path / name / "my own.png")
    with pytest.raises(ValueError, match="no usable image") as caught:
        load_index("pneumonia", tmp_path)
    assert "For images of your own, give a CSV file" in str(caught.value)


@pytest.mark.parametrize("above", ["archive", "a/b/c"])
def test_folders_above_the_dataset(tmp_path: Path, above: str) -> None:
    draw_xrays(tmp_path / "data" / above / "chest_xray")
    index = load_index("pneumonia", tmp_path / "data")
    assert index["part"].value_counts().to_dict() == {"train": 32, "test": 16, "valid": 8}


@pytest.mark.parametrize("suffix", [".jpeg", ".JPG", ".png", ".tif", ".TIFF"])
def test_endings_of_every_kind(tmp_path: Path, suffix: str) -> None:
    for path in sorted(draw_retinas(tmp_path / "data").rglob("*.jpeg")):
        with Image.open(path) as picture:
            pixels = np.asarray(picture)
        path.unlink()
        Image.fromarray(pixels).save(path.with_suffix(suffix))
    index = load_index("oct", tmp_path / "data", image_size=SIZE)
    assert len(index) == 48
    assert index["patient"].nunique() == 24


def test_class_folders_in_lower_case_or_with_a_stray_space(tmp_path: Path) -> None:
    root = draw_retinas(tmp_path / "data")
    (root / "CNV").rename(root / "cnv")
    (root / "DRUSEN").rename(root / "Drusen ")
    index = load_index("oct", root)
    assert index["class_name"].value_counts().to_dict() == dict.fromkeys(RETINAS.classes, 12)


# -- biopsies: a deep tree -----------------------------------------------------------------


@pytest.mark.parametrize("doubled", [False, True])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_the_tree_of_breakhis(tmp_path: Path, suffix: str, doubled: bool) -> None:
    root = tmp_path / "data"
    draw_biopsies(root / "BreaKHis_v1" if doubled else root, suffix)
    index = load_index("breast_cancer", root)
    assert len(index) == 24
    assert set(index["subtype"]) == {"A", "F", "DC", "LC"}
    assert index["magnification"].dtype.kind == "i"
    assert index["class_name"].value_counts().to_dict() == {"benign": 12, "malignant": 12}
    assert set(index["part"]) == {""}
    assert index.attrs["notes"] == []
    top = root.joinpath(*["BreaKHis_v1"] * (2 if doubled else 1), "histology_slides", "breast")
    assert len(load_index("breast_cancer", top)) == 24


def test_the_plain_layout_of_biopsies_has_parts_of_its_own(tmp_path: Path) -> None:
    tree = load_index("breast_cancer", draw_biopsies(tmp_path / "tree"))
    for row in tree.itertuples():
        part = "train" if str(row.slide).endswith(("0", "1")) else "validation"
        target = tmp_path / "plain" / part / str(row.class_name) / Path(str(row.path)).name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(str(row.path), target)
    index = load_index("breast_cancer", tmp_path / "plain")
    # the article calls its test folder "validation": the dataset's own map of names says so
    assert index["part"].value_counts().to_dict() == {"train": 16, "test": 8}
    assert set(index["patient"]) == set(tree["patient"])


def test_an_unknown_subtype_is_left_out_with_the_reason(tmp_path: Path) -> None:
    root = draw_biopsies(tmp_path / "data")
    folder = root / "BreaKHis_v1" / "histology_slides" / "breast" / "benign" / "SOB" / "adenosis"
    draw_file(folder / "SOB_B_XY-14-1234-200-001.png")
    draw_file(folder / "biopsy 7.png")
    index = load_index("breast_cancer", root)
    assert len(index) == 24
    assert reasons(index)["SOB_B_XY-14-1234-200-001.png"] == (
        "the name gives an unknown subtype 'XY'"
    )
    assert "another kind (expected like SOB_B_A-14-22549AB" in reasons(index)["biopsy 7.png"]


def test_images_are_kept_by_their_own_columns(tmp_path: Path) -> None:
    root = draw_biopsies(tmp_path / "data")
    index = load_index("breast_cancer", root, magnification=200)
    assert set(index["magnification"]) == {200}
    assert list(index.index) == list(range(12))
    assert index.attrs["notes"] == ["12 of 24 images have magnification=200."]
    assert len(load_index("breast_cancer", root, magnification=[40, 200])) == 24
    assert len(load_index("breast_cancer", root, magnification=None)) == 24
    both = load_index("breast_cancer", root, magnification=40, subtype=("A", "DC"))
    assert set(both["subtype"]) == {"A", "DC"}
    assert len(both) == 6


@pytest.mark.parametrize(
    ("select", "words"),
    [
        ({"magnification": 50}, "no image has 50. There are: 40, 200"),
        ({"magnification": [40, 100]}, "no image has 100"),
        ({"power": 40}, r"power=40: the index has no such column, only .*magnification"),
        ({"subtype": "A"}, "subtype='A' leaves no image of the class malignant"),
    ],
)
def test_a_choice_that_keeps_nothing_is_refused(
    tmp_path: Path, select: dict[str, object], words: str
) -> None:
    root = draw_biopsies(tmp_path / "data")
    with pytest.raises(ValueError, match=words):
        load_index("breast_cancer", root, **select)  # type: ignore[arg-type]


def test_a_hidden_folder_of_copies_is_not_read(tmp_path: Path) -> None:
    root = draw_retinas(tmp_path / "data")
    draw_file(root / "CNV" / ".ipynb_checkpoints" / "CNV-1-1.jpeg")
    draw_file(root / "CNV" / "more" / "CNV-2-1.jpeg")
    names = load_index("oct", root)["path"].map(lambda path: Path(path).name)
    assert "CNV-1-1.jpeg" not in set(names)
    assert "CNV-2-1.jpeg" in set(names)


# -- volumes with masks --------------------------------------------------------------------


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    """Return a folder with six volumes of four slices, two of them with tumour."""
    return draw_volumes(tmp_path / "data")


@pytest.mark.parametrize("image_size", [None, SIZE])
def test_slices_and_their_masks(volumes: Path, image_size: int | None) -> None:
    index = load_index("brain_mri", volumes, image_size=image_size)
    assert len(index) == 24
    assert set(index["patient"]) == set(VOLUMES)
    assert list(index["slice"][:8]) == [1, 2, 3, 4] * 2
    assert list(index["label"][:4]) == [0, 0, 1, 1]
    assert list(index["class_name"][:4]) == ["no tumour"] * 2 + ["tumour"] * 2
    assert set(index["mask_pixels"]) == {0, 3 * SIZE}
    for row in index.itertuples():
        assert str(row.mask) == str(row.path).replace(".tif", "_mask.tif")
    assert index.attrs["notes"] == []
    assert reasons(index) == {}


def test_slices_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    index = load_index("brain_mri", draw_volumes(tmp_path / "data", VOLUMES[:5], slices=12))
    assert list(index["slice"][:12]) == list(range(1, 13))


def test_the_same_row_of_both_caches(volumes: Path) -> None:
    index = load_index("brain_mri", volumes, image_size=SIZE)
    pixels, masks = open_pixels(index), open_masks(index)
    assert masks.shape == (24, SIZE, SIZE, 1)
    assert masks.dtype == np.uint8
    assert isinstance(masks, np.memmap)
    for row in index.sample(6, random_state=0).itertuples():
        np.testing.assert_array_equal(pixels[row.row], np.asarray(Image.open(str(row.path))))
        truth = np.asarray(Image.open(str(row.mask)))[..., None] > 0
        np.testing.assert_array_equal(masks[row.row], truth)


def test_a_part_of_the_slices_keeps_both_caches_in_step(volumes: Path) -> None:
    index = load_index("brain_mri", volumes, image_size=SIZE, max_images=12, seed=3)
    assert len(index) == 12
    assert index["patient"].value_counts().to_dict() == dict.fromkeys(VOLUMES, 2)
    assert len(open_pixels(index)) == len(open_masks(index)) == 12
    masks = open_masks(index)
    assert all(masks[row.row].any() == (row.label == 1) for row in index.itertuples())


def test_a_mask_is_decoded_once(volumes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    open_image = Image.open

    def counting(path: Path, *rest: object) -> Image.Image:
        opened.append(str(path))
        return open_image(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Image, "open", counting)
    load_index("brain_mri", volumes, image_size=SIZE)
    assert len(opened) == len(set(opened)) == 48
    load_index("brain_mri", volumes, image_size=SIZE)
    assert len(opened) == 48


def test_the_folder_that_kaggle_doubled_counts_once_for_volumes(volumes: Path) -> None:
    inner = volumes / "lgg-mri-segmentation" / "kaggle_3m"
    shutil.copytree(volumes / "kaggle_3m", inner)
    index = load_index("brain_mri", volumes)
    assert len(index) == 24
    (note,) = index.attrs["notes"]
    assert "more than once" in note
    assert str(Path("lgg-mri-segmentation/kaggle_3m")) in note
    assert len(load_index("brain_mri", inner)) == 24


def spoil_mask(path: Path, pixels: np.ndarray) -> None:
    """Replace a mask."""
    Image.fromarray(pixels).save(path)


def grid(*values: int) -> np.ndarray:
    """Return a picture that holds these values in turn."""
    return np.resize(np.array(values, np.uint8), (SIZE, SIZE))


@pytest.mark.parametrize(
    ("damage", "file", "words"),
    [
        (lambda mask: mask.unlink(), "image", "an image without its mask"),
        (lambda mask: mask.with_name(mask.name.replace("_mask", "")).unlink(), "mask",
         "a mask without its image"),
        (lambda mask: spoil_mask(mask, np.zeros((40, 30), np.uint8)), "image",
         f"its mask has another size: 30×40 instead of {SIZE}×{SIZE}"),
        (lambda mask: spoil_mask(mask, grid(0, 100, 255)), "image",
         "its mask: a mask of 3 values (0, 100, 255), where 0 and 255 are meant"),
        (lambda mask: spoil_mask(mask, grid(*range(0, 250, 10))), "image",
         "its mask: a mask of 25 values (0, 10, 20, 30, …), where 0 and 255 are meant"),
        (lambda mask: spoil_mask(mask, grid(3, 255)), "image", "its mask: a mask of 2 values"),
        (lambda mask: spoil_mask(mask, grid(255)), "image",
         "its mask: a mask of which every pixel is set (to 255)"),
        (lambda mask: mask.write_bytes(b""), "image", "its mask: the file is empty (zero bytes)"),
        (lambda mask: mask.with_name(mask.name.replace("_mask", "")).write_bytes(b""), "image",
         "the file is empty (zero bytes)"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_mask_leaves_its_slice_out(
    volumes: Path, damage: Callable[[Path], object], file: str, words: str
) -> None:
    mask = volumes / "kaggle_3m" / VOLUMES[2] / f"{VOLUMES[2]}_3_mask.tif"
    damage(mask)
    index = load_index("brain_mri", volumes, image_size=SIZE)
    assert len(index) == 23
    ((name, reason),) = reasons(index).items()
    assert name == (mask.name if file == "mask" else mask.name.replace("_mask", ""))
    assert reason.startswith(words)
    # who is left still shows the right mask
    masks = open_masks(index)
    assert all(masks[row.row].any() == (row.label == 1) for row in index.itertuples())


@pytest.mark.parametrize("value", [1, 128, 255])
def test_any_two_values_of_which_one_is_0_are_a_mask(volumes: Path, value: int) -> None:
    for mask in volumes.rglob("*_3_mask.tif"):
        draw_mask(mask, 5, value=value)
    index = load_index("brain_mri", volumes, image_size=SIZE)
    assert set(index.loc[index["slice"] == 3, "mask_pixels"]) == {5}
    assert open_masks(index).max() == 1


def test_stray_files_and_names_in_a_volume(volumes: Path) -> None:
    folder = volumes / "kaggle_3m" / VOLUMES[0]
    (folder / "notes.txt").touch()
    (folder / f"._{VOLUMES[0]}_1.tif").write_bytes(b"Mac OS X")
    draw_file(folder / f"{VOLUMES[1]}_9.tif")
    draw_mask(folder / f"{VOLUMES[1]}_9_mask.tif", 3)
    draw_file(folder / "scan.tif")
    (volumes / "kaggle_3m" / "README.md").touch()
    index = load_index("brain_mri", volumes)
    assert len(index) == 24
    found = reasons(index)
    assert found["notes.txt"] == found[f"._{VOLUMES[0]}_1.tif"] == "not an image file"
    assert found[f"{VOLUMES[1]}_9.tif"] == f"another patient's name in the folder {VOLUMES[0]}"
    assert "gives no patient and slice" in found["scan.tif"]
    assert len(found) == 4


def test_a_folder_without_masks_is_no_set_of_volumes(tmp_path: Path) -> None:
    draw_xrays(tmp_path / "data")
    with pytest.raises(ValueError, match="holds no images of the dataset 'brain_mri'") as caught:
        load_index("brain_mri", tmp_path / "data")
    assert "whose name ends in _mask" in str(caught.value)
    assert "Found: test/, train/, val/." in str(caught.value)


def test_volumes_without_any_tumour(tmp_path: Path) -> None:
    root = draw_volumes(tmp_path / "data")
    for mask in root.rglob("*_mask.tif"):
        draw_mask(mask, 0)
    with pytest.raises(ValueError, match=r"'tumour' .* no usable image: the masks of all"):
        load_index("brain_mri", root)


def test_too_few_slices_for_both_classes_are_refused(volumes: Path) -> None:
    with pytest.raises(ValueError, match="max_images=1 leaves no image of a class"):
        load_index("brain_mri", volumes, max_images=1)


def test_masks_only_where_there_are_any(tmp_path: Path, volumes: Path) -> None:
    xrays = load_index("pneumonia", draw_xrays(tmp_path / "xrays"), image_size=SIZE)
    with pytest.raises(ValueError, match="This index has no masks"):
        open_masks(xrays)
    with pytest.raises(ValueError, match="only after load_index"):
        open_masks(load_index("brain_mri", volumes))


def test_a_mask_has_the_geometry_of_its_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wide picture whose bright square is the tumour: both move alike, whatever the fit."""
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[10:30, 30:50] = 255
    for fit in ("pad", "crop", "squash"):
        monkeypatch.setitem(STAND_INS, "brain_mri", replace(BRAINS, fit=fit))
        root = draw_volumes(tmp_path / fit)
        for path in root.rglob("*_3.tif"):
            Image.fromarray(picture).save(path)
            spoil_mask(path.with_name(f"{path.stem}_mask.tif"), picture[..., 0])
        index = load_index("brain_mri", root, image_size=SIZE)
        rows = index.loc[index["slice"] == 3, "row"]
        bright = open_pixels(index)[rows][..., :1] > 127
        assert bright.any()
        assert (bright != open_masks(index)[rows].astype(bool)).mean() < 0.01


def test_the_stand_ins_have_the_form_of_the_registry() -> None:
    assert BIOPSIES.positive_label == BRAINS.positive_label == 1
    with pytest.raises(ValueError, match="'oct' has 4 classes side by side and no positive one"):
        _ = STAND_INS["oct"].positive_label
