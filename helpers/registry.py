"""What we know of each dataset: classes, patients, defects, licence, figures, profiles.

One small file a dataset lives in ``helpers/datasets``; it defines ``DATASET``. Nothing
else has to change for a new one.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any, Literal

# Which folder of an archive is which official part; a dataset may read them otherwise
# (BreakHis in the plain layout calls its test images "validation").
PART_NAMES: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "val": "valid",
    "valid": "valid",
    "validation": "valid",
    "test": "test",
    "testing": "test",
}

# The parameters that every notebook has, with the same meaning.
PARAMETERS = (
    "profile",
    "data_dir",
    "output_dir",
    "seed",
    "fold",
    "image_size",
    "batch_size",
    "epochs",
    "backbone",
    "weights",
    "max_images",
    "precision",
)


THUMBNAIL = 64
"""Pictures of fewer pixels a side are thumbnails: what networks look for in photographs is gone."""


@dataclass(frozen=True)
class Profile:
    """The settings of one run: what the parameters mean that a reader left at ``None``.

    Attributes:
        image_size: height and width in pixels at which images are cached and shown to networks.
        batch_size: images a training step.
        epochs: passes over the training images of the profile's main network: the small one
            (``sample``), the fine-tuned one (``best``) or the article's (``source``).
        backbone: a name that ``helpers.models.transfer`` knows.
        learning_rate: the highest of the schedule.
        max_images: read no more than so many, the same share of every patient's (None: all).
        small_epochs: passes of the small network, where it is not the main one.
        augment: keyword arguments of ``helpers.augment.Augment``.
        why: one sentence, printed by the notebook.
    """

    image_size: int
    batch_size: int
    epochs: int
    backbone: str
    learning_rate: float
    max_images: int | None = None
    small_epochs: int | None = None
    augment: Mapping[str, object] = field(default_factory=dict)
    why: str = ""


@dataclass(frozen=True)
class Published:
    """Figures from the literature, with the protocol without which they mean nothing.

    Attributes:
        figures: by name.
        protocol: which images, which split, which network.
        source: who published them.
        patient_wise: whether no patient was on both sides.
        images: what they were measured on: ``"archive"``, ``"medmnist"`` (one of the small
            sets made from it), or both where the two share their test part.
    """

    figures: Mapping[str, float]
    protocol: str
    source: str
    patient_wise: bool
    images: tuple[str, ...] = ("archive",)


@dataclass(frozen=True)
class Defect:
    """Something that is wrong in a dataset's files, or that misleads whoever uses them.

    Attributes:
        what: in one or several sentences, without the last full stop.
        source: who says so, and of which files it was counted.
    """

    what: str
    source: str

    def __str__(self) -> str:
        """Return both, for the data page, the check of a folder and the model card."""
        return f"{self.what} ({self.source})."


@dataclass(frozen=True)
class Download:
    """A file to fetch: where it lies, and how to tell that it is the right one.

    Attributes:
        file_name: under which it is kept. Archives (``.zip``, ``.tar.gz``) are unpacked, other
            files lie in the folder as they come.
        addresses: where it lies, in the order to try; none where a program cannot fetch it.
        checksum: ``"sha256:…"`` or ``"md5:…"``; None where nobody has published one.
        size: bytes, exactly; None where not known for sure.
        megabytes: about how many, where the size is not known.
    """

    file_name: str
    addresses: tuple[str, ...]
    checksum: str | None = None
    size: int | None = None
    megabytes: int | None = None

    @property
    def expected_size(self) -> int:
        """Bytes, at least about; 0 where nothing is known."""
        return self.size if self.size is not None else 10**6 * (self.megabytes or 0)


@dataclass(frozen=True)
class Release:
    """Files that together are one folder of data, and the name by which one asks for it.

    Attributes:
        name: what ``python -m helpers data download`` takes. The first release of a dataset has
            the dataset's own name.
        files: what to fetch.
        tree: some of the files as they lie in the folder, to show a person how it looks.
        kaggle: ``owner/name`` of the same images on Kaggle; empty where there are none.
        note: what sets it apart from the dataset's other releases.
        counts: images and patients, where they are not the dataset's.
        parts: how many images the official parts have, where they are not the dataset's.
        licence: where it is not the dataset's.
        pixels: height and width where all images have been made alike; else None.
    """

    name: str
    files: tuple[Download, ...]
    tree: tuple[str, ...]
    kaggle: str = ""
    note: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    parts: Mapping[str, int] = field(default_factory=dict)
    licence: str = ""
    pixels: int | None = None

    @property
    def expected_size(self) -> int:
        """Bytes of all files, at least about; 0 where nothing is known."""
        return sum(file.expected_size for file in self.files)


@dataclass(frozen=True)
class Dataset:
    """What the series knows of one dataset.

    Attributes:
        name: the word for it everywhere: command line, folders, results.
        number: its place in the series.
        title: for headings.
        task: one sentence: what is decided from what.
        classes: class folders in the order of their labels 0, 1, …
        positive: the class that sensitivity is about; None where more than two classes stand
            side by side.
        patient_of: from a file name to the patient, or None where the name has none.
        patient_rule: the same in words: how a file name gives the patient.
        patient_example: how a good file name looks, for error messages.
        same_patient: ids that belong to one patient, as id → the id that stands for both.
        releases: what can be fetched, the whole set first.
        patient_maps: names of files beside the class folders that give patients, if any.
        fit: how an image that is not square becomes square: see ``helpers.images.read_image``.
        counts: of the whole set: ``images``, ``patients``, and one number a class.
        parts: how many images of each class the official ``"train"``, ``"valid"`` and ``"test"``
            have; empty where the archive has no split of its own.
        licence: and what it allows.
        citation: how to cite the data.
        article: the published tutorial that ours answers.
        defects: what is wrong in the files, with who found it.
        published: figures to compare with.
        profiles: ``sample``, ``best`` and ``source``.
        thumbnails: what ``best`` means where all pictures have fewer than ``THUMBNAIL`` pixels a
            side, as MedMNIST's smallest have; None: the same.
        describe: from a file's path below ``data_dir`` to columns of the dataset's own (such
            as ``{"magnification": 200}``), the same columns for every file. None, or a
            ``ValueError`` whose text is the reason, leaves the file out of the index.
        part_names: which folder name (lower case) stands for which official part of the
            archive: ``"train"``, ``"valid"`` or ``"test"``.
        reader: ``"class_folders"`` (a folder a class; the default) or ``"volumes"`` (a folder a
            patient, with images and a mask beside each; the class is whether the mask has a
            pixel set: ``classes`` are then (without, with)).
        mask_suffix: what a mask's file name has between the image's name and the ending.
        table: name of a CSV file beside the volumes that lists them, where there is one:
            compared, not believed.
        urgent: classes that are one in a second question, such as who needs a doctor soon.
        about: from the rows that were found (a data frame with ``path``, ``class_name``,
            ``patient`` and ``part``) to sentences about them, such as which release they are.
        release_of: from the same rows to the name of the release that they are, or are most
            like; None where all releases that are folders have the same numbers.
    """

    name: str
    number: int
    title: str
    task: str
    classes: tuple[str, ...]
    positive: str | None
    patient_of: Callable[[str], str | None]
    patient_example: str
    counts: Mapping[str, int]
    licence: str
    citation: str
    article: str
    profiles: Mapping[str, Profile]
    patient_rule: str = ""
    same_patient: Mapping[str, str] = field(default_factory=dict)
    releases: tuple[Release, ...] = ()
    patient_maps: tuple[str, ...] = ()
    fit: str = "pad"
    parts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    defects: tuple[Defect, ...] = ()
    published: tuple[Published, ...] = ()
    describe: Callable[[PurePath], dict[str, object] | None] | None = None
    thumbnails: Profile | None = None
    part_names: Mapping[str, str] = field(default_factory=lambda: dict(PART_NAMES))
    reader: Literal["class_folders", "volumes"] = "class_folders"
    mask_suffix: str = "_mask"
    table: str = "data_mask.csv"
    urgent: tuple[str, ...] = ()
    about: Callable[[Any], list[str]] | None = None
    release_of: Callable[[Any], str] | None = None

    @property
    def tutorial(self) -> str:
        """The notebook's file name without its ending."""
        return f"{self.number:02d}_{self.name}"

    @property
    def positive_label(self) -> int:
        """The label of the positive class.

        Raises:
            ValueError: the dataset has none.
        """
        if self.positive is None:
            raise ValueError(
                f"The dataset {self.name!r} has {len(self.classes)} classes side by side and no "
                f"positive one. Ask about each class against the rest."
            )
        return self.classes.index(self.positive)

    def settings(self, profile: str, *, pixels: int | None = None, **given: Any) -> Profile:
        """Return a profile's settings, with those replaced that a reader has given.

        Args:
            profile: ``"sample"``, ``"best"`` or ``"source"``.
            pixels: height and width of all pictures, where they are one number
                (``helpers.index.pixels_of``).
            **given: parameters of the notebook by name; None means what the profile says.

        Raises:
            ValueError: unknown profile, or a number that makes no sense.
        """
        if profile not in self.profiles:
            raise ValueError(_unknown("profile", profile, self.profiles))
        chosen = {name: value for name, value in given.items() if value is not None}
        for name in ("image_size", "batch_size", "epochs", "max_images"):
            least = 32 if name == "image_size" else 1
            if name in chosen and chosen[name] < least:
                raise ValueError(f"{name}={chosen[name]}: give {least} or more, or None.")
        small = profile == "best" and pixels is not None and pixels < THUMBNAIL
        meant = self.thumbnails if small and self.thumbnails else self.profiles[profile]
        return replace(meant, **chosen)


def get(name: str) -> Dataset:
    """Return what is known of a dataset.

    Raises:
        ValueError: there is none of that name; says which is nearest.
    """
    if name not in names():
        raise ValueError(_unknown("dataset", name, names()))
    dataset: Dataset = importlib.import_module(f"helpers.datasets.{name}").DATASET
    return dataset


def names() -> tuple[str, ...]:
    """Return the names of all datasets, sorted."""
    package = importlib.import_module("helpers.datasets")
    return tuple(sorted(module.name for module in pkgutil.iter_modules(package.__path__)))


def in_order() -> list[Dataset]:
    """Return all datasets in the order of their tutorials."""
    return sorted(map(get, names()), key=lambda dataset: dataset.number)


def releases() -> dict[str, Dataset]:
    """Return which dataset each release belongs to, by the release's name.

    The datasets' own come first, in the order of the tutorials.
    """
    datasets = in_order()
    first = {dataset.name: dataset for dataset in datasets if dataset.releases}
    others = {release.name: dataset for dataset in datasets for release in dataset.releases}
    return first | others


def release(name: str) -> Release:
    """Return what is to be fetched under a name.

    Raises:
        ValueError: there is none of that name; says which is nearest.
    """
    known = releases()
    if name not in known:
        raise ValueError(_unknown("dataset", name, known))
    return next(one for one in known[name].releases if one.name == name)


def medmnist(
    name: str, parts: Mapping[str, int], checksums: Mapping[int, str], earlier: str = ""
) -> tuple[Release, ...]:
    """Return the four sizes of a set of MedMNIST+: one ``.npz`` file each.

    Args:
        name: such as ``"pneumoniamnist"``; larger ones get their pixels behind it, as the
            authors call them (``"pneumoniamnist_224"``).
        parts: images in ``"train"``, ``"valid"`` and ``"test"``.
        checksums: md5 by height and width in pixels.
        earlier: address at which the smallest lay before, the same file.
    """
    found = []
    images = sum(parts.values())
    for pixels, md5 in checksums.items():
        own = name if pixels == 28 else f"{name}_{pixels}"
        file = Download(
            file_name=f"{own}.npz",
            addresses=(
                f"https://zenodo.org/records/10519652/files/{own}.npz?download=1",
                *([earlier] if earlier and pixels == 28 else []),
            ),
            checksum=f"md5:{md5}",
            megabytes=round(images * pixels**2 / 1e6),  # at most: the file is compressed
        )
        found.append(
            Release(
                name=own,
                files=(file,),
                tree=(file.file_name,),
                note="MedMNIST+, small and cropped to a square, in one file; patients are not "
                "told, the split is the authors'",
                counts={"images": images},
                parts=parts,
                licence="CC BY 4.0 (MedMNIST, doi 10.1038/s41597-022-01721-8)",
                pixels=pixels,
            )
        )
    return tuple(found)


def _unknown(what: str, name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), 1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"Unknown {what} {name!r}.{hint} Known: {', '.join(known)}."
