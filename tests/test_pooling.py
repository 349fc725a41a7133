"""Means of several runs: which runs go together, and whether the intervals hold what they say."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats
from tiny_notebooks import record

from helpers import pooling

PARTS = {
    "train": {"images": 600, "patients": 60},
    "valid": {"images": 200, "patients": 20},
    "test": {"images": 200, "patients": 20},
}


def run(
    value: float,
    *,
    seed: int = 0,
    fold: int | None = 0,
    test: str | None = None,
    around: float = 0.04,
    everybody: float | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Return the record of a run on 80 + 20 patients; runs of equal ``test`` tested the same."""
    data = {
        "name": "malaria", "synthetic": False, "images": 1000, "patients": 100, "left_out": 0,
        "split_hash": f"{seed:08}{fold or 0:08}", "parts": PARTS,
    }  # fmt: skip
    if test is not None:
        data["test_hash"] = test
    auc = {"value": value, "low": value - around, "high": value + around, "n": 20,
           "unit": "patients"}  # fmt: skip
    figures = {"auc": auc}
    if everybody is not None:
        figures["gain"] = auc | {"value": everybody, "low": everybody - 0.01,
                                 "high": everybody + 0.02, "n": 100}  # fmt: skip
    data |= changes.pop("data", {})
    facts = {"seed": seed, "fold": fold, "profile": "best", "figures": figures, "data": data}
    return record(**(facts | {"main": list(figures)} | changes))


def pooled(runs: list[dict[str, Any]]) -> pooling.Pooled:
    (group,) = pooling.pool(runs)
    return group


def test_folds_get_the_corrected_resampled_t_interval() -> None:
    """By hand: five folds, a quarter of the other patients tested, four degrees of freedom."""
    values = [0.80, 0.85, 0.90, 0.88, 0.82]
    group = pooled([run(value, fold=k, test=f"{k}") for k, value in enumerate(values)])
    found = group.figures["auc"]
    half = stats.t.ppf(0.975, 4) * np.std(values, ddof=1) * math.sqrt(1 / 5 + 20 / 80)
    assert (found.kind, found.runs, group.folds) == ("interval", 5, (0, 1, 2, 3, 4))
    assert found.value == pytest.approx(0.85)
    assert (found.low, found.high) == pytest.approx((0.85 - half, 0.85 + half))


def test_seeds_that_deal_the_patients_anew_count_as_more_folds() -> None:
    """Fifteen test parts: narrower than five, by far not as if they were independent."""
    values = [0.80, 0.85, 0.90, 0.88, 0.82]
    runs = [run(value, seed=seed, fold=k, test=f"{seed}{k}")
            for seed in range(3) for k, value in enumerate(values)]  # fmt: skip
    wide, narrow = pooled(runs[:5]).figures["auc"], pooled(runs).figures["auc"]
    naive = stats.t.ppf(0.975, 14) * np.std(values * 3, ddof=1) / math.sqrt(15)
    assert narrow.runs == 15
    assert 1.5 * naive < narrow.high - narrow.value < wide.high - wide.value


def test_runs_of_the_same_patients_are_averaged_first() -> None:
    """Two trainings on each of three test parts are three values, not six."""
    means = [0.80, 0.85, 0.90]
    runs = [
        run(value + shift, fold=k, test=f"{k}", seed=seed)
        for k, value in enumerate(means)
        for seed, shift in enumerate((-0.05, 0.05))
    ]
    once = pooled([run(value, fold=k, test=f"{k}") for k, value in enumerate(means)])
    found = pooled(runs).figures["auc"]
    assert (found.low, found.high) == pytest.approx(
        (once.figures["auc"].low, once.figures["auc"].high)
    )


def test_one_test_part_keeps_the_interval_over_its_patients() -> None:
    """Seeds on an official test: never narrower than a single run, wider where they differ."""
    alike = pooled([run(0.9, seed=seed, test="official") for seed in range(3)]).figures["auc"]
    assert alike.kind == "interval"
    assert (alike.low, alike.high) == pytest.approx((0.86, 0.94))
    values = [0.88, 0.90, 0.92]
    runs = [run(value, seed=seed, test="official") for seed, value in enumerate(values)]
    found = pooled(runs).figures["auc"]
    half = math.hypot(0.04, stats.t.ppf(0.975, 2) * 0.02 / math.sqrt(3))
    assert (found.low, found.high) == pytest.approx((0.9 - half, 0.9 + half))


def test_a_figure_over_all_folds_is_not_five_figures() -> None:
    """It is the same in each fold: its interval must not shrink to nothing."""
    runs = [run(0.8 + k / 100, fold=k, test=f"{k}", everybody=0.03) for k in range(5)]
    gain = pooled(runs).figures["gain"]
    assert gain.kind == "interval"
    assert (gain.low, gain.high) == pytest.approx((0.02, 0.05))


def test_a_figure_over_all_folds_of_drawn_images_has_a_sample_a_seed() -> None:
    """Other patients each time: two tell nothing but their range, three have an interval."""
    runs = [run(0.8, seed=k, test="same", everybody=0.02 + k / 100, data={"synthetic": True})
            for k in range(3)]  # fmt: skip
    gain = pooled(runs[:2]).figures["gain"]
    assert (gain.kind, gain.low, gain.high) == ("range", 0.02, 0.03)
    gain = pooled(runs).figures["gain"]
    half = stats.t.ppf(0.975, 2) * 0.01 / math.sqrt(3)
    assert gain.kind == "interval"
    assert (gain.low, gain.high) == pytest.approx((0.03 - half, 0.03 + half))


def test_too_few_test_parts_have_a_range() -> None:
    """Which is called so."""
    runs = [run(0.8, fold=0, test="a"), run(0.9, fold=1, test="b")]
    found = pooled(runs).figures["auc"]
    assert str(found) == "0.850 (0.800\N{EN DASH}0.900, range)"


def test_a_range_of_equal_runs_is_well_formed() -> None:
    assert str(pooling.Mean(0.9, 0.9, 0.9, "range", 2)) == "0.900 (range)"


def test_a_share_ends_at_nothing_and_a_difference_goes_on() -> None:
    """Figures between 0 and 1 have no limits outside, unless they are gains."""
    runs = [run(value, fold=k, test=f"{k}") for k, value in enumerate((0.06, 0.9, 0.1, 0.2, 0.8))]
    assert pooled(runs).figures["auc"].low == 0.0
    for one in runs:
        one["figures"]["auc_gain"] = one["figures"]["auc"]
    assert pooling.mean(runs, "auc_gain").low < 0.0


def test_older_runs_that_do_not_say_what_they_tested_have_a_range() -> None:
    """Whether their patients are the same cannot be told, so no interval is made up."""
    runs = [run(value, seed=seed) for seed, value in enumerate((0.8, 0.85, 0.9))]
    assert pooled(runs).figures["auc"].kind == "range"


def test_drawn_images_of_another_seed_are_other_patients() -> None:
    """Their files are called the same."""
    runs = [run(value, seed=seed, test="same", data={"synthetic": True})
            for seed, value in enumerate((0.8, 0.85, 0.9))]  # fmt: skip
    half = stats.t.ppf(0.975, 2) * 0.05 * math.sqrt(1 / 3 + 20 / 80)
    assert pooled(runs).figures["auc"].high == pytest.approx(min(0.85 + half, 1.0))


def test_a_share_is_at_most_one_and_a_difference_is_not_cut() -> None:
    values = [0.9, 0.95, 1.0]
    runs = [run(value, fold=k, test=f"{k}", around=0) for k, value in enumerate(values)]
    assert pooled(runs).figures["auc"].high == 1
    runs = [run(value - 0.95, fold=k, test=f"{k}") for k, value in enumerate(values)]
    assert pooled(runs).figures["auc"].low < 0


def test_a_repeated_run_says_nothing_new() -> None:
    """Fold none is fold 0, and all is fold 0 with more figures: one split, counted once."""
    same = [run(0.9, fold=0, test="a"), run(0.9, fold=None, test="a")]
    assert pooling.pool(same) == []
    assert pooled([*same, run(0.8, fold=1, test="b")]).runs == 2


@pytest.mark.parametrize(
    "other",
    [
        {"profile": "source"},
        {"tutorial": "oct"},
        {"backend": "jax"},
        {"data": {"synthetic": True}},
        {"parameters": {"profile": "best", "epochs": 3, "data_dir": None}},
        {"parameters": {"profile": "best", "epochs": None, "data_dir": "/other"}},
    ],
)
def test_other_recipes_are_not_mixed(other: dict[str, Any]) -> None:
    """Nor are the engine and the images that they ran on."""
    plain = {"parameters": {"profile": "best", "epochs": None, "data_dir": None}}
    runs = [run(0.9, seed=0, test="a", **plain), run(0.8, seed=1, test="b", **(plain | other))]
    assert pooling.pool(runs) == []


def test_seed_fold_and_folder_make_no_other_recipe() -> None:
    parameters = [
        {"seed": seed, "fold": None, "output_dir": f"/{seed}", "epochs": 3, "weights": "auto"}
        for seed in range(2)
    ]
    runs = [run(0.9, seed=seed, parameters=one) for seed, one in enumerate(parameters)]
    assert pooled(runs).name == "malaria, best, epochs 3"


@pytest.mark.slow
def test_the_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Cross-validation of a nearest-mean rule, 400 times: about 95 %, where naive has less."""
    generator = np.random.default_rng(0)
    patients, distance = 60, 0.8
    held = naive_held = 0
    truth = _accuracy_of_new_patients(generator, patients * 4 // 5, distance)
    for _ in range(400):
        labels, found = _drawn(generator, patients, distance)
        runs = []
        for seed in range(3):
            order = generator.permutation(patients)
            for k in range(5):
                tested = np.isin(np.arange(patients), order[k::5])
                value = _accuracy(found[~tested], labels[~tested], found[tested], labels[tested])
                runs.append(run(value, seed=seed, fold=k, test=f"{seed}{k}", around=0))
        mean = pooled(runs).figures["auc"]
        values = [one["figures"]["auc"]["value"] for one in runs]
        naive = stats.t.ppf(0.975, 14) * np.std(values, ddof=1) / math.sqrt(15)
        held += mean.low <= truth <= mean.high
        naive_held += abs(mean.value - truth) <= naive
    assert held / 400 >= 0.93
    assert naive_held / 400 < 0.85


def _drawn(
    generator: np.random.Generator, count: int, distance: float
) -> tuple[np.ndarray, np.ndarray]:
    labels = generator.permutation(np.arange(count) % 2)
    return labels, generator.normal(labels[:, None] * distance, size=(count, 2))


def _accuracy(seen: np.ndarray, labels: np.ndarray, new: np.ndarray, truth: np.ndarray) -> float:
    """Return the share of new patients that the nearer mean of the seen ones tells right."""
    means = [seen[labels == label].mean(axis=0) for label in (0, 1)]
    away = [((new - mean) ** 2).sum(axis=1) for mean in means]
    return float(np.mean((away[1] < away[0]) == truth))


def _accuracy_of_new_patients(
    generator: np.random.Generator, trained: int, distance: float
) -> float:
    """Return what the rule does on new patients, on average over many training parts."""
    found = []
    for _ in range(500):
        labels, seen = _drawn(generator, trained, distance)
        truth, new = _drawn(generator, 2000, distance)
        found.append(_accuracy(seen, labels, new, truth))
    return float(np.mean(found))
