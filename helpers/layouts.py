"""Finding the image files of a dataset, wherever its archives put them, and naming the rest.

Two kinds of layout: a folder for each class (perhaps inside the official parts ``train``,
``val`` and ``test``), and a folder for each patient with a mask beside each image.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from helpers import images
from helpers.parts import plain, sets_of
from helpers.registry import Dataset

DEPTH = 5  # how many folders below data_dir the folder that holds class folders may lie
TREE = 20  # lines at most of what is shown of a folder
UNKNOWN = -1  # the label of an image whose mask has not been read yet

_SLICE = re.compile(r"_(\d+)$")


class NothingFoundError(ValueError):
    """A folder holds no images of a dataset.

    Attributes:
        text: the message's first sentence.
        more: what was expected beside what was found.
    """

    def __init__(self, text: str, more: str) -> None:
        """Make the message of both."""
        super().__init__(f"{text} {more}")
        self.text, self.more = text, more


@dataclass
class Found:
    """What lies in a dataset's folder.

    Attributes:
        rows: one dictionary an image: ``path``, ``label``, ``class_name``, ``patient`` (None
            where the name gives none), ``part`` and the dataset's own columns.
        left_out: dictionaries of ``path`` and ``reason``.
        notes: sentences about the layout.
        folders: those that hold the class folders, or the patients' folders.
        classes: names of the classes in the order of their labels.
        expected: a sentence on how the images should lie.
        source: ``"archive"`` (a dataset as its archives have it), ``"folder"`` or ``"csv"``
            (images of one's own) or ``"medmnist"``.
        patients_known: False where every image stands for a patient of its own.
        warnings: sentences that a reader must not miss.
    """

    folders: list[Path]
    rows: list[dict[str, object]] = field(default_factory=list)
    left_out: list[dict[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    classes: tuple[str, ...] = ()
    expected: str = ""
    source: str = "archive"
    patients_known: bool = True
    warnings: list[str] = field(default_factory=list)

    def leave_out(self, path: Path | str, reason: str) -> None:
        """Note a file that cannot be used."""
        self.left_out.append({"path": str(path), "reason": reason})


def find_images(root: Path, dataset: Dataset) -> Found:
    """Return the image files below a folder.

    Args:
        root: absolute; the archive as it unpacks, or any folder in it that still holds all
            classes (or patients).
        dataset: says how the files are laid out.

    Raises:
        NothingFoundError: it is no such dataset, or a class folder is missing; says what was
            expected beside what was found.
    """
    find = _find_volumes if dataset.reader == "volumes" else _find_classes
    found = find(root, dataset)
    found.classes, found.expected = tuple(dataset.classes), expected(dataset)
    return found


def expected(dataset: Dataset) -> str:
    """Return a sentence on how a dataset's folder should look."""
    if dataset.reader == "volumes":
        return (
            f"Expected: a folder (up to {DEPTH} folders deep) with a folder for each patient in "
            f"it, each full of images named like {dataset.patient_example}, and beside each "
            f"image its mask, whose name ends in {dataset.mask_suffix}."
        )
    folders = ", ".join(f"{name}/" for name in dataset.classes)
    return (
        f"Expected: a folder with {folders} in it (or up to {DEPTH} folders above them), each "
        f"full of images named like {dataset.patient_example}."
    )


def side_by_side(left: Sequence[str], right: Sequence[str]) -> str:
    """Return two lists of lines as two columns; the first line of each is its heading."""
    width = max(map(len, left)) + 4
    left, right = ([lines[0], "-" * len(lines[0]), *lines[1:]] for lines in (left, right))
    rows = itertools.zip_longest(left, right, fillvalue="")
    return "\n".join(f"    {one:<{width}}{two}".rstrip() for one, two in rows)


def shorten(names: Sequence[str], most: int) -> str:
    """Return names in a row, the first so many and the number of the others."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


# -- a folder for each class ---------------------------------------------------------------


def _find_classes(root: Path, dataset: Dataset) -> Found:
    """Return the images of the class folders, which may stand in several official parts."""
    wanted = {name.lower() for name in dataset.classes}
    holders = [one for one in _folders(root, stop=wanted) if _classes_in(one, wanted)]
    sets = sets_of(holders, root, dataset.part_names)
    whole = [
        parts
        for parts in sets
        if {plain(child) for folder in parts for child in _classes_in(folder, wanted)} == wanted
    ]
    if not whole:
        raise _nothing_found(root, dataset, [list(parts) for parts in sets])
    found = Found(list(whole[0]))
    for label, class_name in enumerate(dataset.classes):
        for folder, part in whole[0].items():
            for child in _classes_in(folder, {class_name.lower()}):
                for path in _files(child):
                    _add_image(found, path, root, dataset, label, part)
    _say_what_was_taken(found, root, dataset, [one for one in holders if one not in whole[0]])
    return found


def _say_what_was_taken(found: Found, root: Path, dataset: Dataset, others: list[Path]) -> None:
    """Note the class folders that were left alone, and warn where they hold more images."""
    wanted = {name.lower() for name in dataset.classes}
    for folder in found.folders:
        there = {plain(child) for child in subfolders(folder)}
        missing = [name for name in dataset.classes if name.lower() not in there]
        if missing:
            found.notes.append(f"{_below(folder, root)} has no folder {', '.join(missing)}.")
    if not others:
        return
    classes = [child for folder in others for child in _classes_in(folder, wanted)]
    many = sum(is_image(path) for child in classes for path in _files(child))
    read = shorten([_below(folder, root) for folder in found.folders], 4)
    left = shorten([_below(folder, root) for folder in others], 6)
    text = (
        f"The class folders are there more than once. Read: {read} ({len(found.rows):,} images). "
        f"Left alone: {left} ({many:,} images)."
    )
    if many > len(found.rows):
        found.warnings.append(f"{text} If you mean these, give the folder above them.")
    else:
        found.notes.append(text)


def _below(folder: Path, root: Path) -> str:
    """Return a folder's path from the one that was given."""
    return "the folder itself" if folder == root else str(folder.relative_to(root))


def _add_image(
    found: Found, path: Path, root: Path, dataset: Dataset, label: int, part: str
) -> None:
    """Add one file of a class folder to the rows, or to what is left out."""
    if not is_image(path):
        found.leave_out(path, "not an image file")
        return
    row = {
        "path": str(path),
        "label": label,
        "class_name": dataset.classes[label],
        "patient": dataset.patient_of(path.name),
        "part": part,
    }
    own = _own_columns(found, path, root, dataset)
    if own is not None:
        found.rows.append({**own, **row})


def _own_columns(
    found: Found, path: Path, root: Path, dataset: Dataset
) -> dict[str, object] | None:
    """Return a file's own columns; None where it was left out for want of them."""
    if dataset.describe is None:
        return {}
    try:
        own = dataset.describe(path.relative_to(root))
    except ValueError as error:
        found.leave_out(path, str(error))
        return None
    if own is None:
        found.leave_out(path, f"a name of another kind (expected like {dataset.patient_example})")
    return own


def _nothing_found(root: Path, dataset: Dataset, groups: list[list[Path]]) -> NothingFoundError:
    """Return the error of a folder in which no set has every class folder."""
    wanted = {name.lower() for name in dataset.classes}
    text = f"{root} holds no images of the dataset {dataset.name!r}"
    if groups:
        best = max(groups, key=lambda group: max(len(_classes_in(one, wanted)) for one in group))
        there = {plain(child) for folder in best for child in _classes_in(folder, wanted)}
        missing = ", ".join(f"{name}/" for name in dataset.classes if name.lower() not in there)
        has = ", ".join(f"{name}/" for name in dataset.classes if name.lower() in there)
        places = ", ".join(str(folder) for folder in best)
        text = (
            f"{root} holds no complete dataset {dataset.name!r}: the class folder {missing} is "
            f"missing beside {has} in {places}"
        )
    return _compared(text, root, dataset)


# -- a folder for each patient -------------------------------------------------------------


def _find_volumes(root: Path, dataset: Dataset) -> Found:
    """Return the images of the patients' folders, each with the path of its mask.

    Their labels are unknown until the masks are read.
    """
    holders = [folder for folder in _folders(root) if _holds_volumes(folder, dataset)]
    if not holders:
        raise _compared(f"{root} holds no images of the dataset {dataset.name!r}", root, dataset)
    # a copy that broke off may lie above the whole one; of equal ones the shallowest is first
    holders.sort(key=lambda folder: -len(subfolders(folder)))
    found = Found(holders[:1])
    if len(holders) > 1:
        twice = ", ".join(str(folder.relative_to(root)) for folder in holders[1:])
        found.notes.append(f"The patients' folders are there more than once; left alone: {twice}.")
    for volume in subfolders(holders[0]):
        _add_volume(found, volume, root, dataset)
    return found


def _holds_volumes(folder: Path, dataset: Dataset) -> bool:
    """Return whether a folder has patients' folders in it."""
    return any(_is_mask(path, dataset) for child in subfolders(folder) for path in files_in(child))


def _add_volume(found: Found, volume: Path, root: Path, dataset: Dataset) -> None:
    """Add a patient's images that have a mask, in the order of their slices."""
    files = []
    for path in files_in(volume):
        if is_image(path):
            files.append(path)
        else:
            found.leave_out(path, "not an image file")
    masks = {_stem_of_mask(path, dataset): path for path in files if _is_mask(path, dataset)}
    slices = [path for path in files if not _is_mask(path, dataset)]
    rows = [row for path in slices if (row := _slice_row(found, path, masks, root, dataset))]
    found.rows += sorted(rows, key=lambda row: int(str(row["slice"])))
    stems = {path.stem for path in slices}
    for stem, path in masks.items():
        if stem not in stems:
            found.leave_out(path, "a mask without its image")


def _slice_row(
    found: Found, path: Path, masks: dict[str, Path], root: Path, dataset: Dataset
) -> dict[str, object] | None:
    """Return the row of one slice, or None where it was left out."""
    number = _SLICE.search(path.stem)
    if number is None or dataset.patient_of(path.name) is None:
        found.leave_out(
            path, f"the name gives no patient and slice (expected like {dataset.patient_example})"
        )
        return None
    if not path.name.startswith(f"{path.parent.name}_"):
        found.leave_out(path, f"another patient's name in the folder {path.parent.name}")
        return None
    if path.stem not in masks:
        found.leave_out(path, "an image without its mask")
        return None
    own = _own_columns(found, path, root, dataset)
    if own is None:
        return None
    return {
        **own,
        "path": str(path),
        "label": UNKNOWN,
        "class_name": "",
        "patient": path.parent.name,
        "part": "",
        "slice": int(number[1]),
        "mask": str(masks[path.stem]),
    }


def _is_mask(path: Path, dataset: Dataset) -> bool:
    return is_image(path) and path.stem.lower().endswith(dataset.mask_suffix.lower())


def _stem_of_mask(path: Path, dataset: Dataset) -> str:
    """Return the stem of the image that a mask belongs to."""
    return path.stem[: -len(dataset.mask_suffix)]


# -- what to say of a folder that is not the dataset ---------------------------------------


def _compared(text: str, root: Path, dataset: Dataset) -> NothingFoundError:
    """Return an error: its first sentence, and what was expected beside what was found."""
    for breadth in ((8, 4, 2), (4, 3, 2), (2, 2, 1)):
        tree = _tree(root, breadth)
        if len(tree) <= TREE:
            break
    columns = side_by_side(_expected_tree(dataset), [f"found in {root}", *tree])
    found = f"{expected(dataset)} Found: {_listing(root)}."
    more = f"{found}{_one_too_deep(root, dataset)}\n\n{columns}"
    return NothingFoundError(f"{text}.", more)


def _one_too_deep(root: Path, dataset: Dataset) -> str:
    """Return a hint where the folder is a single class, or a single patient."""
    what = "one class"
    is_inside = plain(root) in {name.lower() for name in dataset.classes}
    if dataset.reader == "volumes":
        what, is_inside = "one patient", any(_is_mask(path, dataset) for path in files_in(root))
    return f" This is the folder of {what}: give the one above it, {root.parent}." * is_inside


def _expected_tree(dataset: Dataset) -> list[str]:
    """Return how a dataset's folder should look, a line a folder or file."""
    example = Path(dataset.patient_example)
    lines = [f"expected of {dataset.name}"]
    if dataset.reader == "volumes":
        patient = dataset.patient_of(example.name) or "patient"
        mask = f"{example.stem}{dataset.mask_suffix}{example.suffix}"
        return [*lines, "any folders/", f"  {patient}/", f"    {example.name}", f"    {mask}",
                "    …", "  …"]  # fmt: skip
    lines.append("any folders/   (or train/, test/)")
    for name in dataset.classes:
        lines += [f"  {name}/", "    …"]
    lines[3] = f"    {example.name}"
    return lines


def _tree(folder: Path, breadth: Sequence[int], depth: int = 0) -> list[str]:
    """Return what lies in a folder and in two levels below it, so many folders of each level."""
    margin, most = "  " * depth, breadth[depth]
    folders, files = subfolders(folder), files_in(folder)
    lines = []
    for child in folders[:most]:
        lines.append(f"{margin}{child.name}/")
        lines += _tree(child, breadth, depth + 1) if depth < 2 else []
    lines += [f"{margin}{file.name}" for file in files[:2]]
    rest = max(0, len(folders) - most), max(0, len(files) - 2)
    names = [f"{many:,} more {what}" for many, what in zip(rest, ("folders", "files"), strict=True)
             if many]  # fmt: skip
    if names:
        lines.append(f"{margin}… and {', '.join(names)}")
    return lines or ([f"{margin}(empty)"] if depth else ["an empty folder"])


# -- folders and files ---------------------------------------------------------------------


def _folders(root: Path, stop: set[str] | None = None) -> Iterator[Path]:
    """Yield the root and the folders below it, shallow ones first; none inside ``stop``."""
    level = [root]
    for _ in range(DEPTH + 1):
        yield from level
        level = [
            child
            for folder in level
            for child in subfolders(folder)
            if plain(child) not in (stop or ())
        ]


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted, without hidden ones and what macOS adds to zips."""
    try:
        with os.scandir(folder) as entries:
            return sorted(
                Path(entry.path)
                for entry in entries
                if entry.is_dir() and not entry.name.startswith((".", "__MACOSX"))
            )
    except PermissionError:
        return []  # such as lost+found on the top of a disk: no place for images


def _classes_in(folder: Path, wanted: set[str]) -> list[Path]:
    """Return the class folders in a folder, whatever their case."""
    return [child for child in subfolders(folder) if plain(child) in wanted]


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and of those below it, sorted folder by folder."""
    yield from files_in(folder)
    for child in subfolders(folder):
        yield from _files(child)


def files_in(folder: Path) -> list[Path]:
    """Return the files in a folder, sorted."""
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if not entry.is_dir())
    except PermissionError:
        return []


def is_image(path: Path) -> bool:
    """Return whether a file's ending is that of an image, and it is no ghost of macOS."""
    return path.suffix.lower() in images.SUFFIXES and not path.name.startswith("._")


def _listing(root: Path, most: int = 8) -> str:
    """Return what lies in a folder, shortened."""
    names = sorted(child.name + ("/" if child.is_dir() else "") for child in root.iterdir())
    if not names:
        return "an empty folder"
    return shorten(names, most)
