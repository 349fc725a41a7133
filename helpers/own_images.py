"""Images of one's own: a folder or a CSV file becomes the rows that ``load_index`` works on.

A CSV file has the columns ``path`` and ``label`` and, where they are known, ``patient``,
``split`` and ``mask``. In a folder, the folders or the file names say class and patient.
"""

from __future__ import annotations

import csv
import filecmp
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

import pandas as pd

from helpers import layouts, registry
from helpers.layouts import UNKNOWN, Found
from helpers.paths import atomic_file
from helpers.registry import Dataset

NAME = "folder"
SUFFIXES = frozenset({".csv", ".tsv"})
COLUMNS = ("path", "label", "patient", "split", "mask")
OWN = ("folder", "csv")  # sources of an index whose images are nobody's but the reader's
MANY_CLASSES = 30  # more are probably patients, taken for classes

# what an index has besides: a CSV file may not set it
_OURS = frozenset({"class_name", "part", "row", "width", "height", "content", "reason",
                   "mask_pixels", "claimed"})  # fmt: skip
_EXPECTED = (
    "Expected: a CSV file in UTF-8 with the columns path and label and, where they are known, "
    "patient, split (train, valid, test) and mask; each path from the CSV file's folder on."
)

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


@dataclass
class _Image:
    """What is known of one image before the classes are numbered."""

    path: Path
    inside: PurePosixPath  # below the data folder
    label: str
    where: str = ""  # such as "line 7: "
    patient: str | None = None
    part: str = ""
    mask: str = ""
    more: dict[str, str] = field(default_factory=dict)


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
        items = _with_patients(items, found, patient_of, str(patient_from))
    if not items:
        raise ValueError(_no_image(root, found))
    _require_no_part_as_class(items, rule_text)
    items = _without_copies(items, found)
    _set_parts(items)
    _finish(found, items, root, dataset, classes)
    return found


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
        items = _with_classes(items, found, path_rule(class_from, "class_from"), class_from)
    if patient_from is not None:
        rule = path_rule(patient_from, "patient_from")
        items = _with_patients(items, found, rule, patient_from)
    if not class_from and dataset.reader != "volumes":
        items = _leave_out_where(items, found, lambda item: not item.label, "no label")
    if any(item.patient for item in items):
        items = _leave_out_where(
            items, found, lambda item: not item.patient, "no patient, where other lines have one"
        )
    if not items:
        raise ValueError(_no_line(file, len(lines), found))
    found.notes.append(f"{file.name}: {len(items):,} of its {len(lines):,} lines are used.")
    if "mask" in header and not masks_wanted:
        found.notes.append(f"{file.name}: the column mask is not used by {dataset.name}.")
    _finish(found, items, file.parent, dataset, classes)
    return found


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


def dataset_of(index: pd.DataFrame) -> Dataset:
    """Return what a notebook needs to know of the images it was given.

    For a dataset's own images that is the registry's entry. For images of one's own it has
    their classes; of two classes the second is the positive one, unless the registry's
    positive class is among them. Licence, citation, counts and published figures are those
    of the registry's images and are gone.

    Args:
        index: from ``load_index``.
    """
    name = index.attrs["dataset"]
    known = ANY if name == NAME else registry.get(name)
    if tuple(index.attrs["classes"]) == known.classes and index.attrs["source"] not in OWN:
        return known
    classes = tuple(index.attrs["classes"])
    positive = known.positive if known.positive in classes else None
    if positive is None and len(classes) == 2 and (known.positive is not None or known is ANY):
        positive = classes[1]
    return replace(
        known,
        classes=classes,
        positive=positive,
        urgent=known.urgent if set(known.urgent) <= set(classes) else (),
        title=f"{known.title}: images of your own" if known is not ANY else known.title,
        counts={},
        licence=ANY.licence,
        citation=ANY.citation,
        downloads=(),
        defects=(),
        published=(),
    )


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


# -- a folder ------------------------------------------------------------------------------


def _below(root: Path, found: Found, class_of: Rule, rule_text: str) -> Iterator[_Image]:
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
            yield _Image(path, inside, label.strip())


def _files(folder: Path, seen: set[str]) -> Iterator[Path]:
    """Yield the files below a folder, each folder once, whatever links point where."""
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    yield from layouts.files_in(folder)
    for child in layouts.subfolders(folder):
        yield from _files(child, seen)


def _require_no_part_as_class(items: list[_Image], rule_text: str) -> None:
    """Refuse classes that are called train and test."""
    classes = {item.label.lower() for item in items}
    if classes <= set(registry.PART_NAMES):
        raise ValueError(
            f"class_from={rule_text!r} gives the classes {', '.join(sorted(classes))}: these are "
            f"parts of a split. Which folder, or what in the file name, is the class? The first "
            f"image is {items[0].inside}."
        )


def _set_parts(items: list[_Image]) -> None:
    """Take folders that are named like official parts for these."""
    for item in items:
        for name in item.inside.parts[:-1]:
            plain = name.strip().lower()
            if plain in registry.PART_NAMES and name not in (item.label, item.patient):
                item.part = registry.PART_NAMES[plain]
                break


def _without_copies(items: list[_Image], found: Found) -> list[_Image]:
    """Return the images without files that are there twice, as in Kaggle's doubled folders.

    Only files of one name, class, patient and size are compared, byte by byte.
    """
    kept: dict[tuple[object, ...], list[_Image]] = {}
    single = []
    for item in items:
        key = (item.path.name, item.label, item.patient, item.path.stat().st_size)
        others = kept.setdefault(key, [])
        twin = next((one for one in others if _is_equal(one.path, item.path)), None)
        if twin is None:
            others.append(item)
            single.append(item)
        else:
            found.leave_out(item.path, "a copy of a file of the same name in another folder")
    if len(single) < len(items):
        copies = len(items) - len(single)
        found.notes.append(f"{copies:,} files are copies of others of the same name: left out.")
    return single


def _is_equal(one: Path, two: Path) -> bool:
    try:
        return filecmp.cmp(one, two, shallow=False)
    except OSError:
        return False  # whoever reads the images will say why


def _expected_folder(class_from: str, patient_from: str | None) -> str:
    patients = "" if patient_from is None else f", of the patient by {patient_from!r}"
    return f"Expected: image files below the folder, told apart by class_from={class_from!r}{patients}."


def _no_image(root: Path, found: Found) -> str:
    """Return what to say where a folder gave no image that can be used."""
    text = f"{root} holds no image that can be used. {found.expected} "
    example = next((one for one in found.left_out if "finds no" in one["reason"]), None)
    if example is None:
        endings = Counter(Path(one["path"]).suffix.lower() or "none" for one in found.left_out)
        known = ", ".join(f"{name} ({many:,})" for name, many in endings.most_common(5))
        return f"{text}Found: {'no files' if not known else f'files with the endings {known}'}."
    parts = PurePosixPath(Path(example["path"]).relative_to(root).as_posix()).parts[:-1]
    above = ", ".join(f"folder:-{n} is {name!r}" for n, name in enumerate(parts[::-1], start=1))
    count = len(found.left_out)
    return f"{text}{count:,} files were left out; of the first, {example['reason']} ({above or 'no folder is above it'})."


# -- a CSV file ----------------------------------------------------------------------------


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
    reader = csv.reader(text.splitlines(keepends=True), delimiter=separator)
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
) -> _Image | None:
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
    if not path.is_file():
        found.leave_out(path, f"{where}the file does not exist")
        return None
    more = {name: text for name, text in values.items()
            if name and name not in COLUMNS and name not in _OURS}  # fmt: skip
    return _Image(
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
        return Path(text)
    if PureWindowsPath(text).drive or text.startswith("\\"):
        raise ValueError("an absolute path of a Windows computer; paths start at the CSV's folder")
    if "\\" in text and not (folder / text).exists():
        text = text.replace("\\", "/")
    path = Path(os.path.normpath(folder / text))
    if not path.is_relative_to(folder):
        raise ValueError(
            "the path leaves the CSV file's folder (..); move the file up, or write the whole path"
        )
    return path


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


def _find_mask(found: Found, item: _Image, folder: Path) -> bool:
    """Return whether a line's mask is there, and put its path in place."""
    reason = "no mask"
    if item.mask:
        try:
            mask = _resolve(item.mask, folder)
            item.mask = str(mask)
            reason = "" if mask.is_file() else f"the mask {mask.name} does not exist"
        except ValueError as error:
            reason = f"its mask: {error}"
    if reason:
        found.leave_out(item.path, f"{item.where}{reason}")
    return not reason


def _without_twice(items: list[_Image], found: Found) -> list[_Image]:
    """Return the lines without those that name an image again; none where they disagree."""
    lines: dict[Path, list[_Image]] = {}
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


def _leave_out_where(
    items: list[_Image], found: Found, is_bad: Callable[[_Image], bool], reason: str
) -> list[_Image]:
    """Return the images without some, which are left out."""
    for item in items:
        if is_bad(item):
            found.leave_out(item.path, f"{item.where}{reason}")
    return [item for item in items if not is_bad(item)]


def _no_line(file: Path, lines: int, found: Found) -> str:
    """Return what to say where no line of a CSV file can be used."""
    if not lines:
        return f"{file} has no line below its heading. {_EXPECTED}"
    reasons = Counter(re.sub(r"^line \d+: ", "", one["reason"]) for one in found.left_out)
    why = "; ".join(f"{text} ({many:,})" for text, many in reasons.most_common(3))
    first = found.left_out[0]["path"]
    return f"None of the {lines:,} lines of {file} can be used: {why}. The first names {first}."


# -- what a folder and a CSV file have in common ---------------------------------------------


def _with_patients(items: list[_Image], found: Found, rule: Rule, text: str) -> list[_Image]:
    """Return the images whose patient the rule tells."""
    for item in items:
        item.patient = rule(item.inside)
        if item.patient is None:
            reason = f"patient_from={text!r} finds no patient in {item.inside}"
            found.leave_out(item.path, f"{item.where}{reason}")
    return [item for item in items if item.patient is not None]


def _with_classes(items: list[_Image], found: Found, rule: Rule, text: str) -> list[_Image]:
    """Return the images whose class the rule tells."""
    for item in items:
        item.label = rule(item.inside) or ""
    return _leave_out_where(
        items, found, lambda item: not item.label, f"class_from={text!r} finds no class"
    )


def _finish(
    found: Found,
    items: list[_Image],
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


def _with_known_classes(
    items: list[_Image], found: Found, classes: Sequence[str] | None
) -> list[_Image]:
    """Return the images under one spelling of each class, without those of a class not asked for."""
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
    items: list[_Image], dataset: Dataset, classes: Sequence[str] | None
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
    return tuple(sorted(names))


def _require_number_of_classes(found: Found, items: list[_Image], dataset: Dataset) -> None:
    """Refuse a single class, and more than two in a notebook that asks for yes or no."""
    many = Counter(item.label for item in items)
    counted = layouts.shorten([f"{name} ({many[name]:,})" for name in found.classes], 8)
    if len(found.classes) < 2:
        raise ValueError(f"All images are of one class: {counted}. There is nothing to tell apart.")
    if dataset.positive is None or len(found.classes) == 2:
        return
    any_number = [one for one in registry.in_order() if one.positive is None]
    names = " or ".join(
        f"{one.tutorial} (python -m helpers run {one.name} …)" for one in any_number
    )
    raise ValueError(
        f"These images are of {len(found.classes)} classes: {counted}. The notebook "
        f"{dataset.tutorial} answers a question with two answers. {names} takes any number of "
        f"classes. If a class is a slip of the pen, correct its label."
    )


def _name_patients(found: Found, items: list[_Image], dataset: Dataset) -> None:
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
    items: list[_Image], classes: tuple[str, ...], dataset: Dataset
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


def _add_slices(rows: list[dict[str, object]], items: list[_Image], dataset: Dataset) -> None:
    """Add what volumes have: the slice's number; the class follows from the mask."""
    claims = {name.casefold(): number for number, name in enumerate(dataset.classes)}
    claims |= {str(number): number for number in range(len(dataset.classes))}
    numbers = [_number_of_slice(item) for item in items]
    count: Counter[str] = Counter()
    for row, item, number in zip(rows, items, numbers, strict=True):
        count[str(item.patient)] += 1
        row["slice"] = number if None not in numbers else count[str(item.patient)]
        row["claimed"] = claims.get(item.label.casefold(), UNKNOWN)
        row["label"], row["class_name"] = UNKNOWN, ""


def _number_of_slice(item: _Image) -> int | None:
    """Return the number of a slice: a column's, or the last one in the file's name."""
    text = item.more.get("slice", "")
    found = re.search(r"(\d+)\D*$", item.path.stem) if not text else re.fullmatch(r"(\d+)", text)
    return None if found is None else int(found[1])


def _add_own_columns(found: Found, items: list[_Image], dataset: Dataset) -> None:
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
    for name in {name for item in items for name in item.more if name != "slice"}:
        if all(re.fullmatch(r"[+-]?\d+", item.more.get(name, "")) for item in items):
            for row in found.rows:
                row[name] = int(str(row[name]))


# -- what is worth saying --------------------------------------------------------------------


def _about_classes(found: Found, dataset: Dataset) -> list[str]:
    """Return what the numbers of the classes are, where somebody may have meant others."""
    if found.classes == tuple(dataset.classes):
        return []
    numbered = ", ".join(f"{name} = {label}" for label, name in enumerate(found.classes[:8]))
    more = f" and {len(found.classes) - 8} more" if len(found.classes) > 8 else ""
    text = f"Classes: {numbered}{more}."
    if len(found.classes) == 2:
        text += (
            f" {found.classes[1]!r} is the positive one; classes={list(found.classes[::-1])!r} "
            f"would make it the other."
        )
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


def _no_patients(items: list[_Image]) -> str:
    """Return what it means that nobody knows which images are of one patient."""
    text = (
        "NO PATIENTS ARE KNOWN: every image counts as a patient of its own, and the split is by "
        "image. If several images are of one patient, some of them lie in training and others in "
        "the test; then every figure is too good, and its interval too narrow. On OCT scans that "
        "was worth 5 to 30 points of accuracy (Tampu 2022, doi 10.1038/s41597-022-01618-6). "
        "Give a column patient in the CSV file, or patient_from."
    )
    depth = min(len(item.inside.parts) for item in items) - 1
    for back in range(2, depth + 1):
        names = {item.inside.parts[-back - 1] for item in items}
        if len(names) > 5:
            text += (
                f' Is it the folder? patient_from="folder:-{back}" would give {len(names):,} '
                f"patients, such as {min(names)!r}."
            )
            break
    return text


def _seen_from(folder: Path, path: str) -> str:
    """Return a path as a CSV file in a folder should name it."""
    file = Path(path)
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else str(file)
