"""Whole notebooks, run as people run them: on real images, and by the article's own recipe."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from conftest import CHECKOUT, REALDATA

from helpers import images, registry, results
from helpers.index import load_index, write_csv
from helpers.medmnist import SETS

pytestmark = pytest.mark.slow

# A run needs up to 4 GB. Two side by side take less time than one after the other, because much
# of it is the tracing of graphs, which one processor core does alone.
SIDE_BY_SIDE = 2 if psutil.virtual_memory().available > 10 * 2**30 else 1


@dataclass(frozen=True)
class Real:
    """A run on real images, small enough for a test.

    Attributes:
        tutorial: its name.
        folder: below ``realdata``.
        images: so many of them.
        said: what the executed notebook prints about these very files.
        parameters: what differs from the profile ``best``.
        above: figures that lie beyond any doubt above a value, by the end of their interval.
    """

    tutorial: str
    folder: str
    images: int
    said: str
    parameters: dict[str, Any] = field(default_factory=dict)
    above: dict[str, float] = field(default_factory=dict)

    def command(self, folder: Path) -> list[str | Path]:
        """Return the call of papermill that leaves ``out.ipynb`` and ``run`` in a folder."""
        (notebook,) = (CHECKOUT / "notebooks").glob(f"[0-9][0-9]_{self.tutorial}.ipynb")
        parameters = {
            "data_dir": REALDATA / self.folder,
            "output_dir": folder / "run",
            "profile": "best",
            "epochs": 1,
            "max_images": self.images,
            **self.parameters,
        }
        words = [sys.executable, "-m", "papermill", notebook, folder / "out.ipynb", "-k", "python3"]
        return [*words, *_as_options(parameters)]


@dataclass(frozen=True)
class Source:
    """A run by the article's recipe, by our runner, for one epoch and without a download."""

    tutorial: str
    parameters: dict[str, Any]

    def command(self, folder: Path) -> list[str | Path]:
        """Return the call of the runner that leaves a folder with the tutorial's name."""
        words = [sys.executable, "-m", "helpers", "run", self.tutorial, "--profile", "source"]
        parameters = {"weights": "none", "epochs": 1, "fold": "all", **self.parameters}
        return [*words, "--output", folder, *_as_options(parameters)]


@dataclass(frozen=True)
class Own:
    """A run on somebody's own images, here made from the drawn ones, by our runner.

    Attributes:
        tutorial: its name.
        make: writes the images or their list into a folder, and returns it as ``data_dir``.
        said: what the executed notebook prints about them.
        card: what the model card says about them.
        profile: the notebook's.
    """

    tutorial: str
    make: Callable[[Path], Path]
    said: str
    card: str
    profile: str = "sample"

    def command(self, folder: Path) -> list[str | Path]:
        """Return the call of the runner that leaves a folder with the tutorial's name."""
        words = [sys.executable, "-m", "helpers", "run", self.tutorial, "--output", folder]
        options = _as_options({"profile": self.profile, "epochs": 1, "image_size": 64})
        return [*words, "--data-dir", self.make(folder), *options]


def three_classes(folder: Path) -> Path:
    """Write a CSV file of drawn scans under class names of one's own, without their patients."""
    index = load_index("oct", image_size=64)
    names = {"CNV": "a new vessel", "DME": "oedema", "NORMAL": "nothing"}
    index = index[index["class_name"].isin(names)].groupby("class_name").head(60)
    index = index.assign(class_name=index["class_name"].map(names), part="")
    index.attrs["patients_known"] = False
    return write_csv(index, folder / "my scans.csv")


def small_medmnist(tutorial: str) -> Callable[[Path], Path]:
    """Return what writes drawn images as MedMNIST does: of 28 pixels, without their patients."""

    def make(folder: Path) -> Path:
        index = load_index(tutorial, image_size=32)
        ends = {"train": ("train", 80), "val": ("train", -20), "test": ("test", 30)}
        arrays = {}
        for part, (official, most) in ends.items():
            rows = index[index["part"] == official].groupby("label")
            rows = rows.head(most) if most > 0 else rows.tail(-most)
            grey = [images.read_image(path, 28, "crop")[..., 0] for path in rows["path"]]
            arrays[f"{part}_images"] = np.stack(grey)
            arrays[f"{part}_labels"] = rows["label"].to_numpy(np.uint8)[:, None]
        archive = folder / f"{SETS[tutorial].name}.npz"
        np.savez(archive, **arrays)
        return archive

    return make


def renamed(
    tutorial: str, names: dict[str, str], patients: int, most: int, *, known: bool = True
) -> Callable[[Path], Path]:
    """Return what copies drawn images under names that say nothing, and writes their list.

    Args:
        tutorial: whose images.
        names: what its classes are called in the list.
        patients: of each class.
        most: images of each patient and class.
        known: whether the list names the patients.
    """

    def make(folder: Path) -> Path:
        index = load_index(tutorial)
        owners = index.groupby("label")["patient"].unique()
        chosen = {patient for own in owners for patient in own[:patients]}
        index = index[index["patient"].isin(chosen)].groupby(["patient", "label"]).head(most)
        (folder / "我的 pictures").mkdir()
        for column in {"path", "mask"} & set(index):
            copies = [folder / "我的 pictures" / f"{number} {column}{Path(path).suffix}"
                      for number, path in enumerate(index[column])]  # fmt: skip
            for path, copy in zip(index[column], copies, strict=True):
                shutil.copy(path, copy)
            index = index.assign(**{column: [str(copy) for copy in copies]})
        number_of = {patient: f"case {number}" for number, patient in enumerate(sorted(chosen))}
        index = index.assign(
            class_name=index["class_name"].map(names),
            patient=index["patient"].map(number_of),
            part="",
        )
        index.attrs["patients_known"] = known
        return write_csv(index, folder / "my pictures.csv")

    return make


REAL = [
    Real(
        "breast_cancer", "breakhis", 240, "pictures of 25 patients",
        {"image_size": 96, "magnification": 200}, {"auc_frozen_backbone": 0.5},
    ),
    Real(
        "brain_mri", "lgg", 260, "with a patient_id that is not the folder's",
        {"image_size": 64}, {"auc_frozen_backbone": 0.5},
    ),
    Real(
        "malaria", "malaria", 600, "agree with their file names",
        {}, {"auc_frozen_backbone": 0.6},
    ),
    Real(
        "oct", "oct", 260, "does not exist",
        {"image_size": 96}, {"auc_frozen_backbone": 0.6},
    ),
    Real(
        "pneumonia", "chest_xray_224", 300, "person numbers",
        {"image_size": 96}, {"auc_frozen_backbone": 0.6},
    ),
]  # fmt: skip
# Without a download there are no ImageNet weights; and 224 pixels take hours on a processor.
SOURCE = [
    Source("breast_cancer", {"image_size": 64, "max_images": 100}),
    # the article's head needs a map of 4×4
    Source("brain_mri", {"image_size": 128, "max_images": 90}),
    Source("malaria", {"max_images": 120}),
    Source("oct", {"image_size": 64, "batch_size": 16, "max_images": 160}),
    Source("pneumonia", {"image_size": 64, "max_images": 160}),
]

OWN = [
    Own(
        "breast_cancer", renamed("breast_cancer", {"benign": "a", "malignant": "b"}, 6, 6),
        "Classes: a = 0, b = 1.", "not stated: ask whoever gave",
    ),
    Own(
        "brain_mri", renamed("brain_mri", {"no tumour": "", "tumour": ""}, 10, 5),
        "my pictures.csv: ", "not stated: ask whoever gave",
    ),
    Own(
        "malaria",
        renamed("malaria", {"Uninfected": "healthy", "Parasitized": "babesia"}, 30, 4, known=False),
        "healthy = 0, babesia = 1.", "NO PATIENTS ARE KNOWN",
    ),
    Own(
        "oct", three_classes, "Patients were told from the file names",
        "not stated: ask whoever gave",
    ),
    *(  # the recipe for thumbnails
        Own(name, small_medmnist(name), "recipe for thumbnails", "NO PATIENTS ARE KNOWN",
            "best")
        for name in SETS
    ),
]  # fmt: skip

# Waits for the run of its test, and returns the folder with what that has left.
Finished = Callable[["Real | Source | Own"], Path]


@pytest.fixture(scope="module")
def finished(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Finished]:
    """Start the runs of all tests here that were asked for, and wait for one of them at a time."""
    runs = [item.callspec.params["run"] for item in request.session.items
            if item.path == request.path and hasattr(item, "callspec")]  # fmt: skip
    pool = ThreadPoolExecutor(SIDE_BY_SIDE)
    started: dict[int, tuple[Future[None], Path]] = {}
    for run in runs:
        if not isinstance(run, Real) or (REALDATA / run.folder).is_dir():
            folder = tmp_path_factory.mktemp(run.tutorial)
            started[id(run)] = pool.submit(_run, run.command(folder), folder), folder

    def wait(run: Real | Source | Own) -> Path:
        if id(run) not in started:
            pytest.skip(f"no real images of {run.tutorial} below {REALDATA}")
        future, folder = started[id(run)]
        future.result()
        return folder

    yield wait
    pool.shutdown(cancel_futures=True)


def test_every_tutorial_has_its_runs() -> None:
    names = sorted(registry.names())
    assert sorted(run.tutorial for run in REAL) == names
    assert sorted(run.tutorial for run in SOURCE) == names


@pytest.mark.realdata
@pytest.mark.parametrize("run", REAL, ids=lambda run: run.tutorial)
def test_papermill_runs_it_on_real_images(run: Real, finished: Finished) -> None:
    folder = finished(run)
    record = results.load(folder / "run")
    assert record["data"]["images"] == run.images
    assert not record["data"]["synthetic"]
    figures = record["figures"]
    assert 0 < figures["auc_fine_tuned"]["value"] < 1  # what the profile `best` adds
    for name, least in run.above.items():
        assert figures[name]["low"] > least, name
    assert (folder / "run" / "model.keras").is_file()
    assert run.said in (folder / "out.ipynb").read_text(encoding="utf-8")


@pytest.mark.parametrize("run", SOURCE, ids=lambda run: run.tutorial)
def test_the_runner_starts_and_trains_the_articles_recipe(run: Source, finished: Finished) -> None:
    record = results.load(finished(run) / run.tutorial)
    assert record["profile"] == "source"
    assert 0 < record["figures"]["auc_article_network"]["value"] < 1
    assert "all_folds_auc" in record["figures"] or "all_folds_macro_auc" in record["figures"]


@pytest.mark.parametrize("run", OWN, ids=lambda run: f"{run.tutorial}-{run.profile}")
def test_the_runner_takes_images_of_ones_own(run: Own, finished: Finished) -> None:
    folder = finished(run) / run.tutorial
    record = results.load(folder)
    assert not record["data"]["synthetic"]
    (notebook,) = folder.glob("*.ipynb")
    assert run.said in notebook.read_text(encoding="utf-8")
    assert run.card in (folder / "model_card.md").read_text(encoding="utf-8")


def _run(command: list[str | Path], folder: Path) -> None:
    """Run a command in a folder; show what it printed if it fails."""
    # A copy of the environment: pytest writes the test's name into its own one meanwhile, and a
    # process that is just starting from another thread would read what has been freed.
    done = subprocess.run(command, cwd=folder, env=dict(os.environ), capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-2000:]}{done.stderr[-3000:]}"


def _as_options(parameters: dict[str, Any]) -> list[str | Path]:
    """Return ``-p NAME VALUE`` for each parameter."""
    return [word for name, value in parameters.items() for word in ("-p", name, str(value))]
