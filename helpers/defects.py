"""What is wrong in a set's names, labels and files, counted for notebooks and `data verify` alike.

Both count here, so that a notebook never prints another figure than the check of the same
images. Nothing is decoded: names, labels, sizes and the equality of pictures are known.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from helpers.own_images import dataset_of
from helpers.registry import Dataset
from helpers.tables import compare_table

# What a patient has one of, where names and labels are right: column → its plural.
_ONE_EACH = {"class_name": "classes", "subtype": "subtypes", "slide": "slides"}


def count_defects(index: pd.DataFrame) -> pd.DataFrame:
    """Return what is wrong in a set or gives its classes away: one row a kind, zeros included.

    ``python -m helpers data verify`` prints the same table. Only what applies has a row:
    patients where they are known, the official test where there is one. Where ``max_images``
    left some out, the figures are of those that were taken.

    Args:
        index: from ``load_index``; with ``image_size`` also copies and sizes are counted, where
            copies are pictures that are equal in the cache.

    Returns:
        A frame with the columns ``found`` (how many, or an AUC) and ``of`` (of how many, and of
        what), both in words; its index says what was counted.
    """
    copies = numbered(_repeated(index)) if "content" in index else None
    sizes = {"bytes": index["path"].map(bytes_of)} if _are_real_files(index) else {}
    return tally(
        index.drop(columns="bytes", errors="ignore").assign(**sizes),
        dataset_of(index),
        copies,
        table_beside(index),
        patients_known=index.attrs["patients_known"],
    )


def tally(
    images: pd.DataFrame,
    dataset: Dataset,
    copies: pd.Series | None,
    table: pd.DataFrame | None,
    *,
    patients_known: bool,
) -> pd.DataFrame:
    """Return the table of ``count_defects`` from what is known of the images.

    Args:
        images: with ``class_name``, ``patient`` and ``part``; the dataset's own columns,
            ``width``, ``height`` and ``bytes`` (of the file) where they are known.
        dataset: names the classes.
        copies: a number above 0 for each picture that is there more than once, the same for
            equal ones; None where that is not known.
        table: from ``table_beside``.
        patients_known: False where every image stands for a patient of its own.
    """
    rows = _rows_of_patients(images) if patients_known else []
    if copies is not None:
        rows += _rows_of_copies(images, copies, patients_known)
    if table is not None:
        wrong = f"{int(table['patient_is_wrong'].sum()):,}"
        rows.append((f"rows of {dataset.table} with a wrong patient", wrong, f"{len(table):,}"))
    rows += _rows_of_sizes(images, dataset)
    return pd.DataFrame(rows, columns=["counted", "found", "of"]).set_index("counted")


# -- what is counted -----------------------------------------------------------------------


def table_beside(index: pd.DataFrame) -> pd.DataFrame | None:
    """Return the comparison of the table that lies beside the images; None where none can be."""
    try:
        return compare_table(index) if index.attrs["table"] else None
    except ValueError:  # no such table: the notes of the index say so
        return None


def several_of(images: pd.DataFrame, column: str) -> pd.Series:
    """Return the sorted values of each patient who has several of a column."""
    values = images.groupby("patient")[column].agg(lambda found: sorted(set(found)))
    return values[values.map(len) > 1]


def in_test(images: pd.DataFrame) -> pd.Series | None:
    """Return which images are of the official test part; None where there is no such split.

    The official training and validation parts are one side: neither is the test.
    """
    tested: pd.Series = images["part"] == "test"
    return tested if tested.any() and not tested.all() else None


def in_both(values: pd.Series, one: pd.Series, other: pd.Series) -> pd.Series:
    """Return which rows have a value that occurs in both of two parts."""
    return values.isin(values[one].unique()) & values.isin(values[other].unique())


def shared_numbers(images: pd.DataFrame, tested: pd.Series) -> pd.Series:
    """Return which rows have a bare number that is on both sides under different series.

    Whether such a number is one person depends on how the numbers were given, which nobody
    has published; the registry's rule takes them for different ones.
    """
    patients = in_both(images["patient"], tested, ~tested)
    told_already = images.loc[patients, "number"].unique()
    numbers = images["number"]
    return in_both(numbers, tested, ~tested) & ~numbers.isin(told_already)


def numbered(names: pd.Series) -> pd.Series:
    """Return numbers from 1 for names in order of appearance, 0 for none."""
    return pd.Series(pd.factorize(names)[0] + 1, names.index)


def spread_of_copies(images: pd.DataFrame, copies: pd.Series, patients_known: bool) -> pd.DataFrame:
    """Return for each picture that is there more than once what its copies differ in.

    Returns:
        One row a picture, bool: ``side`` (of the official test part), ``part``, ``class_name``
        and ``patient`` (False where nobody knows).
    """
    again = images[copies > 0]
    side = np.where(again["part"] == "test", "test", "rest")
    columns = ["side", "part", "class_name", "patient"]
    spread: pd.DataFrame = again.assign(side=side).groupby(copies[copies > 0])[columns].nunique()
    return (spread > 1).assign(patient=(spread["patient"] > 1) & patients_known)


def sizes_of(images: pd.DataFrame) -> dict[str, pd.Series]:
    """Return what the size of a picture in pixels can tell, by name."""
    return {
        "width": images["width"],
        "height": images["height"],
        "aspect ratio": images["width"] / images["height"],
        "number of pixels": images["width"] * images["height"],
    }


def bytes_of(path: str | os.PathLike[str]) -> int:
    """Return a file's size in bytes, 0 where it has vanished or may not be looked at."""
    try:
        return Path(path).stat().st_size
    except (OSError, ValueError):  # the latter of a name with a zero byte in it
        return 0


def told_best(
    values: pd.Series, class_names: pd.Series, dataset: Dataset
) -> list[tuple[str, float]]:
    """Return which class a number tells best from the rest, and the area under its ROC curve.

    Args:
        values: one an image.
        class_names: of the same images.
        dataset: its positive class is asked about; where it has none, each class.

    Returns:
        The class and the area, below 0.5 where the number is smaller in that class; nothing
        where all numbers, or all classes, are the same.
    """
    present = [name for name in dataset.classes if (class_names == name).any()]
    if values.nunique() < 2 or len(present) < 2:
        return []
    asked = present if dataset.positive is None else [dataset.positive]
    areas = {name: float(roc_auc_score(class_names == name, values)) for name in asked}
    best = max(asked, key=lambda name: abs(areas[name] - 0.5))
    return [(best, areas[best])]


# -- the rows of the table -----------------------------------------------------------------


def _repeated(index: pd.DataFrame) -> pd.Series:
    """Return the content of the pictures that are there more than once, None for the others.

    Flat pictures (every pixel the same) are no copies of one another: they show nothing.
    """
    again = index["content"].duplicated(keep=False).to_numpy(copy=True)
    if again.any():
        pixels = np.load(index.attrs["cache"], mmap_mode="r")
        rows = index["row"].to_numpy()[again]
        again[again] = [(pixels[row] != pixels[row, 0, 0]).any() for row in rows]
    return index["content"].where(again)


def _are_real_files(index: pd.DataFrame) -> bool:
    """Return whether the size of each image's file says something.

    How small a drawn sample's files get depends on the library that compressed them, so that
    two computers would print different figures; images in one archive have no files.
    """
    return not index.attrs["synthetic"] and index.attrs["source"] != "medmnist"


def _rows_of_patients(images: pd.DataFrame) -> list[tuple[str, str, str]]:
    patients = images["patient"].nunique()
    rows = [
        (f"patients with several {plural}", several_of(images, column).size, f"{patients:,}")
        for column, plural in _ONE_EACH.items()
        if column in images
    ]
    tested = in_test(images)
    if tested is not None:
        shared = in_both(images["patient"], tested, ~tested)
        both = images.loc[shared, "patient"].nunique()
        total = f"{images.loc[tested, 'patient'].nunique():,}"
        rows.append(("patients of the official test who are also outside it", both, total))
    if tested is not None and "number" in images:
        shared = shared_numbers(images, tested)
        both = images.loc[shared, "number"].nunique()
        total = f"{images.loc[tested, 'number'].nunique():,}"
        rows.append(("numbers of the official test, elsewhere under another series", both, total))
    return [(name, f"{found:,}", of) for name, found, of in rows]


def _rows_of_copies(
    images: pd.DataFrame, copies: pd.Series, patients_known: bool
) -> list[tuple[str, str, str]]:
    spread = spread_of_copies(images, copies, patients_known)
    surplus = int((copies > 0).sum()) - len(spread)
    rows = [("surplus copies of a picture", f"{surplus:,}", f"{len(images):,} images")]
    kinds = {"class_name": "under several classes"}
    if patients_known:
        kinds["patient"] = "under several patients"
    if in_test(images) is not None:
        kinds["side"] = "in the official test and outside it"
    for column, where in kinds.items():
        rows.append(
            (f"pictures {where}", f"{int(spread[column].sum()):,}", f"{len(images) - surplus:,}")
        )
    return rows


def _rows_of_sizes(images: pd.DataFrame, dataset: Dataset) -> list[tuple[str, str, str]]:
    """Return how well the best property of the size tells a class, and the file's size."""
    rows = []
    if "width" in images:
        rows += _row_of_best(sizes_of(images), images["class_name"], dataset)
    if "bytes" in images:
        rows += _row_of_best({"file size": images["bytes"]}, images["class_name"], dataset)
    return rows


def _row_of_best(
    features: Mapping[str, pd.Series], class_names: pd.Series, dataset: Dataset
) -> list[tuple[str, str, str]]:
    """Return the row of the feature that tells a class best; none where nothing differs."""
    told = [
        (max(area, 1 - area), class_name, feature)
        for feature, values in features.items()
        for class_name, area in told_best(values, class_names, dataset)
    ]
    if not told:
        return []
    area, class_name, feature = max(told, key=lambda one: one[0])
    return [(f"{class_name} told by the {feature} alone", f"AUC {area:.3f}", "0.5 is guessing")]
