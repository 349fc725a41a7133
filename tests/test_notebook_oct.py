"""What only the OCT notebook does: it decides how to split; it rebuilds the article's network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest

from helpers import registry, results, splits

NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks" / "04_oct.ipynb"
CLASSES = registry.get("oct").classes


def cell(name: str) -> nbformat.NotebookNode:
    """Return the cell with this id."""
    notebook = nbformat.read(NOTEBOOK, as_version=nbformat.NO_CONVERT)
    return next(cell for cell in notebook.cells if cell.id == name)


def printed(name: str) -> str:
    """Return what a cell printed when it was stored."""
    return "".join(out.text for out in cell(name).outputs if out.output_type == "stream")


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
        exec(cell(name).source, names)
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
    shown = printed("splits").split("\n\n")
    official = next(block for block in shown if block.startswith("the archive's"))
    assert "patients in more than one part: 0" not in official
    by_patient = next(block for block in shown if block.startswith("by patient"))
    assert "patients in more than one part: 0" in by_patient


def test_the_articles_network_has_its_number_of_parameters() -> None:
    assert "135,310,404 parameters, 1,049,860 of them" in printed("article-model")


def test_eight_images_a_class_and_hidden_files() -> None:
    found = [[int(word) for word in line.split() if word.isdigit()] for line in
             printed("nine").splitlines()]  # fmt: skip
    assert len(found) == len(CLASSES)
    assert all(hidden >= 1 and files - hidden == 8 for files, hidden in found)


def test_the_articles_test_keeps_less_than_half_of_the_width() -> None:
    assert printed("crop-share").strip().endswith("42%")


def test_a_jitter_without_amounts_changes_nothing() -> None:
    assert all(line.endswith(" 0 grey levels") for line in printed("jitter").splitlines())


def test_the_loss_of_the_articles_example() -> None:
    assert f"{-np.log(0.574):.2f}" in printed("loss").splitlines()[0]


def run(folder: Path, **parameters: object) -> dict[str, Any]:
    """Return the results of a run of the notebook with papermill."""
    executed = folder / "out.ipynb"
    command: list[str | Path] = [sys.executable, "-m", "papermill", NOTEBOOK, executed]
    command += ["-k", "python3"]
    for name, value in {"output_dir": folder / "run", "epochs": 1, **parameters}.items():
        command += ["-p", name, str(value)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-2000:]}{done.stderr[-3000:]}"
    return results.load(folder / "run")


@pytest.mark.slow
@pytest.mark.realdata
def test_it_runs_on_real_scans(realdata: Path, tmp_path: Path) -> None:
    scans = realdata / "oct"
    if not scans.is_dir():
        pytest.skip(f"no real scans in {scans}")
    record = run(tmp_path, data_dir=scans, max_images=300)
    assert record["data"]["images"] == 300
    assert not record["data"]["synthetic"]
    assert record["figures"]["macro_auc"]["value"] > 0.7


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["best", "source"])
def test_it_runs_in_the_other_profiles(profile: str, tmp_path: Path) -> None:
    small = {"max_images": 260, "image_size": 64, "batch_size": 16}
    weights = {"weights": "none"} if profile == "source" else {}
    record = run(tmp_path, profile=profile, **small, **weights)
    assert record["profile"] == profile
    trained = {"best": "auc_fine_tuned", "source": "auc_article_network"}[profile]
    assert trained in record["figures"]
