"""Figures with intervals: what a model's scores on a test part are worth.

The unit of chance is the patient, not the image: images of one patient are right or wrong
together. So every interval comes from a bootstrap that draws patients, with all their
images, with replacement (Efron & Tibshirani 1993, An Introduction to the Bootstrap, ch. 13).
With few patients such intervals are rather too narrow than too wide.

In this order: figures of a classifier (two classes or more) and their differences; decisions
by patient; thresholds and priors; masks (Dice); what all of them share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import binomtest
from sklearn.metrics import log_loss, precision_recall_fscore_support

RESAMPLES = 2_000
_STEP = 100  # resamples at a time: memory stays the same however many images there are
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


_NO_VALUE = Estimate(np.nan, np.nan, np.nan, 0)


def evaluate(
    truth: Sequence[int] | np.ndarray,
    scores: Sequence[float] | np.ndarray,
    patients: Sequence[str] | np.ndarray,
    *,
    classes: Sequence[str] | None = None,
    figures: Sequence[str] | None = None,
    threshold: float = 0.5,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return the figures of a test with intervals over patients.

    **Two classes** (scores (n,)): ``accuracy``; ``sensitivity`` (share of positives found);
    ``specificity`` (share of negatives left in peace); ``precision`` (share of alarms that
    are right); ``auc`` (area under the ROC curve: the chance that a positive scores above a
    negative); ``brier`` (mean squared error of the probabilities, 0 is best);
    ``calibration_error`` (mean distance between probability and frequency over ten bins of
    equal width, 0 is best). On request also ``f1`` (harmonic mean of precision and
    sensitivity), ``balanced_accuracy`` (mean of sensitivity and specificity), ``kappa``
    (Cohen 1960: agreement beyond chance; 0 is what guessing with the same frequencies
    reaches), ``calibration_error_by_chance`` and ``excess_calibration_error``.

    **k classes** (scores (n, k) and ``classes``): ``accuracy``; ``macro_recall`` (mean of the
    recalls, every class counts the same); ``recall_<class>`` for each class (share of its
    images found); ``macro_auc`` (mean of the k areas, one class against the rest);
    ``kappa``. The class with the highest score is the decision.

    Two things to know. ``calibration_error`` is a sum of absolute values, so chance alone
    makes it greater than 0: with 200 images even a perfectly calibrated model shows some
    0.06. ``calibration_error_by_chance`` is what a model would show whose probabilities
    were exactly right (outcomes drawn from the scores, image by image; its interval is
    where 95 % of such models lie), and ``excess_calibration_error`` is the first minus the
    second: about 0, or a little below, where nothing is wrong. We keep the ten equal bins
    rather than fewer, fuller ones, because they are what the diagram shows and what others
    report; images of a patient err together, so the part of chance is rather too small.
    And where a resample of patients lacks a class, the figures that need it (its recall,
    both macro figures, AUC, precision without an alarm) are left out of that resample.

    Args:
        truth: (n,) 1 where the positive class is true, else 0; class numbers 0 … k − 1 with
            ``classes``.
        scores: (n,) probability of the positive class, 0–1; or (n, k) probabilities.
        patients: (n,) whose image it is.
        classes: the k class names, in label order, for scores (n, k).
        figures: names of the figures wanted; None: all but those on request.
        threshold: scores (n,) from here on count as positive.
        seed: of the bootstrap.

    Raises:
        ValueError: lengths differ, a class does not occur in truth, scores are no
            probabilities, or a figure is unknown.
    """
    data = _Data.of(truth, scores, patients, classes)
    draws = _draws(data.patients, seed)
    return {
        name: _estimate(*data.figure(name)(data.truth, data.scores, threshold, draws), draws)
        for name in (data.usual if figures is None else figures)
    }


def auc(truth: np.ndarray, scores: np.ndarray, patients: np.ndarray, seed: int = 0) -> Estimate:
    """Return the area under the ROC curve alone: arguments as in ``evaluate``, two classes."""
    return evaluate(truth, scores, patients, figures=["auc"], seed=seed)["auc"]


def difference(
    first: tuple[np.ndarray, np.ndarray, np.ndarray],
    second: tuple[np.ndarray, np.ndarray, np.ndarray],
    figure: str = "auc",
    seed: int = 0,
    *,
    classes: Sequence[str] | None = None,
    threshold: float = 0.5,
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
        classes: the class names where scores are (n, k).
        threshold: of both, for two classes. To compare two thresholds pass decisions, 0.0
            and 1.0, as scores.
    """
    one, two = _Data.of(*first, classes), _Data.of(*second, classes)
    paired = np.array_equal(one.truth, two.truth) and np.array_equal(one.patients, two.patients)
    one_draws = _draws(one.patients, seed)
    two_draws = one_draws if paired else _draws(two.patients, seed + 1)
    value, resampled = one.figure(figure)(one.truth, one.scores, threshold, one_draws)
    less, drawn = two.figure(figure)(two.truth, two.scores, threshold, two_draws)
    fewer = min(one_draws, two_draws, key=lambda draws: draws.patients)
    return _estimate(value - less, resampled - drawn, fewer)


def classification_report(
    truth: Sequence[int] | np.ndarray, called: Sequence[int] | np.ndarray, classes: Sequence[str]
) -> pd.DataFrame:
    """Return precision, recall, F1 and number of images of each class, and two averages.

    ``macro average`` counts every class the same, ``weighted average`` every image. A share
    of nothing (the precision of a class that is never called) is NaN, and left out of the
    averages. Shares are 0–1.

    Args:
        truth: (n,) class numbers.
        called: (n,) predicted class numbers.
        classes: class names in label order.

    Raises:
        ValueError: lengths differ or a number has no class.
    """
    truths, decisions = np.asarray(truth), np.asarray(called)
    _same_lengths(truth=truths, called=decisions)
    for name, numbers in (("truth", truths), ("called", decisions)):
        if not np.isin(numbers, np.arange(len(classes))).all():
            raise ValueError(f"{name} must hold class numbers 0 to {len(classes) - 1}.")
    rows = []
    for average in (None, "macro", "weighted"):
        shares = precision_recall_fscore_support(
            truths, decisions, labels=range(len(classes)), average=average, zero_division=np.nan
        )[:3]
        rows.append(np.column_stack(shares))
    support = np.bincount(truths.astype(int), minlength=len(classes))
    report = pd.DataFrame(
        np.concatenate(rows),
        index=[*classes, "macro average", "weighted average"],
        columns=["precision", "recall", "f1"],
    )
    return report.assign(images=[*support.tolist(), len(truths), len(truths)])


def collapse(scores: np.ndarray, classes: Sequence[str], positives: Sequence[str]) -> np.ndarray:
    """Return the probability that the class is one of some: the sum of theirs, (n,).

    So four classes become two, such as "urgent" (CNV or DME) against the rest.

    Args:
        scores: (n, k) probabilities.
        classes: the k class names in the same order.
        positives: those that count as positive. The truth that goes with it is
            ``np.isin(labels, [classes.index(name) for name in positives])``.

    Raises:
        ValueError: a name is no class, or scores have another number of columns.
    """
    values = np.asarray(scores, float)
    missing = [name for name in positives if name not in classes]
    if missing or not len(positives):
        raise ValueError(f"positives={list(positives)} must be some of {list(classes)}.")
    if values.ndim != 2 or values.shape[1] != len(classes):
        raise ValueError(f"scores {values.shape} must be (n, {len(classes)}): one column a class.")
    columns = [list(classes).index(name) for name in positives]
    return np.clip(values[:, columns].sum(axis=1), 0.0, 1.0)


def cross_entropy(truth: np.ndarray, scores: np.ndarray) -> float:
    """Return the mean of minus the logarithm of what was given to the true class.

    It is what training lowers, and what models are chosen by on the validation part.

    Args:
        truth: (n,) 0 or 1; with scores (n, k) class numbers.
        scores: (n,) probability of the positive class, or (n, k) probabilities.
    """
    values = np.asarray(scores, float)
    if values.ndim == 2:
        values = values / values.sum(axis=1, keepdims=True)  # float32 sums are not quite 1
        return float(log_loss(truth, values, labels=range(values.shape[1])))
    return float(log_loss(truth, values, labels=[0, 1]))


def per_patient(
    truth: np.ndarray, scores: np.ndarray, patients: np.ndarray, threshold: float = 0.5
) -> pd.DataFrame:
    """Return one row a patient: images, share of positives, mean score, share that is right.

    Sorted by ``accuracy``, the hardest patient first. Two classes; of more make two with
    ``collapse``. ``low`` and ``high`` are what ``accuracy`` could be by the chance of which of
    this patient's images were taken: the 95 % interval of Wilson (1927, doi
    10.1080/01621459.1927.10502953), as if the images were independent, so rather too narrow.
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
    right = frame.groupby("patient")["right"].sum()
    chance = [
        binomtest(int(correct), int(images)).proportion_ci(method="wilson")
        for correct, images in zip(right, table["images"], strict=True)
    ]
    table["low"], table["high"] = [pair.low for pair in chance], [pair.high for pair in chance]
    return table.sort_values(["accuracy", "images"]).reset_index()


def calibration_curve(
    truth: Sequence[int] | np.ndarray,
    scores: Sequence[float] | np.ndarray,
    patients: npt.ArrayLike | None = None,
    *,
    bins: int = 10,
    seed: int = 0,
) -> pd.DataFrame:
    """Return how often the positive class is true among images of similar scores.

    Args:
        truth: (n,) 0 or 1.
        scores: (n,) probability of the positive class, 0–1.
        patients: (n,) whose images they are, for the intervals; None gives none.
        bins: so many bins of equal width; an empty one has no row.
        seed: of the bootstrap.

    Returns:
        One row a bin: ``images``, their mean ``score``, the ``share`` that is positive, and
        ``low`` and ``high`` of its 95 % interval over patients. A bin of a single patient has
        none: drawing the same patient again and again shows nothing of chance.

    Raises:
        ValueError: different lengths, scores outside 0–1, or fewer than two bins.
    """
    if bins < 2:
        raise ValueError(f"bins={bins}: two bins or more make a curve.")
    owners = np.zeros(len(truth), int) if patients is None else np.asarray(patients)
    truth, scores, owners = _checked(truth, scores, owners, both_classes=False)
    number = _bin(scores, bins)
    members = np.eye(bins)[number]
    total = np.stack([members.sum(0), scores @ members, truth @ members])
    held = total[0] > 0
    images, score, positive = total[:, held]
    table = pd.DataFrame({"images": images.astype(int), "score": score / images,
                          "share": positive / images, "low": np.nan, "high": np.nan})  # fmt: skip
    if patients is not None:
        draws = _draws(owners, seed)
        drawn = draws.totals(np.c_[members[:, held], truth[:, None] * members[:, held]])[1]
        counts, positives = np.split(drawn, 2, axis=1)
        several = [len(set(owners[number == k])) > 1 for k in np.flatnonzero(held)]
        for row in np.flatnonzero(several):
            estimate = _estimate(table["share"][row], _share(positives, counts)[:, row], draws)
            table.loc[row, ["low", "high"]] = estimate.low, estimate.high
    return table


def table(figures: dict[str, dict[str, Estimate]], names: Sequence[str]) -> pd.DataFrame:
    """Return models × figures as text with intervals, for display."""
    rows = {
        model: {name: _unbroken(found[name]) for name in names} for model, found in figures.items()
    }
    return pd.DataFrame(rows).T


def _unbroken(figure: Estimate) -> str:
    """Return the figure's text so that a narrow table does not break it in the middle."""
    if np.isnan(figure.value):  # the precision of a test without an alarm
        return "—"
    return str(figure).replace(" ", "\u00a0").replace("–", "\u2060–\u2060")


# ------------------------------------------------------------------ decisions by patient


def patient_recognition_rate(
    truth: Sequence[int] | np.ndarray,
    called: Sequence[int] | np.ndarray,
    patients: Sequence[str] | np.ndarray,
    seed: int = 0,
) -> Estimate:
    """Return the mean over patients of the share of their images that is right.

    The figure of the BreakHis literature (Spanhol 2016, IEEE Trans. Biomed. Eng. 63:1455).
    Unlike accuracy it gives a patient with few images as much weight as one with many.

    Args:
        truth: (n,) class numbers.
        called: (n,) predicted class numbers.
        patients: (n,) whose image it is.
        seed: of the bootstrap.
    """
    truths, decisions = np.asarray(truth), np.asarray(called)
    _same_lengths(truth=truths, called=decisions)
    return mean_over_patients((truths == decisions).astype(float), patients, seed=seed)


def decide_by_patient(
    truth: Sequence[int] | np.ndarray,
    scores: Sequence[float] | np.ndarray,
    patients: Sequence[str] | np.ndarray,
    *,
    threshold: float = 0.5,
    seed: int = 0,
) -> tuple[pd.DataFrame, Estimate]:
    """Return one decision a patient, from the mean score of all their images, and its accuracy.

    The table goes on into other figures: ``auc(table["truth"], table["mean_score"],
    table["patient"])``.

    Args:
        truth: (n,) 0 or 1, or class numbers; the same on all images of a patient.
        scores: (n,) probability of the positive class, or (n, k) probabilities.
        patients: (n,) whose image it is.
        threshold: mean scores from here on count as positive (scores (n,)).
        seed: of the bootstrap.

    Returns:
        A table with the columns ``patient``, ``images``, ``truth``, ``mean_score`` (of the
        positive class; with k classes, of the class called), ``called`` and ``right``; and
        the share of patients that is right, with its interval over patients.

    Raises:
        ValueError: lengths differ, or a patient has images of two classes.
    """
    truths, values, owners = np.asarray(truth), np.asarray(scores, float), np.asarray(patients)
    _same_lengths(truth=truths, scores=values, patients=owners)
    names, owner, images = np.unique(owners, return_inverse=True, return_counts=True)
    lowest, highest = np.full(len(names), truths.max()), np.full(len(names), truths.min())
    np.minimum.at(lowest, owner, truths)
    np.maximum.at(highest, owner, truths)
    if (lowest != highest).any():
        mixed = ", ".join(str(name) for name in names[lowest != highest][:3])
        raise ValueError(
            f"{int((lowest != highest).sum())} patients have images of two classes ({mixed}): "
            f"there is no one right answer for them. Leave them out, or decide by image."
        )
    columns = values if values.ndim == 2 else values[:, None]
    sums = np.zeros((len(names), columns.shape[1]))
    np.add.at(sums, owner, columns)
    means = sums / images[:, None]
    called = means.argmax(axis=1) if values.ndim == 2 else (means[:, 0] >= threshold).astype(int)
    decisions = pd.DataFrame(
        {
            "patient": names,
            "images": images,
            "truth": highest,
            "mean_score": means.max(axis=1) if values.ndim == 2 else means[:, 0],
            "called": called,
            "right": called == highest,
        }
    )
    right = mean_over_patients(decisions["right"].to_numpy(float), names, seed=seed)
    return decisions, right


# ------------------------------------------------------------------ thresholds and priors


def choose_threshold(
    truth: Sequence[int] | np.ndarray,
    scores: Sequence[float] | np.ndarray,
    goal: str | tuple[str, float] = "youden",
) -> float:
    """Return the threshold that serves a goal best. Choose it on validation, never on the test.

    Candidates lie half-way between neighbouring scores. Among equally good ones the one
    nearest to 0.5 is taken. What is reached on validation is not promised for the test: the
    threshold was fitted, and another share of positives moves the best one (``shift_prior``).

    Args:
        truth: (n,) 0 or 1.
        scores: (n,) probability of the positive class, 0–1.
        goal: ``"youden"``: sensitivity + specificity as high as possible (Youden 1950);
            ``"accuracy"``: as many right as possible; ``("sensitivity", 0.95)``: at least so
            many positives found, and of such thresholds the one with the best specificity;
            ``("specificity", 0.95)``: the reverse.

    Raises:
        ValueError: as ``evaluate``, or a goal that is none of these.
    """
    truths, values, _ = _checked(truth, scores, np.zeros(len(np.asarray(truth))))
    distinct = np.unique(values)
    candidates = np.r_[0.0, (distinct[1:] + distinct[:-1]) / 2]
    if distinct[-1] < 1:
        candidates = np.r_[candidates, (distinct[-1] + 1) / 2]  # calls nobody positive
    positives, negatives = np.sort(values[truths == 1]), np.sort(values[truths == 0])
    sensitivity = 1 - np.searchsorted(positives, candidates, side="left") / len(positives)
    specificity = np.searchsorted(negatives, candidates, side="left") / len(negatives)
    worth = _worth(goal, np.asarray(sensitivity), np.asarray(specificity), truths.mean())
    best = candidates[worth >= worth.max() - 1e-12]
    return float(best[np.argmin(np.abs(best - 0.5))])


def _worth(
    goal: str | tuple[str, float], sensitivity: np.ndarray, specificity: np.ndarray, share: float
) -> np.ndarray:
    """Return how well each candidate serves the goal; −1 where it misses what was asked."""
    if goal == "youden":
        return sensitivity + specificity
    if goal == "accuracy":
        return share * sensitivity + (1 - share) * specificity
    wanted, level = goal if isinstance(goal, tuple) and len(goal) == 2 else ("", -1.0)
    if wanted not in ("sensitivity", "specificity") or not 0 <= level <= 1:
        raise ValueError(
            f'goal={goal!r}: choose "youden", "accuracy", ("sensitivity", 0.95) or '
            f'("specificity", 0.95).'
        )
    kept, other = sensitivity, specificity
    if wanted == "specificity":
        kept, other = other, kept
    reached = kept >= min(level, kept.max()) - 1e-12
    return np.where(reached, other, -1.0)


def shift_prior(
    scores: Sequence[float] | np.ndarray,
    train_prior: float | Sequence[float] | np.ndarray,
    new_prior: float | Sequence[float] | np.ndarray,
) -> np.ndarray:
    """Return the probabilities as they should be where classes are more or less common.

    Saerens 2002 (Neural Computation 14:21, equation 4): each probability times new share
    over training share, then divided by their sum. It holds where the *pictures* of a class
    are the same in both places and only its share differs; and the new share must be known.

    Args:
        scores: (n,) probability of the positive class, or (n, k) probabilities.
        train_prior: share of the positive class in training, or k shares.
        new_prior: the same where the model is used.

    Returns:
        Of the shape of scores.

    Raises:
        ValueError: shares outside 0–1, a training share of 0, or k that do not add up to 1.
    """
    values = np.asarray(scores, float)
    before, after = (np.asarray(prior, float) for prior in (train_prior, new_prior))
    table = values if values.ndim == 2 else np.column_stack([1 - values, values])
    if values.ndim == 1 and before.ndim == after.ndim == 0:
        before, after = np.array([1 - before, before]), np.array([1 - after, after])
    for name, prior in (("train_prior", before), ("new_prior", after)):
        if prior.shape != table.shape[1:] or prior.min() < 0 or abs(prior.sum() - 1) > 1e-3:
            raise ValueError(
                f"{name}={prior.tolist()}: give the positive class's share, 0–1, for scores (n,); "
                f"for (n, k) one share a class, adding up to 1. Scores are {values.shape}."
            )
    if before.min() <= 0 or table.min() < 0 or table.max() > 1:
        raise ValueError("Scores must be probabilities, and no class's training share may be 0.")
    shifted = table * (after / before)
    total = shifted.sum(axis=1, keepdims=True)
    # a score of exactly 0 against a class that no longer occurs: there is nothing to share out
    shifted = np.divide(shifted, total, out=np.broadcast_to(after, table.shape).copy(),
                        where=total > 0)  # fmt: skip
    return shifted if values.ndim == 2 else shifted[:, 1]


# ------------------------------------------------------------------ masks


def dice_per_patient(
    truth_masks: np.ndarray,
    predicted_masks: np.ndarray,
    patients: Sequence[str] | np.ndarray,
    *,
    empty: str = "one",
    threshold: float = 0.5,
) -> pd.DataFrame:
    """Return Dice over all voxels of each patient's volume: the primary figure of a segmentation.

    Dice (1945) is twice the shared area over the sum of both areas: 1 where they are the
    same, 0 where they do not touch. Over a volume no slice is divided by nothing, and a
    missed slice costs what it holds.

    Args:
        truth_masks: (n, height, width) or (n, height, width, 1), one a slice; whole numbers
            and truths count where they are not 0, so 0/1 and 0/255 are both right. May be
            mapped from a file: it is read in blocks.
        predicted_masks: the same shape; floats are probabilities.
        patients: (n,) whose slice it is.
        empty: what a volume scores in which nothing is true: ``"one"``: 1 where nothing was
            predicted either, else 0; ``"skip"``: NaN, whatever was predicted.
        threshold: floats from here on count.

    Returns:
        One row a patient: ``patient, slices, truth_pixels, predicted_pixels, dice``, the worst
        first. Into ``mean_over_patients`` goes its column ``dice``.

    Raises:
        ValueError: shapes differ, or ``empty`` is another word.
    """
    owners = np.asarray(patients)
    areas = _areas(truth_masks, predicted_masks, threshold)
    _same_lengths(masks=areas, patients=owners)
    names, owner = np.unique(owners, return_inverse=True)
    totals = np.zeros((len(names), 3), dtype=np.int64)
    np.add.at(totals, owner, areas)
    found = pd.DataFrame(
        {
            "patient": names,
            "slices": np.bincount(owner),
            "truth_pixels": totals[:, 0],
            "predicted_pixels": totals[:, 1],
            "dice": _dice(totals, empty),
        }
    )
    return found.sort_values(["dice", "patient"], ignore_index=True)


def dice_per_slice(
    truth_masks: np.ndarray,
    predicted_masks: np.ndarray,
    *,
    empty: str,
    threshold: float = 0.5,
) -> np.ndarray:
    """Return Dice of each slice alone, float (n,).

    In two of three slices there is no tumour, so how these count decides the mean: it has to
    be said, and ``empty`` has no default. Arguments as in ``dice_per_patient``.
    """
    return _dice(_areas(truth_masks, predicted_masks, threshold), empty)


def mask_areas(masks: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Return how many pixels of each mask count, whole numbers (n,): see ``dice_per_patient``."""
    return _areas(masks, masks, threshold)[:, 0]


def mean_over_patients(
    values: Sequence[float] | np.ndarray,
    patients: Sequence[str] | np.ndarray | None = None,
    *,
    statistic: str = "mean",
    seed: int = 0,
) -> Estimate:
    """Return the mean (or median) over patients of a value, with its interval over patients.

    Args:
        values: (n,) one a patient; NaN is left out. With ``patients`` several a patient:
            they are averaged first, so that every patient counts the same.
        patients: (n,) whose value it is.
        statistic: ``"mean"`` or ``"median"``.
        seed: of the bootstrap.

    Returns:
        The estimate; NaN, over 0 patients, where there is no value at all.

    Raises:
        ValueError: lengths differ, or another statistic.
    """
    if statistic not in ("mean", "median"):
        raise ValueError(f'statistic={statistic!r}: choose "mean" or "median".')
    summary: Callable[..., Any] = np.mean if statistic == "mean" else np.median
    one_each, _ = _by_patient(values, patients)
    count = len(one_each)
    if count == 0:
        return _NO_VALUE
    rng = np.random.default_rng(seed)
    blocks = []
    for start in range(0, RESAMPLES, _STEP):  # so that memory does not grow with the patients
        drawn = rng.integers(0, count, (min(_STEP, RESAMPLES - start), count))
        blocks.append(summary(one_each[drawn], axis=1))
    return _interval(float(summary(one_each)), np.concatenate(blocks), count)


def mean_over_images(
    values: Sequence[float] | np.ndarray,
    patients: Sequence[str] | np.ndarray,
    seed: int = 0,
) -> Estimate:
    """Return the mean of all values, one an image or slice, with its interval over patients.

    Every image counts the same, so a patient with many counts more. NaN is left out; where
    nothing else is there, the estimate is NaN, over 0 patients.
    """
    _, data = _by_patient(values, patients)
    if data.empty:
        return _NO_VALUE
    draws = _draws(data["patient"].to_numpy(), seed)
    sums = np.column_stack([data["value"].to_numpy(), np.ones(len(data))])
    total, resampled = draws.totals(sums)
    return _estimate(float(total[0] / total[1]), resampled[:, 0] / resampled[:, 1], draws)


def _by_patient(
    values: Sequence[float] | np.ndarray, patients: Sequence[str] | np.ndarray | None
) -> tuple[np.ndarray, pd.DataFrame]:
    """Return the mean value of each patient, (p,), and a table of those values that exist."""
    each = np.asarray(values, float)
    owners = np.arange(len(each)) if patients is None else np.asarray(patients)
    _same_lengths(values=each, patients=owners)
    data = pd.DataFrame({"value": each, "patient": owners}).dropna()
    return data.groupby("patient")["value"].mean().to_numpy(), data


def _areas(truth: np.ndarray, predicted: np.ndarray, threshold: float) -> np.ndarray:
    """Return pixels true, predicted and both, of each mask, int64 (n, 3), read in blocks."""
    if truth.shape != predicted.shape or truth.ndim not in (3, 4):
        raise ValueError(
            f"Masks of truth {truth.shape} and prediction {predicted.shape} must have the same "
            f"shape, (n, height, width) or (n, height, width, 1)."
        )
    areas = np.zeros((len(truth), 3), dtype=np.int64)
    for start in range(0, len(truth), 64):
        here = slice(start, start + 64)
        ours, theirs = (_covered(masks[here], threshold) for masks in (truth, predicted))
        for column, covered in enumerate((ours, theirs, ours & theirs)):
            areas[here, column] = covered.reshape(len(covered), -1).sum(axis=1)
    return areas


def _covered(masks: np.ndarray, threshold: float) -> np.ndarray:
    """Return where masks count, as truths."""
    array = np.asarray(masks)
    covered: np.ndarray = array >= threshold if array.dtype.kind == "f" else array != 0
    return covered


def _dice(areas: np.ndarray, empty: str) -> np.ndarray:
    """Return Dice of rows (true, predicted, shared)."""
    if empty not in ("one", "skip"):
        raise ValueError(f'empty={empty!r}: say how empty masks count, "one" or "skip".')
    true, predicted, shared = areas.T.astype(float)
    both = true + predicted
    dice = np.divide(2 * shared, both, out=np.ones(len(areas)), where=both > 0)
    return np.where(true == 0, np.nan, dice) if empty == "skip" else dice


# ------------------------------------------------------------------ what all share


@dataclass(frozen=True)
class _Draws:
    """Bootstrap resamples: how often each patient was drawn, and whose each image is."""

    counts: np.ndarray  # (resamples, patients), one byte each: 2 kB a patient
    owner: np.ndarray  # (n,) number of the patient of each image
    seed: int

    @property
    def patients(self) -> int:
        return int(self.counts.shape[1])

    def blocks(self, step: int = _STEP) -> Iterator[np.ndarray]:
        """Yield the counts of so many resamples at a time, as floats: bytes would overflow."""
        for start in range(0, len(self.counts), step):
            yield self.counts[start : start + step].astype(float)

    def totals(self, per_image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return sums of (n, k) values over all images, (k,), and in each resample, (r, k)."""
        by_patient = np.zeros((self.patients, per_image.shape[1]))
        np.add.at(by_patient, self.owner, per_image)
        return by_patient.sum(axis=0), np.concatenate([one @ by_patient for one in self.blocks()])


def _draws(patients: np.ndarray, seed: int) -> _Draws:
    names, owner = np.unique(patients, return_inverse=True)
    equal = np.full(len(names), 1 / len(names))
    rng = np.random.default_rng(seed)
    # A byte is enough: of 255 patients or fewer none is drawn more often than that, and of more
    # none ever will be. Drawn in blocks, which gives the same numbers as all at once.
    counts = np.empty((RESAMPLES, len(names)), np.uint8)
    for start in range(0, RESAMPLES, _STEP):
        rows = counts[start : start + _STEP]
        rows[:] = rng.multinomial(len(names), equal, size=len(rows))
    return _Draws(counts, owner, seed)


def _estimate(value: float, resampled: np.ndarray, draws: _Draws) -> Estimate:
    return _interval(value, resampled, draws.patients)


def _interval(value: float, resampled: np.ndarray, patients: int) -> Estimate:
    """Return value and percentile interval, which always holds the value.

    Where no resample has the figure (the precision of a test without an alarm) it has none.
    """
    if np.isnan(resampled).all():
        return Estimate(float(value), np.nan, np.nan, patients)
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return Estimate(float(value), float(min(low, value)), float(max(high, value)), patients)


_Result = tuple[float, np.ndarray]


def _from_matrix(figure: Callable[[np.ndarray], np.ndarray]) -> Callable[..., _Result]:
    """Return a figure that follows from the confusion matrix, (…, k, k), rows the truth."""

    def compute(truth: np.ndarray, scores: np.ndarray, threshold: float, draws: _Draws) -> _Result:
        classes = 2 if scores.ndim == 1 else scores.shape[1]
        called = (scores >= threshold) if scores.ndim == 1 else scores.argmax(axis=1)
        cells = np.zeros((len(truth), classes**2))
        cells[np.arange(len(truth)), truth * classes + called] = 1
        total, resampled = draws.totals(cells)
        with np.errstate(invalid="ignore", divide="ignore"):
            value = figure(total.reshape(classes, classes))
            return float(value), figure(resampled.reshape(-1, classes, classes))

    return compute


def _accuracy(matrix: np.ndarray) -> np.ndarray:
    return _share(np.trace(matrix, axis1=-2, axis2=-1), matrix.sum(axis=(-2, -1)))


def _recall(label: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda matrix: _share(matrix[..., label, label], matrix[..., label, :].sum(axis=-1))


def _macro_recall(matrix: np.ndarray) -> np.ndarray:
    recalls = [_recall(label)(matrix) for label in range(matrix.shape[-1])]
    return np.asarray(np.mean(recalls, axis=0))


def _precision(matrix: np.ndarray) -> np.ndarray:
    return _share(matrix[..., 1, 1], matrix[..., :, 1].sum(axis=-1))


def _f1(matrix: np.ndarray) -> np.ndarray:
    found = 2 * matrix[..., 1, 1]
    return _share(found, found + matrix[..., 0, 1] + matrix[..., 1, 0])


def _kappa(matrix: np.ndarray) -> np.ndarray:
    """Return Cohen's kappa: how much of the way from chance agreement to 1 was gone."""
    images = matrix.sum(axis=(-2, -1))
    chance = (matrix.sum(axis=-1) * matrix.sum(axis=-2)).sum(axis=-1) / images**2
    return _share(_accuracy(matrix) - chance, 1 - chance)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return part / whole, NaN where there is nothing to divide by."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole != 0)


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
    step = max(1, min(_STEP, 1_000_000 // len(truth)))
    return float(area(everyone)[0]), np.concatenate([area(one) for one in draws.blocks(step)])


def _macro_auc(truth: np.ndarray, scores: np.ndarray, _: float, draws: _Draws) -> _Result:
    """Return the mean area under the curves of one class against the rest."""
    found = [_auc(truth == k, scores[:, k], 0.5, draws) for k in range(scores.shape[1])]
    return float(np.mean([value for value, _ in found])), np.mean([r for _, r in found], axis=0)


def _brier(truth: np.ndarray, scores: np.ndarray, _: float, draws: _Draws) -> _Result:
    errors = np.stack([(scores - truth) ** 2, np.ones(len(truth))], axis=1)
    total, resampled = draws.totals(errors)
    return float(total[0] / total[1]), resampled[:, 0] / resampled[:, 1]


def _calibration_error(truth: np.ndarray, scores: np.ndarray, _: float, draws: _Draws) -> _Result:
    """Return the expected calibration error (Naeini 2015, AAAI) over bins of equal width."""
    gaps = np.zeros((len(truth), _BINS))
    gaps[np.arange(len(truth)), _bin(scores)] = scores - truth
    total, resampled = draws.totals(np.c_[gaps, np.ones(len(truth))])
    value = np.abs(total[:-1]).sum() / total[-1]
    return float(value), np.abs(resampled[:, :-1]).sum(axis=1) / resampled[:, -1]


def _calibration_error_by_chance(
    truth: np.ndarray, scores: np.ndarray, _: float, draws: _Draws
) -> _Result:
    """Return what the calibration error is on average, and each time, if the scores are right."""
    errors = _right_by_construction(scores, draws)[0]
    return float(errors.mean()), errors


def _excess_calibration_error(
    truth: np.ndarray, scores: np.ndarray, threshold: float, draws: _Draws
) -> _Result:
    """Return the calibration error less the part of chance, the same way in each resample.

    A resample repeats patients, which makes its error larger still: so the resamples are
    compared with resamples of models that are right by construction.
    """
    value, resampled = _calibration_error(truth, scores, threshold, draws)
    once, redrawn = _right_by_construction(scores, draws)
    return value - float(once.mean()), resampled - redrawn.mean()


def _right_by_construction(scores: np.ndarray, draws: _Draws) -> tuple[np.ndarray, np.ndarray]:
    """Return calibration errors where truth is drawn from the scores: as they are, resampled."""
    rng = np.random.default_rng(np.random.SeedSequence(draws.seed).spawn(1)[0])
    bins = _bin(scores)
    once, redrawn = np.zeros(len(draws.counts)), np.zeros(len(draws.counts))
    for number, counts in enumerate(draws.counts):
        gaps = scores - (rng.random(len(scores)) < scores)
        weights = counts[draws.owner]
        once[number] = np.abs(np.bincount(bins, gaps)).sum() / len(scores)
        redrawn[number] = np.abs(np.bincount(bins, gaps * weights)).sum() / weights.sum()
    return once, redrawn


def _bin(scores: np.ndarray, bins: int = _BINS) -> np.ndarray:
    """Return the number of each score's bin."""
    return np.minimum((scores * bins).astype(int), bins - 1)


_FIGURES: dict[str, Callable[..., _Result]] = {
    "accuracy": _from_matrix(_accuracy),
    "sensitivity": _from_matrix(_recall(1)),
    "specificity": _from_matrix(_recall(0)),
    "precision": _from_matrix(_precision),
    "auc": _auc,
    "brier": _brier,
    "calibration_error": _calibration_error,
}
_ON_REQUEST: dict[str, Callable[..., _Result]] = {
    "f1": _from_matrix(_f1),
    "balanced_accuracy": _from_matrix(_macro_recall),
    "kappa": _from_matrix(_kappa),
    "calibration_error_by_chance": _calibration_error_by_chance,
    "excess_calibration_error": _excess_calibration_error,
}


@dataclass(frozen=True)
class _Data:
    """What is evaluated, checked, and the figures that it has."""

    truth: np.ndarray
    scores: np.ndarray
    patients: np.ndarray
    usual: dict[str, Callable[..., _Result]]
    on_request: dict[str, Callable[..., _Result]]

    @classmethod
    def of(cls, truth: Any, scores: Any, patients: Any, classes: Sequence[str] | None) -> _Data:
        """Return the data with the figures of two classes, or of those named."""
        if classes is None:
            return cls(*_checked(truth, scores, patients), _FIGURES, _ON_REQUEST)
        recalls = {f"recall_{name}": _from_matrix(_recall(k)) for k, name in enumerate(classes)}
        usual = {
            "accuracy": _from_matrix(_accuracy),
            "macro_recall": _from_matrix(_macro_recall),
            **recalls,
            "macro_auc": _macro_auc,
            "kappa": _from_matrix(_kappa),
        }
        return cls(*_checked_classes(truth, scores, patients, classes), usual, {})

    def figure(self, name: str) -> Callable[..., _Result]:
        """Return how a figure is computed."""
        known = self.usual | self.on_request
        if name not in known:
            raise ValueError(f"There is no figure {name!r} here; there are {', '.join(known)}.")
        return known[name]


def _checked(
    truth: Sequence[int] | np.ndarray,
    scores: Sequence[float] | np.ndarray,
    patients: Sequence[str] | np.ndarray,
    both_classes: bool = True,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the three as arrays after refusing what cannot be evaluated: two classes."""
    truths, values, owners = np.asarray(truth), np.asarray(scores, float), np.asarray(patients)
    if not truths.shape == values.shape == owners.shape or truths.ndim != 1:
        raise ValueError(
            f"truth {truths.shape}, scores {values.shape} and patients {owners.shape} must be "
            f"three lists of the same length. Of a model's (n, 2) output pass column 1; with "
            f"(n, k) pass classes, the k names."
        )
    if not np.isin(truths, (0, 1)).all() or (both_classes and len(np.unique(truths)) < 2):
        raise ValueError("truth must hold 0 and 1, and both of them, for these figures.")
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise ValueError("scores must be probabilities between 0 and 1.")
    return truths.astype(int), values, owners


def _checked_classes(
    truth: Any, scores: Any, patients: Any, classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the three as arrays after refusing what cannot be evaluated: k classes."""
    truths, values, owners = np.asarray(truth), np.asarray(scores, float), np.asarray(patients)
    if values.ndim != 2 or values.shape[1] != len(classes):
        raise ValueError(
            f"scores {values.shape} must be (n, {len(classes)}), one column for each of "
            f"{', '.join(map(str, classes))}. Leave classes out for scores (n,) of two classes."
        )
    _same_lengths(truth=truths, scores=values, patients=owners)
    if not np.isin(truths, np.arange(len(classes))).all():
        raise ValueError(f"truth must hold class numbers 0 to {len(classes) - 1}.")
    missing = [str(name) for k, name in enumerate(classes) if not (truths == k).any()]
    if missing:
        raise ValueError(
            f"No image is truly {' or '.join(missing)}, so there is no recall. Evaluate a part "
            f"that has every class."
        )
    sums = values.sum(axis=1)
    if not np.isfinite(values).all() or values.min() < 0 or np.abs(sums - 1).max() > 1e-2:
        raise ValueError("scores must be probabilities: none below 0, each row adding up to 1.")
    return truths.astype(int), values, owners


def _same_lengths(**arrays: np.ndarray) -> None:
    """Refuse lists of different lengths."""
    if len({len(array) for array in arrays.values()}) != 1:
        told = ", ".join(f"{name} has {len(array)}" for name, array in arrays.items())
        raise ValueError(f"These must have the same length: {told}.")
