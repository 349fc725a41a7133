"""What only the brain notebook does: it doubts a table, freezes a backbone, draws outlines."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from helpers import results

NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks" / "02_brain_mri.ipynb"


def cell(name: str) -> nbformat.NotebookNode:
    """Return the cell with this id."""
    notebook = nbformat.read(NOTEBOOK, as_version=nbformat.NO_CONVERT)
    return next(cell for cell in notebook.cells if cell.id == name)


def printed(name: str) -> str:
    """Return what a cell printed when it was stored."""
    return "".join(out.text for out in cell(name).outputs if out.output_type == "stream")


def shown(name: str) -> str:
    """Return the table that a cell showed when it was stored."""
    return "".join(out.data.get("text/plain", "") for out in cell(name).outputs if "data" in out)


def test_the_table_names_wrong_patients_and_counts_them_rightly() -> None:
    wrong, rows, right, patients = map(int, re.findall(r"\d+", printed("table-wrong")))
    assert wrong > 0.9 * rows
    assert right == patients


def test_only_the_split_by_folder_is_clean() -> None:
    blocks = dict(block.split("\n", 1) for block in printed("split-leaks").strip().split("\n\n"))
    assert set(blocks) == {"by slice", "by the table", "by folder"}
    clean = {name for name, text in blocks.items() if "in more than one part: 0" in text}
    assert clean == {"by folder"}


def test_the_articles_network_has_its_number_of_parameters() -> None:
    assert "25,817,218 parameters" in printed("article-model")


def test_fifty_layers_are_49_convolutions_and_a_dense_one() -> None:
    assert re.findall(r"\d+", printed("fifty")) == ["53", "4", "49", "50"]


def test_the_articles_loop_freezes_nothing() -> None:
    before, after_theirs, after_ours = (
        int(line.split()[-1].replace(",", "")) for line in printed("freeze").splitlines()
    )
    assert before == after_theirs
    assert after_ours == 25_817_218 - 23_587_712  # without ResNet50's own weights


def test_a_frozen_encoder_did_not_move() -> None:
    rows = {line.split()[0]: line.split()[1:] for line in shown("where-moved").splitlines()[1:]}
    assert int(rows["encoder"][0]) > 50
    assert rows["encoder"][1] == "0"
    assert rows["decoder"][0] == rows["decoder"][1]


def test_drawing_nothing_is_splendid_or_worthless() -> None:
    right, empty_counts, empty_left_out, volume = (
        float(line.split()[-1]) for line in printed("where-lazy").splitlines()
    )
    assert right > 0.9
    assert empty_counts > 0.5
    assert empty_left_out == volume == 0


def test_the_test_part_is_asked_only_from_evaluate_on() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=nbformat.NO_CONVERT)
    names = [one.id for one in notebook.cells]
    reads = re.compile(r"(?:scores_of|pixels|masks|outlines_of)\(test\b|\(\s*test,|test\[\"label\"")
    early = [one.id for one in notebook.cells[: names.index("evaluate")]
             if one.cell_type == "code" and reads.search(one.source)]  # fmt: skip
    assert early == []


def run(folder: Path, **parameters: object) -> dict[str, Any]:
    """Return the results of a run of the notebook with papermill."""
    command: list[str | Path] = [sys.executable, "-m", "papermill", NOTEBOOK, folder / "out.ipynb"]
    command += ["-k", "python3"]
    for name, value in {"output_dir": folder / "run", "epochs": 1, **parameters}.items():
        command += ["-p", name, str(value)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-2000:]}{done.stderr[-3000:]}"
    return results.load(folder / "run")


@pytest.mark.slow
@pytest.mark.realdata
def test_it_runs_on_real_slices(realdata: Path, tmp_path: Path) -> None:
    slices = realdata / "lgg"
    if not slices.is_dir():
        pytest.skip(f"no real slices in {slices}")
    record = run(tmp_path, data_dir=slices, max_images=300)
    assert record["data"]["images"] == 300
    assert not record["data"]["synthetic"]
    assert record["figures"]["auc"]["value"] > 0.6
    text = (tmp_path / "out.ipynb").read_text(encoding="utf-8")
    assert "with a patient_id that is not the folder's" in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("profile", "parameters", "trained"),
    [
        ("best", {}, "auc_fine_tuned"),
        ("source", {"weights": "none", "fold": 1}, "auc_article_network"),
        ("sample", {"network": "res_unet", "loss": "focal_tversky", "fold": "all"}, "auc"),
    ],
)
def test_it_runs_in_the_other_profiles(
    profile: str, parameters: dict[str, object], trained: str, tmp_path: Path
) -> None:
    size = 128 if profile == "source" else 64  # the article's head needs a map of 4×4
    record = run(tmp_path, profile=profile, max_images=260, image_size=size, **parameters)
    assert record["profile"] == profile
    assert trained in record["figures"]
    assert "dice_by_slice_split" in record["figures"]
    assert (tmp_path / "run" / "outlines.keras").is_file()
