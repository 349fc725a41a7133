"""From a folder to a data frame: one row an image, and a list of what was left out and why.

``load_index`` finds the images wherever a dataset's archives put them (``helpers.layouts``),
or takes somebody's own (``helpers.own_folder``, ``helpers.own_csv``) or a MedMNIST file
(``helpers.medmnist``). It tells the patient of each, decodes every image once into a cache
(``helpers.images``) and leaves out what cannot be used — counted and listed, never silently.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from helpers import (
    downloads,
    images,
    layouts,
    medmnist,
    own_csv,
    own_folder,
    own_images,
    packed,
    registry,
    samples,
    tables,
)
from helpers.defects import count_defects as count_defects  # part of what an index offers
from helpers.own_csv import write_csv as write_csv  # part of what an index offers
from helpers.own_images import dataset_of as dataset_of
from helpers.paths import data_home
from helpers.tables import compare_table as compare_table
from helpers.tables import read_table as read_table

# The share of max_images that an official test part may take.
_TESTED = 0.25
COLUMNS = ("path", "label", "class_name", "patient", "split", "part")


def load_index(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    image_size: int | None = None,
    seed: int = 0,
    max_images: int | None = None,
    patient_from: str | None = None,
    class_from: str | None = None,
    classes: Sequence[str] | None = None,
    **select: object,
) -> pd.DataFrame:
    """Return images as a data frame, one row an image that can be used.

    ``data_dir`` may be

    - the folder of the dataset ``name``, in any layout in which it is commonly found;
    - a CSV file (``.csv``, ``.tsv``) that lists images of one's own. Columns: ``path`` (from
      the CSV file's folder on; whole paths are taken as they are, but ``..`` may not leave
      the folder) and ``label``; where they are known ``patient``, ``split`` (``train``,
      ``valid`` or ``test``; it fills the column ``part``) and ``mask``. Other columns are kept.
      ``brain_mri`` needs ``mask`` and reads the class from it;
    - a folder with images of one's own, where ``name`` is ``"folder"``, or ``patient_from`` or
      ``class_from`` says how to read it;
    - a MedMNIST file (``.npz``), or the folder that holds it: pneumoniamnist for
      ``pneumonia``, octmnist for ``oct``, any of them for ``"folder"``. Its images have
      addresses such as ``octmnist.npz#train/17``, which ``images.read_image`` and
      ``images.open_image`` take like paths.

    Images of one's own may be of any number of classes; notebooks whose question has two
    answers take two. Labels are numbered in the registry's order where the classes are the
    dataset's (in upper or lower case), else in sorted order; of two classes the second is then
    the positive one, and one that is called normal, healthy, negative, benign or the like comes
    first. Without patients, each image is a patient of its own: the split is by
    image, and ``attrs["warnings"]`` says what that may be worth.

    Args:
        name: a dataset of ``helpers.registry``, or ``"folder"`` for images that belong to none.
        data_dir: see above; or the name of a downloaded set (see ``helpers.downloads.find``);
            None draws the synthetic sample.
        image_size: height and width in pixels at which images are cached. None reads no
            pixels (but those of masks, which are the labels): damaged files are not noticed
            then, and ``Batches`` cannot use the index.
        seed: draws the sample, and chooses images where ``max_images`` asks for a part.
        max_images: take no more than so many, at random, the same share of every patient's. An
            official test part of patients of its own stays whole, where it takes no more than a
            quarter of them.
        patient_from: what tells the patient of one's own images from the path below
            ``data_dir``: ``"folder:-1"`` is the folder that holds the file, ``"folder:-2"``
            the one above it, …; or a regular expression with one group, searched in the path
            with ``/`` between folders.
        class_from: the same for the class; None is ``"folder:-1"`` (in a CSV file: ``label``).
        classes: of one's own images, in the order of their labels; images of other classes
            are left out.
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
        ``root``, ``synthetic``, ``source`` (``"sample"``, ``"archive"``, ``"folder"``,
        ``"csv"`` or ``"medmnist"``), ``patients_known`` (False: every image is its own),
        ``warnings`` (sentences that must not be missed; they lead the notes), ``notes``
        (sentences about what was found), ``left_out`` (dictionaries of ``path`` and
        ``reason``), ``classes``, ``folders``, ``table``, ``cache`` and ``mask_cache``.

    Raises:
        FileNotFoundError: there is nothing at ``data_dir``, or the set was not downloaded.
        ValueError: it is no such dataset, a class has no usable image, a rule fits no image,
            there are more classes than the notebook can tell apart, or ``select`` keeps none;
            says what was expected and what was found.
    """
    dataset = own_images.known(name)
    place = _place(dataset, data_dir, seed)
    rules = {"patient_from": patient_from, "class_from": class_from}
    found = _find(place, dataset, rules, classes)
    root = place if place.is_dir() else place.parent
    index = _known_images(found, root, dataset)
    _require_every_class(index, found, dataset, place)
    notes = found.warnings + found.notes
    if dataset.about is not None and data_dir is not None and found.source == "archive":
        notes += dataset.about(index)
    own = found.source in ("csv", "folder") and dataset is not own_images.ANY
    if own and not dataset.parts and (index["part"] != "").any():
        notes.append(
            f"The parts that these images were given (train, valid, test) are not used: the "
            f"tutorial {dataset.tutorial} has no official test part, and deals the patients anew."
        )
    index = _selected(index, select, notes)
    if max_images is not None and max_images < len(index):
        notes.append(f"{max_images:,} of {len(index):,} images were taken (max_images).")
        index = _choose_images(index, max_images, seed)
        _require_room(index, found, max_images)
    index, caches = _read_files(index, image_size, dataset, found.left_out)
    if max_images is not None and "mask" in index:
        _require_room(index, found, max_images)  # only now are the classes known
    _require_every_class(index, found, dataset, place)
    notes += own_images.about_claims(index)
    index = index.drop(columns="claimed", errors="ignore")
    is_archive = found.source == "archive"
    table = tables.find_table(root, found.folders, dataset) if is_archive else None
    attrs: dict[str, object] = {
        "dataset": name,
        "root": str(root),
        "synthetic": data_dir is None,
        "source": "sample" if data_dir is None else found.source,
        "patients_known": found.patients_known,
        "warnings": found.warnings,
        "notes": notes,
        "left_out": found.left_out,
        "classes": list(found.classes),
        "folders": [str(folder) for folder in found.folders],
        "table": None if table is None else str(table),
        **caches,
    }
    index.attrs.update(attrs)
    if image_size is not None and found.source != "archive":
        notes += _tell_blank_apart(index)
    notes += tables.about_table(index)
    return index


def pixels_of(name: str, data_dir: str | os.PathLike[str] | None) -> int | None:
    """Return the height and width that all images of a MedMNIST file have, before it is loaded.

    Args:
        name: a dataset of ``helpers.registry``, or ``"folder"``.
        data_dir: as for ``load_index``.

    Returns:
        Pixels; None where the images are no such file's, and sizes differ.

    Raises:
        FileNotFoundError, ValueError: as ``load_index``.
    """
    if data_dir is None:
        return None
    dataset = own_images.known(name)
    place = _place(dataset, data_dir, seed=0)
    archive: Path | None = place
    if place.is_dir():  # beside class folders such a file is not read
        beside = any(item.is_dir() for item in place.iterdir())
        archive = None if beside else medmnist.inside(place, dataset)
    if archive is None or archive.suffix.lower() != medmnist.SUFFIX:
        return None
    return medmnist.pixels_of(archive)


def how_many(index: pd.DataFrame, images: str, patients: str = "patients") -> str:
    """Return how many images of how many patients there are, as a sentence says it.

    Args:
        index: from ``load_index``.
        images: what the tutorial calls them, such as ``"cells"``.
        patients: and whose they are.
    """
    known = index.attrs.get("patients_known", True)
    owners = f"of {index['patient'].nunique()} {patients}" if known else f"of unknown {patients}"
    return f"{len(index):,} {images} {owners}"


def left_out(index: pd.DataFrame) -> pd.DataFrame:
    """Return what ``load_index`` left out: one row a file, with the reason."""
    table = pd.DataFrame(index.attrs["left_out"], columns=["path", "reason"])
    table.insert(0, "file", [_short(path) for path in table["path"]])
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


def _short(path: str) -> str:
    """Return a file's name; of an image in an archive the whole address but the folders."""
    archive = packed.archive_of(path)
    return Path(archive).name + path[len(archive) :]


def _place(dataset: registry.Dataset, data_dir: str | os.PathLike[str] | None, seed: int) -> Path:
    """Return the folder or file, absolute, that ``data_dir`` means.

    Raises:
        FileNotFoundError: there is none, or it is a file of another kind.
        ValueError: images of one's own are asked for, and none given.
    """
    if data_dir is None:
        if dataset is own_images.ANY:
            raise ValueError('load_index("folder", …) needs data_dir: a folder or a CSV file.')
        return _sample_folder(dataset.name, seed)
    place = downloads.find(data_dir)
    is_table = place.suffix.lower() in own_csv.SUFFIXES | {medmnist.SUFFIX}
    if place.is_dir() or (is_table and place.is_file()):
        return place
    what = "file" if is_table else "folder"
    hint = " It is a file: unpack it, and give the folder." if place.is_file() else ""
    whole = dataset.classes and not is_table
    expected = layouts.expected(dataset) if whole else "Give a folder, a CSV or an npz file."
    raise FileNotFoundError(
        f"data_dir={str(data_dir)!r}: there is no {what} {place}.{hint} {expected}"
    )


def _find(
    place: Path,
    dataset: registry.Dataset,
    rules: Mapping[str, str | None],
    classes: Sequence[str] | None,
) -> layouts.Found:
    """Return what lies in a folder, a CSV file or a MedMNIST file."""
    has_rules = any(rule is not None for rule in rules.values())
    if place.suffix.lower() in own_csv.SUFFIXES and place.is_file():
        return own_csv.read_csv(place, dataset, **rules, classes=classes)
    if place.is_dir() and (has_rules or dataset is own_images.ANY):
        return own_folder.find_in_folder(place, dataset, **rules, classes=classes)
    if has_rules or classes is not None:
        raise ValueError(
            f"patient_from, class_from and classes are for images of one's own: {place} is read "
            f"as {dataset.name}, which has its own. For a folder of yours give class_from."
        )
    if not place.is_dir():
        return medmnist.find(place, dataset)
    try:
        return layouts.find_images(place, dataset)
    except layouts.NothingFoundError as error:
        archive = medmnist.inside(place, dataset)
        if archive is None:  # what to do comes first: a runner shows the beginning only
            how = own_csv.NEEDS_MASKS if dataset.reader == "volumes" else ""
            how = how or own_folder.how_to_list(place)
            raise ValueError(f"{error.text} {how} {error.more}") from None
        return medmnist.find(archive, dataset)


def _known_images(found: layouts.Found, root: Path, dataset: registry.Dataset) -> pd.DataFrame:
    """Return the images whose patient is known, by their names or by the dataset's lists."""
    index = _as_frame(found)
    if found.source == "archive":
        index, listed = tables.apply_patient_maps(index, root, found.folders, dataset)
        found.notes += listed
    return _with_patient(index, dataset, found.left_out)


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


def _tell_blank_apart(index: pd.DataFrame) -> list[str]:
    """Give images of a single colour a content of their own where several patients have them.

    Tissue is cut into patches, and an empty patch of one patient equals that of another. As
    copies they would tie all these patients together, and no split could part them.
    """
    owners = index.groupby("content")["patient"].transform("nunique")
    pixels = open_pixels(index)
    shared = index.index[owners > 1]
    rows = index.loc[shared, "row"].to_numpy()
    blank = [
        place
        for place, row in zip(shared, rows, strict=True)
        if (pixels[row] == pixels[row, 0, 0]).all()
    ]
    if not blank:
        return []
    index.loc[blank, "content"] += "-" + index.loc[blank, "row"].astype(str)
    return [
        f"{len(blank):,} images of a single colour are alike in several patients; they do not "
        f"count as copies of one another."
    ]


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
    index: pd.DataFrame, found: layouts.Found, dataset: registry.Dataset, place: Path
) -> None:
    """Refuse images of which a class has none that can be used."""
    if len(index) and (index["label"] == layouts.UNKNOWN).any():
        return  # the masks will tell
    by_folder = found.source == "archive" and dataset.reader == "class_folders"
    for class_name in found.classes:
        if (index["class_name"] == class_name).any():
            continue
        lost = [item for item in found.left_out if _may_be_of(item["path"], class_name, by_folder)]
        why = "the folder is empty"
        if dataset.reader == "volumes":
            why = "the masks of all images say otherwise"
        if lost:
            why = f"{len(lost)} files were left out; the first, {_short(lost[0]['path'])}: "
            why += lost[0]["reason"]
        raise ValueError(
            f"The class {class_name!r} of {place} has no usable image: {why}. {found.expected}"
            + (f" {own_folder.how_to_list(place)}" if by_folder and lost else "")
        )


def _may_be_of(path: str, class_name: str, by_folder: bool) -> bool:
    """Return whether a file that was left out could have been an image of a class."""
    return not by_folder or class_name.lower() in {
        part.strip().lower() for part in Path(path).parts[:-1]
    }


def _require_room(index: pd.DataFrame, found: layouts.Found, max_images: int) -> None:
    """Refuse a part so small that a class is not in it."""
    if (index["label"] == layouts.UNKNOWN).any():
        return
    if index["class_name"].nunique() < len(found.classes):
        raise ValueError(
            f"max_images={max_images} leaves no image of a class. Give a few for each patient "
            f"and class, or None for all images."
        )


def _choose_images(index: pd.DataFrame, max_images: int, seed: int) -> pd.DataFrame:
    """Return at most ``max_images`` rows, drawn at random but evenly from patients and classes.

    Each patient keeps the same share of their images, so that the patients — who decide
    how wide an interval is — all stay. An official test part of patients of its own stays whole
    as long as it takes no more than ``_TESTED``: figures of others are of all of it.
    """
    shuffled = index.sample(frac=1, random_state=np.random.default_rng(seed))
    group = shuffled.groupby(["patient", "label"])
    place = group.cumcount() / group["path"].transform("size")
    tested = shuffled["part"] == "test"
    apart = not shuffled["patient"][tested].isin(shuffled["patient"][~tested]).any()
    if apart and tested.sum() <= _TESTED * max_images:
        place[tested] = -1.0
    chosen = place.sort_values(kind="stable").index[:max_images]
    return index.loc[sorted(chosen)].reset_index(drop=True)


def _read_files(
    index: pd.DataFrame,
    image_size: int | None,
    dataset: registry.Dataset,
    left: list[dict[str, str]],
) -> tuple[pd.DataFrame, dict[str, str | None]]:
    """Return the index without what cannot be read, and the paths of the caches.

    Masks are read even without an ``image_size``: in volumes they are the labels. Both caches
    hold all files asked for, in the same order: a row of the index means the same row of both.
    """
    caches: dict[str, str | None] = {"cache": None, "mask_cache": None}
    index = index.assign(reason="")
    if "mask" in index:
        masks, caches["mask_cache"] = _read_masks(list(index["mask"]), image_size, dataset)
        masks = masks.set_axis(index.index)
        index = index.assign(
            mask_pixels=masks["mask_pixels"],
            reason=("its mask: " + masks["reason"]).where(masks["reason"] != "", ""),
        )
        if dataset.reader == "volumes":
            labels = (masks["mask_pixels"] > 0).astype(int)
            names = labels.map(dict(enumerate(dataset.classes)))
            index = index.assign(label=labels, class_name=names)
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
    sizes = (
        table.loc[differs, ["width", "height"]].to_numpy(int).tolist() for table in (masks, index)
    )
    index.loc[differs, "reason"] = list(map(images.other_size, *sizes))
