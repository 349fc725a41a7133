"""What is special to the pneumonia notebook: the closed test part, the article's matrix, its runs.

The rules that all notebooks obey are tested in ``test_notebooks.py``.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from helpers import results

NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks" / "05_pneumonia.ipynb"
# The cell that counts the parts, and the gate, look at whose pictures lie where: not at pixels.
COUNTING = {"parts"}


@pytest.fixture(scope="module")
def cells() -> list[NotebookNode]:
    """Return the cells of the committed notebook."""
    return list(nbformat.read(NOTEBOOK, as_version=4).cells)


def names_read(source: str) -> set[str]:
    """Return the names that a cell's code reads."""
    return {
        node.id
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }


def test_the_test_part_stays_closed_until_it_is_evaluated(cells: list[NotebookNode]) -> None:
    opened = next(n for n, cell in enumerate(cells) if cell.id == "evaluate")
    early = [
        cell.id
        for cell in cells[:opened]
        if cell.cell_type == "code"
        and cell.id not in COUNTING
        and names_read(cell.source) & {"test", "test_scores"}
    ]
    assert early == []


def test_thresholds_and_prior_are_fixed_before_the_test_part_is_read(
    cells: list[NotebookNode],
) -> None:
    order = [cell.id for cell in cells]
    assert order.index("threshold") < order.index("evaluate") < order.index("prior")
    prior = next(cell for cell in cells if cell.id == "prior")
    # the correction knows the training share and a parameter, never the share in the test part
    assert 'train["label"].mean(), expected_share' in prior.source


def test_the_articles_matrix_gives_the_figures_that_it_swapped(cells: list[NotebookNode]) -> None:
    swap = next(cell for cell in cells if cell.id == "swap")
    printed = "".join(output.get("text", "") for output in swap.outputs)
    assert "342/413 = 0.828   printed: 0.95" in printed
    assert "342/360 = 0.950   printed: 0.82" in printed
    assert "505/594 = 0.850   printed: 0.81" in printed
    assert "healthy 234 of 234, ill 360 of 390" in printed


def test_the_articles_network_has_its_size(cells: list[NotebookNode]) -> None:
    model = next(cell for cell in cells if cell.id == "article-model")
    assert "at 150 pixels: 2,424,194 parameters" in str(model.outputs)


# --- whole runs ------------------------------------------------------------------------------


def run(command: list[str | Path], folder: Path) -> None:
    """Run a command in a folder; show what it printed if it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-2000:]}{done.stderr[-3000:]}"


@pytest.mark.slow
@pytest.mark.realdata
def test_the_notebook_runs_on_real_xrays(realdata: Path, tmp_path: Path) -> None:
    xrays = realdata / "chest_xray_224"
    if not xrays.is_dir():
        pytest.skip(f"no real X-rays in {xrays}")
    command: list[str | Path] = [sys.executable, "-m", "papermill", NOTEBOOK]
    command += [tmp_path / "out.ipynb", "-k", "python3"]
    parameters = {"data_dir": xrays, "output_dir": tmp_path / "run", "epochs": 1}
    for name, value in {**parameters, "max_images": 300}.items():
        command += ["-p", name, str(value)]
    run(command, tmp_path)

    record = results.load(tmp_path / "run")
    assert record["data"]["images"] == 300
    assert not record["data"]["synthetic"]
    figures = record["figures"]
    assert figures["auc_frozen_backbone"]["low"] > 0.6  # it finds pneumonia, beyond any doubt
    # these files were all brought to one size: it says nothing any more
    assert figures["auc_height_of_the_file"]["value"] == 0.5
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
    command: list[str | Path] = [sys.executable, "-m", "helpers", "run", "pneumonia"]
    command += ["--profile", profile, "--output", tmp_path / "out"]
    for name, value in {"max_images": 200, "epochs": 1, "fold": "all", **parameters}.items():
        command += ["-p", name, str(value)]
    run(command, tmp_path)
    record = results.load(tmp_path / "out" / "pneumonia")
    assert record["profile"] == profile
    assert 0 < record["figures"][network]["value"] < 1
    assert "all_folds_auc" in record["figures"]


@pytest.mark.slow
def test_a_resplit_flatters_and_the_official_test_is_harder(sample_run: Path) -> None:
    figures = results.load(sample_run / "pneumonia")["figures"]
    assert figures["accuracy"]["value"] < 1
    assert figures["accuracy_by_image"]["value"] > figures["accuracy_by_patient"]["value"]
    assert figures["accuracy_by_patient"]["value"] > figures["accuracy_official_frozen"]["value"]
    assert figures["auc_frozen_backbone"]["low"] > 0.6
