"""Malaria: cells from thin blood smears, infected or not (NIH / NLM, Rajaraman 2018)."""

from __future__ import annotations

import re

from helpers.registry import Dataset, Defect, Download, Profile, Published, Release

_FOLDER = "https://data.lhncbc.nlm.nih.gov/public/Malaria"

_NAME = re.compile(r"(?P<slide>.+?)_IMG_.+_cell_\d+\.\w+", re.IGNORECASE)


def patient_of(file_name: str) -> str | None:
    """Return the patient's id in a cell image's name, or None where there is none.

    The id is what stands before ``_IMG_``. Splitting at the first underscore would be
    wrong for 3,459 cells, whose slide name has an underscore of its own.

    Args:
        file_name: such as ``C33P1thinF_IMG_20150619_114756a_cell_179.png``.
    """
    match = _NAME.fullmatch(file_name)
    return None if match is None else match["slide"]


# A cell has no up or down, so it may be turned at will; another slide is another lamp and stain.
_AUGMENT = {
    "rotate": 180,
    "zoom": 0.1,
    "shift": 0.05,
    "flip_left_right": True,
    "brightness": 15,
    "contrast": 0.15,
    "colour": 0.05,
    "keep_black": True,
}
# The article's. Its shear of 0.05 was meant as a share and is read as degrees: it did nothing.
_ARTICLES_AUGMENT = {"rotate": 20, "zoom": 0.05, "shift": 0.05, "flip_left_right": True}

DATASET = Dataset(
    name="malaria",
    number=3,
    title="Malaria parasites in red blood cells",
    task="Is a red blood cell from a stained thin blood smear infected by a malaria parasite?",
    classes=("Uninfected", "Parasitized"),
    positive="Parasitized",
    patient_of=patient_of,
    patient_rule=(
        "what stands before `_IMG_`, `C33P1thinF`; the library's lists overrule it where they lie "
        "beside the folders, and the two ids of one slide are one patient"
    ),
    patient_example="C33P1thinF_IMG_20150619_114756a_cell_179.png",
    # one blood smear photographed through two microscopes: two ids, one patient
    same_patient={
        "C47P8thin_Original_Motic": "C47P8thin",
        "C47P8thinOriginalOlympusCX21": "C47P8thin",
    },
    patient_maps=(
        "patientid_cellmapping_parasitized.csv",
        "patientid_cellmapping_uninfected.csv",
    ),
    releases=(
        Release(
            "malaria",
            files=(
                Download(
                    "cell_images.zip",
                    (f"{_FOLDER}/cell_images.zip",),
                    "sha256:0a949556b2414159b5100192609805376654c4266d8d187be9b1922fad43c668",
                    size=353_452_851,
                ),
                Download(
                    "patientid_cellmapping_parasitized.csv",
                    (f"{_FOLDER}/patientid_cellmapping_parasitized.csv",),
                    "sha256:d0367e513397404e980baee2a641bce9ce329a22e62ea9007962dfca2f8418d3",
                ),
                Download(
                    "patientid_cellmapping_uninfected.csv",
                    (f"{_FOLDER}/patientid_cellmapping_uninfected.csv",),
                    "sha256:a8577b21e7154724f4bbd18326218e2c63a99b22ab372b79a7530d36df6dab78",
                ),
            ),
            kaggle="iarunava/cell-images-for-detecting-malaria",
            tree=(
                "cell_images/Parasitized/C33P1thinF_IMG_20150619_114756a_cell_179.png",
                "cell_images/Uninfected/C1_thinF_IMG_20150604_104722_cell_60.png",
                "patientid_cellmapping_parasitized.csv",
                "patientid_cellmapping_uninfected.csv",
            ),
        ),
    ),
    fit="pad",  # a cell keeps its shape; outside of it is black already
    counts={"images": 27_558, "patients": 200, "Uninfected": 13_779, "Parasitized": 13_779},
    licence=(
        "public; courtesy of the U.S. National Library of Medicine: free to use, the library asks "
        "to be named. "
        "The synthetic sample is ours (MIT)"
    ),
    citation=(
        "Rajaraman S, Antani SK, Poostchi M, et al. Pre-trained convolutional neural networks "
        "as feature extractors toward improved malaria parasite detection in thin blood smear "
        "images. PeerJ 6:e4568, 2018. doi 10.7717/peerj.4568"
    ),
    article=(
        "«深度学习在医学领域的应用:疟疾细胞图像分类» "
        "(Deep learning in medicine: classifying malaria cell images)"
    ),
    defects=(
        Defect(
            "Some labels are wrong: cells with a plain parasite lie in Uninfected, and stain or a "
            "platelet alone in Parasitized",
            "noted by many who looked at the errors",
        ),
        Defect(
            "C47P8thin_Original_Motic and C47P8thinOriginalOlympusCX21 are one slide under two "
            "microscopes; counted as one patient here, so that 201 ids are 200 patients",
            "noted by us in the names and in the lists of the National Library of Medicine",
        ),
        Defect(
            "Most patients have cells of both classes, in one stain: 150 of the 200. A split by "
            "cell puts them on both sides",
            "counted by us in the library's lists; in the part that we have our data verify finds "
            "76 of 108 patients",
        ),
        Defect(
            "Each class folder holds a Thumbs.db, which is no image",
            "noted by us",
        ),
        Defect(
            "On Kaggle the folder cell_images lies inside another of the same name: the same "
            "images twice",
            "noted by us",
        ),
    ),
    published=(
        Published(
            {"accuracy": 0.959, "sensitivity": 0.947, "specificity": 0.972, "auc": 0.991},
            "five folds by patient, frozen ResNet-50 features",
            "Rajaraman 2018, PeerJ 6:e4568, table 6",
            patient_wise=True,
        ),
        Published(
            {"accuracy": 0.986, "auc": 0.999},
            "five folds by cell: cells of one patient on both sides",
            "Rajaraman 2018, PeerJ 6:e4568",
            patient_wise=False,
        ),
        Published(
            {"accuracy": 0.949, "auc": 0.987},
            "small network, one held-out set of 40 patients",
            "public code",
            patient_wise=True,
        ),
        Published(
            {"accuracy": 0.9619},
            "the article's own 30 %, augmented: the first names of each class",
            "the article",
            patient_wise=False,
        ),
    ),
    profiles={
        "sample": Profile(
            image_size=64,
            batch_size=32,
            epochs=12,
            backbone="efficientnet_lite0",
            learning_rate=3e-3,
            max_images=1_200,
            augment=_AUGMENT,
            why="small enough to run in a minute on two processor cores",
        ),
        "best": Profile(
            image_size=64,
            batch_size=64,
            epochs=6,
            backbone="efficientnet_lite0",
            learning_rate=5e-4,
            small_epochs=3,
            augment=_AUGMENT,
            why="our best recipe for the real cells, chosen on validation patients",
        ),
        "source": Profile(
            image_size=128,
            batch_size=32,
            epochs=30,
            backbone="resnet50v2",
            learning_rate=1e-3,
            small_epochs=3,
            augment=_ARTICLES_AUGMENT,
            why="the article's own recipe, its slips mended; hours without a GPU",
        ),
    },
)
