"""Tiny sets of images in the real layout, drawn with numpy, for tests of index to training."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePath

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers.datasets import malaria
from helpers.index import load_index
from helpers.registry import Dataset

CLASSES = ("Parasitized", "Uninfected")
PATIENTS = tuple(f"C{number}P{number}thinF" for number in range(1, 7))
SIZE = 32  # pixels: the least that backbones take


def name_of(patient: str, number: int, suffix: str = ".png") -> str:
    """Return a file name as the archive has them."""
    return f"{patient}_IMG_20150619_114756a_cell_{number}{suffix}"


def cell(rng: np.random.Generator, infected: bool, size: int = SIZE) -> np.ndarray:
    """Return a pink disc on black, with a dark violet spot where it is infected."""
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    picture = np.zeros((size, size, 3))
    inside = np.hypot(rows, columns) < size * 0.45
    picture[inside] = (200, 140, 150)
    if infected:
        row, column = rng.uniform(-size / 6, size / 6, 2)
        picture[np.hypot(rows - row, columns - column) < size / 5] = (60, 20, 110)
    picture[inside] += rng.normal(0, 6, (int(inside.sum()), 3))
    return np.clip(picture, 0, 255).astype(np.uint8)


def draw_cells(
    root: Path,
    patients: tuple[str, ...] = PATIENTS,
    each: int = 3,
    counts: Mapping[tuple[str, str], int] | None = None,
    suffix: str = ".png",
    size: int = SIZE,
    seed: int = 0,
) -> Path:
    """Write ``cell_images/{Parasitized,Uninfected}/…`` below a folder and return that folder.

    Args:
        root: made where it is missing.
        patients: whose cells.
        each: cells of each patient in each class.
        counts: cells by (class, patient) where ``each`` is not meant.
        suffix: of the files.
        size: height of the pictures in pixels.
        seed: of the pixels.
    """
    rng = np.random.default_rng(seed)
    for class_name in CLASSES:
        folder = root / "cell_images" / class_name
        folder.mkdir(parents=True, exist_ok=True)
        number = 0 if class_name == "Parasitized" else 1_000  # no name stands in both folders
        for patient in patients:
            for _ in range((counts or {}).get((class_name, patient), each)):
                number += 1
                picture = cell(rng, class_name == "Parasitized", size)
                Image.fromarray(picture).save(folder / name_of(patient, number, suffix))
    return root


def small_index(root: Path) -> pd.DataFrame:
    """Return the index, with pixels, of 36 cells of six patients drawn below a folder."""
    draw_cells(root / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUTORIALS_DATA", str(root / "home"))
        return load_index("malaria", root / "data", image_size=SIZE)


def frame(rows: list[tuple[str, int]], content: list[str] | None = None) -> pd.DataFrame:
    """Return an index without files: one row for each (patient, label)."""
    index = pd.DataFrame(rows, columns=["patient", "label"])
    index["class_name"] = index["label"].map({0: "Uninfected", 1: "Parasitized"})
    index["path"] = [
        f"/data/cell_images/{class_name}/{name_of(patient, number)}"
        for number, (patient, class_name) in enumerate(
            zip(index["patient"], index["class_name"], strict=True)
        )
    ]
    index["split"] = ""
    if content is not None:
        index["content"] = content
    return index


# -- the other layouts: stand-ins for the registry's entries, so that tests of the foundation
# -- depend on nothing but their form --------------------------------------------------------


def _named(pattern: str, file_name: str) -> str | None:
    match = re.fullmatch(pattern, file_name, re.IGNORECASE)
    return None if match is None else match[1]


def _kind_of_xray(path: PurePath) -> dict[str, object] | None:
    for kind in ("bacteria", "virus"):
        if f"_{kind}_" in path.name:
            return {"kind": kind}
    return {"kind": "normal"} if "IM-" in path.name else None


def _described_biopsy(path: PurePath) -> dict[str, object] | None:
    match = re.fullmatch(r"SOB_[BM]_([A-Z]+)-(\d+-\w+)-(\d+)-\d+\.\w+", path.name)
    if match is None:
        return None
    if match[1] not in ("A", "F", "DC", "LC"):
        raise ValueError(f"the name gives an unknown subtype {match[1]!r}")
    return {"subtype": match[1], "slide": match[2], "magnification": int(match[3])}


XRAYS: Dataset = replace(
    malaria.DATASET,
    name="pneumonia",
    classes=("NORMAL", "PNEUMONIA"),
    positive="PNEUMONIA",
    patient_of=lambda name: _named(r"(person\d+|(?:NORMAL2-)?IM-\d+).*\.\w+", name),
    patient_example="person7_bacteria_24.jpeg",
    same_patient={},
    patient_maps=(),
    describe=_kind_of_xray,
)
RETINAS: Dataset = replace(
    XRAYS,
    name="oct",
    classes=("CNV", "DME", "DRUSEN", "NORMAL"),
    positive=None,
    patient_of=lambda name: _named(r"[A-Z]+-(\d+)-\d+\.\w+", name),
    patient_example="CNV-1016042-1.jpeg",
    describe=None,
    urgent=("CNV", "DME"),
)
BIOPSIES: Dataset = replace(
    XRAYS,
    name="breast_cancer",
    classes=("benign", "malignant"),
    positive="malignant",
    patient_of=lambda name: _named(r"SOB_[BM]_[A-Z]+-\d+-(\d+)\w*-\d+-\d+\.\w+", name),
    patient_example="SOB_B_A-14-22549AB-200-001.png",
    describe=_described_biopsy,
    part_names={"train": "train", "validation": "test"},
)
BRAINS: Dataset = replace(
    XRAYS,
    name="brain_mri",
    classes=("no tumour", "tumour"),
    positive="tumour",
    patient_of=lambda name: _named(r"(TCGA_\w+_\d{8})_\d+(?:_mask)?\.tif", name),
    patient_example="TCGA_CS_4941_19960909_12.tif",
    describe=None,
    reader="volumes",
)
STAND_INS = {one.name: one for one in (malaria.DATASET, XRAYS, RETINAS, BIOPSIES, BRAINS)}
VOLUMES = tuple(f"TCGA_CS_494{number}_19960909" for number in range(1, 7))


def draw_file(path: Path, seed: int = 0, size: tuple[int, int] = (SIZE, SIZE)) -> Path:
    """Write a picture of noise, (height, width) pixels, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def draw_xrays(root: Path, parts: Mapping[str, int] | None = None) -> Path:
    """Write ``{train,val,test}/{NORMAL,PNEUMONIA}/…`` below a folder and return that folder.

    Args:
        root: made where it is missing.
        parts: number of patients of each class in each part; two images each.
    """
    number = 0
    for part, patients in (parts or {"train": 8, "val": 2, "test": 4}).items():
        for _ in range(patients):
            number += 1
            kind = "virus" if number % 2 else "bacteria"
            for one in (1, 2):
                ill = f"PNEUMONIA/person{number}_{kind}_{one}.jpeg"
                well = f"NORMAL/IM-{number:04}-{one:04}.jpeg"
                draw_file(root / part / ill, 4 * number + one)
                draw_file(root / part / well, 4 * number + 2 + one)
    return root


def draw_retinas(root: Path, classes: tuple[str, ...] = RETINAS.classes, patients: int = 6) -> Path:
    """Write ``{CNV,DME,DRUSEN,NORMAL}/…`` below a folder, two images a patient."""
    for place, class_name in enumerate(classes):
        for patient in range(patients):
            for one in (1, 2):
                name = f"{class_name}-{1_000 * (place + 1) + patient}-{one}.jpeg"
                draw_file(root / class_name / name, 100 * place + 10 * patient + one)
    return root


def draw_biopsies(root: Path, suffix: str = ".png") -> Path:
    """Write BreaKHis' tree below a folder: two subtypes a class, three slides, two powers."""
    names = {"A": "adenosis", "F": "fibroadenoma", "DC": "ductal_carcinoma",
             "LC": "lobular_carcinoma"}  # fmt: skip
    seed = 0
    for subtype, long_name in names.items():
        kind, letter = ("benign", "B") if subtype in "AF" else ("malignant", "M")
        top = root / "BreaKHis_v1" / "histology_slides" / "breast" / kind / "SOB" / long_name
        for slide in range(3):
            number = f"{1_000 * (ord(subtype[0]) - 64) + slide}"
            for power in (40, 200):
                seed += 1
                name = f"SOB_{letter}_{subtype}-14-{number}-{power}-001{suffix}"
                place = top / f"SOB_{letter}_{subtype}_14-{number}" / f"{power}X"
                draw_file(place / name, seed, (20, 30))
    return root


def draw_mask(path: Path, pixels: int, size: int = SIZE, value: int = 255) -> Path:
    """Write a mask with so many pixels set, in the middle rows."""
    mask = np.zeros(size * size, np.uint8)
    mask[size * size // 2 : size * size // 2 + pixels] = value
    Image.fromarray(mask.reshape(size, size)).save(path)
    return path


def draw_volumes(
    root: Path, volumes: tuple[str, ...] = VOLUMES, slices: int = 4, size: int = SIZE
) -> Path:
    """Write ``kaggle_3m/<volume>/<volume>_<n>.tif`` and masks; the last half has tumour."""
    for place, volume in enumerate(volumes):
        folder = root / "kaggle_3m" / volume
        for number in range(1, slices + 1):
            draw_file(folder / f"{volume}_{number}.tif", 100 * place + number, (size, size))
            tumour = 3 * size if number > slices // 2 else 0
            draw_mask(folder / f"{volume}_{number}_mask.tif", tumour, size)
    return root
