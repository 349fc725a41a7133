"""The table of backends: what counts as agreement, and what is said where they do not."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from helpers import runner
from tools import backends, networks

FIGURE = {"value": 0.9, "low": 0.85, "high": 0.95, "n": 21, "unit": "patients"}


def record(backend: str, **changed: Any) -> dict[str, Any]:
    return {
        "tutorial": "malaria", "backend": backend, "device": "CPU", "seed": 0, "main": ["auc"],
        "version": "1.0", "keras": "3.15.1", "split_hash": "abcd", "seconds": 60,
        "figures": {"auc": dict(FIGURE)}, "machine": "two cores",
    } | changed  # fmt: skip


def other(**changed: Any) -> dict[str, Any]:
    return record("jax", weights_apart=2e-7, features_apart=3e-5, **changed)


def test_backends_that_agree() -> None:
    records = [record("tensorflow"), other()]
    assert backends.disagreements(records) == []
    rows = backends.table(records).splitlines()[2:]
    assert rows == [
        "| malaria | tensorflow 1.0 | — | — | — | AUC 0.900 (0.850–0.950) | 60 |",
        "| malaria | jax 1.0 | yes | 2.0e-07 | 3.0e-05 | AUC 0.900 (0.850–0.950) | 60 |",
    ]
    assert backends.page(records).endswith("They agree.\n")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"split_hash": "beef"}, "malaria on jax: another split"),
        ({"weights_apart": 1e-3}, "weights differ by 1.0e-03, more than 1e-06"),
        ({"features_apart": float("inf")}, "features differ by inf, more than 0.001"),
        ({"features_apart": float("nan")}, "features differ by nan"),
        ({"figures": {"auc": FIGURE | {"value": 0.7, "low": 0.6, "high": 0.8}}}, "AUC is 0.700"),
    ],
)
def test_each_disagreement_is_told(changed: dict[str, Any], message: str) -> None:
    records = [record("tensorflow"), copy.deepcopy(other()) | changed]
    (line,) = backends.disagreements(records)
    assert message in line
    assert line in backends.page(records)


def test_what_was_not_compared_is_told() -> None:
    """No run of the notebook on the first backend has left its weights: that is no agreement."""
    bare = record("jax")
    lines = backends.disagreements([record("tensorflow"), bare])
    assert lines == [
        f"malaria on jax: {what} were not compared" for what in ("weights", "features")
    ]


def test_another_choice_is_told_and_each_network_still_compared() -> None:
    """Validation chose A there and B here: the main figures are those of two networks."""
    good, bad = FIGURE, FIGURE | {"value": 0.7, "low": 0.6, "high": 0.8}
    figures = {"auc_a": good, "auc_b": bad}
    records = [record("tensorflow", figures=figures | {"auc": good}),
               other(figures=figures | {"auc": bad})]  # fmt: skip
    assert backends.disagreements(records) == []
    assert backends.table(records).count("another network was chosen") == 1
    worse = bad | {"value": 0.65}
    records[1]["figures"] = {"auc": bad, "auc_a": worse, "auc_b": bad}
    (line,) = backends.disagreements(records)
    assert "AUC a is 0.650" in line


def of_folds(backend: str, *values: float, **changed: Any) -> dict[str, Any]:
    """Return the record of runs on as many folds as there are values."""
    middle = sum(values) / len(values)
    mean = {"value": middle, "low": middle - 0.05, "high": middle + 0.05, "kind": "interval"}
    return {
        "tutorial": "malaria", "backend": backend, "main": ["auc"], "machine": "two cores",
        "share_tested": 0.25, "splits": {str(fold): "abcd" for fold in range(len(values))},
        "means": {"auc": mean},
        "values": {"auc": {str(fold): one for fold, one in enumerate(values)}},
    } | changed  # fmt: skip


def test_means_of_folds_take_the_place_of_one_run() -> None:
    """One run's interval over patients does not hold what another training makes of it."""
    apart = {"figures": {"auc": FIGURE | {"value": 0.7, "low": 0.6, "high": 0.8}}}
    records = [record("tensorflow"), copy.deepcopy(other()) | apart]
    assert len(backends.disagreements(records)) == 1
    means = [of_folds("tensorflow", 0.8, 0.9, 0.85), of_folds("jax", 0.83, 0.89, 0.86)]
    assert backends.disagreements(records, means) == []
    (row,) = backends.table_of_means(means).splitlines()[2:]
    # t(2) = 4.303 times the spread of 0.03, -0.01 and 0.01, times the root of 1/3 + 1/4
    assert row == (
        "| malaria | AUC | 0.850 (0.800–0.900) | jax 0.860 (0.810–0.910) | 0.010 (−0.056–0.076) |"
    )
    assert row in backends.page(records, means)
    assert row not in backends.page(records)
    assert backends.disagreements(records, means[:1]) == backends.disagreements(records)
    assert backends.table_of_means(means[:1]) == ""


def test_a_difference_that_is_not_by_chance_is_told() -> None:
    """However wide the folds scatter: they do so on both backends alike."""
    values = (0.62, 0.9, 0.75, 0.98, 0.83)
    records = [record("tensorflow"), other()]
    low = of_folds("jax", *(value - 0.05 + 0.001 * fold for fold, value in enumerate(values)))
    (line,) = backends.disagreements(records, [of_folds("tensorflow", *values), low])
    assert line.startswith("malaria on jax: AUC differs from that on tensorflow by −0.048 (−0.05")


def test_folds_that_one_backend_lacks_are_told() -> None:
    """Two runs of one fold are compared, never those of two folds."""
    known = of_folds("tensorflow", 0.8, 0.9, 0.7, 0.6)
    fewer = of_folds("jax", 0.8, 0.9, 0.7)
    fewer["values"]["auc"] = {"0": 0.8, "1": 0.9, "3": 0.6}
    fewer["splits"] = dict.fromkeys("013", "abcd")
    (line,) = backends.disagreements([], [known, fewer])
    assert line == "malaria on jax: other folds or splits than on tensorflow"
    assert backends.differences(fewer, known)["auc"]["value"] == 0
    two = of_folds("jax", 0.8, 0.1)
    assert backends.differences(two, known) == {}  # too few to say anything
    assert backends.table_of_means([known, two]) == ""


def test_what_a_sweep_left_is_what_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "WORK", tmp_path)
    parts = {"train": {"images": 9, "patients": 6}, "valid": {"images": 3, "patients": 2},
             "test": {"images": 3, "patients": 2}}  # fmt: skip
    for fold in (0, 1, 4):
        stored = {
            "tutorial": "malaria", "backend": "jax", "device": "CPU", "seed": 0, "fold": fold,
            "main": ["auc"], "versions": {"jax": "1.0", "keras": "3.0"}, "seconds": 9.7,
            "figures": {"auc": FIGURE | {"value": round(0.8 + fold / 100, 2)},
                        "auc_b": dict(FIGURE), "epochs": dict(FIGURE)},
            "data": {"split_hash": f"split{fold}", "test_hash": f"test{fold}", "synthetic": True,
                     "parts": parts},
        }  # fmt: skip
        folder = tmp_path / "jax" / "malaria" / "folds" / "malaria" / "sample" / f"fold{fold}"
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(json.dumps(stored))
    monkeypatch.setattr(
        backends.results, "load", lambda place: json.loads((place / "results.json").read_text())
    )
    (found,) = backends._sweeps("two cores")
    assert found["splits"] == {"0": "split0", "1": "split1", "4": "split4"}
    assert found["values"]["auc"] == {"0": 0.8, "1": 0.81, "4": 0.84}
    assert set(found["means"]) == {"auc", "auc_b"}
    assert found["means"]["auc"]["value"] == pytest.approx(0.81667, abs=1e-5)
    assert found["means"]["auc"]["kind"] == "interval"
    assert found["share_tested"] == 0.25
    assert found["seconds"] == {"0": 10, "1": 10, "4": 10}


def test_runs_on_folds_are_one_sweep(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = []

    def run(command: list[str], **_: Any) -> Any:
        commands.append(command)
        return backends.subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(backends, "WORK", tmp_path)
    monkeypatch.setattr(backends, "_missing", lambda engine: "")
    monkeypatch.setattr(backends.subprocess, "run", run)
    words = ["--no-tests", "--folds", "5", "--notebooks", "malaria", "--backends", "jax"]
    assert backends.main(words) == 0
    (command,) = commands
    assert command[1:6] == ["-m", "helpers", "sweep", "malaria", "--folds"]
    assert str(tmp_path / "jax" / "malaria" / "folds") in command
    with pytest.raises(SystemExit):
        backends.main(["--folds", "2"])
    assert "invalid choice: 2" in capsys.readouterr().err


def test_a_figure_counts_where_one_interval_holds_it() -> None:
    sure = FIGURE | {"value": 1.0, "low": 1.0, "high": 1.0}
    assert backends.within(sure, FIGURE | {"value": 0.99, "low": 0.97, "high": 1.0})
    assert not backends.within(sure, FIGURE)


def test_arrays_of_other_names_or_shapes_are_infinitely_apart() -> None:
    ones = {"kernel": np.ones((2, 3))}
    assert backends.largest_difference(ones, {"kernel": np.ones((2, 3)) + 0.5}) == 0.5
    for wrong in ({}, {"bias": np.ones((2, 3))}, {"kernel": np.ones((3, 2))}):
        assert backends.largest_difference(ones, wrong) == float("inf")
    assert backends.largest_difference({}, {}) == float("inf")


def test_features_are_told_apart_by_network_not_by_place(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "cache"
    folder.mkdir(parents=True)
    np.save(folder / "malaria-64px-0123-efficientnet_lite0_features-abcd.npy", np.ones(3))
    np.save(folder / "malaria-64px-0123.npy", np.ones(9))
    assert list(backends._features(tmp_path)) == ["malaria-64px-efficientnet_lite0_features"]


def test_an_unknown_backend_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert backends.main(["--backends", "tensroflow"]) == 2
    assert "did you mean 'tensorflow'?" in capsys.readouterr().err


def test_a_backend_that_is_not_installed_is_skipped_with_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(backends, "WORK", tmp_path)
    monkeypatch.setattr(backends.kernels, "is_installed", lambda module: module == "uv")
    assert backends.main(["--backends", "torch"]) == 0
    out = capsys.readouterr().out
    assert "skipped: torch: The backend torch is not installed in" in out
    assert "-m uv pip install torch" in out


def test_each_run_has_its_backend_and_a_data_home_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = []

    def run(command: list[str], **options: Any) -> Any:
        calls.append((command, options["env"]))
        return backends.subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(backends, "WORK", tmp_path)
    monkeypatch.setattr(backends, "_missing", lambda engine: "")
    monkeypatch.setattr(backends.subprocess, "run", run)
    assert (
        backends.main(["--no-tests", "--notebooks", "malaria", "--backends", "tensorflow", "jax"])
        == 0
    )
    assert [env["KERAS_BACKEND"] for _, env in calls] == ["tensorflow"] * 2 + ["jax"] * 2
    assert len({env["TUTORIALS_DATA"] for _, env in calls}) == 2
    assert all(env["TUTORIALS_DATA"].startswith(str(tmp_path)) for _, env in calls)


def test_nothing_can_be_recorded_before_a_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(backends, "WORK", tmp_path)
    assert backends.main(["--record", "two cores"]) == 2
    assert "call  make test-backends" in capsys.readouterr().err


def test_the_committed_records_hold_no_path() -> None:
    for path in backends.RECORDS.rglob("*.json"):
        assert '"/' not in path.read_text("utf-8"), path


def write_notebook(path: Path, *cells: str) -> Path:
    code = [{"cell_type": "code", "source": source, "metadata": {}} for source in cells]
    path.write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": "x"}, *code]}))
    return path


def test_a_notebooks_networks_are_built_without_its_data(tmp_path: Path) -> None:
    path = write_notebook(
        tmp_path / "a.ipynb",
        "import shutil\nseed: int = 3",
        "index = load_index('malaria')\nlearned = training.fit(small, index)",
        "def built(size):\n    return models.small_cnn(image_size=size, filters=(2,), seed=seed)",
        "small = built(32)\npair = {'large': built(64), 'number': 1}\nshare = small.count_params()",
        "turned = fitted(small)",
        "ranked = order(index)\nranked = ranked[::-1]\nbest: int = best + 1",
    )
    found = networks.networks(path)
    assert sorted(found) == ["pair large", "small"]
    assert all(isinstance(model, keras.Model) for model in found.values())


def test_a_notebook_without_networks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.ipynb builds no network"):
        networks.networks(write_notebook(tmp_path / "a.ipynb", "x = 1"))


@pytest.mark.slow
@pytest.mark.parametrize("tutorial", ["breast_cancer", "brain_mri", "malaria", "oct"])
def test_every_tutorial_has_networks_without_data(tutorial: str) -> None:
    assert networks.networks(runner.find_notebooks([tutorial])[tutorial])


@pytest.mark.slow
def test_the_networks_of_a_tutorial_are_all_found(tmp_path: Path) -> None:
    found = networks.networks(runner.find_notebooks(["pneumonia"])["pneumonia"])
    assert {"article", "twin", "extractor"} <= set(found)
    assert networks.main(["pneumonia", str(tmp_path / "weights.npz")]) == 0
    with np.load(tmp_path / "weights.npz") as weights:
        assert "article/stage1_look/kernel" in weights
        assert max(array.size for array in weights.values()) < 2 * networks.MOST
