"""A folder with images of one's own: the folders or the file names say class and patient."""

from __future__ import annotations

import filecmp
import itertools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from helpers import layouts, registry
from helpers.layouts import Found
from helpers.own_images import (
    OwnImage,
    Rule,
    finish,
    folders_above,
    guess_patient,
    path_rule,
    with_patients,
)
from helpers.registry import Dataset

_LIST = "For images of your own, give a CSV file"


def find_in_folder(
    root: Path,
    dataset: Dataset,
    *,
    patient_from: str | None = None,
    class_from: str | None = None,
    classes: Sequence[str] | None = None,
) -> Found:
    """Return the images anywhere below a folder, their classes told by folders or names.

    Args:
        root: absolute.
        dataset: the notebook's dataset, or ``ANY``.
        patient_from: see ``helpers.index.load_index``.
        class_from: see there; None is ``"folder:-1"``.
        classes: see there.

    Raises:
        ValueError: there is no image, a rule fits none of them, or the classes do not suit
            the notebook; says what was found.
    """
    if dataset.reader == "volumes":
        raise ValueError(
            f"{dataset.name} needs a mask for each image. Give a CSV file with the columns path, "
            f"mask and patient instead of a folder."
        )
    rule_text = class_from or "folder:-1"
    class_of = path_rule(rule_text, "class_from")
    patient_of = None if patient_from is None else path_rule(patient_from, "patient_from")
    found = Found([root], source="folder", expected=_expected_folder(rule_text, patient_from))
    items = list(_below(root, found, class_of, rule_text))
    if patient_of is not None:
        items = with_patients(items, found, patient_of, str(patient_from))
    if not items:
        raise ValueError(_no_image(root, found))
    _require_no_part_as_class(items, rule_text)
    items = _without_copies(items, found)
    _set_parts(items)
    if class_from is None:
        _doubt_classes(items, found)
    finish(found, items, root, dataset, classes)
    return found


def how_to_list(root: Path, most: int = 5_000) -> str:
    """Return how to make a CSV file of a folder that holds none of the datasets.

    Args:
        root: absolute.
        most: files that are looked at, to tell which folder may be the patient.
    """
    files = itertools.islice(_files(root, set()), most)
    paths = [PurePosixPath(file.relative_to(root).as_posix()) for file in files
             if layouts.is_image(file)]  # fmt: skip
    if not paths or min(len(path.parts) for path in paths) < 2:
        return f"{_LIST} with the columns path and label (and patient) as data_dir."
    rules = ""
    if _classes_above(paths):
        rules = ', class_from="folder:-2", patient_from="folder:-1"'
    elif guess := guess_patient(paths, {path.parts[-2] for path in paths}):
        rules = f', patient_from="folder:-{guess[0]}"'
    return (
        f'{_LIST} as data_dir. write_csv(load_index("folder", {str(root)!r}{rules}), "my.csv") of '
        f"helpers.index makes one. In {paths[0]}{folders_above(paths[0])}."
    )


def _below(root: Path, found: Found, class_of: Rule, rule_text: str) -> Iterator[OwnImage]:
    """Yield the images below a folder whose class can be told."""
    for path in _files(root, set()):
        if not layouts.is_image(path):
            found.leave_out(path, "not an image file")
            continue
        inside = PurePosixPath(path.relative_to(root).as_posix())
        label = class_of(inside)
        if label is None:
            found.leave_out(path, f"class_from={rule_text!r} finds no class in {inside}")
        else:
            yield OwnImage(path, inside, label.strip())


def _files(folder: Path, seen: set[str]) -> Iterator[Path]:
    """Yield the files below a folder, each folder once, whatever links point where."""
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    yield from layouts.files_in(folder)
    for child in layouts.subfolders(folder):
        yield from _files(child, seen)


def _require_no_part_as_class(items: list[OwnImage], rule_text: str) -> None:
    """Refuse classes that are called train and test."""
    classes = {item.label.lower() for item in items}
    if classes <= set(registry.PART_NAMES):
        raise ValueError(
            f"class_from={rule_text!r} gives the classes {', '.join(sorted(classes))}: these are "
            f"parts of a split. Which folder, or what in the file name, is the class? The first "
            f"image is {items[0].inside}."
        )


def _doubt_classes(items: list[OwnImage], found: Found) -> None:
    """Warn where the folders that were taken for classes may be patients."""
    classes = _classes_above([item.inside for item in items])
    if classes:
        found.warnings.append(
            f"Are the classes patients? Each of the {len({item.label for item in items}):,} "
            f'folders that hold images lies below one other folder only. class_from="folder:-2", '
            f'patient_from="folder:-1" would give the classes '
            f"{layouts.shorten(sorted(classes), 8)}."
        )


def _classes_above(paths: Sequence[PurePosixPath]) -> set[str]:
    """Return the names of the folders two above the images, if they look like classes.

    They do where each folder of images is below only one of them, and these are several but
    fewer: classes with patients in them. A class, by contrast, is found below many patients.
    """
    above: dict[str, set[str]] = {}
    for path in paths:
        above.setdefault(path.parent.name, set()).add(path.parent.parent.name)
    names = set().union(*above.values())
    is_nested = 1 < len(names) < len(above) and all(len(one) == 1 for one in above.values())
    is_part = {name.strip().lower() for name in names} & registry.PART_NAMES.keys()
    return names if is_nested and not is_part and "" not in names else set()


def _set_parts(items: list[OwnImage]) -> None:
    """Take folders that are named like official parts for these."""
    for item in items:
        for name in item.inside.parts[:-1]:
            plain = name.strip().lower()
            if plain in registry.PART_NAMES and name not in (item.label, item.patient):
                item.part = registry.PART_NAMES[plain]
                break


def _without_copies(items: list[OwnImage], found: Found) -> list[OwnImage]:
    """Return the images without files that are there twice, as in Kaggle's doubled folders.

    Only files of one name, class, patient and size are compared, byte by byte. The copies are
    counted, folder by folder, and not listed: there may be as many as images.
    """
    kept: dict[tuple[object, ...], list[OwnImage]] = {}
    copies: Counter[str] = Counter()
    single = []
    for item in items:
        key = (item.path.name, item.label, item.patient, _size(item.path))
        others = kept.setdefault(key, [])
        if any(_is_equal(one.path, item.path) for one in others):
            copies[item.inside.parts[0]] += 1
        else:
            others.append(item)
            single.append(item)
    if copies:
        places = [f"{many:,} in {name}" for name, many in copies.most_common()]
        found.notes.append(
            f"Left out are copies of files that are elsewhere under the same name: "
            f"{layouts.shorten(places, 4)}."
        )
    return single


def _size(path: Path) -> int:
    """Return a file's size in bytes; of a link that leads nowhere -1."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _is_equal(one: Path, two: Path) -> bool:
    try:
        return filecmp.cmp(one, two, shallow=False)
    except OSError:
        return False  # whoever reads the images will say why


def _expected_folder(class_from: str, patient_from: str | None) -> str:
    patients = "" if patient_from is None else f", of the patient by {patient_from!r}"
    rule = f"class_from={class_from!r}{patients}"
    return f"Expected: image files below the folder, told apart by {rule}."


def _no_image(root: Path, found: Found) -> str:
    """Return what to say where a folder gave no image that can be used."""
    text = f"{root} holds no image that can be used. {found.expected} "
    example = next((one for one in found.left_out if "finds no" in one["reason"]), None)
    if example is None:
        endings = Counter(Path(one["path"]).suffix.lower() or "none" for one in found.left_out)
        known = ", ".join(f"{name} ({many:,})" for name, many in endings.most_common(5))
        return f"{text}Found: {'no files' if not known else f'files with the endings {known}'}."
    inside = PurePosixPath(Path(example["path"]).relative_to(root).as_posix())
    count = f"{len(found.left_out):,} files were left out"
    return f"{text}{count}; of the first: {example['reason']}{folders_above(inside)}."
