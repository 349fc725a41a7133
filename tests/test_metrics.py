"""Figures against scikit-learn, and intervals that cover the truth as often as they say."""

from __future__ import annotations

import warnings
from pathlib import Path
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


@pytest.mark.slow
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


@pytest.mark.usefixtures("quick")
def test_many_images_are_resampled_in_smaller_blocks_with_the_same_result() -> None:
    """Every image 200 times under the same patient: nothing changes but the memory's use."""
    truth, scores, owners = scored(0)
    many = [np.repeat(values, 200) for values in (truth, scores, owners)]
    assert len(many[0]) > 40_000
    once, often = metrics.auc(truth, scores, owners), metrics.auc(*many)
    for bound in ("value", "low", "high"):
        assert getattr(often, bound) == pytest.approx(getattr(once, bound), abs=1e-12)


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
    columns = list(expected)
    pd.testing.assert_frame_equal(table[columns], expected, check_dtype=False)
    at_fifth = metrics.per_patient(truth, scores, owners, threshold=0.2).set_index("patient")
    assert at_fifth.loc["a", "accuracy"] == 1.0


def test_few_images_of_a_patient_leave_much_to_chance() -> None:
    truth = np.ones(110, int)
    scores = np.r_[np.full(9, 0.9), 0.1, np.full(90, 0.9), np.full(10, 0.1)]
    table = metrics.per_patient(truth, scores, np.repeat(["few", "many"], [10, 100]))
    table = table.set_index("patient")
    # Wilson 1927 for 9 of 10 and 90 of 100
    assert table.loc["few", ["low", "high"]].tolist() == pytest.approx([0.5958, 0.9821], abs=1e-4)
    assert table.loc["many", ["low", "high"]].tolist() == pytest.approx([0.8256, 0.9448], abs=1e-4)


def test_the_calibration_curve_counts_each_bin() -> None:
    truth = np.array([0, 1, 0, 1, 1, 1])
    scores = np.array([0.02, 0.04, 0.95, 0.95, 1.0, 0.98])
    table = metrics.calibration_curve(truth, scores)
    assert table["images"].tolist() == [2, 4]
    assert table["score"].tolist() == pytest.approx([0.03, 0.97])
    assert table["share"].tolist() == pytest.approx([0.5, 0.75])
    assert table[["low", "high"]].isna().all(axis=None)
    with pytest.raises(ValueError, match="two bins"):
        metrics.calibration_curve(truth, scores, bins=1)


def test_calibration_intervals_are_over_patients() -> None:
    rng = np.random.default_rng(4)
    owners = np.repeat(np.arange(12), 40)
    truth = np.repeat(np.arange(12) % 2, 40)  # a patient's images are all alike
    scores = np.r_[rng.uniform(0.4, 0.5, 480)]
    together = metrics.calibration_curve(truth, scores, owners).iloc[0]
    singly = metrics.calibration_curve(truth, scores, np.arange(480)).iloc[0]
    assert together["high"] - together["low"] > 3 * (singly["high"] - singly["low"])
    assert together["low"] <= together["share"] <= together["high"]
    alone = metrics.calibration_curve(truth[:40], scores[:40], owners[:40])
    assert alone[["low", "high"]].isna().all(axis=None)  # one patient shows nothing of chance


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


# -- on request ----------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_figures_on_request_agree_with_scikit_learn(threshold: float) -> None:
    names = ["f1", "kappa", "balanced_accuracy"]
    for seed in range(5):
        truth, scores, owners = scored(seed)
        found = metrics.evaluate(truth, scores, owners, figures=names, threshold=threshold)
        called = scores >= threshold
        assert list(found) == names
        assert found["f1"].value == pytest.approx(reference.f1_score(truth, called))
        assert found["kappa"].value == pytest.approx(reference.cohen_kappa_score(truth, called))
        assert found["balanced_accuracy"].value == pytest.approx(
            reference.balanced_accuracy_score(truth, called)
        )


def test_an_unknown_figure_is_told_which_there_are() -> None:
    with pytest.raises(ValueError, match="no figure 'acuracy' here; there are accuracy, sens"):
        metrics.evaluate(*scored(0), figures=["acuracy"])
    part = many_classes(0)
    with pytest.raises(ValueError, match="no figure 'auc' here; there are accuracy, macro_recall"):
        metrics.difference(part, part, figure="auc", classes=FOUR)


def test_calibration_error_by_chance_is_what_perfect_models_show(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Over many sets the excess is about 0 where the scores are right, and large where not."""
    monkeypatch.setattr(metrics, "RESAMPLES", 300)
    names = ["calibration_error", "calibration_error_by_chance", "excess_calibration_error"]
    rng = np.random.default_rng(0)
    right, wrong = [], []
    for number in range(25):
        scores = rng.random(200)
        truth = (rng.random(200) < scores).astype(int)
        found = metrics.evaluate(truth, scores, np.arange(200), figures=names, seed=number)
        right.append([found[name].value for name in names])
        assert found[names[2]].value == pytest.approx(right[-1][0] - right[-1][1])
        assert found[names[1]].low < found[names[1]].value < found[names[1]].high
        sure = np.where(scores >= 0.5, 0.97, 0.03)  # far too sure of itself
        found = metrics.evaluate(truth, sure, np.arange(200), figures=names, seed=number)
        wrong.append([found[name].value for name in names])
        assert found[names[2]].low > 0.05
    raw, chance, excess = np.mean(right, axis=0)
    assert 0.05 < raw < 0.08  # though nothing is wrong
    assert raw == pytest.approx(chance, abs=0.01)
    assert abs(excess) < 0.01
    assert np.mean(wrong, axis=0)[2] > 0.15


@pytest.mark.usefixtures("quick")
def test_scores_of_0_and_1_have_no_calibration_error_by_chance() -> None:
    found = metrics.evaluate(
        [0, 1, 1, 0], [0.0, 1.0, 0.0, 0.0], list("aabb"), figures=["calibration_error_by_chance"]
    )
    assert found["calibration_error_by_chance"] == Estimate(0.0, 0.0, 0.0, 2)


# -- more than two classes -----------------------------------------------------------------

FOUR = ["CNV", "DME", "DRUSEN", "NORMAL"]


def many_classes(
    seed: int, patients: int = 60, each: int = 5
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return class numbers of uneven frequency, rounded scores (n, 4) with ties, and patients."""
    rng = np.random.default_rng(seed)
    owners = np.repeat(np.arange(patients), each)
    truth = rng.choice(4, len(owners), p=[0.4, 0.12, 0.1, 0.38])
    logits = rng.normal(0, 1, (len(owners), 4))
    logits[np.arange(len(owners)), truth] += 1.5
    # in 64ths, so that rows add up to exactly 1 and there are ties
    scores = np.floor(64 * np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    scores[:, 3] = 64 - scores[:, :3].sum(axis=1)
    return truth, scores / 64, owners


@pytest.mark.usefixtures("quick")
def test_values_of_four_classes_agree_with_scikit_learn() -> None:
    for seed in range(5):
        truth, scores, owners = many_classes(seed)
        found = metrics.evaluate(truth, scores, owners, classes=FOUR)
        called = scores.argmax(axis=1)
        recalls = reference.recall_score(truth, called, average=None)
        expected = {
            "accuracy": reference.accuracy_score(truth, called),
            "macro_recall": reference.balanced_accuracy_score(truth, called),
            **{f"recall_{name}": recalls[k] for k, name in enumerate(FOUR)},
            "macro_auc": reference.roc_auc_score(truth, scores, multi_class="ovr"),
            "kappa": reference.cohen_kappa_score(truth, called),
        }
        assert list(found) == list(expected)
        assert {name: found[name].value for name in found} == pytest.approx(expected, abs=1e-12)
        for estimate in found.values():
            assert estimate.low <= estimate.value <= estimate.high
            assert (estimate.n, estimate.unit) == (60, "patients")


@pytest.mark.usefixtures("quick")
def test_every_resample_of_four_classes_is_what_scikit_learn_makes_of_it() -> None:
    truth, scores, owners = many_classes(1, patients=25)
    draws = metrics._draws(owners, seed=0)
    data = metrics._Data.of(truth, scores, owners, FOUR)
    found = {name: data.figure(name)(truth, scores, 0.5, draws)[1] for name in data.usual}
    complete = 0
    for number in range(20):
        rows = np.repeat(np.arange(len(truth)), draws.counts[number][owners].astype(int))
        drawn, called = truth[rows], scores[rows].argmax(axis=1)
        assert found["kappa"][number] == pytest.approx(reference.cohen_kappa_score(drawn, called))
        if len(np.unique(drawn)) == 4:
            complete += 1
            expected = reference.roc_auc_score(drawn, scores[rows], multi_class="ovr")
            assert found["macro_auc"][number] == pytest.approx(expected, abs=1e-12)
    assert complete


@pytest.mark.usefixtures("quick")
def test_a_resample_without_a_class_is_left_out_of_what_needs_it() -> None:
    """One patient alone has a drusen: a third of the resamples lack the class."""
    truth = np.array([0, 1, 3, 0, 1, 3, 0, 1, 3, 2])
    owners = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 3])
    draws = metrics._draws(owners, seed=0)
    data = metrics._Data.of(truth, np.eye(4)[truth], owners, FOUR)
    lacking = draws.counts[:, 3] == 0
    assert 0.2 < lacking.mean() < 0.5
    for name in ("recall_DRUSEN", "macro_recall", "macro_auc"):
        drawn = data.figure(name)(truth, data.scores, 0.5, draws)[1]
        assert np.isnan(drawn[lacking]).all()
        assert np.isfinite(drawn).any()
    assert np.isfinite(data.figure("accuracy")(truth, data.scores, 0.5, draws)[1]).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = metrics.evaluate(truth, np.eye(4)[truth], owners, classes=FOUR)
    assert found["macro_recall"] == Estimate(1.0, 1.0, 1.0, 4)


@pytest.mark.usefixtures("quick")
def test_a_difference_of_four_classes_is_paired() -> None:
    truth, scores, owners = many_classes(0)
    better = 0.5 * scores + 0.5 * np.eye(4)[truth]
    first, second = (truth, better, owners), (truth, scores, owners)
    gap = metrics.difference(first, second, "macro_recall", classes=FOUR)
    one, two = (metrics.evaluate(*part, classes=FOUR)["macro_recall"] for part in (first, second))
    assert gap.value == pytest.approx(one.value - two.value)
    assert gap.low > 0
    same = metrics.difference(first, first, "recall_DME", classes=FOUR)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": np.full((4, 3), 1 / 3)}, r"\(n, 4\), one column for each of CNV, DME"),
        ({"scores": np.full(4, 0.5)}, "Leave classes out"),
        ({"scores": np.full((4, 4), 0.5)}, "adding up to 1"),
        ({"scores": np.eye(4) * np.nan}, "adding up to 1"),
        ({"truth": [0, 1, 2, 4]}, "class numbers 0 to 3"),
        ({"truth": [0, 1, 1, 3]}, "No image is truly DRUSEN"),
        ({"truth": [0, 1, 2]}, "truth has 3, scores has 4"),
    ],
)
def test_what_cannot_be_evaluated_as_four_classes(change: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"truth": [0, 1, 2, 3], "scores": np.eye(4), "patients": list("abcd")}
    with pytest.raises(ValueError, match=message):
        metrics.evaluate(**(given | change), classes=FOUR)


def test_cross_entropy_of_four_classes() -> None:
    truth, scores, _ = many_classes(0)
    scores = (scores + 0.01) / (scores + 0.01).sum(axis=1, keepdims=True)
    expected = -np.log(scores[np.arange(len(truth)), truth]).mean()
    assert metrics.cross_entropy(truth, scores.astype(np.float32)) == pytest.approx(expected, 1e-5)
    only = metrics.cross_entropy(np.array([0]), np.array([[0.5, 0.2, 0.2, 0.1]]))
    assert only == pytest.approx(np.log(2))


def test_a_report_of_each_class() -> None:
    truth, called = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 0, 1])
    report = metrics.classification_report(truth, called, FOUR)
    assert list(report.index) == [*FOUR, "macro average", "weighted average"]
    assert list(report.columns) == ["precision", "recall", "f1", "images"]
    assert report["images"].tolist() == [3, 2, 1, 0, 6, 6]
    assert report.loc["CNV", ["precision", "recall", "f1"]].tolist() == pytest.approx([2 / 3] * 3)
    assert report.loc["DME", "precision"] == pytest.approx(1 / 3)
    assert np.isnan(report.loc["DRUSEN", "precision"])  # never called
    assert report.loc["DRUSEN", "recall"] == 0
    assert np.isnan(report.loc["NORMAL", "recall"])  # does not occur
    assert report.loc["macro average", "recall"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    with pytest.raises(ValueError, match="class numbers 0 to 1"):
        metrics.classification_report([0, 2], [0, 1], ["a", "b"])
    with pytest.raises(ValueError, match="same length"):
        metrics.classification_report([0, 1], [0], ["a", "b"])


def test_four_classes_become_two() -> None:
    scores = np.array([[0.1, 0.2, 0.3, 0.4], [0.6, 0.4, 0.0, 0.0]])
    np.testing.assert_allclose(metrics.collapse(scores, FOUR, ("CNV", "DME")), [0.3, 1.0])
    with pytest.raises(ValueError, match="must be some of"):
        metrics.collapse(scores, FOUR, ("AMD",))
    with pytest.raises(ValueError, match="one column a class"):
        metrics.collapse(scores[:, :3], FOUR, ("CNV",))


# -- by patient ----------------------------------------------------------------------------


def test_patient_recognition_rate_by_hand() -> None:
    truth = np.array([1, 1, 1, 1, 0, 0])
    called = np.array([1, 1, 1, 0, 0, 1])
    owners = np.array(list("aaaabb"))
    found = metrics.patient_recognition_rate(truth, called, owners)
    assert found.value == pytest.approx((0.75 + 0.5) / 2)  # accuracy is 4 of 6
    assert (found.low, found.high, found.n) == (0.5, 0.75, 2)


def test_one_decision_a_patient() -> None:
    truth = np.array([1, 1, 1, 0, 0, 1])
    scores = np.array([0.9, 0.4, 0.4, 0.2, 0.9, 0.1])
    owners = np.array(list("aaabbc"))
    table, right = metrics.decide_by_patient(truth, scores, owners)
    assert table["patient"].tolist() == ["a", "b", "c"]
    assert table["images"].tolist() == [3, 2, 1]
    assert table["truth"].tolist() == [1, 0, 1]
    np.testing.assert_allclose(table["mean_score"], [17 / 30, 0.55, 0.1])
    assert table["called"].tolist() == [1, 1, 0]
    assert right.value == pytest.approx(1 / 3)
    _, stricter = metrics.decide_by_patient(truth, scores, owners, threshold=0.56)
    assert stricter.value == pytest.approx(2 / 3)
    goes_on = metrics.auc(table["truth"], table["mean_score"], table["patient"])
    assert goes_on.value == 0.5


def test_one_decision_a_patient_of_many_classes() -> None:
    scores = np.array([[0.6, 0.3, 0.1, 0.0], [0.0, 0.5, 0.5, 0.0], [0.0, 0.1, 0.1, 0.8]])
    table, right = metrics.decide_by_patient([1, 1, 3], scores, ["a", "a", "b"])
    assert table["called"].tolist() == [1, 3]  # mean 0.3, 0.4, 0.3, 0
    np.testing.assert_allclose(table["mean_score"], [0.4, 0.8])
    assert right == Estimate(1.0, 1.0, 1.0, 2)


def test_a_patient_of_two_classes_has_no_one_answer() -> None:
    with pytest.raises(ValueError, match=r"1 patients have images of two classes \(b\)"):
        metrics.decide_by_patient([0, 0, 1], [0.1, 0.1, 0.9], ["a", "b", "b"])


# -- thresholds and priors -----------------------------------------------------------------


def test_thresholds_are_the_best_of_all() -> None:
    for seed in range(10):
        truth, scores, _ = scored(seed)
        every = np.unique(np.r_[scores, scores - 0.01, 0.0].clip(0, 1))
        tables = [scores >= level for level in every]
        for goal, score in (
            ("youden", reference.balanced_accuracy_score),
            ("accuracy", reference.accuracy_score),
        ):
            chosen = metrics.choose_threshold(truth, scores, goal)
            best = max(score(truth, called) for called in tables)
            assert score(truth, scores >= chosen) == pytest.approx(best)


def test_a_threshold_for_a_sensitivity_keeps_the_best_specificity() -> None:
    truth = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    scores = np.array([0.1, 0.2, 0.4, 0.7, 0.3, 0.6, 0.8, 0.9])
    # three of four positives from 0.6 on; half-way down to the next score, 0.4
    assert metrics.choose_threshold(truth, scores, ("sensitivity", 0.75)) == pytest.approx(0.5)
    assert metrics.choose_threshold(truth, scores, ("sensitivity", 0.95)) == pytest.approx(0.25)
    assert metrics.choose_threshold(truth, scores, ("sensitivity", 1.0)) == pytest.approx(0.25)
    assert metrics.choose_threshold(truth, scores, ("specificity", 1.0)) == pytest.approx(0.75)
    # asked for less than is to be had for nothing: more is taken
    assert metrics.choose_threshold(truth, scores, ("specificity", 0.5)) == pytest.approx(0.25)


def test_among_equal_thresholds_the_one_in_the_middle_is_taken() -> None:
    truth, scores = np.array([0, 0, 1, 1]), np.array([0.0, 0.1, 0.7, 1.0])
    assert metrics.choose_threshold(truth, scores) == pytest.approx(0.4)
    same = metrics.choose_threshold(np.array([0, 1]), np.array([0.5, 0.5]))
    assert 0 <= same <= 1


@pytest.mark.parametrize("goal", ["best", ("recall", 0.9), ("sensitivity", 95), ("sensitivity",)])
def test_a_goal_that_does_not_exist(goal: Any) -> None:
    with pytest.raises(ValueError, match='choose "youden"'):
        metrics.choose_threshold([0, 1], [0.2, 0.8], goal)


def test_a_shifted_prior_by_hand() -> None:
    # odds 1 : 1 in training, 1 : 9 in use: a score of 0.5 becomes 0.1
    found = metrics.shift_prior([0.5, 0.9, 0.0, 1.0], 0.5, 0.1)
    np.testing.assert_allclose(found, [0.1, 0.5, 0.0, 1.0])
    scores = np.array([[0.5, 0.3, 0.2]])
    found = metrics.shift_prior(scores, [0.5, 0.3, 0.2], [0.2, 0.3, 0.5])
    np.testing.assert_allclose(found, [[0.2, 0.3, 0.5]])
    same = metrics.shift_prior(scores, [0.6, 0.3, 0.1], [0.6, 0.3, 0.1])
    np.testing.assert_allclose(same, scores)
    # there and back again
    there = metrics.shift_prior(np.array([0.2, 0.7]), 0.74, 0.625)
    np.testing.assert_allclose(metrics.shift_prior(there, 0.625, 0.74), [0.2, 0.7])
    # a class that no longer occurs
    np.testing.assert_allclose(metrics.shift_prior([1.0, 0.5], 0.5, 0.0), [0.0, 0.0])


@pytest.mark.usefixtures("quick")
def test_a_shifted_prior_calibrates_what_was_trained_elsewhere() -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random(20_000) < 0.1).astype(int)
    value = rng.normal(2.0 * truth, 1.0)
    half_and_half = 1 / (1 + np.exp(-(2 * value - 2)))  # right where both are as common
    before, after = (
        metrics.evaluate(truth, scores, np.arange(20_000) % 50, figures=["calibration_error"])
        for scores in (half_and_half, metrics.shift_prior(half_and_half, 0.5, 0.1))
    )
    assert before["calibration_error"].value > 0.1
    assert after["calibration_error"].value < 0.01


@pytest.mark.parametrize(
    ("scores", "before", "after"),
    [
        ([0.5], 0.0, 0.5),
        ([0.5], 0.5, 1.5),
        ([0.5], [0.5, 0.5, 0.0], 0.5),
        ([[0.5, 0.5]], [0.5, 0.6], [0.5, 0.5]),
        ([[0.5, 0.5]], 0.5, 0.5),
        ([1.5], 0.5, 0.5),
    ],
)
def test_priors_that_are_none(scores: Any, before: Any, after: Any) -> None:
    with pytest.raises(ValueError, match="share"):
        metrics.shift_prior(scores, before, after)


# -- masks ---------------------------------------------------------------------------------


def volumes(seed: int = 0, slices: int = 150) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return true and predicted masks, more than one block of them, and patients."""
    rng = np.random.default_rng(seed)
    truth = rng.random((slices, 12, 10)) < 0.2
    truth[rng.random(slices) < 0.4] = False
    predicted = truth ^ (rng.random(truth.shape) < 0.05)
    return truth, predicted, rng.integers(0, 9, slices)


def test_dice_over_volumes_is_that_of_all_their_voxels() -> None:
    truth, predicted, owners = volumes()
    table = metrics.dice_per_patient(truth, predicted, owners)
    assert table["dice"].is_monotonic_increasing
    assert list(table) == ["patient", "slices", "truth_pixels", "predicted_pixels", "dice"]
    for row in table.to_dict("records"):
        mine = owners == row["patient"]
        expected = reference.f1_score(truth[mine].ravel(), predicted[mine].ravel())
        assert row["dice"] == pytest.approx(expected)
        assert row["slices"] == mine.sum()
        assert row["truth_pixels"] == truth[mine].sum()
        assert row["predicted_pixels"] == predicted[mine].sum()


def test_masks_of_any_kind_are_read_alike(tmp_path: Path) -> None:
    truth, predicted, owners = volumes()
    expected = metrics.dice_per_patient(truth, predicted, owners)
    mapped = np.lib.format.open_memmap(
        tmp_path / "masks.npy", "w+", dtype=np.uint8, shape=(*truth.shape, 1)
    )
    mapped[...] = truth[..., None] * 255
    probabilities = np.where(predicted, 0.5, 0.4999).astype(np.float32)[..., None]
    found = metrics.dice_per_patient(mapped, probabilities, owners)
    pd.testing.assert_frame_equal(found, expected)
    lower = metrics.dice_per_patient(mapped, probabilities, owners, threshold=0.4)
    assert (lower["predicted_pixels"] == lower["slices"] * 120).all()
    np.testing.assert_array_equal(metrics.mask_areas(mapped), truth.sum(axis=(1, 2)))


def test_how_empty_slices_count_is_said() -> None:
    truth, predicted = np.zeros((4, 2, 2), bool), np.zeros((4, 2, 2), bool)
    truth[0], truth[1] = True, True
    predicted[0, 0], predicted[2] = True, True
    # half found; missed; alarm in an empty slice; empty and left alone
    found = metrics.dice_per_slice(truth, predicted, empty="one")
    np.testing.assert_allclose(found, [2 / 3, 0, 0, 1])
    found = metrics.dice_per_slice(truth, predicted, empty="skip")
    np.testing.assert_allclose(found, [2 / 3, 0, np.nan, np.nan])
    with pytest.raises(ValueError, match='"one" or "skip"'):
        metrics.dice_per_slice(truth, predicted, empty="zero")
    table = metrics.dice_per_patient(truth, predicted, list("aabb"), empty="skip")
    assert table["patient"].tolist() == ["a", "b"]
    assert np.isnan(table["dice"][1])
    mean = metrics.mean_over_patients(table["dice"])
    assert (mean.value, mean.n) == (pytest.approx(4 / 10), 1)


def test_masks_of_different_shapes() -> None:
    with pytest.raises(ValueError, match="must have the same shape"):
        metrics.dice_per_slice(np.zeros((2, 3, 3)), np.zeros((2, 4, 4)), empty="one")
    with pytest.raises(ValueError, match="masks has 2, patients has 3"):
        metrics.dice_per_patient(np.zeros((2, 3, 3)), np.zeros((2, 3, 3)), list("abc"))


def test_a_mean_over_patients_has_the_interval_of_a_mean() -> None:
    values = np.random.default_rng(0).normal(0.8, 0.1, 200)
    found = metrics.mean_over_patients(values)
    half = 1.96 * values.std() / np.sqrt(200)
    assert found.value == pytest.approx(values.mean())
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.1)
    median = metrics.mean_over_patients(values, statistic="median")
    assert median.value == pytest.approx(np.median(values))
    assert median.low < median.value < median.high
    assert metrics.mean_over_patients(values, seed=1) == metrics.mean_over_patients(values, seed=1)
    with pytest.raises(ValueError, match='"mean" or "median"'):
        metrics.mean_over_patients(values, statistic="mode")
    for nothing in (
        metrics.mean_over_patients([np.nan]),
        metrics.mean_over_images([np.nan], np.array(["a"])),
    ):
        assert np.isnan([nothing.value, nothing.low, nothing.high]).all()
        assert nothing.n == 0


def test_means_over_patients_and_over_images_differ() -> None:
    values, owners = np.array([1.0, 1.0, 1.0, 0.0, np.nan]), np.array(list("aaabb"))
    assert metrics.mean_over_patients(values, owners).value == 0.5
    found = metrics.mean_over_images(values, owners)
    assert (found.value, found.low, found.high, found.n) == (0.75, 0.0, 1.0, 2)
