"""Retinal OCT: neovascularisation, oedema, drusen or none of them (Kermany 2018)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from helpers.registry import Dataset, Defect, Download, Profile, Published, Release, medmnist

if TYPE_CHECKING:  # the command line lists datasets, and need not wait for pandas
    import pandas as pd

_FILES = "https://data.mendeley.com/public-files/datasets/rscbjbr9sj/files"
_NAME = re.compile(r"(?:CNV|DME|DRUSEN|NORMAL)-(?P<patient>\d+)-\d+\.\w+", re.IGNORECASE)


def patient_of(file_name: str) -> str | None:
    """Return the patient's number in a scan's name, or None where there is none.

    The class in front is no part of it: a patient may have scans under two labels.

    Args:
        file_name: such as ``CNV-1016042-66.jpeg``: class, patient, number of the image.
    """
    match = _NAME.fullmatch(file_name)
    return None if match is None else match["patient"]


def release_of(index: pd.DataFrame) -> str:
    """Return which of the two releases these scans are, or are most like: "oct" (v2) or "oct_v3".

    Counts tell it; in a copy that lacks files the names do: only in v2 does the test part
    hold patients who are also in train. Without parts, more scans than v2 has must be v3's.

    Args:
        index: with ``patient`` and ``part``, of all scans that were found.
    """
    found = index["part"].value_counts().to_dict()
    whole = [name for name in _TOLD if _parts_of(name) == found]
    if whole:
        return whole[0]
    if {"train", "test"} <= set(found):
        return "oct" if _is_seen(index).any() else "oct_v3"
    return "oct" if len(index) <= DATASET.counts["images"] else "oct_v3"


def about(index: pd.DataFrame) -> list[str]:
    """Return which of the two releases these scans are, and what that means for their test.

    Args:
        index: with ``patient`` and ``part``, of all scans that were found.
    """
    found = index["part"].value_counts().to_dict()
    if not {"train", "test"} <= set(found):
        return []
    release = release_of(index)
    counted = ", ".join(f"{part} {count:,}" for part, count in sorted(found.items()))
    if found == _parts_of(release):
        text = f"This is release {_TOLD[release]}, by its counts: {counted}."
    else:
        text = (
            f"Neither release has these counts: {counted}. By the names of the test scans it is "
            f"like release {_TOLD[release]}."
        )
    seen = _is_seen(index)
    tested = index.loc[seen.index, "patient"]
    return [
        f"{text} {tested[seen].nunique():,} of the {tested.nunique():,} test patients "
        f"({seen.mean():.0%} of the test scans) are also outside the test part."
    ]


_TOLD = {"oct": "v2 (OCT2017, Kaggle's kermany2018)", "oct_v3": "v3 (ZhangLabData, CellData/OCT)"}


def _parts_of(name: str) -> dict[str, int]:
    """Return how many scans the parts of a release have."""
    release = next(one for one in DATASET.releases if one.name == name)
    return dict(release.parts) or {
        part: sum(counts.values()) for part, counts in DATASET.parts.items()
    }


def _is_seen(index: pd.DataFrame) -> pd.Series:
    """Return of each test scan whether its patient is also outside the test part."""
    is_test = index["part"] == "test"
    outside = index.loc[~is_test, "patient"].unique()
    seen: pd.Series = index.loc[is_test, "patient"].isin(outside)
    return seen


DATASET = Dataset(
    name="oct",
    number=4,
    title="Four states of the retina in optical coherence tomography",
    task=(
        "Does a cross-section of the retina show choroidal neovascularisation (CNV), diabetic "
        "macular oedema (DME), drusen, or none of them?"
    ),
    classes=("CNV", "DME", "DRUSEN", "NORMAL"),
    positive=None,  # four classes side by side
    urgent=("CNV", "DME"),
    patient_of=patient_of,
    patient_rule="the number in the middle, `1016042`; the class in front is no part of it",
    patient_example="CNV-1016042-66.jpeg",
    about=about,
    release_of=release_of,
    releases=(
        Release(
            "oct",
            files=(
                Download(
                    "OCT2017.tar.gz",
                    (f"{_FILES}/5699a1d8-d1b6-45db-bb92-b61051445347/file_downloaded",),
                    size=5_793_183_169,
                ),
            ),
            kaggle="paultimothymooney/kermany2018",
            note="release v2, which the article and Kaggle's kermany2018 have",
            tree=tuple(
                f"OCT2017/{part}/{kind}/{kind}-1016042-{number}.jpeg"
                for number, part in enumerate(("train", "val", "test"), 1)
                for kind in ("CNV", "DME", "DRUSEN", "NORMAL")
            ),
        ),
        Release(
            "oct_v3",
            files=(
                Download(
                    "ZhangLabData.zip",
                    (f"{_FILES}/810b2ce2-11c3-4424-996e-3bef36600907/file_downloaded",),
                    megabytes=8_400,
                ),
            ),
            note="release v3, whose test patients are apart; the archive holds chest X-rays too",
            tree=tuple(
                f"CellData/OCT/{part}/{kind}/{kind}-1016042-{number}.jpeg"
                for number, part in enumerate(("train", "test"), 1)
                for kind in ("CNV", "DME", "DRUSEN", "NORMAL")
            ),
            counts={"images": 109_309},
            parts={"train": 108_309, "test": 1_000},
        ),
        *medmnist(
            "octmnist",
            {"train": 97_477, "valid": 10_832, "test": 1_000},
            {
                28: "c68d92d5b585d8d81f7112f81e2d0842",
                64: "e229e9440236b774d9f0dfef9d07bdaf",
                128: "0a97e76651ace45c5d943ee3f65b63ae",
                224: "abc493b6d529d5de7569faaef2773ba3",
            },
            "https://zenodo.org/record/6496656/files/octmnist.npz?download=1",
        ),
    ),
    # All of a scan is kept. Bars beside it would show its format, which tells the class.
    fit="squash",
    counts={  # release v2: train, val and test together
        "images": 84_484,
        "CNV": 37_455,
        "DME": 11_598,
        "DRUSEN": 8_866,
        "NORMAL": 26_565,
    },
    parts={
        "train": {"CNV": 37_205, "DME": 11_348, "DRUSEN": 8_616, "NORMAL": 26_315},
        "valid": {"CNV": 8, "DME": 8, "DRUSEN": 8, "NORMAL": 8},
        "test": {"CNV": 242, "DME": 242, "DRUSEN": 242, "NORMAL": 242},
    },
    licence=(
        "CC BY 4.0 (Kermany, Zhang, Goldbaum): to be shared, changed and used for any purpose, "
        "commerce included, with the authors named. The synthetic sample is ours (MIT)"
    ),
    citation=(
        "Kermany DS, Goldbaum M, Cai W, et al. Identifying medical diagnoses and treatable "
        "diseases by image-based deep learning. Cell 172(5):1122-1131, 2018. "
        "doi 10.1016/j.cell.2018.02.010. Data: doi 10.17632/rscbjbr9sj"
    ),
    article=(
        "«医学图像分析的深度学习» (Deep learning for the analysis of medical images), after "
        "Pawan Jain, 2019; code: github.com/pawangeek/pytorch-notebooks, "
        "Retinal-image-classification"
    ),
    defects=(
        Defect(
            "There are two releases with different test sets. v2 (OCT2017.tar.gz, Kaggle's "
            "kermany2018): 83,484 training, 968 test and 32 validation images. v3 "
            "(ZhangLabData.zip, folder CellData/OCT): 108,309 training images by file count "
            "(108,312 in the paper) and 1,000 test images. The synthetic sample is like v2",
            "counted by us on the archives' names; Kermany 2018, doi 10.1016/j.cell.2018.02.010",
        ),
        Defect(
            "In v2, 91 % of the test images show patients who are also in train; in v3 no patient "
            "is on both sides. Such leaks raise accuracy on OCT sets by 5 to 30 points",
            "counted by us on the archives' names; the points by Tampu 2022, "
            "doi 10.1038/s41597-022-01618-6",
        ),
        Defect(
            "v2's val holds eight images a class (and a .DS_Store, which some have counted as a "
            "ninth): too few to stop anything by. Take the validation part out of train",
            "counted by us on the archive's names; the nine are the article's",
        ),
        Defect(
            "Classes are unbalanced: train of v2 has 37,205 CNV, 26,315 NORMAL, 11,348 DME and "
            "8,616 DRUSEN images, so that accuracy hides DRUSEN; test and val are balanced",
            "counted by us on the archive's names",
        ),
        Defect(
            "The size tells the class: nearly every training image of 512×512 pixels is DME, while "
            "test images are mostly 1,024 wide. Sizes run from 384 to 1,536 by 496 to 512",
            "counted by us on the real files; in the part that we have, at half size, our data "
            "verify finds 56 of 57 scans of 256×256 to be DME, and an AUC of 0.824 for telling DME "
            "by the aspect ratio alone",
        ),
        Defect(
            "Some patients stand under two labels; the class is no part of the patient's number",
            "found by our data verify in the part that we have: 30 of 805 patients",
        ),
        Defect(
            "Some images are pixel-identical under different patient numbers",
            "counted by us among v2's test images; our data verify finds 2 pictures in the part "
            "that we have, both under 346788 and 818474: 4 of 1,250 images",
        ),
        Defect(
            "Scans that were turned have white wedges at their borders",
            "seen by us in the pictures",
        ),
        Defect(
            "The archive of v2 holds .DS_Store and ._* files, which are no images; Kaggle's copy "
            "has the folder twice, and the folder's name ends in a space: «OCT2017 »",
            "noted by us",
        ),
    ),
    published=(
        Published(
            {"accuracy": 0.966, "sensitivity": 0.978, "specificity": 0.974, "auc": 0.999},
            "108,312 training images, 1,000 test images of other patients (as in v3), "
            "Inception-v3; sensitivity, specificity and AUC are of urgent (CNV, DME) against "
            "the rest",
            "Kermany 2018, doi 10.1016/j.cell.2018.02.010",
            patient_wise=True,
        ),
        Published(
            {"accuracy": 0.934, "sensitivity": 0.966, "specificity": 0.940, "auc": 0.988},
            "1,000 training images a class, the same test images and question",
            "Kermany 2018, doi 10.1016/j.cell.2018.02.010",
            patient_wise=True,
        ),
        Published(
            {"weighted_error": 0.048},
            "mean of six human experts on the same test images (0.004 to 0.105; the network "
            "0.066), errors weighted by what they cost the patient",
            "Kermany 2018, doi 10.1016/j.cell.2018.02.010",
            patient_wise=True,
        ),
        Published(
            {"accuracy": 0.776},
            "OCTMNIST (made from v3, its test patients apart), 28 pixels, best of the benchmark",
            "MedMNIST v2, doi 10.1038/s41597-022-01721-8",
            patient_wise=True,
            images=("medmnist",),
        ),
        Published(
            {"accuracy": 0.905},
            "OCTMNIST (made from v3, its test patients apart), 128 pixels, VGG16",
            "MedMNIST+",
            patient_wise=True,
            images=("medmnist",),
        ),
    ),
    profiles={
        "sample": Profile(
            image_size=128,
            batch_size=32,
            epochs=9,
            backbone="efficientnet_lite0",
            learning_rate=3e-3,
            max_images=1_000,
            augment={"rotate": 8.0, "zoom": 0.1, "shift": 0.05, "flip_left_right": True},
            why="small enough to run in a minute on two processor cores",
        ),
        "best": Profile(
            image_size=192,  # a small druse is some four pixels high then
            batch_size=32,
            epochs=10,
            backbone="efficientnet_lite0",
            # half of what was seen to work where batch normalisation learnt too: here it is frozen
            learning_rate=5e-4,
            # the whole archive would take days; every patient stays, with fewer scans each
            max_images=8_000,
            small_epochs=12,
            augment={
                "rotate": 8.0,
                "zoom": 0.1,
                "shift": 0.05,
                "flip_left_right": True,
                "brightness": 15.0,
            },
            why="our recipe for the real scans: the whole network fine-tuned, classes balanced",
        ),
        "source": Profile(
            image_size=224,
            batch_size=128,
            epochs=15,
            backbone="vgg16",
            learning_rate=1e-3,
            small_epochs=3,
            # ColorJitter() without arguments changed nothing: a little light and contrast here
            augment={
                "crop": 0.2,
                "rotate": 15.0,
                "flip_left_right": True,
                "brightness": 10.0,
                "contrast": 0.1,
            },
            why="the article's own recipe, its slips mended; hours without a GPU",
        ),
    },
    thumbnails=Profile(
        image_size=56,
        batch_size=32,
        epochs=15,
        backbone="small_cnn",
        learning_rate=2e-3,
        max_images=20_000,  # of OCTMNIST's 109,309; its test part stays whole
        small_epochs=5,
        augment={
            "rotate": 8.0,
            "zoom": 0.1,
            "shift": 0.05,
            "flip_left_right": True,
            "brightness": 15.0,
        },
        why="our recipe for thumbnails: six convolutions from nothing, classes balanced",
    ),
)
