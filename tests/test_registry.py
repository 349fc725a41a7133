"""What we know of the datasets: names, settings, and who is in a malaria file name."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from helpers import registry
from helpers.datasets.malaria import patient_of
from helpers.registry import Dataset
from tools import docs


@pytest.fixture
def malaria() -> Dataset:
    """Return the malaria dataset."""
    return registry.get("malaria")


def test_every_dataset_is_complete() -> None:
    assert "malaria" in registry.names()
    for name in registry.names():
        dataset = registry.get(name)
        assert dataset.name == name
        if dataset.positive is None:
            assert len(dataset.classes) > 2
        else:
            assert dataset.classes[dataset.positive_label] == dataset.positive
        assert set(dataset.urgent) < set(dataset.classes)
        assert set(dataset.part_names.values()) <= {"train", "valid", "test"}
        assert dataset.patient_of(dataset.patient_example) is not None
        assert set(dataset.profiles) == {"sample", "best", "source"}
        assert dataset.counts["images"] == sum(dataset.counts[kind] for kind in dataset.classes)
        assert dataset.tutorial == f"{dataset.number:02d}_{name}"
        assert all(value not in dataset.same_patient for value in dataset.same_patient.values())
        texts = (dataset.title, dataset.task, dataset.licence, dataset.citation)
        for text in (*texts, dataset.article, dataset.patient_rule):
            assert text.strip() == text != ""
        for defect in dataset.defects:
            assert defect.what
            assert defect.source
            assert not defect.what.endswith(".")  # str adds the source, then the full stop
        for published in dataset.published:
            assert published.figures
            assert published.protocol
            assert published.source
        assert dataset.defects
        assert dataset.published
        assert all(release.tree for release in dataset.releases)
        for profile in dataset.profiles.values():
            assert profile.why


def test_the_official_parts_add_up_to_the_whole_set() -> None:
    for dataset in registry.in_order():
        for class_name in dataset.classes if dataset.parts else ():
            found = sum(counts[class_name] for counts in dataset.parts.values())
            assert found == dataset.counts[class_name]
        for release in dataset.releases:
            if release.parts:
                assert sum(release.parts.values()) == release.counts["images"]
    assert set(registry.get("oct").parts) == {"train", "valid", "test"}
    assert registry.release("oct_v3").parts == {"train": 108_309, "test": 1_000}
    assert not registry.get("brain_mri").parts  # no official split


def test_the_data_page_is_what_the_registry_says() -> None:
    page = docs.CHECKOUT / "data" / "README.md"
    assert page.read_text(encoding="utf-8") == docs.data_page(), "call  make docs"


def test_what_a_dataset_need_not_say(malaria: Dataset) -> None:
    assert malaria.describe is None
    assert malaria.reader == "class_folders"
    assert malaria.part_names["val"] == malaria.part_names["validation"] == "valid"
    assert malaria.part_names is not registry.PART_NAMES  # nobody changes it for all
    assert malaria.urgent == ()
    plain = registry.Profile(64, 32, epochs=1, backbone="resnet50v2", learning_rate=1e-3)
    assert plain.augment == {}


def test_classes_side_by_side_have_no_positive_one(malaria: Dataset) -> None:
    retinas = dataclasses.replace(malaria, name="oct", classes=("a", "b", "c"), positive=None)
    with pytest.raises(ValueError, match="'oct' has 3 classes side by side and no positive one"):
        _ = retinas.positive_label


def test_malaria_is_told_with_infection_as_the_positive_class(malaria: Dataset) -> None:
    # Keras would number the folders by the alphabet and make *Parasitized* class 0:
    # the article then read sensitivity as specificity.
    assert malaria.classes == ("Uninfected", "Parasitized")
    assert malaria.positive_label == 1
    assert malaria.counts == {
        "images": 27_558,
        "patients": 200,
        "Uninfected": 13_779,
        "Parasitized": 13_779,
    }


def test_malaria_source_profile_is_the_article(malaria: Dataset) -> None:
    source = malaria.profiles["source"]
    assert (source.image_size, source.batch_size, source.epochs) == (128, 32, 30)
    assert (source.backbone, source.learning_rate) == ("resnet50v2", 1e-3)


def test_an_unknown_dataset_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"Unknown dataset 'maleria'\. Did you mean 'malaria'\?"):
        registry.get("maleria")
    with pytest.raises(ValueError, match=r"Unknown dataset 'xyz'\. Known: .*malaria"):
        registry.get("xyz")


def test_settings_are_the_profile_with_what_was_given(malaria: Dataset) -> None:
    profile = malaria.profiles["best"]
    nothing = {"image_size": None, "batch_size": None, "epochs": None, "max_images": None}
    assert malaria.settings("best") == malaria.settings("best", **nothing) == profile
    changed = malaria.settings("best", epochs=7, backbone="vgg16", max_images=None)
    assert changed == dataclasses.replace(profile, epochs=7, backbone="vgg16")
    assert malaria.profiles["best"] == profile  # the registry itself is as it was


def test_an_unknown_profile_names_the_nearest(malaria: Dataset) -> None:
    with pytest.raises(ValueError, match=r"Unknown profile 'samples'\. Did you mean 'sample'\?"):
        malaria.settings("samples")


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [("image_size", 31, 32), ("batch_size", 0, 1), ("epochs", -1, 1), ("max_images", 0, 1)],
)
def test_numbers_that_make_no_sense(malaria: Dataset, name: str, value: int, least: int) -> None:
    with pytest.raises(ValueError, match=f"{name}={value}: give {least} or more, or None"):
        malaria.settings("sample", **{name: value})
    assert getattr(malaria.settings("sample", **{name: least}), name) == least


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("C33P1thinF_IMG_20150619_114756a_cell_179.png", "C33P1thinF"),
        ("C33P1thinF_IMG_20150619_114756a_cell_179.jpg", "C33P1thinF"),
        ("C33P1thinF_IMG_20150619_114756a_cell_179.PNG", "C33P1thinF"),
        # an underscore of the slide's own: the first one is not where the patient ends
        ("C1_thinF_IMG_20150604_104722_cell_60.png", "C1_thinF"),
        ("C4thin_original_IMG_20150608_170016_cell_96.jpg", "C4thin_original"),
        ("C47P8thin_Original_Motic_IMG_20150714_094729_cell_1.png", "C47P8thin_Original_Motic"),
        ("C47P8thinOriginalOlympusCX21_IMG_20150721_161243_cell_9.png",
         "C47P8thinOriginalOlympusCX21"),
    ],
)  # fmt: skip
def test_the_patient_stands_before_img(name: str, patient: str) -> None:
    assert patient_of(name) == patient


@pytest.mark.parametrize(
    "name",
    [
        "Thumbs.db",
        "cell_60.png",
        "_IMG_20150604_104722_cell_60.png",
        "C1_thinF_IMG_20150604_104722.png",
        "C1_thinF_IMG_20150604_104722_cell_60",
        "C1_thinF_IMG_20150604_104722_cell_.png",
        "C1_thinF_IMG_20150604_104722_cell_60 (1).png",
        "",
    ],
)
def test_a_name_without_a_patient(name: str) -> None:
    assert patient_of(name) is None


@pytest.mark.realdata
def test_names_agree_with_the_lists_of_the_national_library_of_medicine(
    realdata: Path, malaria: Dataset
) -> None:
    folder = realdata / "malaria"
    if not folder.is_dir():
        pytest.skip(f"no real cells in {folder}")
    listed: dict[str, list[tuple[str, str]]] = {}
    for kind in malaria.classes:
        text = (folder / f"patientid_cellmapping_{kind.lower()}.csv").read_text("utf-8-sig")
        listed[kind] = [
            (line.split(",", 1)[0], name)
            for line in text.splitlines()
            for name in re.findall(r"'([^']+)'", line)
        ]
        assert len(listed[kind]) == malaria.counts[kind]
    cells = [cell for kind in malaria.classes for cell in listed[kind]]
    assert [cell for cell in cells if patient_of(cell[1]) != cell[0]] == []
    # The first underscore is the wrong place in 3,459 names, as the notebook says.
    assert sum(patient != name.split("_")[0] for patient, name in cells) == 3_459
    ids = {patient for patient, _ in cells}
    assert len(ids) == 201
    merged = {malaria.same_patient.get(patient, patient) for patient in ids}
    assert len(merged) == malaria.counts["patients"]
    assert set(malaria.same_patient) < ids
    assert len({malaria.same_patient.get(p, p) for p, _ in listed["Parasitized"]}) == 150
    assert {malaria.same_patient.get(p, p) for p, _ in listed["Uninfected"]} == merged
