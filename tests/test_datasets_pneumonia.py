"""What we know of the chest X-rays: who is in a file name, and what a profile means."""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePath

import pytest

from helpers import registry
from helpers.datasets.pneumonia import DATASET, describe, patient_of


@pytest.mark.parametrize(
    ("name", "patient", "kind", "number"),
    [
        ("person78_bacteria_378.jpeg", "person78_bacteria", "bacteria", "person78"),
        ("person78_virus_140.jpeg", "person78_virus", "virus", "person78"),
        ("person1_virus_6.JPG", "person1_virus", "virus", "person1"),
        # the one name with a number too many
        ("person447_virus_921_1.jpeg", "person447_virus", "virus", "person447"),
        ("IM-0115-0001.jpeg", "IM-0115", "normal", "IM-0115"),
        ("IM-0429-0001-0002.jpeg", "IM-0429", "normal", "IM-0429"),
        ("NORMAL2-IM-0383-0001.jpeg", "NORMAL2-IM-0383", "normal", "IM-0383"),
        ("NORMAL2-IM-0587-0001-0002.jpeg", "NORMAL2-IM-0587", "normal", "IM-0587"),
    ],
)
def test_a_child_is_a_number_and_its_series(
    name: str, patient: str, kind: str, number: str
) -> None:
    assert patient_of(name) == patient
    assert describe(PurePath("chest_xray/train/NORMAL") / name) == {"kind": kind, "number": number}


@pytest.mark.parametrize(
    "name",
    [
        ".DS_Store",
        "._person78_bacteria_378.jpeg",
        "person_bacteria_378.jpeg",
        "person78_fungus_378.jpeg",
        "person78_bacteria.jpeg",
        "person78_bacteria_378",
        "person78_bacteria_378 (1).jpeg",
        "IM-115-0001.jpeg",
        "NORMAL3-IM-0383-0001.jpeg",
        "",
    ],
)
def test_a_name_without_a_child(name: str) -> None:
    assert patient_of(name) is None
    assert describe(PurePath(name)) is None


def test_the_dataset_is_what_was_counted() -> None:
    assert registry.get("pneumonia") is DATASET
    assert DATASET.tutorial == "05_pneumonia"
    assert DATASET.positive_label == 1
    assert DATASET.counts == {"images": 5_856, "NORMAL": 1_583, "PNEUMONIA": 4_273}
    # Bars beside a picture would show its format, and so its class.
    assert DATASET.fit == "squash"


def test_the_source_profile_is_the_article() -> None:
    source = DATASET.profiles["source"]
    assert (source.image_size, source.batch_size, source.epochs) == (150, 50, 20)
    assert source.learning_rate == 1e-4
    assert source.augment["fill_mode"] == "nearest"


def test_the_articles_figures_follow_from_its_matrix() -> None:
    (right_normal, false_alarm), (missed, found) = (163, 71), (18, 342)
    article = DATASET.published[-1].figures
    total = right_normal + false_alarm + missed + found
    assert article["accuracy"] == pytest.approx((right_normal + found) / total, abs=5e-4)
    assert article["sensitivity"] == pytest.approx(found / (found + missed), abs=5e-4)
    assert article["precision"] == pytest.approx(found / (found + false_alarm), abs=5e-4)


@pytest.mark.realdata
def test_every_real_name_is_understood(realdata: Path) -> None:
    folder = realdata / "chest_xray_224"
    if not folder.is_dir():
        pytest.skip(f"no real X-rays in {folder}")
    counts: Counter[tuple[str, str]] = Counter()
    parts: dict[str, set[str]] = {}
    for path in sorted(folder.glob("*/*/*.jpeg")):
        own, child = describe(path), patient_of(path.name)
        assert own is not None, path
        assert child is not None, path
        counts[path.parent.parent.name, path.parent.name] += 1
        parts.setdefault(child, set()).add(path.parent.parent.name)
        assert (own["kind"] == "normal") == (path.parent.name == "NORMAL")
    assert counts["train", "NORMAL"] == 1_341
    assert counts["train", "PNEUMONIA"] == 3_875
    # No child of our rule is in train and in test.
    assert [child for child, where in parts.items() if {"train", "test"} <= where] == []
