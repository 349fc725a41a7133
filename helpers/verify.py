"""Checks a dataset's folder before anything is learnt from it, and says what it found.

Counts, damage, copies, patients on both sides of the official split, odd sizes, and whether
a file's size alone tells the class. Every image is decoded once, to its last pixel, and only a
thumbnail of 256 bytes and its row of the table stay in memory. There are two kinds of findings:
a *fault* needs a person, a *notice* is something that the notebooks live with (they deal
patients, not images, and leave out what is damaged).
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import rankdata

from helpers import (
    defects,
    downloads,
    images,
    metrics,
    own_images,
    packed,
    registry,
    releases,
    splits,
)
from helpers.index import COLUMNS, compare_table, dataset_of, load_index
from helpers.paths import atomic_folder
from helpers.progress import progress
from helpers.registry import Dataset

TABLE, SUMMARY = "images.csv", "summary.md"

# A feature is called a shortcut where even the lower end of its interval lies above this. An
# AUC of 0.55 is common (one class has more patients of one microscope) and wins a network little.
SHORTCUT = 0.6
# How much two thumbnails must correlate to be called nearly the same picture. A picture that was
# saved again as JPEG, or at half its size, kept 0.9955 or more (60 of each real set; only the
# darkest brain slices fell lower), and no two patients' pictures among 24,000 reached 0.995.
NEARLY_ONE = 0.995
# A width, height, shape or file size is odd beyond three times the range of the middle half
# of all images (Tukey's outer fence), and at least beyond a factor of two.
FENCE, LEAST_FACTOR = 3.0, 2.0

_BLOCK = 256  # images that are worked on between two steps of the progress bar
_THUMBNAIL = 16  # pixels, height and width
_QUERIES = 128  # thumbnails compared with all others at a time
_EXAMPLES = 4  # shown for a finding; the table has all
_COLOUR = "stored in colour"
_ADDED = ("bytes", "reason", "copies", "near_copies", "problems")
_UNREAD = {"width": 0, "height": 0, "mode": "", "file_hash": "", "pixel_hash": "", "flat": False}


class UnusableFolderError(ValueError):
    """A folder is not the dataset, or so little of it that nothing could be checked."""


@dataclass(frozen=True)
class Finding:
    """Something that was found in a folder.

    Attributes:
        kind: two or three words; the table's column ``problems`` has them too.
        is_fault: it needs a person; else the notebooks can live with it.
        text: one or two sentences with the numbers.
        examples: a few files, or groups of files that are copies of one another.
        more: how many others there are.
        rows: which rows of the table it is about; none where it is about the whole folder.
    """

    kind: str
    is_fault: bool
    text: str
    examples: tuple[str, ...] = ()
    more: int = 0
    rows: tuple[int, ...] = ()


@dataclass(frozen=True)
class Shortcut:
    """How well one property of the files, without a look at the picture, tells a class.

    Attributes:
        feature: such as ``"file size"``.
        class_name: told from the rest; of several classes the one that is told best.
        is_larger: whether the property is larger in that class than in the rest.
        area: under the ROC curve, 0.5–1, its interval over patients; None where all images
            have the same value.
    """

    feature: str
    class_name: str = ""
    is_larger: bool = False
    area: metrics.Estimate | None = None

    @property
    def direction(self) -> str:
        """Whether the class has more or less of the property, in words."""
        words = ("more often", "less often") if self.feature == _COLOUR else ("larger", "smaller")
        return words[0] if self.is_larger else words[1]

    @property
    def tells(self) -> bool:
        """Whether a network could use it instead of the picture."""
        return self.area is not None and self.area.low > SHORTCUT


@dataclass(frozen=True)
class Verification:
    """What the check of a folder gave.

    Attributes:
        dataset: what the registry knows; of images of one's own their classes.
        place: the folder or file that was given.
        images: one row a file, those that cannot be used included: ``path`` (below the
            folder; of a file that lies elsewhere the whole path), ``class_name``, ``patient``,
            ``part``, the dataset's own columns, ``width``, ``height`` (pixels), ``mode`` (as
            stored, in Pillow's terms: ``"L"`` is grey), ``bytes``, ``file_hash``,
            ``pixel_hash``, ``copies`` and ``near_copies`` (equal numbers above 0 are copies of
            one another), ``reason`` (why it cannot be used, or empty), ``problems``.
        findings: faults first.
        shortcuts: one for each property of the files.
        notes: what the reader of the folder had to say.
        counted: the table that the notebook prints of the same images: see
            ``helpers.defects.count_defects``.
        patients_known: False where every image stands for a patient of its own (MedMNIST).
        release: the one that the folder is, or is most like (see ``helpers.releases``); empty
            for images of one's own.
    """

    dataset: Dataset
    place: Path
    images: pd.DataFrame
    findings: tuple[Finding, ...]
    shortcuts: tuple[Shortcut, ...] = ()
    notes: tuple[str, ...] = ()
    counted: pd.DataFrame = field(default_factory=pd.DataFrame)
    patients_known: bool = True
    release: str = ""

    @property
    def expected(self) -> Mapping[str, int]:
        """What the registry counts in the whole release."""
        return releases.counts_of(self.release)

    @property
    def title(self) -> str:
        """Whose images they are, in words."""
        if self.release:
            return self.release
        return f"your images{'' if self.dataset.number == 0 else f' for {self.dataset.name}'}"

    @property
    def usable(self) -> pd.DataFrame:
        """The rows of images that can be used."""
        return self.images[self.images["reason"] == ""]

    @property
    def faults(self) -> int:
        """How many findings need a person."""
        return sum(finding.is_fault for finding in self.findings)


def check(
    name: str,
    data_dir: str | os.PathLike[str],
    *,
    patient_from: str | None = None,
    class_from: str | None = None,
) -> Verification:
    """Return what is to be said about a dataset's folder, after reading every image once.

    Args:
        name: a dataset of ``helpers.registry``, one of its releases (``"oct_v3"``), or
            ``"folder"`` for images that belong to none.
        data_dir: the folder with the images, in any layout that ``load_index`` reads, or a CSV
            file of one's own.
        patient_from: of images of one's own, as for ``load_index``.
        class_from: the same.

    Raises:
        FileNotFoundError: there is no such folder.
        UnusableFolderError: it is another dataset, or a class has no image at all; says what
            was expected and what was found.
        ValueError: there is no such dataset.
    """
    named = ""
    if name != own_images.NAME:
        named, name = registry.release(name).name, registry.releases()[name].name
    try:
        index = load_index(name, data_dir, patient_from=patient_from, class_from=class_from)
    except ValueError as error:
        raise UnusableFolderError(str(error)) from error
    dataset, root = dataset_of(index), Path(index.attrs["root"])
    table, thumbnails = _measured(index, root)
    known, release = bool(index.attrs["patients_known"]), releases.release_of(index)
    usable = table[table["reason"] == ""]
    copies = _copies(usable)
    # One patient's pictures always look alike; whose they are must be known.
    near = _near_copies(usable, thumbnails) if known else 0 * copies
    for column, groups in (("copies", copies), ("near_copies", near)):
        table[column] = groups.reindex(table.index, fill_value=0)
    usable = table[table["reason"] == ""]
    shortcuts = _shortcuts(usable, dataset)
    findings = [
        *_about_origin(root, dataset, release),
        *_about_release(named, release, dataset),
        *_about_counts(usable, dataset, release),
        *_about_unused(table, index.attrs["source"]),
        *_about_sides(usable),
        *_about_copies(usable, known),
        *_about_near_copies(usable),
        *_about_sizes(usable),
        *_about_shortcuts(shortcuts),
        *_about_table(index),
    ]
    findings.sort(key=lambda finding: not finding.is_fault)
    table["problems"] = _problems(findings, len(table))
    table = table.drop(columns="flat")
    notes = tuple(str(note) for note in index.attrs["notes"])
    beside = defects.table_beside(index)
    counted = defects.tally(usable, dataset, usable["copies"], beside, patients_known=known)
    place = downloads.find(data_dir)
    return Verification(
        dataset, place, table, tuple(findings), shortcuts, notes, counted, known, release
    )


def require_free(folder: Path) -> None:
    """Refuse a folder for the results that holds anything but results of an earlier check.

    One that cannot be written is refused, too: before an hour's work, not after it.

    Raises:
        FileExistsError: it does, or it is a file.
        OSError: it cannot be written.
    """
    above = (parent for parent in folder.absolute().parents if parent.exists())
    _require_writable(next(above, folder))
    if folder.is_dir() and _holds_earlier(folder):
        return
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise FileExistsError(
            f"{folder} holds something else than the results of an earlier check. Name an empty "
            f"or new folder."
        )


def write(verification: Verification, folder: Path) -> None:
    """Write ``images.csv`` and ``summary.md`` into a folder, both or none of them.

    The table has one row an image and not one row a finding: what is said of the whole
    folder can then be counted again, filtered and drawn with three lines of pandas, and a
    file with three problems is still one file. The findings themselves are in the summary.

    Args:
        verification: from ``check``.
        folder: new, empty, or with the results of an earlier check, which are replaced.

    Raises:
        FileExistsError: the folder holds something else.
        OSError: it cannot be written.
    """
    require_free(folder)
    with atomic_folder(folder, overwrite=folder.is_dir() and _holds_earlier(folder)) as made:
        # a file name may hold bytes that are no text
        verification.images.to_csv(made / TABLE, index=False, errors="backslashreplace")
        (made / SUMMARY).write_text(summary(verification), "utf-8")


def summary(verification: Verification) -> str:
    """Return what was found, in Markdown that also reads well in a terminal."""
    dataset = verification.dataset
    faults, others = verification.faults, len(verification.findings) - verification.faults
    verdict = (
        f"**{_number(faults, 'fault')} and {_number(others, 'notice')}.** A fault needs a person; "
        f"the notebooks live with a notice."
    )
    parts = [
        f"# Check of {verification.title}: {verification.place}",
        verdict,
        *_section("Faults", _told(verification.findings, True)),
        *_section("Notices", _told(verification.findings, False)),
        "## Images",
        _table_of_counts(verification),
        _list(_said_of_counts(verification) + _said_of_patients(verification)),
        *_section("Defects, as the notebook counts them", _table_of_defects(verification.counted)),
        *_section("What the files' sizes tell", _table_of_shortcuts(verification.shortcuts)),
        *_section("Commonest sizes", _table_of_sizes(verification.usable, dataset)),
        *_section("How the folder was read", _list(verification.notes)),
        *_section(
            f"Known defects of {_whole(verification)}, for comparison",
            _list(list(map(str, dataset.defects))),
        ),
        f"Every file, with its size, hashes and problems, has a row in {TABLE}.",
    ]
    text = "\n\n".join(parts) + "\n"
    return text.encode(errors="backslashreplace").decode()  # of names that are no text


# -- reading every file --------------------------------------------------------------------


def _measured(index: pd.DataFrame, root: Path) -> tuple[pd.DataFrame, np.ndarray]:
    """Return one row a file, those left out at the end, and the thumbnails of the others.

    Thumbnails are uint8 (n, 256), grey; row i belongs to row i of the table.
    """
    masks = list(index["mask"]) if "mask" in index else [""] * len(index)
    thumbnails = np.zeros((len(index), _THUMBNAIL**2), np.uint8)
    entries = []
    for number, (entry, thumbnail) in enumerate(_look_at_all(list(index["path"]), masks)):
        entries.append(entry)
        thumbnails[number] = thumbnail
    ours = {*COLUMNS, "mask", *_UNREAD, *_ADDED}  # a CSV file may have columns of these names
    own = [column for column in index if column not in ours]
    named = index[["path", "class_name", "patient", "part", *own]]
    table = pd.concat([named, pd.DataFrame(entries)], axis="columns")
    unread: dict[str, object] = {**dict.fromkeys(map(str, named), ""), **_UNREAD}
    lost = [
        {**unread, **item, "bytes": defects.bytes_of(root / item["path"])}
        for item in index.attrs["left_out"]
    ]
    if lost:
        table = pd.concat([table, pd.DataFrame(lost)], ignore_index=True)
    table["path"] = [_seen_from(root, path) for path in table["path"]]
    return table, thumbnails


def _seen_from(root: Path, path: str) -> str:
    """Return a path below the folder; of what lies elsewhere as a CSV file names it."""
    file = Path(path)
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else path


def _look_at_all(
    files: Sequence[str], masks: Sequence[str]
) -> Iterator[tuple[dict[str, object], np.ndarray]]:
    """Yield what is to be known of each file, in order, few pictures in memory at a time."""
    # Threads suffice: Pillow decodes, and hashlib hashes, outside Python's lock.
    # An archive is unpacked by one reader, since it can only be read forwards.
    with ThreadPoolExecutor(os.cpu_count() or 2) as pool, packed.Reader() as archives:
        starts = range(0, len(files), _BLOCK)
        for start in progress(starts, "checking images", total=len(starts)):
            block = slice(start, start + _BLOCK)
            sources = [
                archives.read(file) if packed.is_address(file) else file for file in files[block]
            ]
            yield from pool.map(_look_at, sources, masks[block])


def _look_at(source: images.Source, mask: str) -> tuple[dict[str, object], np.ndarray]:
    """Return the table's entries for one file, or one image of an archive, and its thumbnail."""
    many = source.nbytes if isinstance(source, np.ndarray) else defects.bytes_of(source)
    entry: dict[str, object] = {**_UNREAD, "bytes": many, "reason": ""}
    try:
        pixels = images.read_original(source)
        height, width = pixels.shape[:2]
        if mask:
            _require_size(mask, width, height)
    except images.UnreadableImageError as error:
        return entry | {"reason": str(error)}, np.zeros(_THUMBNAIL**2, np.uint8)
    if isinstance(source, np.ndarray):
        file_hash, mode = _hash(source.tobytes()).hexdigest(), "L" if source.ndim == 2 else "RGB"
    else:
        with Path(source).open("rb") as stream:
            file_hash = hashlib.file_digest(stream, _hash).hexdigest()
        with Image.open(source) as image:  # only the head of the file: nothing is decoded again
            mode = image.mode
    picture = _hash(f"{width}×{height} ".encode())
    picture.update(np.ascontiguousarray(pixels).data)
    size = (_THUMBNAIL, _THUMBNAIL)
    small = Image.fromarray(pixels).convert("L").resize(size, Image.Resampling.BOX)
    read = {
        "width": width,
        "height": height,
        "mode": mode,
        "file_hash": file_hash,
        "pixel_hash": picture.hexdigest(),
        "flat": bool(pixels.min() == pixels.max()),
    }
    return entry | read, np.asarray(small).ravel()


def _hash(data: bytes = b"") -> hashlib.blake2b:
    return hashlib.blake2b(data, digest_size=16)


def _require_size(mask: str, width: int, height: int) -> None:
    """Refuse an image whose mask has another size; the mask itself was read for its label."""
    with Image.open(mask) as opened:
        size = opened.size
    if size != (width, height):
        raise images.UnreadableImageError(images.other_size(size, (width, height)))


# -- is it the whole set, and can it be read? ----------------------------------------------


def _about_origin(root: Path, dataset: Dataset, release: str) -> Iterator[Finding]:
    """Say where a folder's name is one that ``data sample`` and the notebooks give."""
    if not release:
        return
    drawn = re.compile(rf"{dataset.name}-(sample-)?seed\d+(-v\d+)?")
    if named := [part for part in root.parts if drawn.fullmatch(part)]:
        yield Finding(
            "synthetic",
            False,
            f"The folder's name is that of a synthetic twin ({named[-1]}): drawn pictures in the "
            f"layout of the real set, with some of its defects, and far fewer of them.",
        )


def _about_release(named: str, found: str, dataset: Dataset) -> Iterator[Finding]:
    """Say where another release was asked about; a dataset's own name stands for all of them."""
    if not found or named == dataset.name:
        return
    if releases.counts_of(named) != releases.counts_of(found):
        yield Finding(
            "another release",
            True,
            f"This is not {named}: it is {found}, or most like it, by the numbers and names of "
            f"its files.",
        )


def _about_counts(usable: pd.DataFrame, dataset: Dataset, release: str) -> Iterator[Finding]:
    """Compare the numbers of images, patients and classes with those of the whole release."""
    expected = releases.counts_of(release)
    found = _counted(usable, dataset)
    if usable["part"].any():  # without parts, all images may be there all the same
        found[releases.OFFICIAL_TEST] = int((usable["part"] == "test").sum())
    found = {name: count for name, count in found.items() if name in expected}
    fewer = [name for name, count in found.items() if count < expected[name]]
    more = [name for name, count in found.items() if count > expected[name]]
    of = "" if release == dataset.name else f" {release}"

    def told(names: list[str]) -> str:
        return "; ".join(f"{name} {found[name]:,}, not {expected[name]:,}" for name in names)

    if fewer:
        yield Finding(
            "too few",
            True,
            f"This is not the whole real set{of}: {told(fewer)}. It was copied or unpacked in "
            f"part, it is a selection, or it is a synthetic twin.",
        )
    if more:
        yield Finding(
            "too many",
            False,
            f"There is more than the registry says{of and ' of' + of}: {told(more)}. Another "
            f"release, or the same images twice.",
        )


def _counted(usable: pd.DataFrame, dataset: Dataset) -> dict[str, int]:
    """Return how many images, patients, slides and images of each class there are."""
    found = {"images": len(usable), "patients": int(usable["patient"].nunique())}
    if "slide" in usable:
        found["slides"] = int(usable["slide"].nunique())
    for class_name in dataset.classes:
        found[class_name] = int((usable["class_name"] == class_name).sum())
    return found


def _about_unused(table: pd.DataFrame, source: str) -> Iterator[Finding]:
    """Say which files cannot be used: damaged ones, strays, and names that say too little."""
    lost = table["reason"] != ""
    # What the index took and could not be read, and what it left out for its mask.
    damaged = lost & ((table["class_name"] != "") | table["reason"].str.startswith("its mask: "))
    names = table["path"].str.rpartition("/")[2]
    is_image = names.str.lower().str.endswith(tuple(images.SUFFIXES)) & ~names.str.startswith(".")
    if source == "csv":
        yield from _about_lines(table, lost & ~damaged)
        lost = damaged
    stray = lost & ~damaged & ~is_image
    other = lost & ~damaged & is_image
    if damaged.any():
        is_mask = table.loc[damaged, "reason"].str.contains("mask")
        with_mask = f", {_number(is_mask, 'mask')} among them" if is_mask.any() else ""
        yield _finding(
            "unreadable", True, table, damaged,
            f"{_number(damaged, 'file')} damaged or useless{with_mask}. The notebooks leave such "
            f"images out; fetch them again.",
            with_reason=True,
        )  # fmt: skip
    if other.any():
        yield _finding(
            "left out", False, table, other,
            f"{_number(other, 'image file')} left out for the name, or for what lies beside.",
            with_reason=True,
        )  # fmt: skip
    if stray.any():
        yield _finding(
            "stray file", False, table, stray,
            f"{_number(stray, 'file')} among the images but no image: what a system or an archive "
            f"leaves behind.",
        )  # fmt: skip


def _about_lines(table: pd.DataFrame, lost: pd.Series) -> Iterator[Finding]:
    """Say which lines of a CSV file are not used; only its owner can correct them."""
    again = lost & table["reason"].str.contains(": the same image as in line ", regex=False)
    wrong = lost & ~again
    if wrong.any():
        yield _finding(
            "line left out", True, table, wrong,
            f"{_number(wrong, 'line')} of the CSV file cannot be used. Correct or remove them.",
            with_reason=True,
        )  # fmt: skip
    if again.any():
        yield _finding(
            "line again", False, table, again,
            f"{_number(again, 'line')} of the CSV file with an image that another line has, too: "
            f"it is used once.",
            with_reason=True,
        )  # fmt: skip


# -- patients and numbers on both sides of the official split -------------------------------


def _about_sides(usable: pd.DataFrame) -> Iterator[Finding]:
    """Say which patients are in the official test part and outside of it.

    The official training and validation parts are one side: neither is the test.
    """
    tested = defects.in_test(usable)
    if tested is not None:
        shared = defects.in_both(usable["patient"], tested, ~tested)
        if shared.any():
            yield _finding(
                "patient on both sides", True, usable, shared & tested,
                f"{usable.loc[shared, 'patient'].nunique():,} of the "
                f"{usable.loc[tested, 'patient'].nunique():,} patients of the official test part "
                f"also have images in train or valid; {_share(shared[tested])} of the test images "
                f"show them.",
            )  # fmt: skip
        if "number" in usable:
            yield from _about_numbers(usable, tested)
    valid = usable["part"] == "valid"
    shared = defects.in_both(usable["patient"], valid, usable["part"] == "train")
    if shared.any():
        yield _finding(
            "patient in train and valid", False, usable, shared & valid,
            f"{_number(usable.loc[shared, 'patient'].nunique(), 'patient')} of the official "
            f"validation part also in train. {_about_validation(usable)}",
        )  # fmt: skip


def _about_validation(usable: pd.DataFrame) -> str:
    """Return what becomes of the official validation part where the notebooks take that split."""
    named = usable.assign(label=usable["class_name"], content=usable["pixel_hash"])
    return {
        True: "split_official keeps valid, and moves there what train has of its patients and "
        "pictures.",
        False: "split_official merges the two and deals them anew.",
        None: "The notebooks deal all patients anew.",
    }[splits.keeps_validation(named)]


def _about_numbers(usable: pd.DataFrame, tested: pd.Series) -> Iterator[Finding]:
    """Say which bare numbers occur on both sides under different series."""
    shared = defects.shared_numbers(usable, tested)
    if not shared.any():
        return
    numbers = pd.Series(sorted(usable.loc[shared, "number"].unique()))
    series = numbers.str.extract(r"^(\D+)", expand=False).value_counts(sort=False)
    told = " and ".join(f"{count:,} {str(name).strip('-_')}" for name, count in series.items())
    first = usable[shared & (usable["number"] == numbers[0])].drop_duplicates("patient")
    yield _finding(
        "number on both sides", False, usable, shared & tested,
        f"{told} numbers occur in the official test part and outside of it, each under another "
        f"series (such as {' and '.join(sorted(first['patient']))}). The rule of this dataset "
        f"takes number and series together for a patient (its defects, below, say why). Were the "
        f"bare number the patient, {_share(shared[tested])} of the test images would show one "
        f"from train or valid.",
    )  # fmt: skip


# -- copies --------------------------------------------------------------------------------


def _copies(usable: pd.DataFrame) -> pd.Series:
    """Return a group number for pictures that are there more than once, 0 for the others.

    Flat pictures (every pixel the same) are no copies of one another: they show nothing.
    """
    again = usable["pixel_hash"].duplicated(keep=False) & ~usable["flat"].astype(bool)
    return defects.numbered(usable["pixel_hash"].where(again))


def _about_copies(usable: pd.DataFrame, patients_known: bool) -> Iterator[Finding]:
    """Say which pictures are there more than once, and what each kind of copy spoils."""
    if not usable["copies"].any():
        return
    several = defects.spread_of_copies(usable, usable["copies"], patients_known)
    whose = (
        "one patient, class and part"
        if patients_known
        else "one class and part, of whom is not known"
    )
    kinds = {
        "copy on both sides": (several["side"], True,
            "in the official test part and outside of it: a test that was seen in training"),
        "copy in train and valid": (several["part"] & ~several["side"], False,
            "in the official train and valid"),
        "copy under two classes": (several["class_name"], False,
            "under two classes: one of the labels is wrong"),
        "copy under two patients": (several["patient"], False,
            "under two patients, whom the notebooks therefore deal as one"),
        "copy of one patient" if patients_known else "copy": (~several.any(axis="columns"), False,
            f"under {whose}: they count twice"),
    }  # fmt: skip
    for kind, (groups, is_fault, where) in kinds.items():
        chosen = usable["copies"].isin(groups.index[groups])
        then = f" {_about_validation(usable)}" if kind == "copy in train and valid" else ""
        if chosen.any():
            yield _finding(
                kind, is_fault, usable, chosen,
                f"{_number(int(groups.sum()), 'picture')} found more than once {where} "
                f"({_about_group(usable[chosen])}).{then}",
                group="copies",
            )  # fmt: skip


def _about_group(rows: pd.DataFrame) -> str:
    """Return how many files are in groups of copies, and in what way they are equal."""
    groups = rows.groupby("copies")["file_hash"]
    to_the_byte = int((groups.nunique() < groups.size()).sum())
    how = {groups.ngroups: "byte for byte", 0: "pixel for pixel, in files that differ"}.get(
        to_the_byte, f"pixel for pixel, {to_the_byte:,} of them with files equal to the byte"
    )
    return f"{len(rows):,} files, {len(rows) - groups.ngroups:,} of them surplus, equal {how}"


def _near_copies(usable: pd.DataFrame, thumbnails: np.ndarray) -> pd.Series:
    """Return a group number for pictures of different patients that are nearly the same.

    Neighbouring slices of one patient always are; and what is equal to the last pixel is
    told as a copy. So one of each group of copies is compared, with other patients' only.
    """
    none = pd.Series(0, usable.index)
    once = usable[~usable["pixel_hash"].duplicated()]
    vectors = thumbnails[once.index].astype(np.float32)
    vectors -= vectors.mean(axis=1, keepdims=True)
    length = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    # A spread of less than two grey levels is noise on nothing.
    shows = length > 2 * _THUMBNAIL
    once, vectors = once[shows], vectors[shows]
    if len(once) < 2:
        return none
    vectors /= length[shows, None]
    pairs = _pairs(vectors, pd.factorize(once["patient"])[0])
    if not len(pairs):
        return none
    edges = coo_array((np.ones(len(pairs)), pairs.T), (len(once), len(once)))
    group = connected_components(edges, directed=False)[1]
    in_pairs = np.isin(np.arange(len(once)), pairs)
    named = pd.Series(group, once.index).where(in_pairs)
    return none.add(defects.numbered(named), fill_value=0).astype(int)


def _pairs(vectors: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Return pairs (p, 2) that join the vectors of different patients that are nearly one.

    Args:
        vectors: float32 (n, 256), of mean 0 and length 1: the product of two is how much they
            correlate.
        patients: (n,) numbers.
    """
    pairs = []
    starts = range(0, len(vectors), _QUERIES)
    for start in progress(starts, "comparing images", total=len(starts)):
        # with those from here on: the others have met these already
        alike = vectors[start : start + _QUERIES] @ vectors[start:].T >= NEARLY_ONE
        one, other = np.nonzero(alike) + np.array([[start], [start]])
        found = np.column_stack([one, other])[patients[one] != patients[other]]
        # The first partner of each is enough to join them: where thousands are alike, all
        # pairs of them would not fit into memory.
        first = [np.unique(column, return_index=True)[1] for column in found.T]
        pairs.append(found[np.union1d(*first)])
    return np.concatenate(pairs)


def _about_near_copies(usable: pd.DataFrame) -> Iterator[Finding]:
    """Say which pictures of different patients are nearly the same."""
    near = usable["near_copies"] > 0
    if not near.any():
        return
    groups = usable[near].groupby("near_copies")
    tested = (usable["part"] == "test").groupby(usable["near_copies"]).nunique()
    across = int((tested.drop(0, errors="ignore") > 1).sum())
    both = f", {across:,} of them in the official test part and outside of it" if across else ""
    yield _finding(
        "near copy", False, usable, near,
        f"{_number(groups.ngroups, 'picture')} found nearly the same under two patients or more"
        f"{both} ({int(near.sum()):,} files whose thumbnails of {_THUMBNAIL}×{_THUMBNAIL} pixels "
        f"correlate by {NEARLY_ONE} or more): probably saved again, or made smaller. Look at them.",
        group="near_copies",
    )  # fmt: skip


# -- sizes ---------------------------------------------------------------------------------


def _features(usable: pd.DataFrame) -> dict[str, pd.Series]:
    """Return the properties of files that a class may be told by without the picture."""
    in_files = not usable["path"].map(packed.is_address).any()  # else one file holds all
    return {
        **defects.sizes_of(usable),
        **({"file size": usable["bytes"]} if in_files else {}),
        _COLOUR: (~usable["mode"].isin(["1", "L", "LA", "I", "I;16", "F"])).astype(int),
    }


def _about_sizes(usable: pd.DataFrame) -> Iterator[Finding]:
    """Say which images are of an odd size or shape, and which show nothing."""
    flat = usable["flat"].astype(bool)
    if flat.any():
        yield _finding(
            "flat", False, usable, flat,
            f"{_number(flat, 'image')} of which every pixel has the same value: they show nothing.",
        )  # fmt: skip
    features = _features(usable)
    units = {"width": " pixels", "height": " pixels", "aspect ratio": "", "file size": " bytes"}
    for feature, unit in units.items():
        if feature not in features:
            continue
        values = features[feature]
        low, high = _fences(values)
        odd = ((values < low) | (values > high)) & ~flat
        if odd.any():
            extremes = sorted({values[odd].min(), values[odd].max()})
            middle = values.quantile([0.25, 0.75])
            yield _finding(
                f"odd {feature}", False, usable, odd,
                f"{_number(odd, 'image')} far from the others in {feature}: "
                f"{_from_to(extremes, unit)}, where half of all lie from "
                f"{_from_to(list(middle), unit)}.",
            )  # fmt: skip
    yield from _about_modes(usable)


def _from_to(values: Sequence[float], unit: str) -> str:
    """Return such as ``40 to 394 pixels``."""
    digits = 0 if unit else 2
    return " to ".join(f"{value:,.{digits}f}" for value in values) + unit


def _about_modes(usable: pd.DataFrame) -> Iterator[Finding]:
    """Say which images are stored in another way than most, and in which classes they are."""
    modes = usable["mode"].value_counts()
    for mode, count in modes.iloc[1:].items():
        rare = usable["mode"] == mode
        classes = usable.loc[rare, "class_name"].value_counts()
        of = ", ".join(f"{number:,} {name}" for name, number in classes.items())
        yield _finding(
            "stored otherwise", False, usable, rare,
            f"{count:,} of {len(usable):,} images are stored as {mode}, not as {modes.index[0]} "
            f"like most (Pillow's names; L is grey): {of if len(classes) > 1 else 'all ' + of}.",
        )  # fmt: skip


def _fences(values: pd.Series) -> tuple[float, float]:
    """Return between what values nothing is odd; on a logarithmic scale, since sizes multiply."""
    logarithms = np.log(values)
    lower, upper = logarithms.quantile([0.25, 0.75])
    reach = max(FENCE * (upper - lower), np.log(LEAST_FACTOR))
    return float(np.exp(lower - reach)), float(np.exp(upper + reach))


def _shortcuts(usable: pd.DataFrame, dataset: Dataset) -> tuple[Shortcut, ...]:
    """Return for each property of the files how well it tells the class that it tells best."""
    if usable["class_name"].nunique() < 2:
        return ()
    patients = usable["patient"].to_numpy().astype(str)
    found = []
    for feature, values in _features(usable).items():
        told = defects.told_best(values, usable["class_name"], dataset)
        if not told:
            found.append(Shortcut(feature))
            continue
        class_name, area = told[0]
        is_larger = area >= 0.5
        # Ranks, from 0 to 1: the area is about order alone, and a score must be in there.
        ranks = (rankdata(values) - 1) / (len(values) - 1)
        truth = (usable["class_name"] == class_name).to_numpy().astype(int)
        estimate = metrics.auc(truth, ranks if is_larger else 1 - ranks, patients)
        found.append(Shortcut(feature, class_name, is_larger, estimate))
    return tuple(found)


def _about_shortcuts(shortcuts: Sequence[Shortcut]) -> Iterator[Finding]:
    """Say which property of the files tells a class best, where one does."""
    telling = [one for one in shortcuts if one.tells]
    if telling:
        best = max(telling, key=lambda one: one.area.value if one.area else 0.0)
        others = ", ".join(one.feature for one in telling if one is not best)
        also = f" Others that do: {others}." if others else ""
        yield Finding(
            "size tells the class",
            False,
            f"The {best.feature} alone tells {best.class_name} from the rest with an AUC of "
            f"{best.area}: {best.direction} there.{also} See that no "
            f"network gets it: one size for all, no bars that show the format.",
        )


# -- the table beside the volumes ----------------------------------------------------------


def _about_table(index: pd.DataFrame) -> Iterator[Finding]:
    """Compare the table that lies beside the images, where there is one, with the files."""
    if not index.attrs["table"]:
        return
    name = Path(index.attrs["table"]).name
    try:
        table = compare_table(index)
    except ValueError as error:
        yield Finding("table", False, str(error))
        return
    wrong = int(table["patient_is_wrong"].sum())
    if wrong:
        claimed, true = (
            table[column].value_counts().to_dict() for column in ("patient_id", "folder")
        )
        passes = " Each id has the right number of rows, so that a plain count passes."
        folders = table.groupby("patient_id")["folder"].nunique()
        mixed = int((folders > 1).sum())
        yield Finding(
            "wrong patient in table",
            False,
            f"{name}: patient_id is wrong in {wrong:,} of {len(table):,} rows."
            f"{passes if claimed == true else ''} {mixed:,} of its {len(folders):,} "
            f"ids mix slices of several patients: a split by this column leaks. The notebooks "
            f"take the folder's name.",
        )
    for column, what in (
        ("path_is_missing", "the file named is not there"),
        ("label_is_wrong", "the label is not what the mask shows"),
    ):
        rows = table[table[column]]
        if len(rows):
            kind = f"{'missing path' if 'path' in column else 'wrong label'} in table"
            text = f"{name}: in {len(rows):,} of {len(table):,} rows {what}."
            examples = rows["image_path"].fillna("(none)").astype(str)
            shown = tuple(examples[:_EXAMPLES])
            yield Finding(kind, False, text, shown, len(rows) - len(shown))


# -- telling -------------------------------------------------------------------------------


def _finding(
    kind: str,
    is_fault: bool,
    table: pd.DataFrame,
    chosen: pd.Series,
    text: str,
    *,
    with_reason: bool = False,
    group: str = "",
) -> Finding:
    """Return a finding about some rows of the table, with a few of them as examples."""
    rows = table[chosen]
    shown = rows.head(_EXAMPLES)
    number = len(rows)
    if group:
        sign = " ~ " if group == "near_copies" else " = "
        shown = rows[rows[group].isin(rows[group].unique()[:_EXAMPLES])]
        examples = [sign.join(paths) for _, paths in shown.groupby(group)["path"]]
        number = rows[group].nunique()
    elif with_reason:
        examples = [f"{row.path}: {row.reason}" for row in shown.itertuples()]
    else:
        examples = list(shown["path"])
    places = tuple(int(row) for row in rows.index)
    return Finding(kind, is_fault, text, tuple(examples), number - len(examples), places)


def _problems(findings: Sequence[Finding], rows: int) -> list[str]:
    """Return the kinds of findings of each row, separated by semicolons."""
    kinds: list[list[str]] = [[] for _ in range(rows)]
    for finding in findings:
        for row in finding.rows:
            kinds[row].append(finding.kind)
    return ["; ".join(row) for row in kinds]


def _require_writable(parent: Path) -> None:
    """Try to make something in a folder: permissions alone do not tell of a read-only disk."""
    with tempfile.TemporaryDirectory(prefix=".verify-", dir=parent):
        pass


def _holds_earlier(folder: Path) -> bool:
    """Return whether a folder has the results of an earlier check in it and nothing else."""
    return {path.name for path in folder.iterdir()} == {TABLE, SUMMARY}


def _number(count: int | pd.Series, what: str) -> str:
    """Return such as ``1 image`` or ``2,345 images``."""
    count = int(count) if isinstance(count, int) else int(count.sum())
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def _share(members: pd.Series) -> str:
    return f"{100 * float(members.mean()):.1f} %"


def _section(title: str, text: str) -> list[str]:
    """Return a heading and its text, nothing where there is no text."""
    return [f"## {title}", text] if text else []


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _told(findings: Sequence[Finding], is_fault: bool) -> str:
    """Return the faults, or the other findings, each with its examples below it."""
    lines = []
    for finding in findings:
        if finding.is_fault == is_fault:
            lines.append(f"- **{finding.kind}**: {finding.text}")
            lines += [f"    - {example}" for example in finding.examples]
            where = f": see the column problems of {TABLE}" if finding.rows else ""
            lines += [f"    - and {finding.more:,} more{where}"] if finding.more else []
    return "\n".join(lines)


def _table_of_defects(counted: pd.DataFrame) -> str:
    """Return the table that the notebook shows as a data frame."""
    rows = [[str(name), *map(str, row)] for name, *row in counted.itertuples(name=None)]
    return _table(["counted", *counted], rows)


def _table_of_counts(verification: Verification) -> str:
    """Return the counts beside the registry's, and in the official parts."""
    usable, dataset = verification.usable, verification.dataset
    parts = [part for part in ("train", "valid", "test") if (usable["part"] == part).any()]
    found = _counted(usable, dataset)
    if not verification.patients_known:
        found.pop("patients")
    members = {name: usable["class_name"] == name for name in dataset.classes}
    members["images"] = usable["class_name"] != ""
    rows, expected = [], verification.expected
    for name, count in found.items():
        row = [name, f"{count:,}"]
        if expected:
            row.append(f"{expected[name]:,}" if name in expected else "")
        for part in parts:
            inside = usable["part"] == part
            if name in members:
                row.append(f"{int((members[name] & inside).sum()):,}")
            else:
                column = "slide" if name == "slides" else "patient"
                row.append(f"{usable.loc[inside, column].nunique():,}")
        rows.append(row)
    known = ["registry"] if expected else []
    return _table(["", "usable here", *known, *parts], rows)


def _whole(verification: Verification) -> str:
    """Return of what the registry knows defects: small versions of a set have not all of them."""
    is_small = verification.release and registry.release(verification.release).pixels
    return "the archive from which these images were made" if is_small else "this dataset"


def _said_of_counts(verification: Verification) -> list[str]:
    """Return the one thing to say where every count is right."""
    if not verification.expected:
        return []
    if {"too few", "too many", "synthetic"} & {one.kind for one in verification.findings}:
        return []
    return ["Every number that the registry knows is the one found here."]


def _said_of_patients(verification: Verification) -> list[str]:
    """Return how many patients have several classes, or several of what their names tell."""
    if not verification.patients_known:
        return ["Patients are not known: every image stands for one of its own."]
    usable = verification.usable
    columns = {"class_name": "class"}
    columns |= {name: name for name in ("subtype", "slide") if name in usable}
    said = []
    for column, what in columns.items():
        several = defects.several_of(usable, column)
        examples = [f"{patient}: {', '.join(values)}" for patient, values in several.items()]
        shown = f" ({'; '.join(examples[:_EXAMPLES])})" if examples else ""
        said.append(
            f"{len(several):,} of {usable['patient'].nunique():,} patients have images of more "
            f"than one {what}{shown}."
        )
    return said


def _table_of_shortcuts(shortcuts: Sequence[Shortcut]) -> str:
    """Return the area under the ROC curve of each property."""
    rows = []
    for one in shortcuts:
        if one.area is None:
            rows.append([one.feature, "", "", "the same in all images"])
        else:
            rows.append([one.feature, one.class_name, one.direction, str(one.area)])
    header = ["property", "class told best", "where it is", "AUC (95 % over patients)"]
    return _table(header, rows) if rows else ""


def _table_of_sizes(usable: pd.DataFrame, dataset: Dataset) -> str:
    """Return the five commonest sizes and the classes of the images that have them."""
    sizes = usable["width"].astype(str) + "×" + usable["height"].astype(str)
    common = sizes.value_counts().head(5)
    rows = [
        [str(size), f"{count:,}"]
        + [f"{int(((sizes == size) & (usable['class_name'] == name)).sum()):,}"
           for name in dataset.classes]
        for size, count in common.items()
    ]  # fmt: skip
    rest = sizes.nunique() - len(common)
    if rest:
        others = ~sizes.isin(common.index)
        rows.append(
            [f"{rest:,} others", f"{int(others.sum()):,}"]
            + [f"{int((others & (usable['class_name'] == name)).sum()):,}"
               for name in dataset.classes]
        )  # fmt: skip
    return _table(["width×height", "images", *dataset.classes], rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown whose columns stand straight in a terminal as well."""
    widths = [max(len(row[k]) for row in [header, *rows]) for k in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in lines
    )
