"""Whole notebooks, run as people run them: on real images, and in each profile."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from helpers import results

pytestmark = pytest.mark.slow


def run(command: list[str | Path], folder: Path) -> None:
    """Run a command in a folder; show what it printed if it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-2000:]}{done.stderr[-3000:]}"


@pytest.mark.realdata
def test_papermill_runs_the_notebook_on_real_cells(
    realdata: Path, checkout: Path, tmp_path: Path
) -> None:
    cells = realdata / "malaria"
    if not cells.is_dir():
        pytest.skip(f"no real cells in {cells}")
    executed = tmp_path / "out.ipynb"
    notebook = checkout / "notebooks" / "03_malaria.ipynb"
    command = [sys.executable, "-m", "papermill", notebook, executed, "-k", "python3"]
    parameters = {"data_dir": cells, "output_dir": tmp_path / "run", "epochs": 1}
    for name, value in {**parameters, "max_images": 900}.items():
        command += ["-p", name, str(value)]
    run(command, tmp_path)

    record = results.load(tmp_path / "run")
    assert record["data"]["images"] == 900
    assert not record["data"]["synthetic"]
    assert record["data"]["patients"] > 100  # every patient keeps a share of the cells
    # The frozen backbone finds parasites in cells of new patients, beyond any doubt; and
    # better than colour does, beyond the doubt of either.
    figures = record["figures"]
    assert figures["auc_frozen_backbone"]["low"] > 0.6
    assert figures["auc_frozen_backbone"]["low"] > figures["auc_mean_colour"]["value"]
    assert (tmp_path / "run" / "model.keras").is_file()
    cells_run = nbformat.read(executed, as_version=4).cells
    printed = "".join(str(cell.get("outputs", "")) for cell in cells_run)
    assert "agree with their file names" in printed  # NLM's patient lists were read


@pytest.mark.parametrize(
    ("profile", "parameters", "network"),
    [
        ("best", {}, "auc_fine_tuned"),
        ("source", {"weights": "none", "max_images": 120}, "auc_article_network"),
    ],
)
def test_the_other_profiles_start_and_train(
    profile: str, parameters: dict[str, object], network: str, tmp_path: Path
) -> None:
    command: list[str | Path] = [sys.executable, "-m", "helpers", "run", "malaria"]
    command += ["--profile", profile, "--output", tmp_path / "out"]
    for name, value in {"max_images": 200, "epochs": 1, "fold": "all", **parameters}.items():
        command += ["-p", name, str(value)]
    run(command, tmp_path)
    record = results.load(tmp_path / "out" / "malaria")
    assert record["profile"] == profile
    assert network in record["figures"]
    assert 0 < record["figures"][network]["value"] < 1


def test_the_sample_is_hard_and_a_split_by_cell_flatters(sample_run: Path) -> None:
    figures = results.load(sample_run / "malaria")["figures"]
    assert figures["accuracy"]["value"] < 1
    assert figures["gain_by_image"]["value"] > 0.005
    assert figures["auc"]["low"] > figures["auc_mean_colour"]["value"]
