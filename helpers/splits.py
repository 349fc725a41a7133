"""Training, validation and test parts: by patient, and the wrong ways beside it.

Images of one patient look alike for reasons that have nothing to do with the disease:
stain, lamp, camera. A network that met a patient in training recognises the patient.
So a patient belongs to one part only, and ``check_leaks`` proves it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

PARTS = ("train", "valid", "test")
FOLDS = 5
OWN_VALIDATION = (0.05, 0.4)
"""Least and greatest share of an archive's own validation part that is used as it is."""


@dataclass(frozen=True)
class Leaks:
    """What two parts of a split have in common that they should not.

    Attributes:
        images: number of images in each part.
        patients: number of patients in each part.
        shared_patients: patients in more than one part.
        shared_test_patients: how many test patients are also in train or valid.
        tainted_test: share of test images whose patient is also in train or valid.
        copies: test images whose very pixels are also in train or valid (None where the
            index holds no pixels).
        patients_known: False where every image counts as a patient of its own, so that zeros
            prove nothing.
    """

    images: dict[str, int]
    patients: dict[str, int]
    shared_patients: tuple[str, ...]
    shared_test_patients: int
    tainted_test: float
    copies: int | None
    patients_known: bool = True

    @property
    def clean(self) -> bool:
        """True where no patient and no picture is in two parts."""
        return not self.shared_patients and not self.copies

    @property
    def test_overlap(self) -> tuple[int, int]:
        """How many test patients are also in train or valid, and how many there are."""
        return self.shared_test_patients, self.patients.get("test", 0)

    def __str__(self) -> str:
        """Return the proof as a reader should see it."""
        if not self.patients_known:
            return self._without_patients()
        lines = [
            f"{part:>5}: {self.images[part]:6,} images of {self.patients[part]:3} patients"
            for part in self.images
        ]
        lines.append(f"patients in more than one part: {len(self.shared_patients)}")
        seen, patients = self.test_overlap
        share = seen / patients if patients else 0.0
        lines.append(
            f"seen before: {seen} of {patients} test patients ({share * 100:.0f} %), "
            f"{self.tainted_test * 100:.1f} % of test images"
        )
        if self.copies is not None:
            lines.append(f"test images that are copies of seen ones: {self.copies}")
        return "\n".join(lines)

    def _without_patients(self) -> str:
        """Return what can be said where nobody knows whose the images are."""
        lines = [f"{part:>5}: {count:6,} images" for part, count in self.images.items()]
        lines.append("patients in more than one part: UNKNOWN (each image counts as a patient)")
        if self.copies is not None:
            lines.append(f"test images that are copies of seen ones: {self.copies}")
        return "\n".join(lines)


def split_by_patient(index: pd.DataFrame, *, seed: int, fold: int | None = None) -> pd.DataFrame:
    """Return the index split by patient: 60 % train, 20 % valid, 20 % test.

    Patients are dealt into five folds with about the same share of each class. One fold is
    the test part, the next one the validation part, the rest trains; so the five possible
    ``fold`` values test every patient exactly once.

    Patients who share a picture, pixel for pixel, are dealt as one: in some sets the same
    image stands under two patient numbers.

    Args:
        index: with ``label`` and ``patient`` (and ``content``, to find shared pictures).
        seed: deals the patients.
        fold: 0–4; None is the same as 0.

    Returns:
        A copy with the column ``split``.

    Raises:
        ValueError: a class has too few patients, or fold is out of range.
    """
    test = _test_fold(fold)
    _require_patients(index)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    dealt = _deal(folds, index, _linked_patients(index))
    return _checked(_with_parts(index, dealt, test))


def split_official(
    index: pd.DataFrame, *, seed: int, fold: int | None = None, drop_shared: bool = False
) -> pd.DataFrame:
    """Return the index with the archive's own test part, and a validation part worth the name.

    The archive's own validation part is kept where it is worth the name: 5 to 40 % of what is
    not tested, with every class. Training images of its patients, or of its very pictures, go
    to it. Otherwise (16 images can steer nothing) training and validation parts are merged, and
    a fifth of their patients is taken for validation. The test part stays as it is, whoever is
    in it: ``check_leaks`` counts the patients and pictures that it shares with training.

    Args:
        index: with ``part``, ``label`` and ``patient`` (and ``content``, to find copies).
        seed: deals the patients.
        fold: 0–4: which fifth of the training patients validates, whatever the archive says;
            None leaves it to the archive, and is the same as 0 where that has no part for it.
            The test part is the same in all of them.
        drop_shared: leave out the training and validation images whose patient, or whose
            very picture, is in the test part too.

    Returns:
        A copy with the column ``split``; fewer rows with ``drop_shared``.

    Raises:
        ValueError: the archive has no parts, a part lacks a class, a class has too few
            patients to validate, or fold is out of range.
    """
    valid = _test_fold(fold)
    _require_parts(index)
    split = index.copy()
    is_test = split["part"] == "test"
    if drop_shared:
        split = split[is_test | ~_is_shared(split, is_test)].reset_index(drop=True)
        is_test = split["part"] == "test"
        _require_rest(index, split)
    rest = split[~is_test]
    linked = _linked_patients(rest)
    validates = None if fold is not None else _own_validation(rest, linked)
    if validates is None:
        _require_patients(rest)
        folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
        validates = _deal(folds, rest, linked) == valid
    split["split"] = "test"
    split.loc[~is_test, "split"] = np.where(validates, "valid", "train")
    return _checked(split)


def keeps_validation(index: pd.DataFrame) -> bool | None:
    """Return whether ``split_official`` keeps the archive's own validation part.

    Args:
        index: as for ``split_official``.

    Returns:
        False where it merges that part with the training part; None where there are no
        official training and test parts to take.
    """
    if not {"train", "test"} <= set(index["part"]):
        return None
    rest = index[index["part"] != "test"]
    return _own_validation(rest, _linked_patients(rest)) is not None


def split_by_image(index: pd.DataFrame, *, seed: int, fold: int | None = None) -> pd.DataFrame:
    """Return the index split by image, as if images were independent: the wrong way.

    It is here for comparison alone. The parts have the same sizes as in
    ``split_by_patient``, but one patient's images lie in all three.
    """
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    dealt = _deal(folds, index, None)
    return _with_parts(index, dealt, _test_fold(fold))


def say_if_by_image(index: pd.DataFrame) -> None:
    """Print that a split by patient and one by image are the same where no patients are known.

    Args:
        index: from ``load_index``, whose ``attrs`` say whether patients are known.
    """
    if not index.attrs.get("patients_known", True):
        print("No patients are known: both splits are by image, and what lies between is chance.")


def split_first_share(index: pd.DataFrame, *, share: float = 0.3) -> pd.DataFrame:
    """Return what ``validation_split=share`` of Keras' old generator made of the index.

    It took the *first* files of each class, sorted by name, for validation, without
    shuffling; and the article then reported its result on them.

    Args:
        index: with ``path`` and ``label``.
        share: of each class.

    Returns:
        A copy with ``split`` either ``train`` or ``test``.
    """
    split = index.copy()
    split["split"] = "train"
    names = split["path"].map(lambda path: Path(path).name)
    for label in sorted(split["label"].unique()):
        members = names[split["label"] == label].sort_values().index
        split.loc[members[: int(share * len(members))], "split"] = "test"
    return split


def check_leaks(index: pd.DataFrame) -> Leaks:
    """Return what the parts of a split share; ``Leaks.clean`` says whether that is nothing.

    Args:
        index: with ``patient`` and a filled ``split``.
    """
    parts = [part for part in PARTS if (index["split"] == part).any()]
    by_part = {part: index[index["split"] == part] for part in parts}
    sides = index.groupby("patient")["split"].nunique()
    shared = tuple(sorted(sides.index[sides > 1]))
    test = by_part.get("test", index.iloc[:0])
    seen = index[index["split"].isin(["train", "valid"])]
    tainted = test["patient"].isin(seen["patient"].unique())
    copies = None
    if "content" in index:
        copies = int(test["content"].isin(seen["content"].unique()).sum())
    return Leaks(
        images={part: len(rows) for part, rows in by_part.items()},
        patients={part: int(rows["patient"].nunique()) for part, rows in by_part.items()},
        shared_patients=shared,
        shared_test_patients=int(test.loc[tainted, "patient"].nunique()),
        tainted_test=float(tainted.mean()) if len(test) else 0.0,
        copies=copies,
        patients_known=bool(index.attrs.get("patients_known", True)),
    )


def require_clean(index: pd.DataFrame) -> Leaks:
    """Return the leak check of a split and refuse one that leaks: the gate of each notebook.

    Raises:
        ValueError: a patient or a picture is in two parts, or there are no parts yet.
    """
    leaks = check_leaks(index)
    if not {"train", "test"} <= set(leaks.images):
        raise ValueError(
            "There is nothing to prove: this index has no train and test part yet. Use "
            "split_by_patient first."
        )
    if not leaks.clean:
        names = ", ".join(leaks.shared_patients[:3]) or "none"
        raise ValueError(
            f"This split leaks: {len(leaks.shared_patients)} patients are in more than one part "
            f"({names}), {leaks.copies or 0} test images are copies of seen ones. "
            f"Use split_by_patient."
        )
    return leaks


def split_hash(index: pd.DataFrame) -> str:
    """Return a short hash of who is in which part, the same wherever the files lie."""
    lines = sorted(
        f"{Path(path).name} {part}"
        for path, part in zip(index["path"], index["split"], strict=True)
    )
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=8).hexdigest()


def _test_fold(fold: int | None) -> int:
    """Return the number of the fold that is the test part, after checking it."""
    test = 0 if fold is None else int(fold)
    if not 0 <= test < FOLDS:
        raise ValueError(f"fold={fold}: choose 0 to {FOLDS - 1}, or None.")
    return test


def _deal(
    folds: StratifiedGroupKFold | StratifiedKFold, index: pd.DataFrame, groups: np.ndarray | None
) -> np.ndarray:
    """Return each image's fold number, 0–4."""
    numbers = np.zeros(len(index), dtype=int)
    for number, (_, members) in enumerate(
        folds.split(np.zeros(len(index)), index["label"].to_numpy(), groups)
    ):
        numbers[members] = number
    return numbers


def _linked_patients(index: pd.DataFrame) -> np.ndarray:
    """Return a group number for each image: patients who share a picture have the same."""
    owner, names = pd.factorize(index["patient"])
    if "content" not in index:
        return owner
    picture, pictures = pd.factorize(index["content"])
    # a graph with patients and pictures as nodes: its connected parts are the groups
    nodes = len(names) + len(pictures)
    edges = coo_array((np.ones(len(index)), (owner, len(names) + picture)), (nodes, nodes))
    groups: np.ndarray = connected_components(edges, directed=False)[1][owner]
    return groups


def _require_rest(index: pd.DataFrame, left: pd.DataFrame) -> None:
    """Refuse a split whose training images all show patients of the test part.

    Raises:
        ValueError: no image of a class is left to train on; says why.
    """
    classes = set(index.loc[index["part"] != "test", "class_name"])
    missing = sorted(classes - set(left.loc[left["part"] != "test", "class_name"]))
    if missing:
        raise ValueError(
            f"Nothing of {' and '.join(missing)} is left to learn from: {len(index) - len(left):,} "
            f"of {(index['part'] != 'test').sum():,} images outside of the test part were left "
            f"out, since their patients (or their very pictures) are tested, too. Give the parts "
            f"patients of their own, or no parts at all: the split is by patient then."
        )


def _own_validation(rest: pd.DataFrame, linked: np.ndarray) -> np.ndarray | None:
    """Return which images the archive's own validation part holds, None where it is of no use.

    Args:
        rest: what is not tested, with ``part``.
        linked: of each image, the number of its group of patients who share a picture.
    """
    theirs = rest["part"].to_numpy() == "valid"
    validates: np.ndarray = np.isin(linked, linked[theirs])
    if theirs.mean() < OWN_VALIDATION[0] or validates.mean() > OWN_VALIDATION[1]:
        return None
    labels = rest["label"].to_numpy()
    sides = (set(labels[validates]), set(labels[~validates]))
    return validates if all(side == set(labels) for side in sides) else None


def _with_parts(index: pd.DataFrame, dealt: np.ndarray, test: int) -> pd.DataFrame:
    """Return a copy with the parts that fold numbers and the test fold stand for."""
    split = index.copy()
    split["split"] = "train"
    split.loc[dealt == (test + 1) % FOLDS, "split"] = "valid"
    split.loc[dealt == test, "split"] = "test"
    return split


def _require_parts(index: pd.DataFrame) -> None:
    """Refuse an index without the archive's own training and test parts."""
    found = set(index["part"]) if "part" in index else set()
    if not {"train", "test"} <= found or "" in found:
        there = ", ".join(sorted(part or "(none)" for part in found)) or "none"
        raise ValueError(
            f"These images come without official training and test parts (found: {there}). "
            f"Give the folder that holds train and test, or use split_by_patient."
        )
    classes = index["class_name"].unique()
    tested = set(index.loc[index["part"] == "test", "class_name"])
    for class_name in classes:
        if class_name not in tested:
            raise ValueError(
                f"The official test part has no image of the class {class_name!r}. Complete it, "
                f"or use split_by_patient, which makes a test part of its own."
            )


def _is_shared(index: pd.DataFrame, is_test: pd.Series) -> pd.Series:
    """Return which images show a patient, or are a picture, of the test part."""
    shared = index["patient"].isin(index.loc[is_test, "patient"].unique())
    if "content" in index:
        shared |= index["content"].isin(index.loc[is_test, "content"].unique())
    return shared


def _require_patients(index: pd.DataFrame) -> None:
    """Refuse what cannot be split by patient."""
    patients = index.groupby("class_name")["patient"].nunique()
    for class_name, count in patients.items():
        if count < FOLDS:
            raise ValueError(
                f"The class {class_name!r} comes from {count} patient{'s' if count > 1 else ''}; "
                f"a split by patient into {FOLDS} folds needs at least {FOLDS} patients a class. "
                f"Add patients, or raise max_images."
            )


def _checked(index: pd.DataFrame) -> pd.DataFrame:
    """Return the split after making sure that each part has each class."""
    found = index.groupby(["split", "class_name"]).size().unstack(fill_value=0)
    for part in PARTS:
        for class_name in index["class_name"].unique():
            if part not in found.index or found.loc[part, class_name] == 0:
                raise ValueError(
                    f"The {part} part has no image of the class {class_name!r}: its patients are "
                    f"too few or too unequal. Try another seed or fold, or add patients."
                )
    return index
