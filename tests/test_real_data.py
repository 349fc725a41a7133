"""Records of runs on real images: what is kept, and the tables made of them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from helpers import results
from tools import real_data


def figure(value: float) -> dict[str, Any]:
    return {"value": value, "low": value - 0.02, "high": value + 0.01, "n": 21, "unit": "patients"}


def record(seed: int = 0, accuracy: float = 0.95, **changed: Any) -> dict[str, Any]:
    parameters = {"profile": "best", "data_dir": "/home/a/cells", "output_dir": "/home/a/out",
                  "seed": seed, "fold": None, "epochs": None, "weights": "auto"}  # fmt: skip
    return {
        "tutorial": "malaria",
        "profile": "best",
        "backend": "tensorflow",
        "device": "CPU",
        "seed": seed,
        "fold": None,
        "parameters": parameters | changed,
        "data": {
            "name": "malaria",
            "synthetic": False,
            "images": 900,
            "parts": {"test": {"images": 180, "patients": 21}},
        },
        "figures": {"accuracy": figure(accuracy), "auc": figure(0.99)},
        "main": ["accuracy", "auc"],
        "seconds": 240.4,
        "versions": {"keras": "3.15.1"},
    }


def test_no_path_is_recorded() -> None:
    text = real_data.to_text(real_data.essence(record(), "two cores"))
    assert "/home" not in text
    assert json.loads(text)["seconds"] == 240


def test_a_changed_parameter_makes_another_record() -> None:
    names = {real_data.name_of(record()), real_data.name_of(record(epochs=1))}
    assert names == {"malaria-best-seed0-fold0", "malaria-best-seed0-fold0-epochs-1"}


def test_the_table_has_each_run_and_their_mean() -> None:
    runs = [real_data.essence(record(seed, value), "two cores")
            for seed, value in ((0, 0.94), (1, 0.96))]  # fmt: skip
    lines = real_data.table(runs).splitlines()
    assert len(lines) == 5
    assert "0.940 (0.920–0.950)" in lines[2]
    assert "**0.950** (0.940–0.960, range)" in lines[4]  # what they tested is not known
    for run in runs:
        run["data"]["test_hash"] = "the official test"
    # the patients' own distances 0.02 and 0.01; 12.7 × 0.0141 / √2 = 0.127 of two trainings
    assert "**0.950** (0.821–1.000)" in real_data.table(runs).splitlines()[4]


def test_runs_of_other_settings_are_not_averaged() -> None:
    runs = [real_data.essence(run, "two cores") for run in (record(), record(epochs=1))]
    assert "mean of" not in real_data.table(runs)


def test_runs_on_medmnist_have_a_table_of_their_own() -> None:
    small = record()
    small["data"] |= {"name": "octmnist", "patients_known": False}
    runs = [real_data.essence(run, "two cores") for run in (record(), small)]
    marked = [
        f"<!-- runs of {name} -->\n<!-- /runs of {name} -->" for name in ("malaria", "octmnist")
    ]
    first, second = real_data.page("\n".join(marked), runs).split("<!-- /runs of malaria -->")
    assert "| 0, 0 | 21 |" in first and "| 0, 0 | unknown, 180 images |" in second


def test_the_page_keeps_what_was_written_by_hand() -> None:
    text = "By hand.\n<!-- runs of malaria -->\nstale row\n<!-- /runs of malaria -->\nAlso."
    fresh = real_data.page(text, [real_data.essence(record(), "two cores")])
    assert fresh.startswith("By hand.") and fresh.endswith("Also.")
    assert "stale row" not in fresh and "two cores" in fresh


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="no lines <!-- runs of malaria -->"):
        real_data.page("nothing", [real_data.essence(record(), "two cores")])


def test_a_run_on_the_sample_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = copy.deepcopy(record())
    made["data"]["synthetic"] = True
    monkeypatch.setattr(results, "load", lambda folder: made)
    with pytest.raises(SystemExit):
        real_data.main([str(tmp_path), "--machine", "two cores"])
    assert "synthetic sample" in capsys.readouterr().err


def test_the_committed_records_hold_no_path() -> None:
    for path in real_data.RECORDS.glob("*.json"):
        assert '"/' not in path.read_text("utf-8"), path
