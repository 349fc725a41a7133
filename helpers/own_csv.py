"""A CSV file that lists images of one's own: read line by line, or written from an index.

The columns are ``path`` and ``label`` and, where they are known, ``patient``, ``split`` and
``mask``.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath

import pandas as pd

from helpers import registry
from helpers.layouts import Found
from helpers.own_images import (
    NAME,
    OwnImage,
    finish,
    leave_out_where,
    path_rule,
    with_classes,
    with_patients,
)
from helpers.paths import atomic_file
from helpers.registry import Dataset

SUFFIXES = frozenset({".csv", ".tsv"})
COLUMNS = ("path", "label", "patient", "split", "mask")

# what an index has besides: a CSV file may not set it
_OURS = frozenset({"class_name", "part", "row", "width", "height", "content", "reason",
                   "mask_pixels", "claimed"})  # fmt: skip
NEEDS_MASKS = (
    "For images of your own, give a CSV file with the columns path, mask (the mask's file for "
    "each image) and patient as data_dir."
)
_EXPECTED = (
    "Expected: a CSV file in UTF-8 with the columns path and label and, where they are known, "
    "patient, split (train, valid, test) and mask; each path from the CSV file's folder on."
)


def read_csv(
    file: Path,
    dataset: Dataset,
    *,
    patient_from: str | None = None,
    class_from: str | None = None,
    classes: Sequence[str] | None = None,
) -> Found:
    """Return the images that a CSV file lists.

    Commas, semicolons and tabs may separate its cells; a byte-order mark and Windows' slashes
    do no harm. A line that cannot be used is left out with its number and the reason.

    Args:
        file: absolute.
        dataset: the notebook's dataset, or ``ANY``.
        patient_from: see ``helpers.index.load_index``; overrules the column ``patient``.
        class_from: see there; overrules the column ``label``.
        classes: see there.

    Raises:
        ValueError: the file is no such table, no line can be used, or the classes do not suit
            the notebook; says what was found.
    """
    header, lines = _read_table(file)
    _require_columns(file, header, dataset, class_from)
    found = Found([file.parent], source="csv", expected=_EXPECTED)
    masks_wanted = dataset.reader == "volumes" or (dataset.name == NAME and "mask" in header)
    items = []
    for number, cells in lines:
        item = _read_line(found, file, number, cells, header)
        if item is not None and (not masks_wanted or _find_mask(found, item, file.parent)):
            items.append(item if masks_wanted else replace(item, mask=""))
    items = _without_twice(items, found)
    if class_from is not None:
        items = with_classes(items, found, path_rule(class_from, "class_from"), class_from)
    if patient_from is not None:
        rule = path_rule(patient_from, "patient_from")
        items = with_patients(items, found, rule, patient_from)
    if not class_from and dataset.reader != "volumes":
        items = leave_out_where(items, found, lambda item: not item.label, "no label")
    if any(item.patient for item in items):
        items = leave_out_where(
            items, found, lambda item: not item.patient, "no patient, where other lines have one"
        )
    if not items:
        raise ValueError(_no_line(file, len(lines), found))
    found.notes.append(f"{file.name}: {len(items):,} of its {len(lines):,} lines are used.")
    unused = [name for name in header if name in _OURS]
    if "mask" in header and not masks_wanted:
        unused.append("mask")
    if unused:
        found.notes.append(f"{file.name}: not used are the columns {', '.join(unused)}.")
    finish(found, items, file.parent, dataset, classes)
    return found


def write_csv(index: pd.DataFrame, path: str | os.PathLike[str]) -> Path:
    """Return the CSV file that was written from an index, for any notebook's ``data_dir``.

    So rules about folders need to be given once only, and a person can correct labels in a
    spreadsheet. Paths are written from the file's folder on, where the images lie below it,
    else absolute.

    Args:
        index: from ``load_index``, of files.
        path: the CSV file; one that exists is replaced.

    Raises:
        ValueError: the images lie inside an npz archive.
    """
    if index.attrs.get("source") == "medmnist":
        raise ValueError("An npz archive is a data_dir by itself; a CSV file lists image files.")
    target = Path(path).expanduser().absolute()
    table = pd.DataFrame({"path": [_seen_from(target.parent, one) for one in index["path"]],
                          "label": index["class_name"].to_numpy()})  # fmt: skip
    if index.attrs.get("patients_known", True):
        table["patient"] = index["patient"].to_numpy()
    split = index["split"].where(index["split"] != "", index["part"])
    if split.ne("").any():
        table["split"] = split.to_numpy()
    if "mask" in index:
        table["mask"] = [_seen_from(target.parent, one) for one in index["mask"]]
    with atomic_file(target) as temporary:
        table.to_csv(temporary, index=False, encoding="utf-8-sig")  # Excel needs the mark
    return target


def _read_table(file: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the names of a CSV file's columns, and its lines with their numbers."""
    try:
        text = file.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file} is not text in UTF-8 ({error.reason}). Save it as «CSV UTF-8»."
        ) from error
    first = text.lstrip("\r\n").partition("\n")[0]
    separator = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    rows = []
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append((reader.line_num, [cell.strip() for cell in cells]))
    except csv.Error as error:
        raise ValueError(f"{file}, line {reader.line_num}: {error}. {_EXPECTED}") from error
    if not rows:
        raise ValueError(f"{file} is empty. {_EXPECTED}")
    return [name.lower() for name in rows[0][1]], rows[1:]


def _require_columns(file: Path, header: list[str], dataset: Dataset, rule: str | None) -> None:
    """Refuse a table without the columns that are needed."""
    needed = ["path"]
    if dataset.reader == "volumes":
        needed.append("mask")  # from which the class follows
    elif rule is None:
        needed.append("label")
    missing = [name for name in needed if name not in header]
    if missing:
        why = f" {dataset.name} reads its labels from masks." if "mask" in missing else ""
        raise ValueError(
            f"{file} has no column {' and no column '.join(missing)}.{why} {_EXPECTED} "
            f"Found: {', '.join(header)}."
        )
    twice = [name for name, many in Counter(header).items() if name in COLUMNS and many > 1]
    if twice:
        raise ValueError(f"{file} has the column {twice[0]} twice. Remove one.")


def _read_line(
    found: Found, file: Path, number: int, cells: list[str], header: list[str]
) -> OwnImage | None:
    """Return one line's image, or None where it was left out."""
    where = f"line {number}: "
    if any(cells[len(header) :]):
        found.leave_out(file, f"{where}{len(cells)} cells below {len(header)} names of columns "
                        "(a cell that holds a separator needs quotation marks)")  # fmt: skip
        return None
    values = {**dict.fromkeys(header, ""), **dict(zip(header, cells, strict=False))}
    if not values["path"]:
        found.leave_out(file, f"{where}no path")
        return None
    try:
        path = _resolve(values["path"], file.parent)
        part = _part(values.get("split", ""))
    except ValueError as error:
        found.leave_out(values["path"], f"{where}{error}")
        return None
    if not _is_file(path):
        found.leave_out(path, f"{where}the file does not exist")
        return None
    more = {name: text for name, text in values.items()
            if name and name not in COLUMNS and name not in _OURS}  # fmt: skip
    return OwnImage(
        path=path,
        inside=_inside(path, file.parent),
        label=values.get("label", ""),
        where=where,
        patient=values.get("patient") or None,
        part=part,
        mask=values.get("mask", ""),
        more=more,
    )


def _resolve(text: str, folder: Path) -> Path:
    """Return the file that a cell means.

    Raises:
        ValueError: with the reason why it may not be read.
    """
    if Path(text).is_absolute():
        return Path(os.path.normpath(text))
    if PureWindowsPath(text).drive or text.startswith("\\"):
        raise ValueError("an absolute path of a Windows computer; paths start at the CSV's folder")
    if "\\" in text and not _is_file(folder / text):
        text = text.replace("\\", "/")
    path = Path(os.path.normpath(folder / text))
    if not path.is_relative_to(folder):
        raise ValueError(
            "the path leaves the CSV file's folder (..); move the file up, or write the whole path"
        )
    return path


def _is_file(path: Path) -> bool:
    """Return whether there is such a file that may be looked at."""
    try:
        return path.is_file()
    except OSError:  # too long a name, a folder that may not be entered
        return False


def _inside(path: Path, folder: Path) -> PurePosixPath:
    """Return a path below the CSV file's folder; one that lies elsewhere as it is."""
    inside = path.relative_to(folder) if path.is_relative_to(folder) else path
    return PurePosixPath(inside.as_posix())


def _part(text: str) -> str:
    """Return the official part that a cell names.

    Raises:
        ValueError: it names none.
    """
    if text and text.lower() not in registry.PART_NAMES:
        raise ValueError(f"the split {text!r} is none of train, valid and test")
    return registry.PART_NAMES.get(text.lower(), "")


def _find_mask(found: Found, item: OwnImage, folder: Path) -> bool:
    """Return whether a line's mask is there, and put its path in place."""
    reason = "no mask"
    if item.mask:
        try:
            mask = _resolve(item.mask, folder)
            item.mask = str(mask)
            reason = "" if _is_file(mask) else f"the mask {mask.name} does not exist"
        except ValueError as error:
            reason = f"its mask: {error}"
    if reason:
        found.leave_out(item.path, f"{item.where}{reason}")
    return not reason


def _without_twice(items: list[OwnImage], found: Found) -> list[OwnImage]:
    """Return the lines without those that name an image again; none where they disagree."""
    lines: dict[Path, list[OwnImage]] = {}
    for item in items:
        lines.setdefault(item.path, []).append(item)
    kept = []
    for path, same in lines.items():
        first = same[0]
        numbers = ", ".join(one.where.removeprefix("line ").removesuffix(": ") for one in same)
        if len({(one.label, one.patient, one.part, one.mask) for one in same}) > 1:
            labels = ", ".join(sorted({one.label for one in same}))
            found.leave_out(path, f"the lines {numbers} disagree about it (labels: {labels})")
            continue
        kept.append(first)
        for one in same[1:]:
            found.leave_out(path, f"{one.where}the same image as in {first.where.rstrip(': ')}")
    return kept


def _no_line(file: Path, lines: int, found: Found) -> str:
    """Return what to say where no line of a CSV file can be used."""
    if not lines:
        return f"{file} has no line below its heading. {_EXPECTED}"
    reasons = Counter(re.sub(r"^line \d+: ", "", one["reason"]) for one in found.left_out)
    why = "; ".join(f"{text} ({many:,})" for text, many in reasons.most_common(3))
    first = found.left_out[0]["path"]
    return f"None of the {lines:,} lines of {file} can be used: {why}. The first names {first}."


def _seen_from(folder: Path, path: str) -> str:
    """Return a path as a CSV file in a folder should name it."""
    file = Path(path)
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else str(file)
