"""The defects that notebooks and `data verify` count: the same figures of the same images."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny_images import (
    PATIENTS,
    SIZE,
    draw_biopsies,
    draw_cells,
    draw_file,
    draw_retinas,
    draw_volumes,
    draw_xrays,
    name_of,
)

from helpers import defects, registry, verify
from helpers.index import count_defects, load_index


@pytest.fixture(autouse=True)
def data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has an empty data home of its own."""
    monkeypatch.setenv("TUTORIALS_DATA", str(tmp_path / "home"))


def counted(name: str, data: Path) -> pd.DataFrame:
    """Return what the notebook shows, after a look that `data verify` shows the same."""
    table = count_defects(load_index(name, data, image_size=SIZE))
    pd.testing.assert_frame_equal(table, verify.check(name, data).counted)
    return table


def xrays_with_defects(root: Path) -> Path:
    """Draw X-rays: a child and a picture on both sides, a copy of one child, a shared number."""
    data = draw_xrays(root)
    known = data / "train/PNEUMONIA/person1_virus_1.jpeg"
    shutil.copy(known, data / "test/PNEUMONIA/person99_virus_7.jpeg")
    shutil.copy(known, known.with_name("person1_virus_8.jpeg"))
    draw_file(data / "test/PNEUMONIA/person2_bacteria_7.jpeg", 9_001)
    draw_file(data / "test/NORMAL/NORMAL2-IM-0002-0001.jpeg", 9_002)
    return data


@pytest.mark.slow
def test_xrays_on_both_sides_and_copies(tmp_path: Path) -> None:
    data = xrays_with_defects(tmp_path / "xrays")
    table = counted("pneumonia", data)
    assert table["found"].to_dict() == {
        "patients with several classes": "0",
        "patients of the official test who are also outside it": table["found"].iloc[1],
        "numbers of the official test, elsewhere under another series": table["found"].iloc[2],
        "surplus copies of a picture": "2",
        "pictures under several classes": "0",
        "pictures under several patients": "1",
        "pictures in the official test and outside it": "1",
        "PNEUMONIA told by the file size alone": table["found"].iloc[-1],
    }
    names = {path.relative_to(data).as_posix() for path in data.rglob("*.jpeg")}
    tested = {
        registry.get("pneumonia").patient_of(Path(name).name)
        for name in names
        if name.startswith("test")
    }
    assert table["of"].iloc[1] == str(len(tested))
    assert table.loc["surplus copies of a picture", "of"] == f"{len(names)} images"
    assert table.loc["pictures under several patients", "of"] == str(len(names) - 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "draw", "kind", "found"),
    [
        ("breast_cancer", draw_biopsies, "patients with several slides", "0"),
        ("breast_cancer", draw_biopsies, "patients with several subtypes", "0"),
        ("brain_mri", draw_volumes, "patients with several classes", None),
        ("oct", draw_retinas, "surplus copies of a picture", "0"),
    ],
)
def test_every_dataset_is_counted_alike_in_both_places(
    tmp_path: Path, name: str, draw: object, kind: str, found: str | None
) -> None:
    assert callable(draw)
    table = counted(name, draw(tmp_path / "data"))
    assert found in (None, table.loc[kind, "found"])
    assert not table.index.str.contains("official").any()  # no parts: nothing to say of them


@pytest.mark.slow
def test_a_size_that_tells_a_class(tmp_path: Path) -> None:
    data = draw_retinas(tmp_path / "data")
    for number, path in enumerate(sorted((data / "DME").iterdir())):
        draw_file(path, 7_000 + number, (SIZE, SIZE + 8))
    table = counted("oct", data)
    for feature in ("width", "file size"):  # more pixels of noise are more bytes
        told = table.loc[f"DME told by the {feature} alone"]
        assert list(told) == ["AUC 1.000", "0.5 is guessing"]


@pytest.mark.slow
def test_a_file_size_that_tells_a_class(tmp_path: Path) -> None:
    """It is that of the files as they lie there, whatever size the notebook caches them at."""
    data = draw_cells(tmp_path / "cells", PATIENTS, 3)
    for path in data.rglob("*.png"):
        compressed = 0 if path.parent.name == "Parasitized" else 9
        Image.open(path).save(path, compress_level=compressed)
    index = load_index("malaria", data)
    name = "Parasitized told by the file size alone"
    assert counted("malaria", data).loc[name, "found"] == "AUC 1.000"
    assert count_defects(index).loc[name, "found"] == "AUC 1.000"
    found = verify.check("malaria", data)
    (told,) = (one for one in found.shortcuts if one.feature == "file size")
    assert told.area is not None
    assert told.area.value == 1.0


@pytest.mark.slow
def test_file_sizes_of_drawn_samples_are_not_counted(tmp_path: Path) -> None:
    """Another version of the library that compresses them would give other figures."""
    table = count_defects(load_index("malaria", image_size=SIZE, max_images=200))
    assert table.index.str.contains("told by").any()
    assert not table.index.str.contains("file size").any()


@pytest.mark.slow
def test_flat_pictures_are_no_copies(tmp_path: Path) -> None:
    data = draw_cells(tmp_path / "cells", PATIENTS, 3)
    some = sorted((data / "cell_images/Parasitized").glob("*.png"))
    for path in some[:3]:
        Image.new("RGB", (SIZE, SIZE), (9, 9, 9)).save(path)
    shutil.copy(some[3], some[3].with_name(name_of(PATIENTS[5], 900)))
    table = counted("malaria", data)
    assert table.loc["surplus copies of a picture", "found"] == "1"
    assert table.loc["pictures under several patients", "found"] == "1"


@pytest.mark.slow
@pytest.mark.parametrize("text", ["", "patient_id,image_path\n"])
def test_the_table_beside_the_volumes(tmp_path: Path, text: str) -> None:
    data = draw_volumes(tmp_path / "data")
    table = data / "data_mask.csv"
    table.write_text(text)
    assert not counted("brain_mri", data).index.str.contains("data_mask").any()
    index = load_index("brain_mri", data)
    listed = pd.DataFrame(
        {
            "patient_id": index["patient"],
            "image_path": [Path(path).relative_to(data / "kaggle_3m") for path in index["path"]],
            "mask_path": [Path(path).relative_to(data / "kaggle_3m") for path in index["mask"]],
            "mask": index["label"],
        }
    )
    listed.loc[:2, "patient_id"] = listed["patient_id"].iloc[-1]
    listed.to_csv(table, index=False)
    row = counted("brain_mri", data).loc["rows of data_mask.csv with a wrong patient"]
    assert list(row) == ["3", str(len(listed))]


def test_without_pixels_only_names_and_files_are_counted(tmp_path: Path) -> None:
    index = load_index("oct", draw_retinas(tmp_path / "data"))
    patients, size = count_defects(index).index
    assert patients == "patients with several classes"
    assert size.endswith("told by the file size alone")


def test_patients_that_nobody_knows_are_not_counted(tmp_path: Path) -> None:
    """MedMNIST keeps no patients: copies are counted, but not whose they are."""
    rng = np.random.default_rng(0)
    content = {}
    for part, count in {"train": 12, "val": 4, "test": 6}.items():
        content[f"{part}_images"] = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        content[f"{part}_labels"] = (np.arange(count) % 2)[:, None].astype(np.uint8)
    content["test_images"][0] = content["train_images"][:2] = content["train_images"][2]
    np.savez(tmp_path / "pneumoniamnist.npz", **content)
    table = counted("pneumonia", tmp_path / "pneumoniamnist.npz")
    assert table["found"].to_dict() == {
        "surplus copies of a picture": "3",
        "pictures under several classes": "1",
        "pictures in the official test and outside it": "1",
    }
    found = verify.check("pneumonia", tmp_path)
    assert "file size" not in {one.feature for one in found.shortcuts}  # one file holds them all
    text = verify.summary(found)
    assert "Known defects of the archive from which these images were made" in text
    assert "Patients are not known" in text
    assert "two patients" not in text


def test_what_a_number_tells_best() -> None:
    names = pd.Series(["CNV", "CNV", "DME", "DRUSEN"])
    oct_set = registry.get("oct")
    assert defects.told_best(pd.Series([3, 4, 1, 2]), names, oct_set) == [("CNV", 1.0)]
    assert defects.told_best(pd.Series([1, 2, 3, 4]), names, oct_set) == [("CNV", 0.0)]
    assert defects.told_best(pd.Series([5, 5, 5, 5]), names, oct_set) == []
    assert defects.told_best(pd.Series([1, 2]), pd.Series(["DME", "DME"]), oct_set) == []
