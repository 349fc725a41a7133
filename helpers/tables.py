"""Lists that lie beside the images: NLM's patient lists, and the table of the brain scans.

The first are believed; the second is compared with the files, and never believed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from helpers.layouts import files_in
from helpers.registry import Dataset

TABLE_COLUMNS = ("patient_id", "image_path", "mask_path", "mask")


def apply_patient_maps(
    index: pd.DataFrame, root: Path, folders: Sequence[Path], dataset: Dataset
) -> tuple[pd.DataFrame, list[str]]:
    """Let the dataset's own patient lists overrule the file names, and say what they did.

    The lists are matched without the file's ending: they say ``.png`` where a copy of the
    set has ``.jpg``.

    Args:
        index: with ``path`` and ``patient`` (None where the file name gives none).
        root: the folder that was given.
        folders: that hold the class folders; the lists lie in them, beside them or in a folder
            above, up to the root, under their names in upper or lower case.
        dataset: names the lists.

    Returns:
        The index with the patients of the lists, and a sentence about them.

    Raises:
        ValueError: a list is malformed; says which line.
    """
    paths = _patient_maps(root, folders, dataset)
    if not paths:
        return index, []
    patients: dict[str, str] = {}
    for path in paths:
        patients.update(_read_patient_map(path))
    listed = index["path"].map(lambda path: patients.get(Path(path).stem))
    is_listed = listed.notna()
    named = index["patient"].notna()
    differs = is_listed & named & (listed != index["patient"])
    index = index.assign(patient=index["patient"].where(~is_listed, listed))
    note = (
        f"Patient lists read: {', '.join(path.name for path in paths)}; they name "
        f"{int(is_listed.sum()):,} of the {len(index):,} images"
    )
    added = int((is_listed & ~named).sum())
    if added:
        note += f", {added:,} of them without a patient in the file name"
    if differs.any():
        example = Path(index.loc[differs, "path"].iloc[0]).name
        return index, [
            f"{note}, {int(differs.sum()):,} of them otherwise than the file name does "
            f"(such as {example}); the list was believed."
        ]
    return index, [f"{note} and agree with their file names."]


def _patient_maps(root: Path, folders: Sequence[Path], dataset: Dataset) -> list[Path]:
    """Return the dataset's patient lists, each once: the one that lies nearest to the images."""
    wanted = {name.lower() for name in dataset.patient_maps}
    found: dict[str, Path] = {}
    for folder in folders if wanted else ():
        places = [folder, *folder.parents]
        last = folder.parent if folder == root else root
        for place in places[: places.index(last) + 1]:
            for path in files_in(place):
                if path.name.lower() in wanted:
                    found.setdefault(path.name.lower(), path)
    return list(found.values())


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


# -- the table of the brain scans ----------------------------------------------------------


def find_table(root: Path, folders: Sequence[Path], dataset: Dataset) -> Path | None:
    """Return where the dataset's table lies: among the images, beside them, or at the top."""
    if dataset.reader != "volumes":
        return None
    places = [parent for folder in folders for parent in (folder, folder.parent)] + [root]
    return next((path for place in places if (path := place / dataset.table).is_file()), None)


def read_table(index: pd.DataFrame) -> pd.DataFrame:
    """Return the table that lies beside the images, as it is, with all its mistakes.

    Args:
        index: from ``load_index``.

    Returns:
        The columns ``patient_id``, ``image_path``, ``mask_path`` (str) and ``mask`` (0 or 1),
        and whatever else it has.

    Raises:
        FileNotFoundError: there is none beside these images.
        ValueError: it is no such table; says what is wrong.
    """
    place = index.attrs.get("table")
    if not place:
        raise FileNotFoundError(
            f"No table lies beside the images of {index.attrs.get('root')}. It is not needed: "
            f"the folders give the patients, the masks give the labels."
        )
    try:
        table = pd.read_csv(place, dtype={name: str for name in TABLE_COLUMNS[:3]},
                            encoding="utf-8-sig")  # fmt: skip
    except (ValueError, OSError) as error:  # pandas' own errors are ValueErrors
        raise ValueError(f"{place} cannot be read as a table ({_first_line(error)}).") from error
    missing = [name for name in TABLE_COLUMNS if name not in table]
    if missing:
        raise ValueError(
            f"{place} has no column {', '.join(missing)}; it has {', '.join(map(str, table))}."
        )
    return table


def compare_table(index: pd.DataFrame) -> pd.DataFrame:
    """Return the table beside the images with what is true in four more columns.

    Only the last two parts of its paths count, folder and file, with either kind of slash.

    Args:
        index: from ``load_index``.

    Returns:
        ``read_table`` with ``folder`` (the patient by the image's path), ``patient_is_wrong``,
        ``path_is_missing`` (the image or the mask is not there), ``label_is_wrong`` (False
        where the image is not part of the index).

    Raises:
        FileNotFoundError, ValueError: as ``read_table``.
    """
    table = read_table(index)
    folder = Path(index.attrs["folders"][0])
    image, mask = (table[name].fillna("").map(_last_two) for name in ("image_path", "mask_path"))
    known = {_last_two(path): row for path, row in
             zip(index["path"], index[["patient", "label"]].itertuples(), strict=True)}  # fmt: skip
    by_name = {path.rpartition("/")[2]: row for path, row in known.items()}
    rows = [known.get(path) or by_name.get(path) for path in image]
    patients = [
        path.rpartition("/")[0] or ("" if row is None else str(row.patient))
        for path, row in zip(image, rows, strict=True)
    ]
    claimed = pd.to_numeric(table["mask"], errors="coerce")
    return table.assign(
        folder=patients,
        patient_is_wrong=table["patient_id"].fillna("") != pd.Series(patients, table.index),
        path_is_missing=[
            not all(_is_there(folder, place, patient) for place in places)
            for *places, patient in zip(image, mask, patients, strict=True)
        ],
        label_is_wrong=[
            row is not None and claim != row.label for row, claim in zip(rows, claimed, strict=True)
        ],
    )


def about_table(index: pd.DataFrame) -> list[str]:
    """Return what the comparison of the table with the files says, as sentences."""
    if not index.attrs.get("table"):
        return []
    name = Path(index.attrs["table"]).name
    try:
        table = compare_table(index)
    except ValueError as error:
        return [f"{error} It was not used: folders give the patients, masks the labels."]
    rows = len(table)
    found = {
        "a patient_id that is not the folder's": int(table["patient_is_wrong"].sum()),
        "a missing path": int(table["path_is_missing"].sum()),
        "a wrong label": int(table["label_is_wrong"].sum()),
    }
    faults = ", ".join(f"{count:,} with {fault}" for fault, count in found.items() if count)
    notes = [
        f"{name}: of {rows:,} rows, {faults}; it was not used."
        if faults
        else f"{name}: its {rows:,} rows agree with the files."
    ]
    windows = int(table["image_path"].fillna("").str.contains("\\", regex=False).sum())
    if windows:
        notes.append(f"{name}: {windows:,} rows separate folders by \\, as Windows does.")
    listed = set(table["image_path"].fillna("").map(_last_two))
    names = {path.rpartition("/")[2] for path in listed}
    absent = sum(
        path not in listed and path.rpartition("/")[2] not in names
        for path in index["path"].map(_last_two)
    )
    if absent:
        notes.append(f"{name}: {absent:,} of the {len(index):,} images are not in it.")
    return notes


def _last_two(path: str) -> str:
    """Return ``folder/file`` of a path, with either kind of slash; the file where it is bare."""
    return "/".join(PurePosixPath(path.strip().replace("\\", "/")).parts[-2:])


def _is_there(folder: Path, place: str, patient: str) -> bool:
    """Return whether a file of the table is on the disk."""
    path = place if "/" in place else f"{patient}/{place}"
    return bool(place) and (folder / path).is_file()


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__
