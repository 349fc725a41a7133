"""Images that belong to no dataset: which of them is which class, and whose they are.

A folder (``helpers.own_folder``) or a CSV file (``helpers.own_csv``) says where they lie. Here
their classes are numbered, their patients named, and what a reader must know is put in words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath, PurePosixPath

import pandas as pd

from helpers import layouts, registry
from helpers.command import command
from helpers.layouts import UNKNOWN, Found
from helpers.registry import Dataset

NAME = "folder"
SOURCES = ("folder", "csv")  # of an index whose images are the reader's own
MANY_CLASSES = 30  # more are probably patients, taken for classes

ANY = Dataset(
    name=NAME,
    number=0,
    title="Images of your own",
    task="Which of its classes does an image show?",
    classes=(),
    positive=None,
    patient_of=lambda _: None,
    patient_example="image.png",
    counts={},
    licence="not stated: ask whoever gave you the images",
    citation="not stated: ask whoever gave you the images",
    article="none",
    profiles={},
)
"""What takes a dataset's place where the images belong to none."""

Rule = Callable[[PurePosixPath], str | None]

_NEGATIVE = re.compile(
    r"normal|healthy|negative|neg|no|none|benign|controls?|uninfected|absent|正常|阴性|健康|良性"
    r"|(no|non|not|without)[ _-].*",
    re.IGNORECASE,
)


@dataclass
class OwnImage:
    """What is known of one image before the classes are numbered."""

    path: Path
    inside: PurePosixPath  # below the data folder
    label: str
    where: str = ""  # such as "line 7: "
    patient: str | None = None
    part: str = ""
    mask: str = ""
    more: dict[str, str] = field(default_factory=dict)


def dataset_of(index: pd.DataFrame) -> Dataset:
    """Return what a notebook needs to know of the images it was given.

    For a dataset's own images that is the registry's entry. For images of one's own it has
    their classes; of two classes the second is the positive one. Where the notebook asks a
    second question about urgent classes that are not there, those that are not called healthy
    take their place.
    Licence, citation, counts and published figures are those of the registry's images and
    are gone.

    Args:
        index: from ``load_index``.
    """
    name = index.attrs["dataset"]
    asked = known(name)
    if tuple(index.attrs["classes"]) == asked.classes and index.attrs["source"] not in SOURCES:
        return asked
    classes = tuple(index.attrs["classes"])
    positive = classes[1] if len(classes) == 2 and _has_positive(asked) else None
    return replace(
        asked,
        classes=classes,
        positive=positive,
        urgent=_urgent(asked, classes),
        title=f"{asked.title}: images of your own" if asked is not ANY else asked.title,
        counts={},
        licence=ANY.licence,
        citation=ANY.citation,
        releases=(),
        defects=(),
        parts={},
        published=(),
    )


def known(name: str) -> Dataset:
    """Return the dataset of that name; ``"folder"`` stands for images that belong to none.

    Raises:
        ValueError: there is none; says which is nearest.
    """
    return ANY if name == NAME else registry.get(name)


def path_rule(text: str, name: str) -> Rule:
    """Return what tells a class or a patient from an image's path below the data folder.

    Args:
        text: ``"folder:-1"`` (the folder that holds the file), ``"folder:-2"`` (the one above
            it), …; or a regular expression with one group, searched in the path with ``/``.
        name: of the parameter, for messages.

    Returns:
        From the path to the text that was found, or None.

    Raises:
        ValueError: it is neither.
    """
    if text.startswith("folder:"):
        number = re.fullmatch(r"folder:-([1-9]\d*)", text)
        if number is None:
            raise ValueError(
                f"{name}={text!r}: folders are counted from the file: folder:-1 is the one that "
                f"holds it, folder:-2 the one above, and so on."
            )
        back = int(number[1]) + 1  # the last part is the file
        return lambda path: path.parts[-back] if len(path.parts) >= back else None
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ValueError(f"{name}={text!r} is no regular expression: {error}.") from error
    if pattern.groups != 1:
        raise ValueError(
            f"{name}={text!r} has {pattern.groups} groups. Give one, in brackets, around what is "
            f'the name, such as "(patient\\d+)_"; or "folder:-2".'
        )
    return lambda path: (match[1] or None) if (match := pattern.search(path.as_posix())) else None


def with_patients(items: list[OwnImage], found: Found, rule: Rule, text: str) -> list[OwnImage]:
    """Return the images whose patient the rule tells."""
    for item in items:
        item.patient = rule(item.inside)
        if item.patient is None:
            reason = f"patient_from={text!r} finds no patient in {item.inside}"
            found.leave_out(item.path, f"{item.where}{reason}")
    kept = [item for item in items if item.patient is not None]
    if kept and all(item.patient == item.label for item in kept):
        names = layouts.shorten(sorted({item.label for item in kept}), 8)
        raise ValueError(
            f"patient_from={text!r} gives each image its class ({names}), not its patient. The "
            f"first image is {kept[0].inside}{folders_above(kept[0].inside)}."
        )
    return kept


def folders_above(inside: PurePosixPath) -> str:
    """Return what rules call the folders of an image, in brackets: `` (folder:-1 is '0')``."""
    folders = inside.parts[-2::-1]
    named = ", ".join(f"folder:-{back} is {name!r}" for back, name in enumerate(folders, start=1))
    return f" ({named or 'no folder is above it'})"


def with_classes(items: list[OwnImage], found: Found, rule: Rule, text: str) -> list[OwnImage]:
    """Return the images whose class the rule tells."""
    for item in items:
        item.label = rule(item.inside) or ""
    return leave_out_where(
        items, found, lambda item: not item.label, f"class_from={text!r} finds no class"
    )


def leave_out_where(
    items: list[OwnImage], found: Found, is_bad: Callable[[OwnImage], bool], reason: str
) -> list[OwnImage]:
    """Return the images without some, which are left out."""
    for item in items:
        if is_bad(item):
            found.leave_out(item.path, f"{item.where}{reason}")
    return [item for item in items if not is_bad(item)]


def finish(
    found: Found,
    items: list[OwnImage],
    root: Path,
    dataset: Dataset,
    classes: Sequence[str] | None,
) -> None:
    """Number the classes, name the patients, and fill the rows."""
    if dataset.reader == "volumes":
        found.classes = tuple(dataset.classes)
    else:
        items = _with_known_classes(items, found, classes)
        found.classes = _in_order(items, dataset, classes)
        _require_number_of_classes(found, items, dataset)
    _name_patients(found, items, dataset)
    found.rows = _rows(items, found.classes, dataset)
    _add_own_columns(found, items, dataset)
    found.notes += _about_classes(found, dataset) + _about_parts(found.rows)
    if not found.patients_known:
        found.warnings.append(_no_patients(items))


def about_claims(index: pd.DataFrame) -> list[str]:
    """Return how labels of a CSV file differ from those that its masks give, as sentences."""
    if "claimed" not in index:
        return []
    differs = (index["claimed"] != UNKNOWN) & (index["claimed"] != index["label"])
    if not differs.any():
        return []
    example = Path(index.loc[differs, "path"].iloc[0]).name
    return [
        f"The label of {int(differs.sum()):,} images is not what their masks say (such as "
        f"{example}); the masks were believed."
    ]


# -- classes and patients ----------------------------------------------------------------------


def _with_known_classes(
    items: list[OwnImage], found: Found, classes: Sequence[str] | None
) -> list[OwnImage]:
    """Return the images under one spelling of each class, without classes not asked for."""
    spelt = Counter(item.label for item in items)
    spelling: dict[str, str] = {}
    for name, _ in spelt.most_common():  # the commonest spelling stands for all
        spelling.setdefault(name.casefold(), name)
    for name in classes or ():
        spelling[name.casefold()] = name
    others = sorted(name for name in spelt if spelling[name.casefold()] != name)
    if others:
        pairs = ", ".join(f"{name!r} as {spelling[name.casefold()]!r}" for name in others)
        found.notes.append(f"Spellings of one class were joined: {pairs}.")
    for item in items:
        item.label = spelling[item.label.casefold()]
    if classes is None:
        return items
    unknown = f"is none of the classes {', '.join(classes)}"
    for item in items:
        if item.label not in classes:
            found.leave_out(item.path, f"{item.where}{item.label!r} {unknown}")
    return [item for item in items if item.label in classes]


def _in_order(
    items: list[OwnImage], dataset: Dataset, classes: Sequence[str] | None
) -> tuple[str, ...]:
    """Return the classes in the order of their labels; the registry's where they are its own."""
    if classes is not None:
        return tuple(classes)
    names = {item.label for item in items}
    known = {name.casefold(): name for name in dataset.classes}
    if {name.casefold() for name in names} == set(known):
        for item in items:
            item.label = known[item.label.casefold()]
        return tuple(dataset.classes)
    if all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=int))
    if len(names) == 2:
        # the second is the positive one: where the registry's belongs, and "normal" does not
        return tuple(sorted(names, key=lambda name: (_rank(name, dataset), name)))
    return tuple(sorted(names))


def _rank(name: str, dataset: Dataset) -> int:
    """Return where one of two classes belongs: 0 the healthy, 2 the registry's positive one."""
    return 2 if name == dataset.positive else int(_NEGATIVE.fullmatch(name) is None)


def _urgent(dataset: Dataset, classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the classes that are one in the dataset's second question, if it asks one.

    Where its own are not there: everything that is not called healthy; of two classes the second.
    """
    there = tuple(name for name in dataset.urgent if name in classes)
    if not dataset.urgent or 0 < len(there) < len(classes):
        return there
    if there:  # all of them: one has to be told from the rest
        return classes[:1]
    ill = tuple(name for name in classes if _NEGATIVE.fullmatch(name) is None)
    if 0 < len(ill) < len(classes):
        return ill
    return classes[1:] if len(classes) == 2 else classes[:1]


def _has_positive(dataset: Dataset) -> bool:
    """Return whether one of two classes is what sensitivity is about."""
    return dataset.positive is not None or dataset is ANY


def _require_number_of_classes(found: Found, items: list[OwnImage], dataset: Dataset) -> None:
    """Refuse a single class, and more than two in a notebook that asks for yes or no."""
    many = Counter(item.label for item in items)
    counted = layouts.shorten([f"{name} ({many[name]:,})" for name in found.classes], 8)
    if len(found.classes) < 2:
        raise ValueError(f"All images are of one class: {counted}. There is nothing to tell apart.")
    if dataset.positive is None or len(found.classes) == 2:
        return
    names = " or ".join(
        f"{one.tutorial} ({command(f'run {one.name} …')})"
        for one in registry.in_order()
        if one.positive is None
    )
    raise ValueError(
        f"These images are of {len(found.classes)} classes: {counted}. The notebook "
        f"{dataset.tutorial} answers a question with two answers. {names} takes any number of "
        f"classes. If a class is a slip of the pen, correct its label."
    )


def _name_patients(found: Found, items: list[OwnImage], dataset: Dataset) -> None:
    """Give each image a patient: the one it has, the one in its name, or itself."""
    if all(item.patient for item in items):
        return
    names = [dataset.patient_of(item.path.name) for item in items]
    if all(names):
        found.notes.append(f"Patients were told from the file names, as {dataset.name} has them.")
        for item, name in zip(items, names, strict=True):
            item.patient = name
        return
    found.patients_known = False
    for item in items:
        item.patient = item.inside.as_posix()


def _rows(
    items: list[OwnImage], classes: tuple[str, ...], dataset: Dataset
) -> list[dict[str, object]]:
    """Return the rows of the index."""
    labels = {name: number for number, name in enumerate(classes)}
    rows: list[dict[str, object]] = []
    for item in items:
        row: dict[str, object] = {
            **item.more,
            "path": str(item.path),
            "label": labels.get(item.label, UNKNOWN),
            "class_name": item.label,
            "patient": item.patient,
            "part": item.part,
        }
        if item.mask:
            row["mask"] = item.mask
        rows.append(row)
    if dataset.reader == "volumes":
        _add_slices(rows, items, dataset)
    return rows


def _add_slices(rows: list[dict[str, object]], items: list[OwnImage], dataset: Dataset) -> None:
    """Add what volumes have: the slice's number; the class follows from the mask."""
    claims = {name.casefold(): number for number, name in enumerate(dataset.classes)}
    claims |= {str(number): number for number in range(len(dataset.classes))}
    for row, item, number in zip(rows, items, _numbers_of_slices(items), strict=True):
        row["slice"] = number
        row["claimed"] = claims.get(item.label.casefold(), UNKNOWN)
        row["label"], row["class_name"] = UNKNOWN, ""


def _numbers_of_slices(items: list[OwnImage]) -> list[int]:
    """Return each slice's number in its volume.

    Where files are numbered on from volume to volume, or not at all, the slices of each volume
    are counted from 1: a number must tell how high in the head a slice lies.
    """
    numbers = [_number_of_slice(item) for item in items]
    told = [number for number in numbers if number is not None]
    patients = [str(item.patient) for item in items]
    if len(told) == len(items) and (len(set(told)) < len(told) or len(set(patients)) == 1):
        return told
    order = pd.Series(told if len(told) == len(items) else range(len(items)))
    return [int(place) for place in order.groupby(patients).rank()]


def _number_of_slice(item: OwnImage) -> int | None:
    """Return the number of a slice: a column's, or the last one in the file's name."""
    text = item.more.get("slice", "")
    found = re.search(r"(\d+)\D*$", item.path.stem) if not text else re.fullmatch(r"(\d+)", text)
    return None if found is None else int(found[1])


def _add_own_columns(found: Found, items: list[OwnImage], dataset: Dataset) -> None:
    """Add the dataset's own columns where every file name is one of its own; tidy numbers."""
    described: list[dict[str, object] | None] = []
    if dataset.describe is not None:
        try:
            described = [dataset.describe(PurePath(item.path.name)) for item in items]
        except ValueError:
            described = []
    if described and None not in described:
        found.rows = [
            {**(own or {}), **row} for own, row in zip(described, found.rows, strict=True)
        ]
    for name in {name for item in items for name in item.more}:
        if all(re.fullmatch(r"[+-]?(0|[1-9]\d*)", item.more.get(name, "")) for item in items):
            for row in found.rows:
                row[name] = int(str(row[name]))


# -- what is worth saying --------------------------------------------------------------------


def _about_classes(found: Found, dataset: Dataset) -> list[str]:
    """Return what the numbers of the classes are, where somebody may have meant others."""
    if found.classes == tuple(dataset.classes):
        return []
    numbered = [
        name if name == str(label) else f"{name} = {label}"
        for label, name in enumerate(found.classes)
    ]
    text = f"Classes: {layouts.shorten(numbered, 8)}."
    if len(found.classes) == 2 and _has_positive(dataset):
        text += (
            f" {found.classes[1]!r} is the positive one, which sensitivity is about. If it should "
            f"be the other: load_index(…, classes={list(found.classes[::-1])!r}), or the names 0 "
            f"and 1 in a CSV file, of which 1 is the positive one."
        )
    urgent = _urgent(dataset, found.classes)
    if urgent != dataset.urgent:
        text += f" Where {dataset.name} asks what is urgent, {', '.join(urgent)} is meant."
    if len(found.classes) > MANY_CLASSES:
        found.warnings.append(
            f"There are {len(found.classes):,} classes. Are they patients? class_from says which "
            f"folder is the class."
        )
    return [text]


def _about_parts(rows: list[dict[str, object]]) -> list[str]:
    """Return whether patients stand in several official parts, and how many images have none."""
    notes = []
    table = pd.DataFrame(rows, columns=["patient", "part"])
    without = int((table["part"] == "").sum())
    if 0 < without < len(table):
        notes.append(
            f"{without:,} of {len(table):,} images are in no official part, so that these parts "
            f"cannot be used as a split."
        )
    parts = table[table["part"] != ""].groupby("patient")["part"].unique()
    several = parts[parts.map(len) > 1]
    if len(several):
        example = f"{several.index[0]} in {' and '.join(several.iloc[0])}"
        notes.append(
            f"{len(several):,} patients stand in more than one official part (such as {example}): "
            f"a test on these parts meets patients who were seen in training. A split by patient "
            f"does not."
        )
    return notes


def _no_patients(items: list[OwnImage]) -> str:
    """Return what it means that nobody knows which images are of one patient."""
    text = (
        "NO PATIENTS ARE KNOWN: every image counts as a patient of its own, and the split is by "
        "image. If several images are of one patient, some of them lie in training and others in "
        "the test; then every figure is too good, and its interval too narrow. On OCT scans that "
        "was worth 5 to 30 points of accuracy (Tampu 2022, doi 10.1038/s41597-022-01618-6). "
        "Give a column patient in the CSV file, or patient_from."
    )
    guess = guess_patient([item.inside for item in items], {item.label for item in items})
    if guess:
        back, names = guess
        text += (
            f' Is it the folder? patient_from="folder:-{back}" would give {len(names):,} '
            f"patients, such as {min(names)!r}."
        )
    return text


def guess_patient(paths: Sequence[PurePosixPath], classes: set[str]) -> tuple[int, set[str]] | None:
    """Return which folder may be the patient, counted from the file, and its names.

    Args:
        paths: of images below their data folder.
        classes: what is no patient.
    """
    depth = min(len(path.parts) for path in paths) - 1
    for back in range(1, depth + 1):
        names = {path.parts[-back - 1] for path in paths}
        if len(names) > 5 and not names & classes:
            return back, names
    return None
