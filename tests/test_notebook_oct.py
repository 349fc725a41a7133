"""What only the OCT notebook does: it decides how to split; it rebuilds the article's network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from stored import cell, printed

from helpers import registry, splits

CLASSES = registry.get("oct").classes


def archive(test_patients: str, *, parts: bool = True, copies: int = 0) -> pd.DataFrame:
    """Return an index of 20 patients a class with 3 scans each, and a test part.

    Args:
        test_patients: "apart" (as in release v3) or "seen" (as in v2).
        parts: whether the archive has parts at all.
        copies: so many test scans are pictures that are in training, too.
    """
    rows = []
    for label, class_name in enumerate(CLASSES):
        for person in range(24):
            testing = person >= 20
            number = person - 20 if testing and test_patients == "seen" else person
            for scan in range(3):
                name = f"{class_name}-{label * 1000 + number}-{scan + 10 * testing}.jpeg"
                content = f"{class_name}{person}-{scan}"
                if testing and person - 20 < copies and scan == 0:
                    content = f"{class_name}0-0"
                rows.append((name, label, class_name, f"{label * 1000 + number}", content,
                             ("test" if testing else "train") if parts else ""))  # fmt: skip
    columns = ["path", "label", "class_name", "patient", "content", "part"]
    return pd.DataFrame(rows, columns=columns).assign(split="")


def decided(index: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return the split that the notebook's own cells make of an index, and what they print."""
    said: list[str] = []
    names: dict[str, Any] = {
        "index": index,
        "splits": splits,
        "seed": 0,
        "fold": None,
        "print": lambda *texts: said.extend(map(str, texts)),
    }
    for name in ("splits", "split-gate"):
        exec(cell("oct", name).source, names)
    return names["index"], "\n".join(said)


def test_a_test_part_of_known_patients_is_not_used() -> None:
    index, said = decided(archive("seen"))
    assert "shares patients with training" in said
    assert len(index) == 4 * 24 * 3
    assert splits.check_leaks(index).clean
    assert set(index.loc[index["part"] == "test", "split"]) != {"test"}


def test_without_parts_the_split_is_by_patient() -> None:
    index, said = decided(archive("apart", parts=False))
    assert "does not exist" in said
    assert splits.check_leaks(index).clean


@pytest.mark.parametrize("copies", [0, 1])
def test_a_test_part_of_other_patients_is_kept(copies: int) -> None:
    before = archive("apart", copies=copies)
    index, said = decided(before)
    assert "its test part is used" in said
    assert splits.check_leaks(index).clean
    tested = index[index["split"] == "test"]
    assert set(tested["path"]) == set(before.loc[before["part"] == "test", "path"])
    # of each class the training scan whose picture is in the test part was dropped
    assert len(before) - len(index) == 4 * copies


def test_the_official_split_of_the_sample_is_shown_to_leak() -> None:
    blocks = printed("oct", "splits").split("\n\n")
    official = next(block for block in blocks if block.startswith("the archive's"))
    assert "patients in more than one part: 0" not in official
    by_patient = next(block for block in blocks if block.startswith("by patient"))
    assert "patients in more than one part: 0" in by_patient


def test_the_articles_network_has_its_number_of_parameters() -> None:
    assert "135,310,404 parameters, 1,049,860 of them" in printed("oct", "article-model")


def test_eight_images_a_class_and_hidden_files() -> None:
    found = [[int(word) for word in line.split() if word.isdigit()] for line in
             printed("oct", "nine").splitlines()]  # fmt: skip
    assert len(found) == len(CLASSES)
    assert all(hidden >= 1 and files - hidden == 8 for files, hidden in found)


def test_the_articles_test_keeps_less_than_half_of_the_width() -> None:
    assert printed("oct", "crop-share").strip().endswith("42%")


def test_a_jitter_without_amounts_changes_nothing() -> None:
    assert all(line.endswith(" 0 grey levels") for line in printed("oct", "jitter").splitlines())


def test_the_loss_of_the_articles_example() -> None:
    assert f"{-np.log(0.574):.2f}" in printed("oct", "loss").splitlines()[0]
