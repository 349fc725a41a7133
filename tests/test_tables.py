"""The table beside the brain scans: shown as it is, compared with the files, never believed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from tiny_images import STAND_INS, VOLUMES, draw_mask, draw_volumes, draw_xrays

from helpers import registry
from helpers.index import compare_table, load_index, read_table


@pytest.fixture
def volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with 24 slices of six volumes, using the tests' own registry."""
    monkeypatch.setenv("TUTORIALS_DATA", str(tmp_path / "home"))
    monkeypatch.setattr(registry, "get", STAND_INS.__getitem__)
    return draw_volumes(tmp_path / "data")


def true_table(volumes: Path) -> pd.DataFrame:
    """Return a table of the slices that is right in everything."""
    index = load_index("brain_mri", volumes)
    name = index["patient"] + "/" + index["patient"] + "_" + index["slice"].astype(str)
    return pd.DataFrame(
        {
            "patient_id": index["patient"],
            "image_path": name + ".tif",
            "mask_path": name + "_mask.tif",
            "mask": index["label"],
        }
    )


def notes_of(volumes: Path, table: pd.DataFrame) -> list[str]:
    """Return what ``load_index`` says with this table beside the images."""
    table.to_csv(volumes / "data_mask.csv", index=False)
    index = load_index("brain_mri", volumes)
    assert len(index) == 24
    assert set(index["patient"]) == set(VOLUMES)
    assert list(index["label"]) == [0, 0, 1, 1] * 6  # whatever the table says
    return [str(note) for note in index.attrs["notes"]]


@pytest.mark.parametrize("place", ["beside", "inside"])
def test_a_table_that_is_right(volumes: Path, place: str) -> None:
    table = true_table(volumes)
    assert notes_of(volumes, table) == ["data_mask.csv: its 24 rows agree with the files."]
    if place == "inside":
        (volumes / "data_mask.csv").rename(volumes / "kaggle_3m" / "data_mask.csv")
    index = load_index("brain_mri", volumes)
    pd.testing.assert_frame_equal(read_table(index), table)


def test_the_defect_of_the_real_table_is_counted(volumes: Path) -> None:
    """The patients' ids are all there, as often as they should be, but in another order."""
    table = true_table(volumes)
    table["patient_id"] = list(VOLUMES) * 4  # one right in six, and so a plain count passes
    wrong = int((table["patient_id"] != table["image_path"].str.split("/").str[0]).sum())
    assert table["patient_id"].value_counts().to_dict() == dict.fromkeys(VOLUMES, 4)
    (note,) = notes_of(volumes, table)
    assert note == (
        f"data_mask.csv: of 24 rows, {wrong} with a patient_id that is not the folder's; "
        f"it was not used."
    )
    compared = compare_table(load_index("brain_mri", volumes))
    assert int(compared["patient_is_wrong"].sum()) == wrong
    assert list(compared["folder"]) == [volume for volume in VOLUMES for _ in range(4)]
    assert not compared["path_is_missing"].any()
    assert not compared["label_is_wrong"].any()


def test_missing_files_and_wrong_labels_are_counted(volumes: Path) -> None:
    table = true_table(volumes)
    table.loc[0, "image_path"] = f"{VOLUMES[0]}/{VOLUMES[0]}_77.tif"
    table.loc[1, "mask_path"] = f"{VOLUMES[0]}/{VOLUMES[0]}_78_mask.tif"
    table.loc[2, "mask_path"] = ""
    table.loc[[4, 7], "mask"] = [1, 0]
    found = notes_of(volumes, table)
    assert found[0] == (
        "data_mask.csv: of 24 rows, 3 with a missing path, 2 with a wrong label; it was not used."
    )
    assert found[1] == "data_mask.csv: 1 of the 24 images are not in it."


def test_windows_separators_and_long_paths_are_understood(volumes: Path) -> None:
    table = true_table(volumes)
    prefix = "C:\\data\\kaggle_3m\\"
    for column in ("image_path", "mask_path"):
        table[column] = prefix + table[column].str.replace("/", "\\")
    assert notes_of(volumes, table) == [
        "data_mask.csv: its 24 rows agree with the files.",
        "data_mask.csv: 24 rows separate folders by \\, as Windows does.",
    ]
    for column in ("image_path", "mask_path"):
        table[column] = table[column].str.split("\\").str[-1]  # bare names
    assert notes_of(volumes, table) == ["data_mask.csv: its 24 rows agree with the files."]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"patient,image\nx,y\n", "has no column patient_id, image_path, mask_path, mask"),
        (b"", "cannot be read as a table"),
        (b"\xff\xfe\x00p\x00a", "cannot be read as a table"),
        (b'patient_id,image_path,mask_path,mask\n"open,1,2,3\n', "cannot be read as a table"),
    ],
)
def test_a_table_that_is_none_is_a_note_not_the_end(
    volumes: Path, content: bytes, words: str
) -> None:
    path = volumes / "data_mask.csv"
    path.write_bytes(content)
    index = load_index("brain_mri", volumes)
    assert len(index) == 24
    (note,) = index.attrs["notes"]
    assert note.startswith(str(path))
    assert words in note
    assert "It was not used" in note
    with pytest.raises(ValueError, match=words):
        read_table(index)


def test_labels_that_are_no_numbers_are_wrong(volumes: Path) -> None:
    table = true_table(volumes)
    table["mask"] = table["mask"].map({0: "no", 1: "1"})
    (note,) = notes_of(volumes, table)
    assert "12 with a wrong label" in note


def test_rows_of_slices_that_were_not_taken_are_not_called_wrong(volumes: Path) -> None:
    true_table(volumes).to_csv(volumes / "data_mask.csv", index=False)
    index = load_index("brain_mri", volumes, max_images=12)
    assert index.attrs["notes"][1:] == ["data_mask.csv: its 24 rows agree with the files."]


def test_without_a_table_nothing_is_said(volumes: Path, tmp_path: Path) -> None:
    index = load_index("brain_mri", volumes)
    assert index.attrs["table"] is None
    with pytest.raises(FileNotFoundError, match="No table lies beside the images"):
        read_table(index)
    root = draw_xrays(tmp_path / "xrays")
    (root / "data_mask.csv").touch()  # of another dataset
    assert load_index("pneumonia", root).attrs["notes"] == []


def test_a_damaged_mask_does_not_disturb_the_comparison(volumes: Path) -> None:
    true_table(volumes).to_csv(volumes / "data_mask.csv", index=False)
    draw_mask(volumes / "kaggle_3m" / VOLUMES[0] / f"{VOLUMES[0]}_3_mask.tif", 0).write_bytes(b"")
    index = load_index("brain_mri", volumes)
    assert len(index) == 23
    assert index.attrs["notes"] == ["data_mask.csv: its 24 rows agree with the files."]


@pytest.mark.realdata
def test_the_real_table_names_the_wrong_patient_almost_everywhere(
    realdata: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUTORIALS_DATA", str(tmp_path / "home"))
    monkeypatch.setattr(registry, "get", STAND_INS.__getitem__)
    if not (realdata / "lgg").is_dir():
        pytest.skip(f"no real scans in {realdata / 'lgg'}")
    index = load_index("brain_mri", realdata / "lgg")
    table = compare_table(index)
    assert len(index) == len(table)
    assert index.attrs["left_out"] == []
    assert table["patient_is_wrong"].mean() > 0.9
    assert not table["path_is_missing"].any()
    assert not table["label_is_wrong"].any()
