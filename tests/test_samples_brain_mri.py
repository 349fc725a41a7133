"""The synthetic brain scans: same pixels for a seed, real layout, masks, a wrong table."""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from helpers import samples
from helpers.datasets.brain_mri import patient_of
from helpers.samples import brain_mri

PATIENTS, SLICES = 8, (12, 14)
pytestmark = pytest.mark.slow  # most look at one sample, drawn for all of them
PIXELS = "a7f7b091d7b85a4278505503c1df1c387485558efa747eacba65abb47e5eb557"
"""Over the arrays of two drawn volumes of seed 0; when it changes on purpose, raise VERSION."""
FOLDER = re.compile(r"TCGA_(CS|DU|EZ|FG|HT)_(9\d{3}|Z[0-9A-Z]{3})_(199[4-9]|200[0-4])\d{4}")

Volume = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small sample, seed 0."""
    folder = tmp_path_factory.mktemp("samples") / "brain_mri"
    brain_mri.draw(folder, seed=0, patients=PATIENTS, slices=SLICES)
    return folder


@pytest.fixture(scope="module")
def volumes(drawn: Path) -> dict[str, Volume]:
    """Return images and masks of each patient, in the order of the slices."""
    found = {}
    for patient in brain_mri.plan_patients(0, PATIENTS, SLICES):
        own = drawn / "kaggle_3m" / patient.identifier
        stems = [own / f"{own.name}_{n + 1}" for n in range(len(patient.heights))]
        found[own.name] = (
            np.stack([np.asarray(Image.open(f"{stem}.tif")) for stem in stems]),
            np.stack([np.asarray(Image.open(f"{stem}_mask.tif")) for stem in stems]),
        )
    return found


def pixel_hash(seed: int) -> str:
    """Return a hash over the arrays of two volumes of four and five slices."""
    total = hashlib.sha256()
    for patient in brain_mri.plan_patients(seed, 2, (4, 5)):
        for array in brain_mri.draw_volume(patient):
            total.update(f"{patient.identifier} {array.shape} {array.dtype}".encode())
            total.update(array.tobytes())
    return total.hexdigest()


def table(folder: Path) -> list[dict[str, str]]:
    """Return the rows of data_mask.csv."""
    with (folder / "data_mask.csv").open(encoding="ascii", newline="") as file:
        return list(csv.DictReader(file))


def test_a_seed_gives_the_same_pixels_on_every_machine() -> None:
    assert pixel_hash(0) == PIXELS, "raise brain_mri.VERSION and store the new hash"


def test_another_seed_gives_other_pixels() -> None:
    assert pixel_hash(1) != PIXELS


def test_what_lies_on_disk_is_what_was_drawn(volumes: dict[str, Volume]) -> None:
    patient = brain_mri.plan_patients(0, PATIENTS, SLICES)[3]
    images, masks = brain_mri.draw_volume(patient)
    stored = volumes[patient.identifier]
    assert np.array_equal(stored[0], images)
    assert np.array_equal(stored[1], masks)


def test_the_layout_is_that_of_the_archive(drawn: Path) -> None:
    assert {path.name for path in drawn.iterdir()} == {"kaggle_3m", "data_mask.csv"}
    folders = [path for path in (drawn / "kaggle_3m").iterdir() if path.is_dir()]
    assert len(folders) == PATIENTS
    for folder in folders:
        assert FOLDER.fullmatch(folder.name), "a real patient's code, or a strange one"
        for path in folder.glob("TCGA*"):
            assert patient_of(path.name) == folder.name
    # site and code alone tell patients apart, too
    assert len({folder.name.rpartition("_")[0] for folder in folders}) == PATIENTS


def test_slices_and_masks(volumes: dict[str, Volume]) -> None:
    for images, masks in volumes.values():
        assert SLICES[0] <= len(images) <= SLICES[1]
        assert images.shape[1:] == (brain_mri.SIZE, brain_mri.SIZE, 3)
        assert masks.shape == images.shape[:3]
        assert images.dtype == masks.dtype == np.uint8
        assert set(np.unique(masks)) == {0, 255}


def test_each_patient_has_one_stretch_of_tumour(volumes: dict[str, Volume]) -> None:
    positive = {name: masks.any(axis=(1, 2)) for name, (_, masks) in volumes.items()}
    for name, slices in positive.items():
        assert 0.05 < slices.mean() < 0.8, name
        assert not slices[0], name  # no tumour in the neck
    share = np.concatenate(list(positive.values())).mean()
    assert 0.25 < share < 0.5  # 0.35 in the real set
    areas = [mask.mean() / 255 for _, masks in volumes.values() for mask in masks if mask.any()]
    assert 0.01 < np.median(areas) < 0.05  # 2.3 % in the real set
    assert max(areas) < 0.15


def test_the_tumour_is_bright_in_flair_and_not_alone_in_that(volumes: dict[str, Volume]) -> None:
    ratios, others = [], []
    for images, masks in volumes.values():
        flair, inside = images[..., 1].astype(float), masks > 0
        outside = ~inside & (flair > 20)
        ratios.append(flair[inside].mean() / flair[outside].mean())
        as_bright = outside & (flair > np.median(flair[inside]))
        others.append(as_bright.sum() / inside.sum())
    assert np.mean(np.array(ratios) > 1.0) >= 0.8
    assert max(ratios) < 2.5
    # a threshold that keeps half of the tumour keeps as much else besides, in most patients
    assert np.median(others) > 0.5
    assert min(others) > 0.05


def test_neighbouring_slices_are_alike_and_patients_are_not(volumes: dict[str, Volume]) -> None:
    def likeness(one: np.ndarray, other: np.ndarray) -> float:
        return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])

    middles = [images[len(images) // 2] for images, _ in volumes.values()]
    nexts = [images[len(images) // 2 + 1] for images, _ in volumes.values()]
    own = [likeness(a, b) for a, b in zip(middles, nexts, strict=True)]
    strange = [likeness(a, b) for a, b in pairwise(middles)]
    assert np.mean(own) > np.mean(strange) + 0.1


def test_some_patients_lack_a_sequence(volumes: dict[str, Volume]) -> None:
    plan = brain_mri.plan_patients(0, PATIENTS, SLICES)
    lacking = {patient.identifier for patient in plan if patient.missing}
    for name, (images, _) in volumes.items():
        assert np.array_equal(images[..., 2], images[..., 1]) == (name in lacking)
    assert len(lacking) == 1
    usual = Counter(patient.missing for patient in brain_mri.plan_patients(0, 32, (20, 28)))
    assert usual == {(): 28, (2,): 2, (0, 2): 2}


def test_the_table_is_right_but_for_the_patients(drawn: Path, volumes: dict[str, Volume]) -> None:
    rows = table(drawn)
    assert list(rows[0]) == ["patient_id", "image_path", "mask_path", "mask"]
    true = [row["image_path"].partition("/")[0] for row in rows]
    claimed = [row["patient_id"] for row in rows]
    assert Counter(true) == Counter(claimed)  # the plain count passes …
    wrong = np.mean([one != other for one, other in zip(true, claimed, strict=True)])
    assert wrong > 0.8  # … and yet
    for row, patient in zip(rows, true, strict=True):
        assert row["mask_path"] == row["image_path"].replace(".tif", "_mask.tif")
        assert patient_of(Path(row["image_path"]).name) == patient
        number = int(row["image_path"].rpartition("_")[2].removesuffix(".tif"))
        masks = volumes[patient][1]
        if number <= len(masks):
            assert int(row["mask"]) == int(masks[number - 1].any())
    assert len({row["image_path"] for row in rows}) == len(rows)


def test_the_table_of_the_usual_size_is_wrong_nearly_everywhere(tmp_path: Path) -> None:
    plan = brain_mri.plan_patients(0, 32, (20, 28))
    rows = [(one.identifier, n + 1, False) for one in plan for n in range(len(one.heights))]
    brain_mri._write_table(tmp_path / "data_mask.csv", rows, plan)
    wrong = [row["patient_id"] != row["image_path"].partition("/")[0] for row in table(tmp_path)]
    assert len(wrong) == len(rows)
    assert 0.94 < np.mean(wrong) < 1.0


def test_damaged_and_stray_files(drawn: Path, volumes: dict[str, Volume]) -> None:
    folder = drawn / "kaggle_3m"
    usual = {
        f"{name}_{number + 1}{ending}"
        for name, (images, _) in volumes.items()
        for number in range(len(images))
        for ending in (".tif", "_mask.tif")
    }
    extra = {path.name: path for path in folder.rglob("*") if path.is_file()}
    extra = {name: path for name, path in extra.items() if name not in usual}
    stray = {name for name in extra if not name.startswith("TCGA")}
    assert stray - {".DS_Store", "Thumbs.db"} == {f"._{min(volumes)}_1.tif"}
    assert {".DS_Store", "Thumbs.db"} < stray
    images = {name for name in extra if name.startswith("TCGA") and "_mask" not in name}
    masks = {name.replace("_mask", "") for name in extra if "_mask" in name}
    assert len(images) == len(masks) == 3
    assert len(images - masks) == len(masks - images) == 1
    damaged = []
    for name in sorted(images):
        try:
            with Image.open(extra[name]) as picture:
                picture.load()
        except (OSError, UnidentifiedImageError):
            damaged.append(extra[name].stat().st_size)
    assert len(damaged) == 2
    assert damaged.count(0) == 1


def test_the_plan_at_its_usual_size() -> None:
    plan = brain_mri.plan_patients(0, 32, (20, 28))
    assert len({patient.identifier for patient in plan}) == 32
    assert 640 <= sum(len(patient.heights) for patient in plan) <= 900
    left = [patient.tumour.lobes[0][0] < 0 for patient in plan]
    assert 8 <= sum(left) <= 24
    for patient in plan:
        assert np.all(np.diff(patient.heights) > 0)
        before, flair, after = patient.tumour.light
        assert 0.4 < before < 1.0
        assert 0.4 < after < 1.0
        assert 1.2 < flair < 2.2


@pytest.mark.parametrize(("patients", "slices"), [(1, (4, 4)), (3, (30, 30)), (40, (4, 60))])
def test_odd_sizes_can_be_planned(patients: int, slices: tuple[int, int]) -> None:
    plan = brain_mri.plan_patients(3, patients, slices)
    assert len({patient.identifier for patient in plan}) == patients
    assert all(slices[0] <= len(patient.heights) <= slices[1] for patient in plan)


def test_a_single_volume_can_be_drawn(tmp_path: Path) -> None:
    brain_mri.draw(tmp_path / "one", seed=4, patients=1, slices=(4, 4))
    assert len(list((tmp_path / "one" / "kaggle_3m").glob("TCGA*"))) == 1


def test_bad_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1 patient, and 4 slices"):
        brain_mri.draw(tmp_path / "a", patients=0)
    with pytest.raises(ValueError, match="3 to 5 slices"):
        brain_mri.draw(tmp_path / "a", slices=(3, 5))
    with pytest.raises(ValueError, match="9 to 5 slices"):
        brain_mri.draw(tmp_path / "a", slices=(9, 5))
    with pytest.raises(ValueError, match="seed is -1"):
        samples.draw("brain_mri", tmp_path / "a", seed=-1)
    assert not list(tmp_path.iterdir())


def test_nothing_half_made_stays_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn_so_far = []

    def full_disk(pixels: np.ndarray, path: Path) -> None:
        drawn_so_far.append(path)
        path.write_bytes(b"half")
        if len(drawn_so_far) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(brain_mri, "_save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        brain_mri.draw(tmp_path / "sample", patients=1, slices=(4, 4))
    assert not list(tmp_path.iterdir())


def test_a_filled_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="ascii")
    with pytest.raises(FileExistsError, match="not empty"):
        brain_mri.draw(tmp_path, patients=1, slices=(4, 4))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
