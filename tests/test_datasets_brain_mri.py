"""What we know of the brain scans: names, counts, figures, and the article's recipe."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath

import pytest

from helpers import registry
from helpers.datasets.brain_mri import DATASET, describe, patient_of

PATIENT = "TCGA_CS_4941_19960909"


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        (f"{PATIENT}_1.tif", PATIENT),
        (f"{PATIENT}_12_mask.tif", PATIENT),
        ("TCGA_DU_A5TR_19970726_38.tif", "TCGA_DU_A5TR_19970726"),
        ("TCGA_HT_Z61A_20000127_7.TIFF", "TCGA_HT_Z61A_20000127"),
        ("tcga_cs_4941_19960909_3.tif", PATIENT),
    ],
)
def test_the_patient_is_what_the_folder_is_called(name: str, patient: str) -> None:
    assert patient_of(name) == patient


@pytest.mark.parametrize(
    "name",
    [
        "",
        "data_mask.csv",
        f"{PATIENT}.tif",
        f"{PATIENT}_mask.tif",
        f"._{PATIENT}_1.tif",
        f"{PATIENT}_1_mask_mask.tif",
        f"{PATIENT}_1.png.exe",
        "TCGA_CS_4941_1996_1.tif",
        "Thumbs.db",
    ],
)
def test_other_names_give_no_patient(name: str) -> None:
    assert patient_of(name) is None
    assert describe(PurePosixPath(name)) is None


def test_the_number_of_the_slice() -> None:
    assert describe(PurePosixPath(f"kaggle_3m/{PATIENT}/{PATIENT}_12.tif")) == {"slice": 12}
    assert describe(PureWindowsPath(f"kaggle_3m\\{PATIENT}\\{PATIENT}_3.tif")) == {"slice": 3}
    assert describe(PurePosixPath(f"{PATIENT}_12_mask.tif")) == {"slice": 12}


def test_counts_are_those_of_the_whole_set() -> None:
    assert registry.get("brain_mri") is DATASET
    assert DATASET.tutorial == "02_brain_mri"
    assert DATASET.counts == {
        "images": 3_929,
        "patients": 110,
        "no tumour": 2_556,
        "tumour": 1_373,
    }
    assert DATASET.positive_label == 1
    assert DATASET.reader == "volumes"
    assert patient_of(DATASET.patient_example) is not None


def test_the_source_profile_is_the_article() -> None:
    source = DATASET.profiles["source"]
    assert (source.image_size, source.batch_size, source.backbone) == (256, 16, "resnet50")
    assert source.learning_rate == 1e-3
    assert source.epochs > 20  # room for its patience
    assert not source.augment  # announced there, never done


def test_the_defects_and_the_licence_are_told() -> None:
    text = " ".join(map(str, DATASET.defects))
    assert "3,894" in text
    assert "post-contrast" in text
    assert "NC" in DATASET.licence
    for published in DATASET.published:
        assert published.patient_wise
        assert 0.8 < published.figures["dice_mean"] < 0.95
