"""Tiny sets of images in the real layout, drawn with numpy, for tests of index to training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers.index import load_index

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
