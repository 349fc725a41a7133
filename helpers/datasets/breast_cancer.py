"""Breast cancer: stained sections of tumours, benign or malignant (BreakHis, Spanhol 2016)."""

from __future__ import annotations

import re
from pathlib import PurePath

from helpers.registry import Dataset, Defect, Download, Profile, Published, Release

SUBTYPES = {
    "A": "adenosis",
    "F": "fibroadenoma",
    "PT": "phyllodes tumor",
    "TA": "tubular adenoma",
    "DC": "ductal carcinoma",
    "LC": "lobular carcinoma",
    "MC": "mucinous carcinoma",
    "PC": "papillary carcinoma",
}
"""What the letters in a file name mean; the first four are benign."""
BENIGN = ("A", "F", "PT", "TA")
MAGNIFICATIONS = (40, 100, 200, 400)

_NAME = re.compile(
    r"SOB_(?P<letter>[A-Z])_(?P<subtype>[A-Z]+)-(?P<year>\d+)-(?P<slide>(?P<digits>\d+)[A-Z]*)"
    r"-(?P<magnification>\d+)-\d+\.\w+",
    re.IGNORECASE,
)


def patient_of(file_name: str) -> str | None:
    """Return the patient's id in an image's name, or None where there is none.

    The id is the year and the digits of the slide number, ``14-18842``. Letters behind the
    digits are left away: 18842 and 18842D, 29960AB and 29960CD may be blocks of one patient,
    and who takes them for two may have the same patient in training and in the test. The
    subtype is no part of the id either: 14-13412 stands under two.

    Args:
        file_name: such as ``SOB_M_MC-14-18842D-200-001.png``.
    """
    match = _NAME.fullmatch(file_name)
    return None if match is None else f"{match['year']}-{match['digits']}"


def describe(path: PurePath) -> dict[str, object] | None:
    """Return subtype, magnification and slide of an image, from its path.

    Args:
        path: of the file below the data folder; folders count only as a check of the name.

    Returns:
        ``subtype`` (such as ``"DC"``), ``magnification`` (int: 40, 100, 200 or 400) and
        ``slide`` (such as ``"14-18842D"``, letters kept); None for a name that is not of
        this set.

    Raises:
        ValueError: the name is of this set but cannot be right; says why.
    """
    match = _NAME.fullmatch(path.name)
    if match is None:
        return None
    letter, subtype = match["letter"].upper(), match["subtype"].upper()
    if subtype not in SUBTYPES:
        raise ValueError(f"unknown subtype {subtype!r}; known: {', '.join(SUBTYPES)}")
    if letter != ("B" if subtype in BENIGN else "M"):
        raise ValueError(
            f"the name says {letter!r}, but {SUBTYPES[subtype]} is "
            f"{'benign (B)' if subtype in BENIGN else 'malignant (M)'}"
        )
    magnification = int(match["magnification"])
    if magnification not in MAGNIFICATIONS:
        known = ", ".join(str(known) for known in MAGNIFICATIONS)
        raise ValueError(f"unknown magnification {magnification}; known: {known}")
    folder = {"B": "malignant", "M": "benign"}[letter]  # the folder that it must not lie in
    if folder in (part.lower() for part in path.parts[:-1]):
        raise ValueError(f"the name says {letter!r}, but the file lies in the folder {folder!r}")
    slide = f"{match['year']}-{match['slide'].upper()}"
    return {"subtype": subtype, "magnification": magnification, "slide": slide}


DATASET = Dataset(
    name="breast_cancer",
    number=1,
    title="Breast cancer in stained tissue sections",
    task=(
        "Is the tumour in a microscope picture of a breast biopsy, stained with haematoxylin "
        "and eosin, benign or malignant?"
    ),
    classes=("benign", "malignant"),
    positive="malignant",
    patient_of=patient_of,
    patient_rule=(
        "the year and the digits of the slide number, `14-2523`; letters behind the digits and the "
        "subtype in front are left away"
    ),
    patient_example="SOB_M_DC-14-2523-200-001.png",
    describe=describe,
    # of the article's plain folders; what it calls validation is what it tests on, and Kaggle's
    # copy of one magnification calls it test
    part_names={"train": "train", "validation": "test", "test": "test"},
    releases=(
        Release(
            "breast_cancer",
            files=(
                Download(
                    "BreaKHis_v1.tar.gz",
                    (
                        "https://web.inf.ufpr.br/vri/databases/BreaKHis_v1.tar.gz",
                        "http://www.inf.ufpr.br/vri/databases/BreaKHis_v1.tar.gz",
                    ),
                    megabytes=4_000,
                ),
            ),
            kaggle="ambarish/breakhis",
            tree=tuple(
                f"BreaKHis_v1/histology_slides/breast/{path}"
                for path in (
                    "benign/SOB/adenosis/SOB_B_A_14-22549AB/200X/SOB_B_A-14-22549AB-200-001.png",
                    "malignant/SOB/ductal_carcinoma/SOB_M_DC_14-2523/200X/"
                    "SOB_M_DC-14-2523-200-001.png",
                )
            ),
        ),
    ),
    # Nuclei keep their shape; bars beside them would be a shape that tissue does not have.
    fit="crop",
    counts={"images": 7_909, "slides": 82, "benign": 2_480, "malignant": 5_429},
    licence=(
        "CC BY 4.0 as others record it: to be shared, changed and used for any purpose, "
        "commerce included, with the authors named. The synthetic sample is ours (MIT)"
    ),
    citation=(
        "Spanhol FA, Oliveira LS, Petitjean C, Heutte L. A dataset for breast cancer "
        "histopathological image classification. IEEE Transactions on Biomedical Engineering "
        "63(7):1455-1462, 2016. doi 10.1109/TBME.2015.2496264"
    ),
    article=(
        "«使用深度学习实现乳腺癌分类(附python演练)», the Chinese version of an article by "
        "Abhinav Sagar (Classifying breast cancer with deep learning)"
    ),
    defects=(
        Defect(
            "A slide number is no patient: 18842 and 18842D, 19979 and 19979C, 29960AB and "
            "29960CD, 23060AB and 23060CD differ in their letters only and may be one patient "
            "each; they are counted as one here. The authors speak of 82 patients, which is the "
            "number of slides",
            "noted by us in the names; the part that we have, 472 images of 28 slides, holds the "
            "first three pairs",
        ),
        Defect(
            "Slide 14-13412 stands under two tumour types, ductal and lobular",
            "noted by us in the names; not in the part that we have",
        ),
        Defect(
            "14-29960 stands under two tumour types as well, adenosis and fibroadenoma, if "
            "29960AB and 29960CD are one patient",
            "found by our data verify in the part that we have: 1 of 25 patients",
        ),
        Defect(
            "Every picture has its slide's label, whether it shows the tumour or fat and "
            "connective tissue beside it",
            "seen by us in the pictures",
        ),
        Defect(
            "Only three patients have a phyllodes tumour, so that a fold may have none",
            "counted by us in the names",
        ),
        Defect(
            "Pictures of one slide overlap in what they show, and each slide was photographed at "
            "four magnifications: a split by image knows the test slides already",
            "seen by us in the pictures and names",
        ),
        Defect(
            "The authors' page speaks of 9,109 images; its own table adds up to 7,909, which is "
            "what the archive holds",
            "web.inf.ufpr.br/vri, page of the database",
        ),
    ),
    published=(
        Published(
            {"accuracy": 0.927},
            "five folds by patient, all four magnifications, fine-tuned ResNet-50 "
            "(0.927 ± 0.044; nine networks 0.91 to 0.93)",
            "Frontiers in Digital Health, patient-aware benchmarking (abstract)",
            patient_wise=True,
        ),
        Published(
            {"patient_recognition_rate": 0.85},
            "five folds by patient, hand-made features (0.80 to 0.85)",
            "Spanhol 2016, doi 10.1109/TBME.2015.2496264",
            patient_wise=True,
        ),
        Published(
            {"balanced_accuracy": 0.859},
            "four classes at 40x, patients disjoint, frozen UNI2-h with a linear layer "
            "(kaiko ViT-L/14 0.837, UNI 0.785, Phikon 0.717)",
            "kaiko-ai/eva leaderboard",
            patient_wise=True,
        ),
        Published(
            {"accuracy": 0.993},
            "split by image: pictures of one slide on both sides (0.989 to 0.993)",
            "PMC6440620; Hindawi CIN 2022/8904768",
            patient_wise=False,
        ),
    ),
    profiles={
        "sample": Profile(
            image_size=96,
            batch_size=32,
            epochs=6,
            backbone="efficientnet_lite0",
            learning_rate=3e-3,
            # quarter turns move pixels and do not blend them: nothing gets blurred
            augment={
                "quarter_turns": True,
                "flip_left_right": True,
                "flip_up_down": True,
                "brightness": 10,
                "stain": 0.2,
            },
            why="small enough to run in a minute on two processor cores",
        ),
        "best": Profile(
            image_size=160,
            batch_size=32,
            epochs=5,  # so few patients are soon learnt by heart: the validation loss then rises
            backbone="efficientnet_lite0",
            learning_rate=1e-3,
            small_epochs=6,
            augment={
                "rotate": 180,
                "zoom": 0.15,
                "shift": 0.08,
                "flip_left_right": True,
                "flip_up_down": True,
                "brightness": 15,
                "contrast": 0.1,
                "stain": 0.2,
                "fill_mode": "reflect",
            },
            why="fine-tuned with colour and geometry augmented, classes balanced",
        ),
        "source": Profile(
            image_size=224,
            batch_size=16,
            epochs=20,
            backbone="densenet201",
            learning_rate=1e-4,
            small_epochs=3,
            # the article's zoom_range=2 reaches the factor -1: see section 5 of the notebook
            augment={
                "rotate": 90,
                "zoom": 0.2,
                "flip_left_right": True,
                "flip_up_down": True,
                "fill_mode": "nearest",
            },
            why="the article's own recipe, its slips mended; hours without a GPU",
        ),
    },
)
