"""Whole notebooks, run as people run them: on real images, and by the article's own recipe."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from helpers import registry, results

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Real:
    """A run on real images, small enough for a test.

    Attributes:
        folder: below ``realdata``.
        images: so many of them.
        said: what the executed notebook prints about these very files.
        parameters: what differs from the profile ``best``.
        above: figures that lie beyond any doubt above a value, by the end of their interval.
    """

    folder: str
    images: int
    said: str
    parameters: dict[str, Any] = field(default_factory=dict)
    above: dict[str, float] = field(default_factory=dict)


REAL = {
    "breast_cancer": Real(
        "breakhis", 240, "pictures of 25 patients", {"image_size": 96, "magnification": 200},
        {"auc_frozen_backbone": 0.5},
    ),
    "brain_mri": Real(
        "lgg", 260, "with a patient_id that is not the folder's", {"image_size": 64},
        {"auc_frozen_backbone": 0.5},
    ),
    "malaria": Real(
        "malaria", 600, "agree with their file names", {}, {"auc_frozen_backbone": 0.6}
    ),
    "oct": Real("oct", 260, "does not exist", {"image_size": 96}, {"macro_auc": 0.6}),
    "pneumonia": Real(
        "chest_xray_224", 300, "person numbers", {"image_size": 96}, {"auc_frozen_backbone": 0.6}
    ),
}  # fmt: skip
# Without a download there are no ImageNet weights; and 224 pixels take hours on a processor.
SOURCE: dict[str, dict[str, Any]] = {
    "breast_cancer": {"image_size": 64, "max_images": 100},
    # the article's head needs a map of 4×4
    "brain_mri": {"image_size": 128, "max_images": 90},
    "malaria": {"max_images": 120},
    "oct": {"image_size": 64, "batch_size": 16, "max_images": 160},
    "pneumonia": {"image_size": 64, "max_images": 160},
}


def run(command: list[str | Path], folder: Path) -> None:
    """Run a command in a folder; show what it printed if it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-2000:]}{done.stderr[-3000:]}"


def as_options(parameters: dict[str, Any]) -> list[str | Path]:
    """Return ``-p NAME VALUE`` for each parameter."""
    return [word for name, value in parameters.items() for word in ("-p", name, str(value))]


def test_every_tutorial_has_its_runs() -> None:
    assert REAL.keys() == SOURCE.keys() == set(registry.names())


@pytest.mark.realdata
@pytest.mark.parametrize("tutorial", REAL)
def test_papermill_runs_it_on_real_images(
    tutorial: str, realdata: Path, checkout: Path, tmp_path: Path
) -> None:
    real = REAL[tutorial]
    data = realdata / real.folder
    if not data.is_dir():
        pytest.skip(f"no real images in {data}")
    (notebook,) = (checkout / "notebooks").glob(f"[0-9][0-9]_{tutorial}.ipynb")
    executed, folder = tmp_path / "out.ipynb", tmp_path / "run"
    command = [sys.executable, "-m", "papermill", notebook, executed, "-k", "python3"]
    parameters = {"data_dir": data, "output_dir": folder, "profile": "best", "epochs": 1}
    run([*command, *as_options({**parameters, "max_images": real.images, **real.parameters})],
        tmp_path)  # fmt: skip

    record = results.load(folder)
    assert record["data"]["images"] == real.images
    assert not record["data"]["synthetic"]
    figures = record["figures"]
    assert 0 < figures["auc_fine_tuned"]["value"] < 1  # what the profile `best` adds
    for name, least in real.above.items():
        assert figures[name]["low"] > least, name
    assert (folder / "model.keras").is_file()
    assert real.said in executed.read_text(encoding="utf-8")


@pytest.mark.parametrize("tutorial", SOURCE)
def test_the_runner_starts_and_trains_the_articles_recipe(tutorial: str, tmp_path: Path) -> None:
    command: list[str | Path] = [sys.executable, "-m", "helpers", "run", tutorial]
    command += ["--profile", "source", "--output", tmp_path / "out"]
    parameters = {"weights": "none", "epochs": 1, "fold": "all", **SOURCE[tutorial]}
    run([*command, *as_options(parameters)], tmp_path)
    record = results.load(tmp_path / "out" / tutorial)
    assert record["profile"] == "source"
    assert 0 < record["figures"]["auc_article_network"]["value"] < 1
    assert "all_folds_auc" in record["figures"] or "all_folds_macro_auc" in record["figures"]
