"""MedMNIST's npz files as an index: official parts, no patients, images by their address.

Such a file holds ``train_images``, ``train_labels`` and the same of ``val`` and ``test``:
grey (n, height, width) or RGB (n, height, width, 3), uint8, and labels (n, 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from helpers import packed, registry
from helpers.layouts import Found, side_by_side
from helpers.registry import Dataset

SUFFIX = ".npz"
PARTS = {"train": "train", "val": "valid", "test": "test"}
"""What MedMNIST calls the parts, and what an index calls them."""
KEYS = tuple(f"{part}_{what}" for part in PARTS for what in ("images", "labels"))

# all two-dimensional sets of MedMNIST, to know a file of another one by its name
_NAMES = ("pathmnist", "chestmnist", "dermamnist", "octmnist", "pneumoniamnist", "retinamnist",
          "breastmnist", "bloodmnist", "tissuemnist", "organamnist", "organcmnist",
          "organsmnist")  # fmt: skip


@dataclass(frozen=True)
class Official:
    """A set of MedMNIST that was made from one of our datasets.

    Attributes:
        name: the beginning of its files' names.
        origin: a sentence on what its parts are made of.
    """

    name: str
    origin: str

    @property
    def counts(self) -> tuple[int, ...]:
        """Images in train, val and test, as the registry has them."""
        parts = registry.release(self.name).parts
        return tuple(parts[ours] for ours in PARTS.values())


SETS = {
    "pneumonia": Official(
        "pneumoniamnist",
        "Its test part is the archive's; train and val are the archive's training images, dealt "
        "by image.",
    ),
    "oct": Official(
        "octmnist",
        "It is made from release v3, whose test patients are apart; train and val are v3's "
        "training images, dealt by image.",
    ),
}
"""Which set of MedMNIST belongs to which notebook. Labels 0, 1, … are its classes in order."""


def find(archive: Path, dataset: Dataset) -> Found:
    """Return the images of a MedMNIST file as rows; no pixel is read.

    Args:
        archive: absolute.
        dataset: the notebook's; a dataset without classes (``own_images.ANY``) takes any file.

    Raises:
        ValueError: it is damaged, no MedMNIST file, or one of another set; says what was
            expected beside what was found.
    """
    official = _official(archive, dataset)
    shapes = _checked_shapes(archive)
    labels = {part: _checked_labels(archive, part, shapes[part][0]) for part in PARTS}
    classes = _classes(archive, labels, dataset)
    found = Found(
        [archive.parent],
        classes=classes,
        expected=f"Expected: a MedMNIST file with the arrays {', '.join(KEYS)}.",
        source="medmnist",
        patients_known=False,
    )
    for part, ours in PARTS.items():
        for row, label in enumerate(labels[part]):
            found.rows.append({
                "path": packed.address(archive, part, row),
                "label": int(label),
                "class_name": classes[int(label)],
                "patient": f"{part}/{row}",
                "part": ours,
            })  # fmt: skip
    found.notes = _notes(archive, shapes, official)
    found.warnings.append(_no_patients(official))
    return found


def inside(folder: Path, dataset: Dataset) -> Path | None:
    """Return the MedMNIST file of a dataset that lies in a folder, as a download leaves it.

    Raises:
        ValueError: there are several, of different sizes: one of them has to be named.
    """
    official = SETS.get(dataset.name)
    if official is None:
        return None
    files = sorted(folder.glob(f"{official.name}*{SUFFIX}"))
    if len(files) > 1:
        names = ", ".join(path.name for path in files)
        raise ValueError(f"{folder} holds {names}. Give one of them: {files[0]}.")
    return files[0] if files else None


def pixels_of(archive: Path) -> int:
    """Return the height and width of the images in a MedMNIST file; no pixel is read.

    Raises:
        ValueError: it is damaged, or no MedMNIST file.
    """
    return _checked_shapes(archive)["train"][1]


def name_of(index: pd.DataFrame) -> str:
    """Return the set that an index was read from, such as ``"pneumoniamnist_64"``."""
    stem = Path(packed.archive_of(index["path"].iloc[0])).stem
    return stem if stem in registry.releases() else SETS[index.attrs["dataset"]].name


def _official(archive: Path, dataset: Dataset) -> Official | None:
    """Return the set that the notebook expects, after a look at the file's name."""
    official = SETS.get(dataset.name)
    if not dataset.classes:
        return official
    if official is None:
        fitting = ", ".join(f"{one.name} ({registry.get(name).tutorial})"
                            for name, one in SETS.items())  # fmt: skip
        raise ValueError(f"No set of MedMNIST belongs to {dataset.name!r}. There are: {fitting}.")
    name = next((name for name in _NAMES if archive.name.lower().startswith(name)), official.name)
    if name != official.name:
        fits = [registry.get(ours).tutorial for ours, one in SETS.items() if one.name == name]
        advice = f" It belongs to the notebook {fits[0]}." if fits else ""
        raise ValueError(
            f"{archive} is {name}, and the notebook {dataset.tutorial} is about {official.name}."
            f"{advice}"
        )
    return official


def _checked_shapes(archive: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each part's images; all are of one size.

    Raises:
        ValueError: an array is missing, or the images are of several sizes.
    """
    names = packed.names_in(archive)
    missing = [key for key in KEYS if key not in names]
    if missing:
        columns = side_by_side(["expected", *KEYS], [f"found in {archive.name}", *names[:12]])
        raise ValueError(
            f"{archive} is no MedMNIST file: it has no {', '.join(missing)}.\n\n{columns}"
        )
    shapes = {part: packed.shape_of(archive, f"{part}_images") for part in PARTS}
    if len({shape[1:] for shape in shapes.values()}) > 1:
        sizes = ", ".join(f"{part} {shape[1:]}" for part, shape in shapes.items())
        raise ValueError(f"{archive}: the images are of several sizes ({sizes}). Fetch it again.")
    return shapes


def _checked_labels(archive: Path, part: str, images: int) -> np.ndarray:
    """Return one label an image, (n,).

    Raises:
        ValueError: there are more or fewer labels than images, or several an image.
    """
    labels = packed.read_labels(archive, f"{part}_labels")
    if labels.shape not in ((images, 1), (images,)):
        raise ValueError(
            f"{archive}: {part}_labels has the shape {labels.shape}, where one label for each of "
            f"the {images:,} images is meant. (A set with several labels an image cannot be used.)"
        )
    return labels.reshape(-1)


def _classes(archive: Path, labels: dict[str, np.ndarray], dataset: Dataset) -> tuple[str, ...]:
    """Return the names of the classes: the dataset's, or the labels' numbers.

    Raises:
        ValueError: the labels are not those of the dataset.
    """
    numbers = sorted({int(label) for part in labels.values() for label in np.unique(part)})
    classes = tuple(dataset.classes) or tuple(map(str, range(max(numbers, default=-1) + 1)))
    if numbers != list(range(len(classes))) or len(classes) < 2:
        meant = ", ".join(f"{number} = {name}" for number, name in enumerate(classes))
        raise ValueError(
            f"{archive} has the labels {', '.join(map(str, numbers)) or '(none)'}, where {meant} "
            f"are meant: it is another set than {dataset.name!r}, or a part of one."
        )
    return classes


def _notes(
    archive: Path, shapes: dict[str, tuple[int, ...]], official: Official | None
) -> list[str]:
    """Return what the file holds, and whether it is the official one."""
    counts = tuple(shape[0] for shape in shapes.values())
    height, width = shapes["train"][1:3]
    listed = ", ".join(f"{part} {count:,}" for part, count in zip(PARTS, counts, strict=True))
    notes = [f"{archive.name}: images of {width}×{height} pixels in official parts: {listed}."]
    if official is not None:
        notes.append(official.origin)
    if official is not None and counts != official.counts:
        meant = ", ".join(f"{count:,}" for count in official.counts)
        notes.append(
            f"These are not the numbers of the official {official.name} ({meant}): it is a part of "
            f"it, or another set."
        )
    return notes


def _no_patients(official: Official | None) -> str:
    """Return what it means that MedMNIST drops the patients."""
    text = (
        "NO PATIENTS ARE KNOWN: MedMNIST does not keep them, so every image counts as a patient of "
        "its own. Validation images may be of patients who are in training"
    )
    test = "the test is the archive's own" if official else "and so may those of the test"
    return f"{text} ({test}), and intervals come out too narrow."
