"""From a folder to a data frame: one row an image, and a list of what was left out and why.

``load_index`` finds the images wherever a dataset's archives put them (``helpers.layouts``),
tells the patient of each, decodes every image once into a cache (``helpers.images``) and
leaves out what cannot be used — counted and listed, never silently.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from helpers import downloads, images, layouts, registry, samples, tables
from helpers.paths import data_home
from helpers.tables import compare_table as compare_table  # part of what an index offers
from helpers.tables import read_table as read_table

COLUMNS = ("path", "label", "class_name", "patient", "split", "part")


def load_index(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    image_size: int | None = None,
    seed: int = 0,
    max_images: int | None = None,
    **select: object,
) -> pd.DataFrame:
    """Return a dataset as a data frame, one row an image that can be used.

    Args:
        name: a dataset of ``helpers.registry``.
        data_dir: the folder with the images, or the name of a downloaded dataset (see
            ``helpers.downloads.find``); None draws the synthetic sample.
        image_size: height and width in pixels at which images are cached. None reads no
            pixels (but those of masks, which are the labels): damaged files are not noticed
            then, and ``Batches`` cannot use the index.
        seed: draws the sample, and chooses images where ``max_images`` asks for a part.
        max_images: take no more than so many, at random, the same share of every patient's.
        **select: keep the images whose column has this value (or one of these, in a list),
            such as ``magnification=200``; None keeps all.

    Returns:
        A frame with the columns ``path`` (absolute), ``label`` (int), ``class_name``,
        ``patient`` (str), ``split`` (empty until ``helpers.splits`` fills it), ``part`` (the
        archive's own: ``"train"``, ``"valid"``, ``"test"`` or empty), the dataset's own
        columns and, with ``image_size``, ``row`` (in the cache), ``width``, ``height`` (of
        the original, pixels) and ``content`` (equal hashes are equal pictures). A dataset
        with masks has ``slice`` (int), ``mask`` (path) and ``mask_pixels`` (how many are
        set in the original; the label says whether any is). Its ``attrs`` hold ``dataset``,
        ``root``, ``synthetic``, ``notes`` (sentences about what was found), ``left_out``
        (dictionaries of ``path`` and ``reason``), ``classes``, ``folders``, ``table``,
        ``cache`` and ``mask_cache``.

    Raises:
        FileNotFoundError: the folder does not exist, or the dataset was not downloaded.
        ValueError: it is no such dataset, a class has no usable image, or ``select`` keeps
            none; says what was expected and what was found.
    """
    dataset = registry.get(name)
    root = _sample_folder(name, seed) if data_dir is None else downloads.find(data_dir)
    if not root.is_dir():
        raise FileNotFoundError(
            f"data_dir={str(data_dir)!r}: there is no folder {root.absolute()}. "
            f"{layouts.expected(dataset)}"
        )
    root = root.absolute()
    found = layouts.find_images(root, dataset)
    left = found.left_out
    index, listed = tables.apply_patient_maps(_as_frame(found), found.folders, dataset)
    index = _with_patient(index, dataset, left)
    _require_every_class(index, dataset, root, left)
    notes = found.notes + listed
    index = _selected(index, select, notes)
    if max_images is not None and max_images < len(index):
        notes.append(f"{max_images:,} of {len(index):,} images were taken (max_images).")
        index = _choose_images(index, max_images, seed)
        _require_room(index, dataset, max_images)
    index, caches = _read_files(index, image_size, dataset, left)
    if max_images is not None and "mask" in index:
        _require_room(index, dataset, max_images)  # only now are the classes known
    _require_every_class(index, dataset, root, left)
    table = tables.find_table(root, found.folders, dataset)
    attrs: dict[str, object] = {
        "dataset": name,
        "root": str(root),
        "synthetic": data_dir is None,
        "notes": notes,
        "left_out": left,
        "classes": list(dataset.classes),
        "folders": [str(folder) for folder in found.folders],
        "table": None if table is None else str(table),
        **caches,
    }
    index.attrs.update(attrs)
    notes += tables.about_table(index)
    return index


def left_out(index: pd.DataFrame) -> pd.DataFrame:
    """Return what ``load_index`` left out: one row a file, with the reason."""
    table = pd.DataFrame(index.attrs["left_out"], columns=["path", "reason"])
    table.insert(0, "file", [Path(path).name for path in table["path"]])
    return table.drop(columns="path")


def some(index: pd.DataFrame, most: int, seed: int) -> pd.DataFrame:
    """Return at most so many rows of an index, drawn at random."""
    return index.sample(min(most, len(index)), random_state=seed)


def open_pixels(index: pd.DataFrame) -> np.ndarray:
    """Return the cached images that an index was made with, as a read-only memory map.

    Returns:
        uint8 (n, size, size, 3); the image of a row of the index is ``pixels[row]``.

    Raises:
        ValueError: the index was made without ``image_size``.
    """
    cache = index.attrs.get("cache")
    if not cache:
        raise ValueError(
            "This index has no pixels. Call load_index(…, image_size=…), and keep the frame's "
            "attrs where you build one frame from another."
        )
    pixels: np.ndarray = np.load(cache, mmap_mode="r")
    return pixels


def open_masks(index: pd.DataFrame) -> np.ndarray:
    """Return the cached masks that an index was made with, as a read-only memory map.

    Returns:
        uint8 (n, size, size, 1), 0 or 1; the mask of a row of the index is ``masks[row]``.

    Raises:
        ValueError: the dataset has no masks, or the index was made without ``image_size``.
    """
    cache = index.attrs.get("mask_cache")
    if not cache:
        raise ValueError(
            "This index has no masks. Only a dataset whose files carry masks has them, and only "
            "after load_index(…, image_size=…); keep the frame's attrs where you build one frame "
            "from another."
        )
    masks: np.ndarray = np.load(cache, mmap_mode="r")
    return masks


def _sample_folder(name: str, seed: int) -> Path:
    """Return the folder of the synthetic sample, drawing it where it is not there yet."""
    folder = data_home() / "samples" / f"{name}-seed{seed}-v{samples.version(name)}"
    if not folder.is_dir():
        try:
            samples.draw(name, folder, seed)
        except FileExistsError:
            if not folder.is_dir():  # else another notebook drew the same meanwhile
                raise
    return folder


def _as_frame(found: layouts.Found) -> pd.DataFrame:
    """Return the rows that were found, with the columns that all datasets have in front."""
    index = pd.DataFrame(found.rows)
    if index.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    index["split"] = ""
    return index[[*COLUMNS, *(name for name in index if name not in COLUMNS)]]


def _with_patient(
    index: pd.DataFrame, dataset: registry.Dataset, left: list[dict[str, str]]
) -> pd.DataFrame:
    """Return the images whose patient is known, under one id where a patient has two."""
    unknown = index["patient"].isna()
    reason = f"the name gives no patient (expected one like {dataset.patient_example})"
    left += [{"path": path, "reason": reason} for path in index.loc[unknown, "path"]]
    known = index[~unknown].reset_index(drop=True)
    known["patient"] = known["patient"].replace(dict(dataset.same_patient))
    return known


def _selected(index: pd.DataFrame, select: Mapping[str, object], notes: list[str]) -> pd.DataFrame:
    """Return the rows whose columns have the values asked for."""
    for column, value in select.items():
        if value is None:
            continue
        if column not in index:
            own = ", ".join(str(name) for name in index if name not in COLUMNS[:2])
            raise ValueError(f"{column}={value!r}: the index has no such column, only {own}.")
        wanted = list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
        kept = index[index[column].isin(wanted)]
        missing = [one for one in wanted if one not in set(kept[column])]
        if missing:
            there = layouts.shorten([str(one) for one in sorted(index[column].unique())], 8)
            raise ValueError(
                f"{column}={value!r}: no image has {missing[0]!r}. There are: {there}."
            )
        gone = set(index["class_name"]) - set(kept["class_name"])
        if gone:
            raise ValueError(
                f"{column}={value!r} leaves no image of the class {', '.join(sorted(gone))}."
            )
        notes.append(f"{len(kept):,} of {len(index):,} images have {column}={value!r}.")
        index = kept.reset_index(drop=True)
    return index


def _require_every_class(
    index: pd.DataFrame, dataset: registry.Dataset, root: Path, left: list[dict[str, str]]
) -> None:
    """Refuse a dataset of which a class has no usable image."""
    if len(index) and (index["label"] == layouts.UNKNOWN).any():
        return  # the masks will tell
    for class_name in dataset.classes:
        if (index["class_name"] == class_name).any():
            continue
        lost = [item for item in left if _may_be_of(item["path"], class_name, dataset)]
        why = "the folder is empty"
        if dataset.reader == "volumes":
            why = "the masks of all images say otherwise"
        if lost:
            why = f"{len(lost)} files were left out; the first, {Path(lost[0]['path']).name}: "
            why += lost[0]["reason"]
        raise ValueError(
            f"The class {class_name!r} of {root} has no usable image: {why}. "
            f"{layouts.expected(dataset)}"
        )


def _may_be_of(path: str, class_name: str, dataset: registry.Dataset) -> bool:
    """Return whether a file that was left out could have been an image of a class."""
    folders = {part.lower() for part in Path(path).parts[:-1]}
    return dataset.reader == "volumes" or class_name.lower() in folders


def _require_room(index: pd.DataFrame, dataset: registry.Dataset, max_images: int) -> None:
    """Refuse a part so small that a class is not in it."""
    if (index["label"] == layouts.UNKNOWN).any():
        return
    if index["class_name"].nunique() < len(dataset.classes):
        raise ValueError(
            f"max_images={max_images} leaves no image of a class. Give a few for each patient "
            f"and class, or None for all images."
        )


def _choose_images(index: pd.DataFrame, max_images: int, seed: int) -> pd.DataFrame:
    """Return at most ``max_images`` rows, drawn at random but evenly from patients and classes.

    Each patient keeps the same share of their images, so that the patients — who decide
    how wide an interval is — all stay.
    """
    shuffled = index.sample(frac=1, random_state=np.random.default_rng(seed))
    group = shuffled.groupby(["patient", "label"])
    place = group.cumcount() / group["path"].transform("size")
    chosen = place.sort_values(kind="stable").index[:max_images]
    return index.loc[sorted(chosen)].reset_index(drop=True)


def _read_files(
    index: pd.DataFrame,
    image_size: int | None,
    dataset: registry.Dataset,
    left: list[dict[str, str]],
) -> tuple[pd.DataFrame, dict[str, str | None]]:
    """Return the index without what cannot be read, and the paths of the caches.

    Masks are read even without an ``image_size``: they are the labels. Both caches hold all
    files asked for, in the same order, so a row of the index means the same row of both.
    """
    caches: dict[str, str | None] = {"cache": None, "mask_cache": None}
    index = index.assign(reason="")
    if "mask" in index:
        masks, caches["mask_cache"] = _read_masks(list(index["mask"]), image_size, dataset)
        masks = masks.set_axis(index.index)
        labels = (masks["mask_pixels"] > 0).astype(int)
        index = index.assign(
            label=labels,
            class_name=labels.map(dict(enumerate(dataset.classes))),
            mask_pixels=masks["mask_pixels"],
            reason=("its mask: " + masks["reason"]).where(masks["reason"] != "", ""),
        )
    if image_size is not None:
        cache = images.build_cache(
            list(index["path"]), image_size, name=dataset.name, fit=dataset.fit
        )
        caches["cache"] = str(cache.path)
        pixels = cache.table.set_axis(index.index)
        reason = pixels["reason"].where(pixels["reason"] != "", index["reason"])
        measured = pixels.drop(columns="reason")
        index = pd.concat([index.drop(columns="reason"), measured], axis="columns")
        index["reason"] = reason
        if "mask" in index:
            _compare_sizes(index, masks)
    bad = index["reason"] != ""
    left += [
        {"path": path, "reason": reason}
        for path, reason in zip(index["path"][bad], index["reason"][bad], strict=True)
    ]
    return index[~bad].drop(columns="reason").reset_index(drop=True), caches


def _read_masks(
    files: list[str], image_size: int | None, dataset: registry.Dataset
) -> tuple[pd.DataFrame, str | None]:
    """Return what is known of each mask, and the path of their cache where there is one."""
    if image_size is None:
        return images.measure_masks(files), None
    name = f"{dataset.name}-masks"
    cache = images.build_cache(files, image_size, name=name, fit=dataset.fit, kind="mask")
    return cache.table, str(cache.path)


def _compare_sizes(index: pd.DataFrame, masks: pd.DataFrame) -> None:
    """Note in the column ``reason`` where a mask has another size than its image."""
    differs = (index["reason"] == "") & (
        (index["width"] != masks["width"]) | (index["height"] != masks["height"])
    )
    index.loc[differs, "reason"] = [
        f"its mask has another size: {mask.width}×{mask.height} instead of {row.width}×{row.height}"
        for mask, row in zip(masks[differs].itertuples(), index[differs].itertuples(), strict=True)
    ]
