"""What is special to the breast cancer notebook: slides of one patient, views, its runs.

The rules that all notebooks obey are tested in ``test_notebooks.py``.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbformat import NotebookNode

from helpers import results

NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks" / "01_breast_cancer.ipynb"
# Counts pictures and patients of each part: looks at whose they are, not at pixels.
COUNTING = {"parts"}


@pytest.fixture(scope="module")
def cells() -> list[NotebookNode]:
    """Return the cells of the committed notebook."""
    return list(nbformat.read(NOTEBOOK, as_version=nbformat.NO_CONVERT).cells)


def cell(cells: list[NotebookNode], name: str) -> NotebookNode:
    """Return the cell with this id."""
    return next(cell for cell in cells if cell.id == name)


def printed(cells: list[NotebookNode], name: str) -> str:
    """Return what a cell printed when it was stored."""
    found = cell(cells, name).outputs
    return "".join(output.text for output in found if output.output_type == "stream")


def test_the_test_part_stays_closed_until_it_is_evaluated(cells: list[NotebookNode]) -> None:
    opened = next(n for n, found in enumerate(cells) if found.id == "evaluate")
    early = [
        found.id
        for found in cells[:opened]
        if found.cell_type == "code"
        and found.id not in COUNTING
        and {"test", "test_scores"}
        & {node.id for node in ast.walk(ast.parse(found.source)) if isinstance(node, ast.Name)}
    ]
    assert early == []


def test_the_views_are_decided_before_the_test_part_is_read(cells: list[NotebookNode]) -> None:
    order = [found.id for found in cells]
    assert order.index("choose") < order.index("views") < order.index("test-scores")


def test_the_articles_network_has_its_number_of_parameters(cells: list[NotebookNode]) -> None:
    assert "18,333,506 parameters" in printed(cells, "article-model")


def test_slides_that_differ_in_letters_are_shown_as_one_patient(
    cells: list[NotebookNode],
) -> None:
    slides, patients = (int(word) for word in printed(cells, "groups").split() if word.isdigit())
    assert slides > patients
    shown = str(cell(cells, "groups").outputs[-1].data["text/plain"])
    assert "18842D" in shown
    assert "13412" in shown


def test_always_benign_is_accurate_and_worthless(cells: list[NotebookNode]) -> None:
    said = printed(cells, "always-benign")
    assert "accuracy 0.98" in said
    assert "sensitivity 0.00" in said
    assert "kappa 0.00" in said


def test_zoomed_by_one_is_the_picture_and_by_minus_one_its_mirror(
    cells: list[NotebookNode],
) -> None:
    tree = ast.parse(cell(cells, "zoom").source)
    own = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    names: dict[str, object] = {"np": np}
    exec(compile(ast.Module(own, []), "zoom", "exec"), names)
    zoomed = names["zoomed"]
    assert callable(zoomed)
    picture = np.arange(8 * 8 * 3).reshape(8, 8, 3)
    np.testing.assert_array_equal(zoomed(picture, (1, 1)), picture)
    # the middle lies between two pixels, so the mirror image is one pixel off
    np.testing.assert_array_equal(zoomed(picture, (-1, -1))[1:, 1:], picture[:0:-1, :0:-1])


# --- whole runs ------------------------------------------------------------------------------


def run(command: list[str | Path], folder: Path) -> None:
    """Run a command in a folder; show what it printed if it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-2000:]}{done.stderr[-3000:]}"


@pytest.mark.slow
@pytest.mark.realdata
def test_the_notebook_runs_on_real_tissue(realdata: Path, tmp_path: Path) -> None:
    tissue = realdata / "breakhis"
    if not tissue.is_dir():
        pytest.skip(f"no real tissue in {tissue}")
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "papermill",
        NOTEBOOK,
        tmp_path / "out.ipynb",
    ]
    command += ["-k", "python3"]
    parameters = {"data_dir": tissue, "output_dir": tmp_path / "run", "epochs": 1}
    for name, value in {**parameters, "max_images": 300, "magnification": 200}.items():
        command += ["-p", name, str(value)]
    run(command, tmp_path)

    record = results.load(tmp_path / "run")
    assert record["data"]["images"] == 300
    assert not record["data"]["synthetic"]
    figures = record["figures"]
    assert figures["auc_frozen_backbone"]["value"] > 0.6
    assert figures["gain_by_image"]["value"] > 0
    assert (tmp_path / "run" / "model.keras").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("profile", "parameters", "network"),
    [
        ("best", {}, "auc_fine_tuned"),
        ("source", {"weights": "none", "image_size": 64}, "auc_article_network"),
    ],
)
def test_the_other_profiles_start_and_train(
    profile: str, parameters: dict[str, object], network: str, tmp_path: Path
) -> None:
    command: list[str | Path] = [sys.executable, "-m", "helpers", "run", "breast_cancer"]
    command += ["--profile", profile, "--output", tmp_path / "out"]
    for name, value in {"max_images": 200, "epochs": 1, "fold": "all", **parameters}.items():
        command += ["-p", name, str(value)]
    run(command, tmp_path)
    record = results.load(tmp_path / "out" / "breast_cancer")
    assert record["profile"] == profile
    assert 0 < record["figures"][network]["value"] < 1
    assert "all_folds_auc" in record["figures"]


@pytest.mark.slow
def test_a_split_by_picture_flatters(sample_run: Path) -> None:
    figures = results.load(sample_run / "breast_cancer")["figures"]
    assert figures["accuracy_by_image"]["value"] > figures["accuracy_by_patient"]["value"]
    assert figures["gain_by_image"]["low"] > 0
    assert figures["auc_frozen_backbone"]["low"] > 0.6
