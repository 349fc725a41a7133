"""Figures with intervals: what a model's scores on a test part are worth.

The unit of chance is the patient, not the image: images of one patient are right or wrong
together. So every interval comes from a bootstrap that draws patients, with all their
images, with replacement (Efron & Tibshirani 1993, An Introduction to the Bootstrap, ch. 13).
With few patients such intervals are rather too narrow than too wide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss

RESAMPLES = 2_000
_BINS = 10  # of the calibration error


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval.

    Attributes:
        value: the figure on all images.
        low: 2.5 % of the resampled figures lie below.
        high: 2.5 % lie above.
        n: how many units were resampled.
        unit: what they are.
    """

    value: float
    low: float
    high: float
    n: int
    unit: str = "patients"

    def __str__(self) -> str:
        """Return such as ``0.923 (0.901–0.944)``."""
        return f"{self.value:.3f} ({self.low:.3f}–{self.high:.3f})"


def evaluate(
    truth: Sequence[int] | np.ndarray,
    scores: Sequence[float] | np.ndarray,
    patients: Sequence[str] | np.ndarray,
    *,
    threshold: float = 0.5,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return the figures of a two-class test with intervals over patients.

    Args:
        truth: (n,) 1 where the positive class is true, else 0.
        scores: (n,) probability of the positive class, 0–1.
        patients: (n,) whose image it is.
        threshold: scores from here on count as positive.
        seed: of the bootstrap.

    Returns:
        ``accuracy``; ``sensitivity`` (share of positives found); ``specificity`` (share of
        negatives left in peace); ``precision`` (share of alarms that are right); ``auc``
        (area under the ROC curve: the chance that a positive scores above a negative);
        ``brier`` (mean squared error of the probabilities, 0 is best); ``calibration_error``
        (mean distance between probability and frequency over ten bins, 0 is best).

    Raises:
        ValueError: lengths differ, truth has one class only, or scores are no probabilities.
    """
    truth, scores, patients = _checked(truth, scores, patients)
    draws = _draws(patients, seed)
    figures = {}
    for name, compute in _FIGURES.items():
        value, resampled = compute(truth, scores, threshold, draws)
        figures[name] = _estimate(value, resampled, draws.patients)
    return figures


def auc(truth: np.ndarray, scores: np.ndarray, patients: np.ndarray, seed: int = 0) -> Estimate:
    """Return the area under the ROC curve alone: arguments as in ``evaluate``."""
    truth, scores, patients = _checked(truth, scores, patients)
    draws = _draws(patients, seed)
    return _estimate(*_auc(truth, scores, 0.5, draws), draws.patients)


def difference(
    first: tuple[np.ndarray, np.ndarray, np.ndarray],
    second: tuple[np.ndarray, np.ndarray, np.ndarray],
    figure: str = "auc",
    seed: int = 0,
) -> Estimate:
    """Return how much higher a figure is for first scores than for second ones.

    Where both are about the same images, each resample draws the same patients for both:
    what makes a patient hard is then on both sides and cancels. Otherwise the two are
    resampled independently.

    Args:
        first: (truth, scores, patients) as in ``evaluate``.
        second: likewise.
        figure: one of ``evaluate``'s names.
        seed: of the bootstrap.
    """
    one, two = _checked(*first), _checked(*second)
    paired = np.array_equal(one[0], two[0]) and np.array_equal(one[2], two[2])
    values, resampled, counts = [], [], []
    for (truth, scores, patients), own_seed in ((one, seed), (two, seed if paired else seed + 1)):
        draws = _draws(patients, own_seed)
        value, drawn = _FIGURES[figure](truth, scores, 0.5, draws)
        values.append(value)
        resampled.append(drawn)
        counts.append(draws.patients)
    return _estimate(values[0] - values[1], resampled[0] - resampled[1], min(counts))


def cross_entropy(truth: np.ndarray, scores: np.ndarray) -> float:
    """Return the mean of minus the logarithm of what was given to the true class.

    It is what training lowers, and what models are chosen by on the validation part.

    Args:
        truth: (n,) 0 or 1.
        scores: (n,) probability of the positive class.
    """
    return float(log_loss(truth, scores, labels=[0, 1]))


def per_patient(
    truth: np.ndarray, scores: np.ndarray, patients: np.ndarray, threshold: float = 0.5
) -> pd.DataFrame:
    """Return one row a patient: images, share of positives, mean score, share that is right.

    Sorted by ``accuracy``, the hardest patient first.
    """
    truth, scores, patients = _checked(truth, scores, patients, both_classes=False)
    frame = pd.DataFrame({"patient": patients, "truth": truth, "score": scores})
    frame["right"] = (frame["score"] >= threshold) == (frame["truth"] == 1)
    table = frame.groupby("patient").agg(
        images=("truth", "size"),
        positive_share=("truth", "mean"),
        mean_score=("score", "mean"),
        accuracy=("right", "mean"),
    )
    return table.sort_values(["accuracy", "images"]).reset_index()


def table(figures: dict[str, dict[str, Estimate]], names: Sequence[str]) -> pd.DataFrame:
    """Return models × figures as text with intervals, for display."""
    rows = {
        model: {name: _unbroken(found[name]) for name in names} for model, found in figures.items()
    }
    return pd.DataFrame(rows).T


def _unbroken(figure: Estimate) -> str:
    """Return the figure's text so that a narrow table does not break it in the middle."""
    return str(figure).replace(" ", "\u00a0").replace("–", "\u2060–\u2060")


@dataclass(frozen=True)
class _Draws:
    """Bootstrap resamples: how often each patient was drawn, and whose each image is."""

    counts: np.ndarray  # (resamples, patients)
    owner: np.ndarray  # (n,) number of the patient of each image

    @property
    def patients(self) -> int:
        return int(self.counts.shape[1])

    def totals(self, per_image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return sums of (n, k) values over all images, (k,), and in each resample, (r, k)."""
        by_patient = np.zeros((self.patients, per_image.shape[1]))
        np.add.at(by_patient, self.owner, per_image)
        return by_patient.sum(axis=0), self.counts @ by_patient


def _draws(patients: np.ndarray, seed: int) -> _Draws:
    names, owner = np.unique(patients, return_inverse=True)
    equal = np.full(len(names), 1 / len(names))
    counts = np.random.default_rng(seed).multinomial(len(names), equal, size=RESAMPLES)
    return _Draws(counts.astype(float), owner)


def _estimate(value: float, resampled: np.ndarray, patients: int) -> Estimate:
    """Return value and percentile interval, which always holds the value.

    Where no resample has the figure (the precision of a test without an alarm) it has none.
    """
    if np.isnan(resampled).all():
        return Estimate(float(value), np.nan, np.nan, patients)
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return Estimate(float(value), float(min(low, value)), float(max(high, value)), patients)


_Result = tuple[float, np.ndarray]


def _rate(numerator: Callable[..., np.ndarray], denominator: Callable[..., np.ndarray]
          ) -> Callable[..., _Result]:  # fmt: skip
    """Return a figure that is one count divided by another."""

    def compute(truth: np.ndarray, scores: np.ndarray, threshold: float, draws: _Draws) -> _Result:
        called = scores >= threshold
        counted = np.stack([numerator(truth, called), denominator(truth, called)], axis=1)
        total, resampled = draws.totals(counted.astype(float))
        with np.errstate(invalid="ignore", divide="ignore"):
            return float(total[0] / total[1]), resampled[:, 0] / resampled[:, 1]

    return compute


def _auc(truth: np.ndarray, scores: np.ndarray, _: float, draws: _Draws) -> _Result:
    """Return the area under the ROC curve, ties counted half, on all images and resampled."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])
    positive, owner = truth[order] == 1, draws.owner[order]

    def area(weights: np.ndarray) -> np.ndarray:
        drawn = weights[:, owner]
        ones = np.add.reduceat(drawn * positive, starts, axis=1)
        zeros = np.add.reduceat(drawn * ~positive, starts, axis=1)
        below = np.cumsum(zeros, axis=1) - zeros / 2
        with np.errstate(invalid="ignore", divide="ignore"):
            return (ones * below).sum(axis=1) / (ones.sum(axis=1) * zeros.sum(axis=1))

    everyone = np.ones((1, draws.patients))
    # in blocks, so that memory does not grow with resamples × images
    blocks = [area(draws.counts[start : start + 100]) for start in range(0, RESAMPLES, 100)]
    return float(area(everyone)[0]), np.concatenate(blocks)


def _brier(truth: np.ndarray, scores: np.ndarray, _: float, draws: _Draws) -> _Result:
    errors = np.stack([(scores - truth) ** 2, np.ones(len(truth))], axis=1)
    total, resampled = draws.totals(errors)
    return float(total[0] / total[1]), resampled[:, 0] / resampled[:, 1]


def _calibration_error(truth: np.ndarray, scores: np.ndarray, _: float, draws: _Draws) -> _Result:
    """Return the expected calibration error (Naeini 2015, AAAI) over bins of equal width."""
    bins = np.minimum((scores * _BINS).astype(int), _BINS - 1)
    gaps = np.zeros((len(truth), _BINS))
    gaps[np.arange(len(truth)), bins] = scores - truth
    total, resampled = draws.totals(np.c_[gaps, np.ones(len(truth))])
    value = np.abs(total[:-1]).sum() / total[-1]
    return float(value), np.abs(resampled[:, :-1]).sum(axis=1) / resampled[:, -1]


_FIGURES: dict[str, Callable[..., _Result]] = {
    "accuracy": _rate(lambda truth, called: called == (truth == 1), lambda truth, _: truth >= 0),
    "sensitivity": _rate(lambda truth, called: called & (truth == 1), lambda truth, _: truth == 1),
    "specificity": _rate(lambda truth, called: ~called & (truth == 0), lambda truth, _: truth == 0),
    "precision": _rate(lambda truth, called: called & (truth == 1), lambda _, called: called),
    "auc": _auc,
    "brier": _brier,
    "calibration_error": _calibration_error,
}


def _checked(
    truth: Sequence[int] | np.ndarray,
    scores: Sequence[float] | np.ndarray,
    patients: Sequence[str] | np.ndarray,
    both_classes: bool = True,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the three as arrays after refusing what cannot be evaluated."""
    truths, values, owners = np.asarray(truth), np.asarray(scores, float), np.asarray(patients)
    if not truths.shape == values.shape == owners.shape or truths.ndim != 1:
        raise ValueError(
            f"truth {truths.shape}, scores {values.shape} and patients {owners.shape} must be "
            f"three lists of the same length. Of a model's (n, 2) output pass column 1."
        )
    if not np.isin(truths, (0, 1)).all() or (both_classes and len(np.unique(truths)) < 2):
        raise ValueError("truth must hold 0 and 1, and both of them, for these figures.")
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise ValueError("scores must be probabilities between 0 and 1.")
    return truths.astype(int), values, owners
