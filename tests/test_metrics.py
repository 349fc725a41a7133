"""Figures against scikit-learn, and intervals that cover the truth as often as they say."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom
from sklearn import metrics as reference

from helpers import metrics
from helpers.metrics import Estimate


def scored(seed: int, patients: int = 20, each: int = 15) -> tuple[np.ndarray, ...]:
    """Return truth, scores with many ties, and patients of uneven size."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 2 * each, patients)
    owners = np.repeat([f"C{number}thin" for number in range(patients)], counts)
    truth = rng.integers(0, 2, len(owners))
    scores = np.clip(np.round(rng.normal(0.35 + 0.3 * truth, 0.25), 1), 0, 1)
    return truth, scores, owners


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resample less, where the interval is not what is tested."""
    monkeypatch.setattr(metrics, "RESAMPLES", 100)


# -- values --------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_values_agree_with_scikit_learn(threshold: float) -> None:
    for seed in range(10):
        truth, scores, owners = scored(seed)
        assert len(np.unique(scores)) < 12  # ties
        found = metrics.evaluate(truth, scores, owners, threshold=threshold)
        called = scores >= threshold
        expected = {
            "accuracy": reference.accuracy_score(truth, called),
            "sensitivity": reference.recall_score(truth, called),
            "specificity": reference.recall_score(truth, called, pos_label=0),
            "precision": reference.precision_score(truth, called),
            "auc": reference.roc_auc_score(truth, scores),
            "brier": reference.brier_score_loss(truth, scores),
        }
        assert {name: found[name].value for name in expected} == pytest.approx(expected, abs=1e-12)
        assert set(found) == {*expected, "calibration_error"}
        assert metrics.auc(truth, scores, owners) == found["auc"]
        for estimate in found.values():
            assert estimate.low <= estimate.value <= estimate.high
            assert (estimate.n, estimate.unit) == (20, "patients")


@pytest.mark.usefixtures("quick")
def test_every_resample_is_what_scikit_learn_makes_of_those_patients() -> None:
    truth, scores, owners = scored(3, patients=8)
    names = np.unique(owners)
    draws = metrics._draws(owners, seed=0)
    _, areas = metrics._FIGURES["auc"](truth, scores, 0.5, draws)
    _, precisions = metrics._FIGURES["precision"](truth, scores, 0.5, draws)
    for number in range(30):
        rows = np.concatenate(
            [
                np.flatnonzero(owners == name)
                for name, count in zip(names, draws.counts[number], strict=True)
                for _ in range(int(count))
            ]
        )
        drawn, values = truth[rows], scores[rows]
        assert areas[number] == pytest.approx(reference.roc_auc_score(drawn, values), abs=1e-12)
        assert precisions[number] == pytest.approx(
            reference.precision_score(drawn, values >= 0.5), abs=1e-12
        )


@pytest.mark.usefixtures("quick")
def test_a_score_at_the_threshold_counts_as_positive() -> None:
    found = metrics.evaluate([1, 0], [0.5, 0.4999], ["a", "b"])
    assert found["sensitivity"].value == 1.0
    assert found["specificity"].value == 1.0


@pytest.mark.usefixtures("quick")
def test_calibration_error_by_hand() -> None:
    # bins 0.0–0.1, 0.3–0.4, 0.9–1.0 (1.0 belongs to the last)
    scores = np.array([0.05, 0.05, 0.35, 0.35, 0.35, 0.35, 0.95, 1.0])
    truth = np.array([0, 0, 1, 1, 1, 0, 1, 1])
    # bin 1: mean score 0.05, share 0: gap 0.05, 2 of 8; bin 4: 0.35 against 0.75: 0.40, 4 of 8;
    # bin 10: 0.975 against 1: 0.025, 2 of 8
    expected = (2 * 0.05 + 4 * 0.40 + 2 * 0.025) / 8
    found = metrics.evaluate(truth, scores, list("abcdefgh"))
    assert found["calibration_error"].value == pytest.approx(expected, abs=1e-12)


@pytest.mark.usefixtures("quick")
def test_probabilities_that_come_true_have_no_calibration_error() -> None:
    scores = np.repeat([0.25, 0.75], 400)
    truth = np.r_[np.tile([1, 0, 0, 0], 100), np.tile([1, 1, 1, 0], 100)]
    found = metrics.evaluate(truth, scores, np.arange(800))
    assert found["calibration_error"].value == pytest.approx(0, abs=1e-12)


@pytest.mark.usefixtures("quick")
def test_a_perfect_and_a_reversed_test() -> None:
    truth, owners = np.array([0, 1] * 10), np.repeat(np.arange(10), 2)
    perfect = metrics.evaluate(truth, truth, owners)
    for name in ("accuracy", "sensitivity", "specificity", "precision", "auc"):
        assert perfect[name] == Estimate(1.0, 1.0, 1.0, 10)
    reversed_test = metrics.evaluate(truth, 1 - truth, owners)
    assert reversed_test["auc"].value == 0.0
    assert reversed_test["accuracy"].value == 0.0
    constant = metrics.evaluate(truth, np.full(20, 0.7), owners)
    assert constant["auc"].value == 0.5


@pytest.mark.usefixtures("quick")
def test_no_alarm_means_no_precision_and_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = metrics.evaluate([0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4], list("aabb"))
    assert np.isnan(found["precision"].value)
    assert found["sensitivity"].value == 0.0
    assert found["specificity"].value == 1.0


@pytest.mark.usefixtures("quick")
def test_a_patient_of_one_class_alone_does_not_break_the_interval() -> None:
    """Some resamples have one class only: they have no AUC and are left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = metrics.evaluate([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9], list("aabb"))
    assert found["auc"].value == 0.75
    assert np.isfinite([found["auc"].low, found["auc"].high]).all()


# -- intervals -----------------------------------------------------------------------------


def clustered(rng: np.random.Generator, patients: int, spread: float) -> tuple[np.ndarray, ...]:
    """Return truth, scores, patients; accuracy is 0.8 on average, but differs by patient."""
    easy = rng.beta(0.8 * spread, 0.2 * spread, patients)
    counts = rng.integers(5, 11, patients)
    owners = np.repeat(np.arange(patients), counts)
    right = rng.random(len(owners)) < easy[owners]
    truth = rng.integers(0, 2, len(owners))
    return truth, np.where(right, truth, 1 - truth).astype(float), owners


def test_intervals_cover_the_truth_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets of 100 patients whose true accuracy is known: 0.8."""
    monkeypatch.setattr(metrics, "_FIGURES", {"accuracy": metrics._FIGURES["accuracy"]})
    monkeypatch.setattr(metrics, "RESAMPLES", 400)
    rng, sets, few, by_patient, by_image = np.random.default_rng(0), 500, 60, 0, 0
    for number in range(sets):
        truth, scores, owners = clustered(rng, patients=100, spread=1.5)
        found = metrics.evaluate(truth, scores, owners, seed=number)["accuracy"]
        by_patient += found.low <= 0.8 <= found.high
        if number < few:
            alone = np.arange(len(truth))
            found = metrics.evaluate(truth, scores, alone, seed=number)["accuracy"]
            by_image += found.low <= 0.8 <= found.high
    # 999 of 1,000 such simulations of an exact interval fall into this range
    low, high = binom.interval(0.999, sets, 0.95)
    assert low <= by_patient <= high
    # images taken as independent promise far more than they keep
    assert by_image < binom.ppf(0.001, few, 0.95)


@pytest.mark.parametrize("name", ["accuracy", "sensitivity", "auc", "brier"])
def test_intervals_are_wider_where_patients_differ(name: str) -> None:
    truth, scores, owners = clustered(np.random.default_rng(1), patients=60, spread=1.0)
    by_patient = metrics.evaluate(truth, scores, owners)[name]
    by_image = metrics.evaluate(truth, scores, np.arange(len(truth)))[name]
    assert by_patient.value == by_image.value
    assert by_patient.high - by_patient.low > 1.5 * (by_image.high - by_image.low)


def test_an_interval_of_independent_images_is_the_binomial_one() -> None:
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 2, 1_000)
    scores = np.where(rng.random(1_000) < 0.9, truth, 1 - truth)
    found = metrics.evaluate(truth, scores, np.arange(1_000))["accuracy"]
    half = 1.96 * np.sqrt(found.value * (1 - found.value) / 1_000)
    # 2,000 resamples know the 2.5 % point to about 4 % of the half width (one deviation)
    assert found.value - found.low == pytest.approx(half, rel=0.15)
    assert found.high - found.value == pytest.approx(half, rel=0.15)


def test_a_seed_fixes_the_interval() -> None:
    data = scored(0)
    before = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    assert metrics.evaluate(*data, seed=1) == metrics.evaluate(*data, seed=1)
    assert metrics.evaluate(*data, seed=1)["auc"] != metrics.evaluate(*data, seed=2)["auc"]
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # type: ignore[index]


def test_the_order_of_the_images_does_not_matter() -> None:
    truth, scores, owners = scored(0)
    order = np.random.default_rng(0).permutation(len(truth))
    first = metrics.evaluate(truth, scores, owners)
    second = metrics.evaluate(truth[order], scores[order], owners[order])
    for name, estimate in first.items():
        other = second[name]
        assert (other.value, other.low, other.high) == pytest.approx(
            (estimate.value, estimate.low, estimate.high), abs=1e-12
        )


# -- differences ---------------------------------------------------------------------------


def test_a_difference_is_one_figure_minus_the_other() -> None:
    truth, scores, owners = scored(0)
    worse = np.clip(scores + np.random.default_rng(1).normal(0, 0.3, len(scores)), 0, 1)
    for name in ("auc", "accuracy", "brier"):
        gap = metrics.difference((truth, scores, owners), (truth, worse, owners), name)
        one = metrics.evaluate(truth, scores, owners)[name].value
        two = metrics.evaluate(truth, worse, owners)[name].value
        assert gap.value == pytest.approx(one - two, abs=1e-12)
        assert gap.low <= gap.value <= gap.high
        assert gap.n == 20


def test_a_difference_on_the_same_images_is_paired() -> None:
    """What makes a patient hard is on both sides and cancels."""
    truth, scores, owners = clustered(np.random.default_rng(0), patients=40, spread=1.0)
    same = metrics.difference((truth, scores, owners), (truth, scores, owners), "accuracy")
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    slightly = scores.copy()
    slightly[::25] = 1 - slightly[::25]
    paired = metrics.difference((truth, scores, owners), (truth, slightly, owners), "accuracy")
    # the same images in another order: not recognised as the same, so drawn independently
    other = tuple(part[::-1] for part in (truth, slightly, owners))
    apart = metrics.difference((truth, scores, owners), other, "accuracy")  # type: ignore[arg-type]
    assert paired.value == pytest.approx(apart.value, abs=1e-12)
    assert paired.high - paired.low < 0.5 * (apart.high - apart.low)


def test_a_difference_of_independent_parts_is_as_uncertain_as_both() -> None:
    rng = np.random.default_rng(4)
    parts = [clustered(rng, patients=80, spread=3.0) for _ in range(2)]
    gap = metrics.difference(parts[0], parts[1], "accuracy")  # type: ignore[arg-type]
    found = [metrics.evaluate(*part)["accuracy"] for part in parts]
    widths = [estimate.high - estimate.low for estimate in found]
    assert gap.high - gap.low == pytest.approx(np.hypot(*widths), rel=0.15)


def test_a_difference_counts_the_fewer_patients() -> None:
    gap = metrics.difference(scored(0, patients=30), scored(1, patients=10))  # type: ignore[arg-type]
    assert gap.n == 10


# -- the rest ------------------------------------------------------------------------------


def test_cross_entropy_by_hand() -> None:
    found = metrics.cross_entropy(np.array([1, 0]), np.array([0.8, 0.4]))
    assert found == pytest.approx(-(np.log(0.8) + np.log(0.6)) / 2)
    # a part of one class has one, too
    assert metrics.cross_entropy(np.array([1]), np.array([0.5])) == pytest.approx(np.log(2))
    assert np.isfinite(metrics.cross_entropy(np.array([1]), np.array([0.0])))


def test_one_row_a_patient_the_hardest_first() -> None:
    truth = np.array([1, 1, 0, 0, 0, 1, 0])
    scores = np.array([0.9, 0.2, 0.1, 0.5, 0.3, 0.8, 0.1])
    owners = np.array(["a", "a", "b", "c", "c", "d", "b"])
    table = metrics.per_patient(truth, scores, owners)
    expected = pd.DataFrame(
        {
            "patient": ["a", "c", "d", "b"],
            "images": [2, 2, 1, 2],
            "positive_share": [1.0, 0.0, 1.0, 0.0],
            "mean_score": [0.55, 0.4, 0.8, 0.1],
            "accuracy": [0.5, 0.5, 1.0, 1.0],
        }
    )
    pd.testing.assert_frame_equal(table, expected, check_dtype=False)
    at_fifth = metrics.per_patient(truth, scores, owners, threshold=0.2).set_index("patient")
    assert at_fifth.loc["a", "accuracy"] == 1.0


def test_an_estimate_is_written_with_its_interval() -> None:
    assert str(Estimate(0.9234, 0.9006, 0.9444, 20)) == "0.923 (0.901–0.944)"


@pytest.mark.usefixtures("quick")
def test_a_table_of_models_and_figures() -> None:
    figures = {"first": metrics.evaluate(*scored(0)), "second": metrics.evaluate(*scored(1))}
    table = metrics.table(figures, ["auc", "accuracy"])
    assert list(table.index) == ["first", "second"]
    assert list(table.columns) == ["auc", "accuracy"]
    shown = str(table.loc["second", "accuracy"])
    assert " " not in shown  # a narrow table cannot break it in the middle
    plain = shown.replace("\u00a0", " ").replace("\u2060", "")
    assert plain == str(figures["second"]["accuracy"])


@pytest.mark.parametrize(
    ("truth", "scores", "patients", "message"),
    [
        ([0, 1], [0.1, 0.2, 0.3], ["a", "b"], "same length"),
        ([0, 1], [0.1, 0.2], ["a"], "same length"),
        ([0, 1], [[0.9, 0.1], [0.2, 0.8]], ["a", "b"], r"of a model's \(n, 2\) output"),
        ([], [], [], "both of them"),
        ([1, 1], [0.1, 0.2], ["a", "b"], "both of them"),
        ([0, 2], [0.1, 0.2], ["a", "b"], "must hold 0 and 1"),
        ([0, 1], [0.1, 1.2], ["a", "b"], "between 0 and 1"),
        ([0, 1], [-0.1, 0.2], ["a", "b"], "between 0 and 1"),
        ([0, 1], [0.1, float("nan")], ["a", "b"], "between 0 and 1"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(
    truth: Any, scores: Any, patients: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=f"(?i){message}"):
        metrics.evaluate(truth, scores, patients)


def test_one_row_a_patient_of_one_class() -> None:
    table = metrics.per_patient(np.array([1, 1]), np.array([0.9, 0.1]), np.array(["a", "b"]))
    assert list(table["patient"]) == ["b", "a"]
