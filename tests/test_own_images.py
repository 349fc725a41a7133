"""Images of one's own, from a folder or a CSV file: what is read, what is refused and why."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny_images import SIZE, VOLUMES, draw_biopsies, draw_file, draw_retinas, draw_volumes

from helpers import registry
from helpers.command import command
from helpers.index import (
    dataset_of,
    how_many,
    left_out,
    load_index,
    open_masks,
    open_pixels,
    write_csv,
)
from helpers.own_images import path_rule
from helpers.splits import check_leaks, require_clean, split_by_patient, split_official

CLASSES = ("benign", "malignant")


@pytest.fixture(autouse=True)
def data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that is the data home of one test."""
    monkeypatch.setenv("TUTORIALS_DATA", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def patches(tmp_path: Path) -> Path:
    """Return a folder with ``<patient>/<class>/<name>.png``: six patients, two patches a class."""
    root = tmp_path / "patches"
    for patient in range(6):
        for label, name in enumerate(("0", "1")):
            for one in range(2):
                file = f"{8860 + patient}_idx5_x{one}_class{name}.png"
                seed = 10 * patient + 2 * label + one
                draw_file(root / str(8860 + patient) / name / file, seed, (50, 50))
    return root


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Return a folder with twelve pictures, ``p<patient>_<n>.png``, two of each of six patients."""
    root = tmp_path / "photographs"
    for number in range(12):
        draw_file(root / f"p{number // 2}_{number % 2}.png", number)
    return root


def lines_of(photographs: Path, columns: Sequence[str] = ("path", "label", "patient")) -> list[str]:
    """Return the lines of a CSV file about the photographs, the heading first."""
    lines = [",".join(columns)]
    for number, path in enumerate(sorted(photographs.glob("*.png"))):
        cells = {"path": path.name, "label": CLASSES[number % 2], "patient": path.name[:2],
                 "split": ("train", "train", "val", "test")[number % 4]}  # fmt: skip
        lines.append(",".join(cells[name] for name in columns))
    return lines


def write(photographs: Path, lines: Sequence[str], name: str = "my.csv") -> Path:
    """Write a CSV file beside the photographs and return its path."""
    path = photographs / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def reasons(index: pd.DataFrame) -> dict[str, str]:
    """Return why files were left out, by name."""
    return {Path(item["path"]).name: item["reason"] for item in index.attrs["left_out"]}


# -- a folder ------------------------------------------------------------------------------


def test_classes_and_patients_are_folders_counted_from_the_file(patches: Path) -> None:
    index = load_index("folder", patches, patient_from="folder:-2", image_size=SIZE)
    assert list(index.columns[:6]) == ["path", "label", "class_name", "patient", "split", "part"]
    assert index.attrs["classes"] == ["0", "1"]
    assert index["patient"].value_counts().to_dict() == {str(8860 + n): 4 for n in range(6)}
    for row in index.itertuples():
        assert Path(str(row.path)).parent.name == row.class_name == str(row.label)
    assert index.attrs["patients_known"]
    assert index.attrs["warnings"] == []
    assert index.attrs["dataset"] == "folder"
    assert index.attrs["source"] == "folder"
    assert not index.attrs["synthetic"]
    assert require_clean(split_by_patient(index, seed=0)).clean
    assert open_pixels(index).shape == (24, SIZE, SIZE, 3)


def test_a_regular_expression_tells_class_and_patient(patches: Path) -> None:
    by_folder = load_index("folder", patches, patient_from="folder:-2")
    by_name = load_index(
        "folder", patches, patient_from=r"/(\d+)_idx", class_from=r"class(\d)\.png"
    )
    pd.testing.assert_frame_equal(by_name, by_folder)


def test_without_patients_the_split_is_by_image_and_says_so_first(patches: Path) -> None:
    index = load_index("folder", patches)
    assert not index.attrs["patients_known"]
    assert index["patient"].is_unique
    (warning,) = index.attrs["warnings"]
    assert warning.startswith("NO PATIENTS ARE KNOWN")
    assert "5 to 30 points" in warning
    assert "patient_from=\"folder:-2\" would give 6 patients, such as '8860'" in warning
    assert index.attrs["notes"][0] == warning
    assert check_leaks(split_by_patient(index, seed=0)).clean  # by the letter, hence the warning


def test_any_number_of_classes_in_the_notebook_that_takes_them(tmp_path: Path) -> None:
    for number in range(7):
        draw_file(tmp_path / "data" / f"kind {number}" / "a.png", number)
    index = load_index("oct", tmp_path / "data", class_from="folder:-1")
    assert index.attrs["classes"] == [f"kind {number}" for number in range(7)]
    dataset = dataset_of(index)
    assert dataset.classes == tuple(index.attrs["classes"])
    assert (dataset.name, dataset.positive, dataset.urgent) == ("oct", None, ("kind 0",))
    assert "Where oct asks what is urgent, kind 0 is meant." in " ".join(index.attrs["notes"])
    assert dataset.licence.startswith("not stated")
    assert dataset.published == ()


def test_urgent_are_those_of_the_urgent_classes_that_are_there(tmp_path: Path) -> None:
    for name in ("CNV", "NORMAL", "AMD"):
        draw_file(tmp_path / "data" / name / "a.png")
    assert dataset_of(load_index("oct", tmp_path / "data", class_from="folder:-1")).urgent == (
        "CNV",
    )
    for name in ("NORMAL", "AMD"):
        (tmp_path / "data" / name).rename(tmp_path / name)
    draw_file(tmp_path / "data" / "DME" / "a.png")
    index = load_index("oct", tmp_path / "data", class_from="folder:-1")
    assert dataset_of(index).urgent == ("CNV",)  # both would leave no rest


@pytest.mark.parametrize(
    ("names", "urgent"),
    [
        (("healthy", "ill"), ("ill",)),
        (("oedema", "new vessel", "no finding"), ("new vessel", "oedema")),
        (("0", "1"), ("1",)),
    ],
)
def test_the_healthy_are_never_the_urgent_ones(
    tmp_path: Path, names: tuple[str, ...], urgent: tuple[str, ...]
) -> None:
    for number, name in enumerate(names):
        draw_file(tmp_path / "data" / name / "a.png", number)
    index = load_index("oct", tmp_path / "data", class_from="folder:-1")
    assert dataset_of(index).urgent == urgent


def test_numbered_classes_are_in_the_order_of_the_numbers(tmp_path: Path) -> None:
    for number in (0, 2, 10):
        draw_file(tmp_path / "data" / str(number) / "a.png", number)
    assert load_index("folder", tmp_path / "data").attrs["classes"] == ["0", "2", "10"]


def test_the_classes_of_the_dataset_have_its_order_and_spelling(tmp_path: Path) -> None:
    for name in ("pneumonia", "normal"):
        draw_file(tmp_path / "data" / name / "a.png")
    index = load_index("pneumonia", tmp_path / "data", class_from="folder:-1")
    assert index.attrs["classes"] == ["NORMAL", "PNEUMONIA"]
    assert set(index["class_name"]) == {"NORMAL", "PNEUMONIA"}
    assert dataset_of(index).positive == "PNEUMONIA"


def test_of_two_classes_the_second_is_positive_and_the_registrys_comes_second(
    tmp_path: Path,
) -> None:
    for name in ("PNEUMONIA", "tuberculosis", "other"):
        draw_file(tmp_path / "data" / name / "a.png")
    rules = {"class_from": "folder:-1"}
    index = load_index("pneumonia", tmp_path / "data", **rules, classes=["tuberculosis", "other"])
    assert dataset_of(index).positive == "other"
    assert reasons(index) == {"a.png": "'PNEUMONIA' is none of the classes tuberculosis, other"}
    (tmp_path / "data" / "other" / "a.png").unlink()
    index = load_index("pneumonia", tmp_path / "data", **rules)
    assert index.attrs["classes"] == ["tuberculosis", "PNEUMONIA"]
    assert dataset_of(index).positive_label == 1
    assert "'PNEUMONIA' is the positive one" in " ".join(index.attrs["notes"])


def test_a_binary_notebook_names_the_one_for_more_classes(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        draw_file(tmp_path / "data" / name / "x.png")
    with pytest.raises(ValueError, match="3 classes") as caught:
        load_index("malaria", tmp_path / "data", class_from="folder:-1")
    message = str(caught.value)
    assert "a (1), b (1), c (1)" in message
    assert "The notebook 03_malaria answers a question with two answers" in message
    assert f"04_oct ({command('run oct …')}) takes any number" in message


def test_spellings_of_one_class_are_joined(tmp_path: Path) -> None:
    for number, name in enumerate(("Benign", "benign", "malignant")):
        draw_file(tmp_path / "data" / f"hospital {number}" / name / f"{number}.png")
    draw_file(tmp_path / "data" / "hospital 9" / "benign" / "9.png")
    index = load_index("folder", tmp_path / "data")
    assert index["class_name"].value_counts().to_dict() == {"benign": 3, "malignant": 1}
    assert "Spellings of one class were joined: 'Benign' as 'benign'." in index.attrs["notes"]


def test_folders_named_like_parts_are_the_official_parts(tmp_path: Path) -> None:
    for number in range(36):
        part = ("train", "Validation", "test")[number % 3]
        file = f"{part}/{CLASSES[number % 2]}/p{number}_1.png"
        draw_file(tmp_path / "data" / file, number)
    index = load_index("folder", tmp_path / "data", patient_from=r"(p\d+)_")
    assert index["part"].value_counts().to_dict() == {"train": 12, "valid": 12, "test": 12}
    split = split_official(index, seed=0)
    assert set(split.loc[split["split"] == "test", "part"]) == {"test"}


def test_parts_are_not_taken_for_classes(tmp_path: Path) -> None:
    for part in ("train", "test"):
        draw_file(tmp_path / "data" / part / "benign_1.png")
    with pytest.raises(ValueError, match=r"gives the classes test, train: these are parts"):
        load_index("folder", tmp_path / "data")
    draw_file(tmp_path / "data" / "train" / "malignant_1.png")
    index = load_index("folder", tmp_path / "data", class_from=r"(\w+)_\d+\.png")
    assert set(index["part"]) == {"train", "test"}


def test_a_patient_in_two_parts_is_reported(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in CLASSES:
            draw_file(tmp_path / "data" / part / name / "p7_1.png", len(part + name))
    index = load_index("folder", tmp_path / "data", patient_from=r"(p\d+)_")
    (note,) = [note for note in index.attrs["notes"] if "official part" in note]
    assert note.startswith("1 patients stand in more than one official part (such as p7 in test")


def test_the_folder_that_kaggle_doubled_counts_once(patches: Path) -> None:
    inner = patches / "IDC_regular"
    for path in sorted(patches.glob("8860/*/*.png")):
        target = inner / path.relative_to(patches)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    # another picture under a name that exists: no copy
    draw_file(inner / "8861" / "0" / "8861_idx5_x0_class0.png", 999, (50, 50))
    index = load_index("folder", patches, patient_from="folder:-2")
    assert len(index) == 25
    assert index["path"].str.contains("IDC_regular").sum() == 1
    assert index.attrs["notes"][0] == (
        "Left out are copies of files that are elsewhere under the same name: 4 in IDC_regular."
    )


def test_what_is_no_usable_image_is_left_out_and_not_fatal(patches: Path) -> None:
    folder = patches / "8860" / "0"
    Image.new("RGB", (1, 50)).save(folder / "strip.png")
    Image.new("RGB", (50, 1)).save(folder / "8860_strip.png")
    (folder / "notes.txt").touch()
    (folder / "empty.png").touch()
    draw_file(patches / "loose.png")
    index = load_index("folder", patches, patient_from="folder:-2", image_size=SIZE)
    assert len(index) == 24
    found = reasons(index)
    assert found["strip.png"] == "1×50 pixels: too small to show anything (at least 8)"
    assert found["8860_strip.png"].startswith("50×1 pixels: too small")
    assert found["notes.txt"] == "not an image file"
    assert found["empty.png"] == "the file is empty (zero bytes)"
    assert found["loose.png"] == "class_from='folder:-1' finds no class in loose.png"
    assert len(left_out(index)) == 5


def test_blank_patches_do_not_tie_patients_together(patches: Path) -> None:
    for number in range(6):
        folder = patches / str(8860 + number) / "0"
        Image.new("RGB", (50, 50), (240, 240, 240)).save(folder / f"{number}_blank.png")
    draw_file(patches / "8860" / "1" / "same.png", 7_000, (50, 50))
    draw_file(patches / "8861" / "1" / "same.png", 7_000, (50, 50))  # a picture of two patients
    index = load_index("folder", patches, patient_from="folder:-2", image_size=SIZE)
    assert (
        "6 images of a single colour are alike in several patients; they do not count as copies of "
        "one another."
    ) in index.attrs["notes"]
    twice = index[index["content"].duplicated(keep=False)]
    assert {Path(path).name for path in twice["path"]} == {"same.png"}
    split = split_by_patient(index, seed=0)
    assert require_clean(split).clean
    tied = split[split["patient"].isin(["8860", "8861"])]
    assert tied["split"].nunique() == 1


def test_scans_of_1536_pixels_among_small_ones(tmp_path: Path) -> None:
    for number, size in enumerate([(1024, 1536), (40, 40)] * 2):
        path = tmp_path / "data" / CLASSES[number % 2] / f"{number}.jpg"
        draw_file(path, number, size)
    index = load_index("folder", tmp_path / "data", image_size=SIZE)
    assert sorted(index["width"]) == [40, 40, 1536, 1536]
    assert open_pixels(index).shape == (4, SIZE, SIZE, 3)
    wide = open_pixels(index)[index.loc[index["width"] == 1536, "row"].iloc[0]]
    assert not wide[:4].any()  # padded: the shape is kept


def test_a_rule_that_fits_no_image_shows_what_the_folders_are(patches: Path) -> None:
    with pytest.raises(ValueError, match="holds no image that can be used") as caught:
        load_index("folder", patches, patient_from="folder:-5")
    message = str(caught.value)
    assert "24 files were left out" in message
    assert "finds no patient in 8860/0/8860_idx5_x0_class0.png" in message
    assert "(folder:-1 is '0', folder:-2 is '8860')" in message


def test_a_folder_without_images_names_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "data" / "a").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"Found: no files\."):
        load_index("folder", tmp_path / "data")
    (tmp_path / "data" / "a" / "scan.dcm").touch()
    with pytest.raises(ValueError, match=r"files with the endings \.dcm \(1\)"):
        load_index("folder", tmp_path / "data")


def test_one_class_alone_is_refused(tmp_path: Path) -> None:
    draw_file(tmp_path / "data" / "benign" / "a.png")
    with pytest.raises(ValueError, match=r"All images are of one class: benign \(1\)"):
        load_index("folder", tmp_path / "data")


def test_patients_taken_for_classes_are_doubted(tmp_path: Path) -> None:
    for number in range(31):
        draw_file(tmp_path / "data" / f"patient {number}" / "a.png", number)
    index = load_index("folder", tmp_path / "data", patient_from=r"patient (\d+)/")
    assert index.attrs["warnings"] == [
        "There are 31 classes. Are they patients? class_from says which folder is the class."
    ]


def test_patients_inside_class_folders_are_suspected(tmp_path: Path) -> None:
    for number in range(8):
        draw_file(tmp_path / "data" / CLASSES[number % 2] / f"patient {number}" / "a.png", number)
    index = load_index("folder", tmp_path / "data")
    warning = index.attrs["notes"][0]
    assert warning.startswith("Are the classes patients? Each of the 8 folders that hold images")
    assert 'class_from="folder:-2", patient_from="folder:-1" would give' in warning
    assert warning.endswith("the classes benign, malignant.")
    rules = {"class_from": "folder:-2", "patient_from": "folder:-1"}
    right = load_index("folder", tmp_path / "data", **rules)
    assert right.attrs["classes"] == list(CLASSES)
    assert right["patient"].nunique() == 8
    assert right.attrs["warnings"] == []
    no_patients = load_index("folder", tmp_path / "data", class_from="folder:-2")
    (warning,) = no_patients.attrs["warnings"]
    assert 'patient_from="folder:-1" would give 8 patients' in warning


@pytest.mark.parametrize("rule", ["folder:-1", r"/(\d)/"])
def test_a_class_is_no_patient(patches: Path, rule: str) -> None:
    with pytest.raises(ValueError, match=r"gives each image its class \(0, 1\)") as caught:
        load_index("folder", patches, patient_from=rule)
    assert "8860/0/8860_idx5_x0_class0.png (folder:-1 is '0', folder:-2 is '8860')" in str(
        caught.value
    )


def test_a_class_is_not_suggested_as_patient(patches: Path) -> None:
    index = load_index("folder", patches, class_from="folder:-2")
    assert "patient_from=" not in index.attrs["warnings"][0]


@pytest.mark.parametrize(
    ("names", "positive"),
    [
        (("normal", "fracture"), "fracture"),
        (("Healthy", "covid"), "covid"),
        (("not ill", "ill"), "ill"),
        (("阳性", "阴性"), "阳性"),
        (("benign", "malignant"), "malignant"),
        (("abnormal", "zebra"), "zebra"),
    ],
)
def test_the_healthy_are_not_the_positive_class(
    tmp_path: Path, names: tuple[str, str], positive: str
) -> None:
    for name in names:
        draw_file(tmp_path / "data" / name / "a.png")
    index = load_index("pneumonia", tmp_path / "data", class_from="folder:-1")
    assert dataset_of(index).positive == positive
    (note,) = index.attrs["notes"][1:]
    assert f"{positive!r} is the positive one" in note


def test_a_strangers_folder_given_to_a_notebook_shows_how_to_list_it(patches: Path) -> None:
    with pytest.raises(ValueError, match="no images of the dataset 'malaria'") as caught:
        load_index("malaria", patches)
    message = str(caught.value)
    line = f'write_csv(load_index("folder", {str(patches)!r}, patient_from="folder:-2"), "my.csv")'
    assert line in message
    assert "(folder:-1 is '0', folder:-2 is '8860')" in message
    assert len(message.splitlines()) < 35
    with pytest.raises(ValueError, match="columns path, mask") as caught:
        load_index("brain_mri", patches)
    assert "write_csv" not in str(caught.value)


def test_how_to_list_a_folder_of_classes_with_patients_inside_or_without_folders(
    photographs: Path, tmp_path: Path
) -> None:
    for number in range(8):
        draw_file(tmp_path / "data" / CLASSES[number % 2] / f"patient {number}" / "a.png", number)
    with pytest.raises(ValueError, match='class_from="folder:-2", patient_from="folder:-1"'):
        load_index("oct", tmp_path / "data")
    with pytest.raises(ValueError, match=r"give a CSV file with the columns path and label"):
        load_index("oct", photographs)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("folder:2", "folder:-1 is the one that holds it"),
        ("folder:0", "folders are counted from the file"),
        ("folder:x", "folders are counted from the file"),
        (r"p\d+", "has 0 groups"),
        (r"(p)(\d+)", "has 2 groups"),
        (r"(p\d+", "is no regular expression"),
    ],
)
def test_a_rule_that_makes_no_sense(patches: Path, rule: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        load_index("folder", patches, patient_from=rule)
    assert f"patient_from={rule!r}" in str(caught.value)


def test_a_rule_may_find_nothing() -> None:
    path = PurePosixPath("a/b/c.png")
    assert path_rule("folder:-2", "x")(path) == "a"
    assert path_rule("folder:-3", "x")(path) is None
    assert path_rule("(z+)", "x")(path) is None
    assert path_rule("(z*)", "x")(path) is None


def test_a_folder_needs_to_be_named() -> None:
    with pytest.raises(ValueError, match=r'load_index\("folder", …\) needs data_dir'):
        load_index("folder")


@pytest.mark.slow
def test_rules_are_for_images_of_ones_own() -> None:
    with pytest.raises(ValueError, match="are for images of one's own"):
        load_index("malaria", classes=["a", "b"])


def test_a_folder_that_links_to_itself_is_read_once(patches: Path) -> None:
    (patches / "again").symlink_to(patches, target_is_directory=True)
    (patches / "8860" / "0" / "nowhere.png").symlink_to(patches / "gone.png")
    index = load_index("folder", patches, patient_from="folder:-2", image_size=SIZE)
    assert len(index) == 24
    assert reasons(index) == {"nowhere.png": "the file does not exist"}


# -- a CSV file ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["folder", "oct", "malaria", "pneumonia", "breast_cancer"])
def test_a_csv_file_feeds_any_notebook(photographs: Path, name: str) -> None:
    path = write(photographs, lines_of(photographs))
    index = load_index(name, path, image_size=SIZE)
    assert list(index.columns) == [
        "path", "label", "class_name", "patient", "split", "part", "row", "width", "height",
        "content",
    ]  # fmt: skip
    assert len(index) == 12
    assert index.attrs["classes"] == list(CLASSES)
    assert index["patient"].value_counts().to_dict() == {f"p{n}": 2 for n in range(6)}
    assert index.attrs["source"] == "csv"
    assert index.attrs["root"] == str(photographs)
    assert index.attrs["warnings"] == []
    assert "my.csv: 12 of its 12 lines are used." in index.attrs["notes"]
    assert require_clean(split_by_patient(index, seed=0)).clean
    for row in index.itertuples():
        picture = np.asarray(Image.open(str(row.path)))
        np.testing.assert_array_equal(open_pixels(index)[row.row], picture)
    assert dataset_of(index).classes == CLASSES


def test_a_split_of_the_csv_file_is_the_official_part(photographs: Path) -> None:
    columns = ("path", "label", "patient", "split")
    index = load_index("oct", write(photographs, lines_of(photographs, columns)))
    assert index["part"].value_counts().to_dict() == {"train": 6, "valid": 3, "test": 3}
    assert set(index["split"]) == {""}
    (note,) = [note for note in index.attrs["notes"] if "more than one official part" in note]
    assert "3 patients" in note


def test_a_split_that_the_notebook_does_not_use_is_said(photographs: Path) -> None:
    path = write(photographs, lines_of(photographs, ("path", "label", "patient", "split")))
    said = {
        name: "are not used: the tutorial" in " ".join(load_index(name, path).attrs["notes"])
        for name in ("malaria", "pneumonia", "folder")
    }
    assert said == {"malaria": True, "pneumonia": False, "folder": False}


def test_how_many_images_of_whom(photographs: Path) -> None:
    known = load_index("malaria", write(photographs, lines_of(photographs)))
    assert how_many(known, "cells") == "12 cells of 6 patients"
    unknown = load_index("malaria", write(photographs, lines_of(photographs, ("path", "label"))))
    assert how_many(unknown, "cells", "children") == "12 cells of unknown children"


def test_a_missing_list_is_not_answered_with_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file .*my\.csv\. Give a folder, a"):
        load_index("malaria", tmp_path / "my.csv")


def test_without_a_patient_column_the_warning_leads(photographs: Path) -> None:
    index = load_index("oct", write(photographs, lines_of(photographs, ("path", "label"))))
    assert not index.attrs["patients_known"]
    assert index.attrs["notes"][0].startswith("NO PATIENTS ARE KNOWN")
    assert sorted(index["patient"]) == sorted(path.name for path in photographs.glob("*.png"))
    path = write(photographs, lines_of(photographs, ("path", "label")))
    named = load_index("oct", path, patient_from=r"(p\d)_")
    assert named.attrs["patients_known"]
    assert named["patient"].nunique() == 6


def test_file_names_of_the_dataset_give_its_patients_and_columns(tmp_path: Path) -> None:
    root = draw_retinas(tmp_path / "data")
    lines = ["path,label"]
    lines += [f"{path.relative_to(root).as_posix()},{path.parent.name}"
              for path in sorted(root.rglob("*.jpeg"))]  # fmt: skip
    index = load_index("oct", write(root, lines))
    assert index.attrs["classes"] == ["CNV", "DME", "DRUSEN", "NORMAL"]
    assert index["patient"].nunique() == 24
    assert index.attrs["patients_known"]
    assert "Patients were told from the file names, as oct has them." in index.attrs["notes"]
    root = draw_biopsies(tmp_path / "tissue")
    lines = ["path,label"]
    for path in sorted(root.rglob("*.png")):
        kind = "malignant" if "_M_" in path.name else "benign"
        lines.append(f"{path.relative_to(root).as_posix()},{kind}")
    index = load_index("breast_cancer", write(root, lines), magnification=200)
    assert set(index["magnification"]) == {200}
    assert {"subtype", "slide"} <= set(index)


@pytest.mark.parametrize("change", ["semicolon", "tab", "mark", "windows", "quoted", "upper case"])
def test_what_spreadsheets_and_windows_write(photographs: Path, change: str) -> None:
    folder = photographs / "下 a" / "片子"
    folder.mkdir(parents=True)
    for path in sorted(photographs.glob("*.png")):
        path.rename(folder / path.name.replace("_", " 号 "))
    slash = "\\" if change == "windows" else "/"
    lines = ["path,label,patient"]
    for number, path in enumerate(sorted(folder.glob("*.png"))):
        file = f"下 a{slash}片子{slash}{path.name}"
        file = f'"{file}"' if change == "quoted" else file
        lines.append(f"{file},{CLASSES[number % 2]},{path.name[:2]}")
    text = "\r\n".join(lines) + "\r\n\r\n,,\r\n"
    if change == "upper case":
        text = text.replace("path,label,patient", " Path,LABEL,Patient ")
    swap = {"semicolon": ";", "tab": "\t"}.get(change)
    text = text if swap is None else text.replace(",", swap)
    path = photographs / "my.csv"
    path.write_bytes(text.encode("utf-8-sig" if change == "mark" else "utf-8"))
    index = load_index("folder", path, image_size=SIZE)
    assert len(index) == 12
    assert index.attrs["left_out"] == []
    assert index["patient"].nunique() == 6


def test_lines_that_cannot_be_used_are_left_out_with_their_number(photographs: Path) -> None:
    good = lines_of(photographs, ("path", "label", "patient", "split"))
    (photographs.parent / "outside.png").write_bytes((photographs / "p0_0.png").read_bytes())
    bad = [
        "gone.png,benign,p1,train",  # line 14
        ",benign,p1,train",
        "../outside.png,benign,p1,train",
        "C:\\scans\\a.png,benign,p1,train",
        "a,b.png,benign,p1,train",
        "x.png,benign,p1,tain",
        "p0_0.png,benign,p0,train",  # again, the same
    ]
    index = load_index("folder", write(photographs, [*good, *bad]))
    assert len(index) == 12
    found = reasons(index)
    assert found["gone.png"] == "line 14: the file does not exist"
    assert found["outside.png"].startswith("line 16: the path leaves the CSV file's folder")
    assert found["C:\\scans\\a.png"].startswith("line 17: an absolute path of a Windows computer")
    assert found["x.png"] == "line 19: the split 'tain' is none of train, valid and test"
    assert found["p0_0.png"] == "line 20: the same image as in line 2"
    both = [item["reason"] for item in index.attrs["left_out"] if item["path"].endswith(".csv")]
    assert both == [
        "line 15: no path",
        "line 18: 5 cells below 4 names of columns (a cell that holds a separator needs quotation "
        "marks)",
    ]


def test_an_empty_label_and_a_missing_patient(photographs: Path) -> None:
    lines = lines_of(photographs)
    lines[1] = "p0_0.png,,p0"
    lines[4] = "p1_1.png,malignant,"
    index = load_index("folder", write(photographs, lines))
    assert len(index) == 10
    assert reasons(index) == {
        "p0_0.png": "line 2: no label",
        "p1_1.png": "line 5: no patient, where other lines have one",
    }


def test_lines_that_disagree_about_an_image_leave_it_out(photographs: Path) -> None:
    lines = [*lines_of(photographs), "p0_0.png,malignant,p0", "./p0_1.png,malignant,p3"]
    index = load_index("folder", write(photographs, lines))
    assert len(index) == 10
    assert reasons(index) == {
        "p0_0.png": "the lines 2, 14 disagree about it (labels: benign, malignant)",
        "p0_1.png": "the lines 3, 15 disagree about it (labels: malignant)",
    }


def test_whole_paths_are_taken_as_they_are(photographs: Path, tmp_path: Path) -> None:
    lines = lines_of(photographs)
    lines[1:] = [f"{photographs}/{line}" for line in lines[1:]]
    (tmp_path / "lists").mkdir()
    index = load_index("folder", write(tmp_path / "lists", lines))
    assert len(index) == 12


def test_other_columns_are_kept_and_ours_are_not_overwritten(photographs: Path) -> None:
    columns = "path,label,patient,age,site,code,width"
    lines = [columns] + [
        f"{line},{40 + number},north,007,9" for number, line in enumerate(lines_of(photographs)[1:])
    ]
    index = load_index("oct", write(photographs, lines), image_size=SIZE, site="north")
    assert sorted(index["age"]) == list(range(40, 52))
    assert set(index["code"]) == {"007"}
    assert set(index["width"]) == {SIZE}
    assert "my.csv: not used are the columns width." in index.attrs["notes"]


def test_classes_may_be_chosen_and_ordered(photographs: Path) -> None:
    lines = [*lines_of(photographs)]
    lines[1] = "p0_0.png,unsure,p0"
    index = load_index("malaria", write(photographs, lines), classes=["malignant", "benign"])
    assert index.attrs["classes"] == ["malignant", "benign"]
    assert dataset_of(index).positive == "benign"
    assert reasons(index) == {
        "p0_0.png": "line 2: 'unsure' is none of the classes malignant, benign"
    }


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\r\n\r\n", "is empty"),
        (b"path,label\n", "has no line below its heading"),
        (b"image,class\na.png,b\n", "has no column path and no column label"),
        (b"path,label,path\na.png,b,a.png\n", "has the column path twice"),
        (b"a.png,benign\n", r"Found: a.png, benign\."),
        ("path,label\n病人的片子.png,b\n".encode("gb18030"), "Save it as «CSV UTF-8»"),
        ("path,label\na.png,b\n".encode("utf-16"), "is not text in UTF-8"),
        (b"path,label\ngone.png,b\ngone2.png,c\n", r"None of the 2 lines .* not exist \(2\)"),
    ],
)
def test_a_table_that_is_none(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "my.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        load_index("folder", path)
    assert str(path) in str(caught.value)


def test_a_missing_csv_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file .*my\.csv"):
        load_index("oct", tmp_path / "my.csv")


def test_all_images_of_a_class_are_damaged(photographs: Path) -> None:
    path = write(photographs, lines_of(photographs))
    for number in range(6):
        (photographs / f"p{number}_1.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"'malignant' of .* no usable image: 6 files") as caught:
        load_index("folder", path, image_size=SIZE)
    assert "zero bytes" in str(caught.value)


def test_too_few_images_for_all_classes_are_refused(photographs: Path) -> None:
    path = write(photographs, lines_of(photographs))
    with pytest.raises(ValueError, match="max_images=1 leaves no image of a class"):
        load_index("oct", path, max_images=1)
    assert len(load_index("oct", path, max_images=6)) == 6


@pytest.mark.skipif(os.name == "nt", reason="rights of another kind")
def test_a_data_folder_that_may_not_be_written(photographs: Path, data_home: Path) -> None:
    path = write(photographs, lines_of(photographs))
    before = sorted(photographs.rglob("*"))
    photographs.chmod(0o555)
    try:
        index = load_index("oct", path, image_size=SIZE)
    finally:
        photographs.chmod(0o755)
    assert sorted(photographs.rglob("*")) == before
    assert Path(index.attrs["cache"]).parent == data_home / "cache"


# -- masks in a CSV file -------------------------------------------------------------------


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    """Return a CSV file with 24 slices of six volumes and their masks."""
    root = draw_volumes(tmp_path / "data")
    lines = ["path,mask,patient"]
    for mask in sorted(root.rglob("*_mask.tif")):
        file = mask.relative_to(root).as_posix()
        lines.append(f"{file.replace('_mask', '')},{file},{mask.parent.name}")
    return write(root, lines)


def test_masks_of_a_csv_file_give_the_classes(slices: Path) -> None:
    index = load_index("brain_mri", slices, image_size=SIZE)
    volumes = load_index("brain_mri", slices.parent, image_size=SIZE)
    assert index["class_name"].value_counts().to_dict() == {"no tumour": 12, "tumour": 12}
    assert set(index["patient"]) == set(VOLUMES)
    columns = ["path", "label", "patient", "mask", "mask_pixels", "slice"]
    ours, theirs = (one[columns].sort_values("path", ignore_index=True)
                    for one in (index, volumes))  # fmt: skip
    pd.testing.assert_frame_equal(ours, theirs)
    masks = open_masks(index)
    assert all(masks[row.row].any() == (row.label == 1) for row in index.itertuples())
    assert "claimed" not in index


@pytest.mark.parametrize("names", ["numbered on", "not numbered"])
def test_slices_are_counted_in_each_volume_where_names_do_not(slices: Path, names: str) -> None:
    lines = slices.read_text("utf-8").splitlines()
    for number, line in enumerate(lines[1:]):
        image, rest = line.split(",", 1)
        stem = f"{number:03d}" if names == "numbered on" else "abcdefghijklmnopqrstuvwxyz"[number]
        (slices.parent / image).rename(slices.parent / f"{stem}.tif")
        lines[number + 1] = f"{stem}.tif,{rest}"
    index = load_index("brain_mri", write(slices.parent, lines))
    assert set(index.groupby("patient")["slice"].agg(tuple)) == {(1, 2, 3, 4)}


def test_labels_that_contradict_the_masks_are_reported(slices: Path) -> None:
    lines = slices.read_text("utf-8").splitlines()
    lines = [f"{lines[0]},label", *(f"{line},tumour" for line in lines[1:])]
    index = load_index("brain_mri", write(slices.parent, lines))
    assert index["label"].sum() == 12
    (note,) = [note for note in index.attrs["notes"] if "masks were believed" in note]
    assert note.startswith("The label of 12 images is not what their masks say")


def test_a_mask_that_is_missing_leaves_its_image_out(slices: Path) -> None:
    lines = slices.read_text("utf-8").splitlines()
    image, mask, patient = lines[1].split(",")
    lines[1] = f"{image},,{patient}"
    lines[2] = lines[2].replace("_mask", "_gone")
    lines[3] = lines[3].replace(lines[3].split(",")[1], f"../{Path(mask).name}")
    index = load_index("brain_mri", write(slices.parent, lines))
    assert len(index) == 21
    found = sorted(reasons(index).values())
    assert found[0] == "line 2: no mask"
    assert found[1].startswith("line 3: the mask TCGA")
    assert found[2].startswith("line 4: its mask: the path leaves the CSV file's folder")


def test_the_notebook_with_masks_asks_for_them(photographs: Path) -> None:
    path = write(photographs, lines_of(photographs))
    with pytest.raises(ValueError, match=r"no column mask\. brain_mri reads its labels from masks"):
        load_index("brain_mri", path)
    with pytest.raises(ValueError, match="Give a CSV file with the columns path, mask"):
        load_index("brain_mri", photographs, patient_from="folder:-1")


def test_masks_beside_labels_of_ones_own(slices: Path) -> None:
    lines = slices.read_text("utf-8").splitlines()
    lines = [f"{lines[0]},label", *(f"{line},{CLASSES[number % 2]}"
                                    for number, line in enumerate(lines[1:]))]  # fmt: skip
    index = load_index("folder", write(slices.parent, lines), image_size=SIZE)
    assert index["class_name"].value_counts().to_dict() == dict.fromkeys(CLASSES, 12)
    assert open_masks(index).shape == (24, SIZE, SIZE, 1)
    other = load_index("malaria", slices, image_size=SIZE)
    assert "mask" not in other
    assert "my.csv: not used are the columns mask." in other.attrs["notes"]


# -- from a folder to a CSV file -----------------------------------------------------------


def test_an_index_becomes_a_csv_file_and_comes_back(patches: Path) -> None:
    index = load_index("folder", patches, patient_from="folder:-2")
    path = write_csv(split_by_patient(index, seed=0), patches / "my.csv")
    again = load_index("oct", path)
    columns = ["path", "label", "class_name", "patient"]
    pd.testing.assert_frame_equal(again[columns], index[columns])
    assert set(again["part"]) == {"train", "valid", "test"}
    assert "8860/0/8860_idx5_x0_class0.png,0,8860," in path.read_text("utf-8-sig")


def test_a_csv_file_elsewhere_holds_whole_paths_and_no_invented_patients(
    patches: Path, tmp_path: Path
) -> None:
    index = load_index("folder", patches)
    path = write_csv(index, tmp_path / "elsewhere" / "my.csv")
    assert path.read_text("utf-8-sig").startswith("path,label\n")
    again = load_index("folder", path)
    assert list(again["path"]) == list(index["path"])
    assert not again.attrs["patients_known"]


def test_the_registrys_entry_is_what_its_own_images_need(tmp_path: Path) -> None:
    index = load_index("oct", draw_retinas(tmp_path / "data"))
    assert dataset_of(index) is registry.get("oct")
    assert index.attrs["source"] == "archive"
