"""From a folder to a data frame: one row an image, and a list of what was left out and why.

``load_index`` finds the class folders wherever a dataset's archives put them, tells the
patient of each image, decodes every image once into a cache (``helpers.images``) and
leaves out what cannot be used — counted and listed, never silently.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from helpers import images, registry, samples
from helpers.paths import data_home

COLUMNS = ("path", "label", "class_name", "patient", "split")
_DEPTH = 3  # how many folders below data_dir the class folders may lie


def load_index(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    image_size: int | None = None,
    seed: int = 0,
    max_images: int | None = None,
) -> pd.DataFrame:
    """Return a dataset as a data frame, one row an image that can be used.

    Args:
        name: a dataset of ``helpers.registry``.
        data_dir: the folder with the images; None draws the synthetic sample.
        image_size: height and width in pixels at which images are cached. None reads no
            pixels: damaged files are not noticed then, and ``Batches`` cannot use the index.
        seed: draws the sample, and chooses images where ``max_images`` asks for a part.
        max_images: take no more than so many, at random, the same share of every patient's.

    Returns:
        A frame with the columns ``path`` (absolute), ``label`` (int), ``class_name``,
        ``patient`` (str), ``split`` (empty until ``helpers.splits`` fills it) and, with
        ``image_size``, ``row`` (in the cache), ``width``, ``height`` (of the original,
        pixels) and ``content`` (equal hashes are equal pictures). Its ``attrs`` hold
        ``dataset``, ``root``, ``synthetic``, ``notes`` (sentences about what was found),
        ``left_out`` (dictionaries of ``path`` and ``reason``) and ``cache``.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: it is no such dataset, or a class has no usable image; says what was
            expected and what was found.
    """
    dataset = registry.get(name)
    root = _sample_folder(name, seed) if data_dir is None else Path(data_dir).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(
            f"data_dir={str(data_dir)!r}: there is no folder {root.absolute()}. "
            f"{_expected(dataset)}"
        )
    root = root.absolute()
    folder, notes = _class_folder(root, dataset)
    rows, left_out = _list_images(folder, dataset)
    index = pd.DataFrame(rows, columns=list(COLUMNS))
    _require_every_class(index, dataset, root, left_out)
    notes += _apply_patient_maps(index, folder, dataset)
    index["patient"] = index["patient"].replace(dict(dataset.same_patient))
    if max_images is not None and max_images < len(index):
        notes.append(f"{max_images:,} of {len(index):,} images were taken (max_images).")
        index = _choose_images(index, max_images, seed)
        _require_room(index, dataset, max_images)
    cache_path = None
    if image_size is not None:
        index, damaged, cache_path = _read_pixels(index, image_size, dataset)
        left_out += damaged
        _require_every_class(index, dataset, root, left_out)
    index.attrs = {
        "dataset": name,
        "root": str(root),
        "synthetic": data_dir is None,
        "notes": notes,
        "left_out": left_out,
        "cache": cache_path,
        "classes": list(dataset.classes),
    }
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


def _class_folder(root: Path, dataset: registry.Dataset) -> tuple[Path, list[str]]:
    """Return the folder that holds the class folders, and what is worth saying about it.

    Of several the shallowest is taken: Kaggle's malaria archive holds the images twice.
    """
    wanted = {name.lower() for name in dataset.classes}
    found = [
        folder
        for folder in _folders(root, _DEPTH)
        if wanted <= {child.name.lower() for child in _subfolders(folder)}
    ]
    if not found:
        raise ValueError(
            f"{root} holds no images of the dataset {dataset.name!r}. {_expected(dataset)} "
            f"Found: {_listing(root)}."
        )
    notes = []
    if len(found) > 1:
        twice = ", ".join(str(folder.relative_to(root)) for folder in found[1:])
        notes.append(f"The class folders are there more than once; left alone: {twice}.")
    return found[0], notes


def _folders(root: Path, depth: int) -> Iterable[Path]:
    """Yield the root and the folders below it, shallow ones first."""
    level = [root]
    for _ in range(depth + 1):
        yield from level
        level = [child for folder in level for child in _subfolders(folder)]


def _subfolders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir())
    except PermissionError:
        return []  # such as lost+found on the top of a disk: no place for images


def _list_images(
    folder: Path, dataset: registry.Dataset
) -> tuple[list[tuple[str, int, str, str, str]], list[dict[str, str]]]:
    """Return a row for each image file of the class folders, and what was left out."""
    rows, left = [], []
    for label, class_name in enumerate(dataset.classes):
        for child in _subfolders(folder):
            if child.name.lower() != class_name.lower():
                continue
            for path in sorted(child.iterdir()):
                if path.suffix.lower() not in images.SUFFIXES or path.name.startswith("._"):
                    left.append({"path": str(path), "reason": "not an image file"})
                    continue
                patient = dataset.patient_of(path.name)
                if patient is None:
                    reason = (
                        f"the name gives no patient (expected one like {dataset.patient_example})"
                    )
                    left.append({"path": str(path), "reason": reason})
                else:
                    rows.append((str(path), label, class_name, patient, ""))
    return rows, left


def _require_every_class(
    index: pd.DataFrame, dataset: registry.Dataset, root: Path, left: list[dict[str, str]]
) -> None:
    """Refuse a dataset of which a class has no usable image."""
    for class_name in dataset.classes:
        if (index["class_name"] == class_name).any():
            continue
        lost = [item for item in left if Path(item["path"]).parent.name.lower()
                == class_name.lower()]  # fmt: skip
        why = "the folder is empty"
        if lost:
            why = f"{len(lost)} files were left out; the first, {Path(lost[0]['path']).name}: "
            why += lost[0]["reason"]
        raise ValueError(
            f"The class {class_name!r} of {root} has no usable image: {why}. {_expected(dataset)}"
        )


def _require_room(index: pd.DataFrame, dataset: registry.Dataset, max_images: int) -> None:
    """Refuse a part so small that a class is not in it."""
    if index["class_name"].nunique() < len(dataset.classes):
        raise ValueError(
            f"max_images={max_images} leaves no image of a class. Give a few for each patient "
            f"and class, or None for all images."
        )


def _apply_patient_maps(index: pd.DataFrame, folder: Path, dataset: registry.Dataset) -> list[str]:
    """Let the dataset's own patient lists overrule the names, and return what they said.

    The lists are matched without the file's ending: they say ``.png`` where a copy of the
    set has ``.jpg``.
    """
    places = [parent / name for parent in (folder, folder.parent) for name in dataset.patient_maps]
    paths = [path for path in places if path.is_file()]
    if not paths:
        return []
    patients: dict[str, str] = {}
    for path in paths:
        patients.update(_read_patient_map(path))
    stems = index["path"].map(lambda path: Path(path).stem)
    listed = stems.map(patients)
    differs = listed.notna() & (listed != index["patient"])
    index.loc[listed.notna(), "patient"] = listed[listed.notna()]
    note = (
        f"Patient lists read: {', '.join(path.name for path in paths)}; they name "
        f"{int(listed.notna().sum()):,} of the {len(index):,} images"
    )
    if differs.any():
        example = Path(index.loc[differs, "path"].iloc[0]).name
        return [f"{note}, {int(differs.sum()):,} of them otherwise than the file name does "
                f"(such as {example}); the list was believed."]  # fmt: skip
    return [f"{note} and agree with their file names."]


def _read_patient_map(path: Path) -> Mapping[str, str]:
    """Return file name without ending → patient from one of NLM's lists.

    A line is ``patient,['name.png', 'name.png', …],,,``: a Python list spread over the
    cells of a CSV file without a header, padded with empty cells.

    Raises:
        ValueError: a line has another form, or the file is no such text.
    """
    patients = {}
    advice = "Fetch the file again, or move it away: the file names give the patients then."
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8 ({error.reason}). {advice}") from error
    for number, line in enumerate(lines, start=1):
        patient, _, names = line.partition(",")
        listed = re.findall(r"'([^']+)'", names)
        if line.strip() and not (patient and listed):
            raise ValueError(
                f"{path}, line {number}: expected «patient,['name.png', …]», found "
                f"{line[:60]!r}. {advice}"
            )
        patients.update({re.sub(r"\.\w+$", "", name): patient.strip() for name in listed})
    return patients


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


def _read_pixels(
    index: pd.DataFrame, image_size: int, dataset: registry.Dataset
) -> tuple[pd.DataFrame, list[dict[str, str]], str]:
    """Return the index without damaged images, those, and the path of the cache."""
    cache = images.build_cache(list(index["path"]), image_size, name=dataset.name, fit=dataset.fit)
    read = pd.concat([index, cache.table.set_axis(index.index)], axis="columns")
    bad = read[read["reason"] != ""]
    damaged = [
        {"path": path, "reason": reason}
        for path, reason in zip(bad["path"], bad["reason"], strict=True)
    ]
    good = read[read["reason"] == ""].drop(columns="reason").reset_index(drop=True)
    return good, damaged, str(cache.path)


def _expected(dataset: registry.Dataset) -> str:
    folders = ", ".join(f"{name}/" for name in dataset.classes)
    return (
        f"Expected: a folder with {folders} in it (or up to {_DEPTH} folders above them), each "
        f"full of images named like {dataset.patient_example}."
    )


def _listing(root: Path, most: int = 8) -> str:
    names = sorted(child.name + ("/" if child.is_dir() else "") for child in root.iterdir())
    if not names:
        return "an empty folder"
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
