"""What the registry says of the retinal OCT scans."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest
from tiny_images import draw_retinas

from helpers import registry
from helpers.datasets.oct import about, patient_of, release_of
from helpers.index import load_index
from helpers.registry import Dataset


@pytest.fixture
def oct_set() -> Dataset:
    """Return the OCT dataset."""
    return registry.get("oct")


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("CNV-81630-6.jpeg", "81630"),
        ("CNV-1016042-66.jpeg", "1016042"),
        ("drusen-81630-1.JPG", "81630"),  # the same person under another label
        ("._CNV-81630-6.jpeg", None),
        (".DS_Store", None),
        ("CNV-81630.jpeg", None),
        ("AMD-81630-6.jpeg", None),
        ("CNV-81630-6-copy.jpeg", None),
        ("CNV-81630-6.png", "81630"),
        ("", None),
    ],
)
def test_the_patient_is_the_number_in_the_middle(name: str, patient: str | None) -> None:
    assert patient_of(name) == patient


def test_four_classes_side_by_side(oct_set: Dataset) -> None:
    assert oct_set.classes == ("CNV", "DME", "DRUSEN", "NORMAL")
    assert oct_set.positive is None
    assert set(oct_set.urgent) == {"CNV", "DME"}
    with pytest.raises(ValueError, match="no positive one"):
        _ = oct_set.positive_label
    assert oct_set.tutorial == "04_oct"
    assert oct_set.patient_of(oct_set.patient_example) is not None


def test_counts_are_those_of_release_two(oct_set: Dataset) -> None:
    counts = dict(oct_set.counts)
    assert counts["images"] == sum(counts[name] for name in oct_set.classes)
    assert counts["images"] == 83_484 + 968 + 32
    train = {"CNV": 37_205, "DME": 11_348, "DRUSEN": 8_616, "NORMAL": 26_315}
    assert sum(train.values()) == 83_484
    assert {name: counts[name] - 242 - 8 for name in train} == train


def test_the_defects_tell_the_releases_apart(oct_set: Dataset) -> None:
    text = " ".join(map(str, oct_set.defects))
    for fact in (
        "v2",
        "v3",
        "83,484",
        "108,309",
        "108,312",
        "968",
        "91 %",
        "eight images",
        "DS_Store",
    ):
        assert fact in text, fact


def test_a_scan_keeps_its_whole_width(oct_set: Dataset) -> None:
    assert oct_set.fit == "squash"


def test_the_source_profile_is_the_article(oct_set: Dataset) -> None:
    source = oct_set.profiles["source"]
    assert (source.image_size, source.batch_size, source.backbone) == (224, 128, "vgg16")
    assert source.learning_rate == 1e-3
    assert source.augment["rotate"] == 15.0
    assert source.augment["crop"] == 0.2
    assert set(oct_set.profiles) == {"sample", "best", "source"}


def test_published_figures_say_how_they_were_measured(oct_set: Dataset) -> None:
    best = oct_set.published[0]
    assert best.figures["accuracy"] == 0.966
    assert best.patient_wise
    assert all(one.protocol and one.source for one in oct_set.published)


def scans(counts: Mapping[str, int], shared: int = 0) -> pd.DataFrame:
    """Return an index of so many scans in each part, one patient each; some test ones twice."""
    parts = [part for part, count in counts.items() for _ in range(count)]
    index = pd.DataFrame({"part": parts, "patient": [str(number) for number in range(len(parts))]})
    tested = index.index[index["part"] == "test"][:shared]
    index.loc[tested, "patient"] = [str(number) for number in range(len(tested))]
    return index


V2 = {"train": 83_484, "valid": 32, "test": 968}
V3 = {"train": 108_309, "test": 1_000}


@pytest.mark.parametrize(
    ("counts", "shared", "words"),
    [
        (V2, 881, "This is release v2 (OCT2017, Kaggle's kermany2018), by its counts"),
        (V3, 0, "This is release v3 (ZhangLabData, CellData/OCT), by its counts"),
        # copies that lack files: only in v2 are test patients also in train
        (
            V2 | {"train": 900},
            881,
            "Neither release has these counts: test 968, train 900, valid 32. By the names "
            "of the test scans it is like release v2",
        ),
        (
            V3 | {"train": 900},
            0,
            "Neither release has these counts: test 1,000, train 900. By the names of "
            "the test scans it is like release v3",
        ),
    ],
)
def test_the_release_is_told_by_counts_and_by_test_names(
    counts: Mapping[str, int], shared: int, words: str
) -> None:
    (note,) = about(scans(counts, shared))
    assert note.startswith(words)
    assert f"{shared:,} of the {counts['test']:,} test patients" in note
    assert ("91% of the test scans" in note) == (shared == 881)


@pytest.mark.parametrize(
    ("counts", "shared", "release"),
    [
        (V2, 881, "oct"),
        (V3, 0, "oct_v3"),
        (V2 | {"train": 900}, 881, "oct"),
        (V3 | {"train": 900}, 0, "oct_v3"),
        ({"": 84_484}, 0, "oct"),
        ({"": 40}, 0, "oct"),
        ({"": 84_485}, 0, "oct_v3"),
    ],
)
def test_the_release_has_the_name_under_which_it_is_fetched(
    counts: Mapping[str, int], shared: int, release: str
) -> None:
    assert release_of(scans(counts, shared)) == release


def test_scans_without_parts_are_of_no_release() -> None:
    assert about(scans({"": 40})) == []
    assert about(scans({"train": 40})) == []


def test_the_release_is_among_the_notes_of_real_scans_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUTORIALS_DATA", str(tmp_path / "home"))
    for part in ("train", "test"):
        draw_retinas(tmp_path / "OCT2017 " / part)
    (note,) = load_index("oct", tmp_path).attrs["notes"]
    assert "it is like release v2" in note
    assert "24 of the 24 test patients (100% of the test scans)" in note
