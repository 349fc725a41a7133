"""Stored figures: what counts as a difference from them, and how they are stored."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tools import expected


def record(**figures: dict[str, Any]) -> dict[str, Any]:
    return {
        "tutorial": "malaria",
        "profile": "sample",
        "seed": 0,
        "fold": None,
        "data": {"images": 100, "patients": 30, "left_out": 3, "split_hash": "ab12"},
        "figures": {"auc": figure(0.9, 0.86, 0.94), **figures},
        "seconds": 40.0,
        "versions": {"python": "3.11.7"},
    }


def figure(value: float, low: float, high: float, n: int = 30) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "n": n, "unit": "patients"}


def test_a_run_agrees_with_itself() -> None:
    assert expected.differences(expected.essence(record()), record()) == []


@pytest.mark.parametrize(
    ("value", "agrees"), [(0.919, True), (0.921, False), (float("nan"), False)]
)
def test_the_interval_says_how_far(value: float, agrees: bool) -> None:
    fresh = record(auc=figure(value, 0.8, 0.99))
    assert (expected.differences(record(), fresh) == []) is agrees


@pytest.mark.parametrize(
    ("stored", "allowed"),
    [
        (figure(1.0, 1.0, 1.0, n=20), 0.05),  # all right: one case may change
        (figure(0.0, 0.0, 0.0, n=20), 0.05),
        (figure(23_827_330, 23_827_330, 23_827_330), 0.0),  # a count may not
        (figure(0.8, 0.6, 1.0), 0.1),
    ],
)
def test_tolerance(stored: dict[str, Any], allowed: float) -> None:
    assert expected.tolerance(stored) == pytest.approx(allowed, abs=1e-8)


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        (("seed",), 1, "seed"),
        (("profile",), "best", "profile"),
        (("data", "split_hash"), "cd34", "data.split_hash"),
        (("data", "left_out"), 4, "data.left_out"),
        (("figures", "auc", "n"), 29, "over 29 patients"),
        (("figures", "extra"), figure(0.5, 0.4, 0.6), "extra: only in the new run"),
    ],
)
def test_what_must_be_the_same(where: tuple[str, ...], value: object, said: str) -> None:
    fresh = copy.deepcopy(record())
    place = fresh
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    (difference,) = expected.differences(record(), fresh)
    assert said in difference


def test_a_figure_that_vanished_is_seen() -> None:
    (difference,) = expected.differences(record(dice=figure(0.8, 0.7, 0.9)), record())
    assert difference == "dice: only in the stored run"


def test_storing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expected, "EXPECTED", tmp_path / "expected")
    run = tmp_path / "runs" / "malaria"
    run.mkdir(parents=True)
    assert expected.main([str(tmp_path / "runs")]) == 1
    (run / "results.json").write_text(json.dumps(record()), encoding="utf-8")
    assert expected.main([str(tmp_path / "runs")]) == 0
    stored = json.loads((tmp_path / "expected" / "malaria.json").read_text(encoding="utf-8"))
    assert "seconds" not in stored
    assert expected.differences(stored, record()) == []
