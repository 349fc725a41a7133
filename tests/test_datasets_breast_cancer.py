"""What is known of BreakHis: who a patient is, what a name says, which names cannot be right."""

from pathlib import Path, PurePath

import pytest

from helpers import registry
from helpers.datasets import breast_cancer
from helpers.datasets.breast_cancer import DATASET, describe, patient_of

TREE = "BreaKHis_v1/histology_slides/breast"
REAL = Path("/work/shared/realdata/breakhis")


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("SOB_M_DC-14-2523-200-001.png", "14-2523"),
        ("SOB_B_TA-14-21978AB-40-012.jpg", "14-21978"),
        ("sob_b_pt-14-29315ef-400-003.PNG", "14-29315"),
    ],
)
def test_the_patient_is_the_year_and_the_digits(name: str, patient: str) -> None:
    assert patient_of(name) == patient


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("SOB_M_MC-14-18842-40-001.png", "SOB_M_MC-14-18842D-40-001.png"),
        ("SOB_M_MC-14-19979-40-001.png", "SOB_M_MC-14-19979C-40-001.png"),
        ("SOB_B_F-14-29960AB-40-001.png", "SOB_B_A-14-29960CD-40-001.png"),
        ("SOB_B_F-14-23060AB-40-001.png", "SOB_B_F-14-23060CD-40-001.png"),
        ("SOB_M_DC-14-13412-40-001.png", "SOB_M_LC-14-13412-40-001.png"),
    ],
)
def test_slide_numbers_that_may_be_one_patient(first: str, second: str) -> None:
    assert patient_of(first) == patient_of(second)


@pytest.mark.parametrize(
    "name", ["Thumbs.db", "picture.png", "SOB_M_DC.png", "._SOB_M_DC-14-1.png"]
)
def test_other_names_have_no_patient(name: str) -> None:
    assert patient_of(name) is None
    assert describe(PurePath(name)) is None


def test_a_path_gives_subtype_magnification_and_slide() -> None:
    path = PurePath(TREE, "malignant/SOB/mucinous_carcinoma/SOB_M_MC_14-18842D/200X",
                    "SOB_M_MC-14-18842D-200-001.png")  # fmt: skip
    expected = {"subtype": "MC", "magnification": 200, "slide": "14-18842D"}
    assert describe(path) == expected
    # The plain layout has no folder for slide and magnification.
    assert describe(PurePath("train/malignant", path.name)) == expected


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("benign/SOB_B_XY-14-2523-200-001.png", "unknown subtype 'XY'; known: A, F, PT"),
        ("benign/SOB_B_DC-14-2523-200-001.png", r"ductal carcinoma is malignant \(M\)"),
        ("malignant/SOB_M_TA-14-2523-200-001.png", r"tubular adenoma is benign \(B\)"),
        ("benign/SOB_M_DC-14-2523-200-001.png", "lies in the folder 'benign'"),
        ("train/Malignant/SOB_B_A-14-2523-200-001.png", "lies in the folder 'malignant'"),
        ("malignant/SOB_M_DC-14-2523-250-001.png", "unknown magnification 250"),
    ],
)
def test_names_that_cannot_be_right_say_why(path: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        describe(PurePath(path))


def test_the_registry_entry() -> None:
    assert registry.get("breast_cancer") is DATASET
    assert DATASET.tutorial == "01_breast_cancer"
    assert DATASET.classes == ("benign", "malignant")
    assert DATASET.positive_label == 1
    assert DATASET.counts["benign"] + DATASET.counts["malignant"] == DATASET.counts["images"]
    assert patient_of(DATASET.patient_example) == "14-2523"
    assert set(DATASET.profiles) == {"sample", "best", "source"}
    source = DATASET.profiles["source"]
    assert (source.image_size, source.batch_size, source.epochs) == (224, 16, 20)
    assert source.backbone == "densenet201"
    assert source.learning_rate == 1e-4
    assert any(not figure.patient_wise for figure in DATASET.published)
    assert set(breast_cancer.BENIGN) < set(breast_cancer.SUBTYPES)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real images are not on this machine")
def test_every_real_name_is_understood() -> None:
    paths = [path.relative_to(REAL) for path in REAL.rglob("SOB*.jpg")]
    found = [describe(path) for path in paths]
    assert len(paths) > 100
    assert all(found)
    assert len({patient_of(path.name) for path in paths}) < len(
        {one["slide"] for one in found if one}
    )
