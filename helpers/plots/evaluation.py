"""Figures of the evaluation: what a model's answers on a test part are worth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator
from sklearn.metrics import confusion_matrix, roc_curve

from helpers.metrics import calibration_curve
from helpers.plots._base import (
    ABBREVIATIONS,
    BLACK,
    BLUE,
    GREY,
    LINES,
    ORANGE,
    VERMILION,
    Array,
    Curves,
    Estimate,
    _and,
    _colour,
    _columns,
    _finish,
    _hatch,
    _labels,
    _legend_below,
    _marker,
    _new,
    _percent,
    _right_labels,
    _same_length,
    _short_names,
    _truth_and_scores,
    _two_classes,
    _wrap,
    drawn,
)


def confusion_names(classes: Sequence[str], positive: str) -> tuple[str, str, str, str]:
    """Return what the four cells of a 2 × 2 confusion matrix are called, in reading order.

    Rows are the truth, columns the prediction, both in the order of `classes`. Where the
    positive class stands first, the names are not those that most pictures show:

        >>> confusion_names(("ill", "healthy"), positive="ill")
        ('true positive', 'false negative', 'false positive', 'true negative')

    Args:
        classes: two class names.
        positive: the one of them that a positive test means.

    Raises:
        ValueError: not two classes, or `positive` is none of them.
    """
    if len(classes) != 2:
        raise ValueError(
            f"Only two classes have true and false positives; these are {len(classes)}: "
            f"{_and(classes)}. Leave positive=None."
        )
    if positive not in classes:
        raise ValueError(f"positive={positive!r} is none of the classes {_and(classes)}.")
    names = [
        f"{'true' if truth == predicted else 'false'} "
        f"{'positive' if predicted == positive else 'negative'}"
        for truth in classes
        for predicted in classes
    ]
    return names[0], names[1], names[2], names[3]


MOST_STRIPS = 40  # rows of ``score_strips``


@drawn
def confusion(
    truth: npt.ArrayLike,
    predicted: npt.ArrayLike,
    classes: Sequence[str],
    *,
    positive: str | None = None,
    order: Sequence[str] | None = None,
    cell_names: Sequence[str] | None = None,
    rates: bool = False,
    normalise: bool = True,
    unit: str = "images",
    title: str | None = None,
) -> Figure:
    """Return the confusion matrix: rows are the truth, columns the prediction.

    Each cell shows its count and the percentage of its row, that is of its true class; with
    `positive` also its name, which follows from where the positive class stands.

    Args:
        truth: class number of each image, (n,).
        predicted: predicted class number of each image, (n,).
        classes: class names in label order.
        positive: the positive one of two classes.
        order: the class names in the order in which rows and columns shall stand; label
            order when None. Names of cells move with them.
        cell_names: four names in reading order (`"TP"` or `"true positive"`, …) as somebody
            else printed them. They are drawn in a second matrix beside ours, and those that
            are wrong are crossed.
        rates: with `positive`, writes below the matrix the sensitivity and precision that
            follow from the names of its cells; with `cell_names` below the second matrix what
            the wrong names make of them.
        normalise: colours each cell by its share of the row and writes the percentage below
            the count. False: counts alone, and colours by them.
        unit: what is counted.
        title: what to see.

    Raises:
        ValueError: different lengths, nothing to count, labels that no class has, or names
            where there are not two classes.
    """
    classes = list(classes)
    true_labels, predicted_labels = (_labels(truth, classes, "truth"),
                                     _labels(predicted, classes, "predicted"))  # fmt: skip
    _same_length("confusion", truth=true_labels, predicted=predicted_labels)
    shown = list(order) if order is not None else classes
    if sorted(shown) != sorted(classes):
        raise ValueError(f"confusion: order={shown} must hold the classes {classes}, each once.")
    numbers = [classes.index(name) for name in shown]
    table = confusion_matrix(true_labels, predicted_labels, labels=numbers)
    right = confusion_names(shown, positive) if positive is not None else None
    theirs = _read_cell_names(cell_names, right)
    per_row = table.sum(axis=1, keepdims=True)
    share = np.divide(table, per_row, out=np.full(table.shape, np.nan), where=per_row > 0)
    many = len(classes) > 2
    size = 12 if theirs else 13
    height = (5.2 if not many else min(1.9 + 0.95 * len(classes), 9.0)) + 0.55 * rates
    figure, panels = _new(1, 2 if theirs else 1, 10 if theirs or many else 8, height)
    shares = share if normalise else None
    _matrix(panels[0], table, shares, shown, positive, right, None, size)
    if theirs and right:
        _matrix(panels[1], table, shares, shown, positive, theirs, right, size)
        panels[0].set_title("names by the positive class", loc="left")
        panels[1].set_title("names as the source has them", loc="left")
        panels[1].set(ylabel="", yticklabels=[])
    if rates:
        if right is None:
            raise ValueError("confusion(rates=True) needs positive=…: which class is positive?")
        for axes, names in zip(panels, (right, theirs), strict=False):
            axes.set_xlabel(f"predicted class\n\n{_rates(table, names or right)}")
    bar = figure.colorbar(panels[-1].collections[0], ax=list(panels), shrink=0.8, pad=0.02)
    if normalise:
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f}"))
    else:
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    bar.set_label(f"share of the true class's {unit} (%)" if normalise else unit)
    bar.outline.set_visible(False)
    held = [*(["its name"] if positive else []), "its count"]
    held += ["its percentage of the true class"] if normalise else []
    default = f"What became of the {unit} of each true class"
    alt = (
        f"Confusion matrix, rows true class, columns predicted class, of {_and(shown)}"
        f"{f', with {positive} as the positive class' if positive else ''}; each cell shows "
        f"{_and(held)}."
    )
    if theirs:
        alt += " Beside it the same with the source's cell names; the wrong ones are crossed."
    if rates:
        alt += " Below: the sensitivity and precision that follow from the names."
    return _finish(figure, title or default, alt)


@drawn
def roc(
    curves: Curves,
    *,
    labels: Mapping[str, str] | None = None,
    points: Mapping[str, tuple[float, float]] | None = None,
    title: str = "How much sensitivity costs how many false alarms",
) -> Figure:
    """Return ROC curves, with the diagonal that guessing would follow.

    Args:
        curves: for each name the pair (truth, scores): (n,) of 0 and 1, and (n,) of scores
            that are higher for the positive class. Scores of two values only, such as
            arg-max labels, have a curve with a single corner: it is marked.
        labels: a text for each name, such as its AUC with interval; stands in the legend
            under the name, or in its place where it begins with it.
        points: marks, each (1 − specificity, sensitivity), both 0–1: a chosen threshold,
            or the single corner that a curve drawn from arg-max labels has.
        title: what to see.

    Raises:
        ValueError: no curve, different lengths, only one class, or a point outside 0–1.
    """
    if not curves:
        raise ValueError("roc: give at least one curve as name: (truth, scores).")
    figure, (axes,) = _new(1, 1, 9.4, 5.6)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=(0, (1, 2)), linewidth=1.8, label="guessing")
    for number, (name, pair) in enumerate(curves.items()):
        truth, scores = _truth_and_scores("roc", name, *pair, both=True)
        false_alarms, sensitivity, _ = roc_curve(truth, scores)
        said = labels.get(name, "") if labels else ""
        lines = [said] if said.startswith(name) else [name, said]
        text = "\n".join(_wrap(line, 3.3, 12) for line in lines if line)
        axes.plot(false_alarms, sensitivity, color=_colour(number), label=text,
                  linestyle=LINES[number % len(LINES)],
                  marker=_marker(number) if len(np.unique(scores)) == 2 else None,
                  markevery=slice(1, 2), markersize=11)  # fmt: skip
    for number, (name, (x, y)) in enumerate((points or {}).items()):
        if not (0 <= x <= 1 and 0 <= y <= 1):
            raise ValueError(
                f"roc: point {name!r} is ({x}, {y}); give (1 − specificity, sensitivity), 0–1."
            )
        axes.plot(x, y, linestyle="none", marker=("*", "X", "P", "D")[number % 4], markersize=15,
                  color=BLACK, markeredgecolor="white", label=_wrap(name, 3.3, 12),
                  clip_on=False, zorder=5)  # fmt: skip
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set_xlabel("1 − specificity (share of negatives called positive)")
    axes.set_ylabel("sensitivity (share of positives found)")
    axes.grid()
    figure.legend(loc="outside right center", labelspacing=0.9)
    marks = f" Marked points: {_and(points)}." if points else ""
    alt = (
        f"ROC curves, sensitivity against 1 − specificity, of {_and(curves)}, with the "
        f"diagonal of guessing.{marks}"
    )
    return _finish(figure, title, alt)


@drawn
def roc_one_against_rest(
    truth: npt.ArrayLike,
    scores: npt.ArrayLike,
    classes: Sequence[str],
    *,
    labels: Mapping[str, str] | None = None,
    title: str = "Each class against all others: which one is hard to tell?",
) -> Figure:
    """Return one ROC curve a class: that class is positive, all others together are negative.

    Args:
        truth: class number of each image, (n,).
        scores: probability of each class, (n, k).
        classes: the k class names in label order; curves have their colours.
        labels: a text for each class, such as its AUC: stands in the legend.
        title: what to see.

    Raises:
        ValueError: scores of another shape, labels that no class has, or a class without an
            image.
    """
    numbers = _labels(truth, classes, "truth")
    values = np.asarray(scores, dtype=float)
    if values.shape != (len(numbers), len(classes)):
        raise ValueError(
            f"roc_one_against_rest: scores {values.shape} must be "
            f"({len(numbers)}, {len(classes)}): a row an image, a column a class."
        )
    curves = {name: (numbers == k, values[:, k]) for k, name in enumerate(classes)}
    figure: Figure = roc.__wrapped__(curves, labels=labels, title=title)  # type: ignore[attr-defined]
    figure.axes[0].set_xlabel("share of the other classes taken for this one")
    figure.axes[0].set_ylabel("recall (share of this class found)")
    figure.set_label(
        f"ROC curves, one a class against all others: {_and(classes)}; recall against the share "
        "of the other classes taken for it, with the diagonal of guessing."
    )
    return figure


@drawn
def calibration(
    curves: Curves,
    patients: npt.ArrayLike | None = None,
    *,
    bins: int = 10,
    fewest: int = 5,
    unit: str = "images",
    seed: int = 0,
    title: str = "Can the score be read as a probability? On the diagonal it can",
) -> Figure:
    """Return how often the positive class is true at each score, above a histogram of the scores.

    A point is as large as its bin has images. Points of few images jump about by chance: they
    are hollow, and not joined to the others. Bars are 95 % intervals over patients.

    Args:
        curves: for each name the pair (truth, scores): (n,) of 0 and 1, and (n,) of 0–1.
        patients: (n,) whose images they are, for the intervals; None draws none.
        bins: the scores are put into so many bins of equal width.
        fewest: a bin with fewer images than this is not joined.
        unit: what is counted.
        seed: of the bootstrap.
        title: what to see.

    Raises:
        ValueError: no curve, different lengths, or scores outside 0–1.
    """
    if not curves:
        raise ValueError("calibration: give at least one curve as name: (truth, scores).")
    figure, (axes, below) = _new(2, 1, 10, 6.4, sharex=True, height_ratios=(3, 1.1))
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=(0, (1, 2)), linewidth=1.8)
    edges = np.linspace(0, 1, bins + 1).tolist()
    found: dict[str, pd.DataFrame] = {}
    for name, pair in curves.items():
        truth, scores = _truth_and_scores("calibration", name, *pair, probabilities=True)
        found[name] = calibration_curve(truth, scores, patients, bins=bins, seed=seed)
        below.hist(scores, edges, histtype="step", linewidth=2, **_line(len(found) - 1))
    largest = max(int(table["images"].max()) for table in found.values())
    for number, table in enumerate(found.values()):
        joined = table["images"] >= fewest
        axes.plot(table["score"][joined], table["share"][joined], **_line(number))
        # beside one another, so that the bars of two curves can be told apart
        axes.vlines(table["score"] + 0.004 * number, table["low"], table["high"],
                    color=_colour(number), linewidth=1.6, alpha=0.7, zorder=2)  # fmt: skip
        area = 36 + 260 * table["images"] / largest
        for chosen, face in ((joined, _colour(number)), (~joined, "white")):
            axes.scatter(table["score"][chosen], table["share"][chosen], s=area[chosen],
                         marker=_marker(number), facecolors=face, edgecolors=_colour(number),
                         linewidths=1.6, clip_on=False, zorder=3)  # fmt: skip
    axes.set(ylim=(-0.03, 1.03), xlim=(-0.03, 1.03), ylabel="share truly positive (0–1)")
    below.set(xlabel="score of the positive class (0–1)", ylabel=unit)
    axes.grid()
    below.grid()
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    handles = [Line2D([], [], marker=_marker(number), markersize=9, label=_wrap(name, 2.6, 12),
                      **_line(number)) for number, name in enumerate(found)]  # fmt: skip
    handles += [
        Line2D([], [], color=GREY, linestyle=(0, (1, 2)), label="perfectly\ncalibrated"),
        Line2D([], [], color=BLACK, linestyle="none", marker="o", markersize=12,
               label=f"size: {unit}\nin the bin"),
        Line2D([], [], color=BLACK, linestyle="none", marker="o", markersize=6,
               markerfacecolor="white", label=f"fewer than {fewest},\nnot joined"),
    ]  # fmt: skip
    if patients is not None:
        handles.append(Line2D([], [], color=BLACK, linestyle="none", marker="|", markersize=14,
                              label="95 % interval\nover patients"))  # fmt: skip
    figure.legend(handles=handles, loc="outside right center", labelspacing=0.9)
    bars = ", with its 95 % interval over patients" if patients is not None else ""
    alt = (
        f"Calibration of {_and(curves)}: share truly positive{bars} against the mean score of "
        "each bin, with the diagonal of perfect calibration; a point is as large as its bin has "
        f"{unit}, and hollow where these are few; below, a histogram of the scores."
    )
    return _finish(figure, title, alt)


@drawn
def score_histogram(
    truth: npt.ArrayLike,
    scores: npt.ArrayLike,
    classes: Sequence[str],
    *,
    threshold: float = 0.5,
    positive: str | None = None,
    bins: int = 20,
    title: str = "Scores of each true class, and the threshold that parts them",
) -> Figure:
    """Return a histogram of the scores of each of two classes, one above the other.

    Args:
        truth: 1 for the positive class, else 0, (n,).
        scores: score of the positive class, 0–1, (n,).
        classes: the names of class 0 and class 1.
        threshold: from this score on an image is called positive; the wrong side is shaded.
        positive: name of the class that `truth == 1` means; the second of `classes` if None.
        bins: number of bars.
        title: what to see.

    Raises:
        ValueError: different lengths, not two classes, or scores outside 0–1.
    """
    names, positive = _two_classes("score_histogram", classes, positive)
    true, score = _truth_and_scores("score_histogram", "scores", truth, scores, probabilities=True)
    figure, panels = _new(2, 1, 10, 5.2, sharex=True)
    edges = np.linspace(0, 1, bins + 1).tolist()
    for k, axes in enumerate(panels):
        number = list(classes).index(names[k])
        heights = axes.hist(score[true == k], edges, color=_colour(number), hatch=_hatch(number))[0]
        axes.set_ylim(0, 1.2 * max(1.0, float(np.max(heights))))  # room for the words
        wrong = (threshold, 1.0) if k == 0 else (0.0, threshold)
        axes.axvspan(*wrong, color="#EEEEEE", zorder=0)
        axes.axvline(threshold, color=BLACK, linestyle="--", linewidth=2)
        axes.set_ylabel("images")
        axes.set_title(f"truly {names[k]}", loc="left")
        axes.text(sum(wrong) / 2, 0.93, f"false {'negative' if k else 'positive'}",
                  transform=axes.get_xaxis_transform(), ha="center", va="top")  # fmt: skip
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    panels[0].annotate(f"threshold {threshold:.2f}", (threshold, 1.0), (0, 4),
                       xycoords=("data", "axes fraction"), textcoords="offset points",
                       ha="center", va="bottom", fontsize=12)  # fmt: skip
    panels[1].set(xlim=(0, 1), xlabel=f"score of {positive} (0–1)")
    alt = (
        f"Two histograms of the score of {positive}, one for the images that are truly "
        f"{names[0]} and one for those truly {names[1]}; a dashed line marks the threshold "
        "and the wrong side is shaded."
    )
    return _finish(figure, title, alt)


@drawn
def score_strips(
    truth: npt.ArrayLike,
    scores: npt.ArrayLike,
    groups: Sequence[str] | npt.ArrayLike,
    classes: Sequence[str],
    *,
    threshold: float = 0.5,
    positive: str | None = None,
    title: str = "Every image's score, one row a patient",
) -> Figure:
    """Return one row of dots a group (a patient, a magnification), a dot for each image's score.

    Args:
        truth: 1 for the positive class, else 0, (n,).
        scores: score of the positive class, 0–1, (n,).
        groups: the row to which each image belongs, (n,); rows stand in the order in which
            they first occur. Of more than 40 rows, 40 are drawn, spread evenly over that order.
        classes: the names of class 0 and class 1.
        threshold: from this score on an image is called positive.
        positive: name of the class that `truth == 1` means; the second of `classes` if None.
        title: what to see.

    Raises:
        ValueError: different lengths, not two classes, or scores outside 0–1.
    """
    names, positive = _two_classes("score_strips", classes, positive)
    true, score = _truth_and_scores("score_strips", "scores", truth, scores, probabilities=True)
    rows = np.asarray(groups).astype(str)
    _same_length("score_strips", truth=true, groups=rows)
    order = list(dict.fromkeys(rows.tolist()))
    if len(order) > MOST_STRIPS:  # more cannot be read
        title += f" ({MOST_STRIPS} of {len(order):,} rows)"
        order = [order[k] for k in np.linspace(0, len(order) - 1, MOST_STRIPS).astype(int)]
    table = pd.DataFrame({"score": score, "row": rows, "class": np.array(names)[true]})
    table = table[table["row"].isin(order)]
    figure, (axes,) = _new(1, 1, 10, 2.2 + 0.42 * len(order))
    for k, name in enumerate(names):
        number = list(classes).index(name)
        sns.stripplot(
            table[table["class"] == name], x="score", y="row", order=order, ax=axes,
            color=_colour(number), marker=_marker(number), size=6, alpha=0.6, legend=False,
            # seaborn draws its jitter from numpy's global state: spread the rows ourselves
            jitter=False, zorder=2 + k,
        )  # fmt: skip
        for strip in axes.collections[-len(order) :]:
            spots = np.array(strip.get_offsets())
            if len(spots):
                shift = np.linspace(0.02, 0.3, 7)[np.arange(len(spots)) * 3 % 7]
                spots[:, 1] += shift * (1 if k else -1)
                strip.set_offsets(spots)
    axes.axvline(threshold, color=BLACK, linestyle="--", linewidth=2)
    axes.set(xlim=(-0.02, 1.02), xlabel=f"score of {positive} (0–1)", ylabel="")
    axes.grid(axis="y")
    handles = [Line2D([], [], linestyle="none", color=_colour(list(classes).index(name)),
                      marker=_marker(list(classes).index(name)), markersize=8,
                      label=f"truly {name}") for name in names]  # fmt: skip
    handles.append(Line2D([], [], color=BLACK, linestyle="--", label=f"threshold {threshold:.2f}"))
    _legend_below(figure, axes, handles)
    alt = (
        f"Rows of dots, one row a group and one dot an image, at its score of {positive}; "
        f"marks tell {_and(names)} apart and a dashed line is the threshold."
    )
    return _finish(figure, title, alt)


@drawn
def per_patient(
    table: pd.DataFrame,
    *,
    value: str = "accuracy",
    value_label: str | None = None,
    compare: str | None = None,
    compare_label: str | None = None,
    title: str = "Every dot is one patient: for whom does it work, for whom not?",
) -> Figure:
    """Return one dot a patient, sorted by value, as large as the patient has images.

    Round dots have images of both classes, triangles of one class only: for these,
    sensitivity or specificity does not exist.

    Args:
        table: one row a patient: `patient`, `images`, `positive_share` (0–1, by the truth)
            and the column `value`; where it also has `low` and `high`, as that of
            `metrics.per_patient`, they are drawn as the interval of an `accuracy`.
        value: the column to draw (`accuracy`, `mean_score`, …), 0–1.
        value_label: what the axis says; the column's name when None.
        compare: a second column, drawn as a hollow diamond and joined to the dot
            (`positive_share` beside `mean_score`).
        compare_label: what the legend calls it.
        title: what to see.

    Raises:
        ValueError: a column is missing or the table is empty.
    """
    wanted = ("patient", "images", "positive_share", value)
    _columns(table, (*wanted, compare) if compare else wanted, "per_patient")
    rows = table.sort_values([value, "patient"], kind="stable").reset_index(drop=True)
    both = rows["positive_share"].between(0, 1, inclusive="neither").to_numpy()
    few = len(rows) <= 45
    area = 25 + (190 if few else 80) * rows["images"] / rows["images"].max()
    label = value_label or value.replace("_", " ")
    other = compare_label or (compare or "").replace("_", " ")
    figure, (axes,) = _new(1, 1, 10, 5.8 if few else 5.2)
    places = np.arange(len(rows))
    mean = float(rows[value].mean())
    axes.axhline(mean, color=GREY, linestyle="--", linewidth=1.6)
    if compare:
        axes.vlines(places, rows[[value, compare]].min(axis=1), rows[[value, compare]].max(axis=1),
                    color="#BBBBBB", linewidth=1.5, zorder=1)  # fmt: skip
        axes.scatter(places, rows[compare], s=42, marker="D", facecolors="white",
                     edgecolors=BLACK, linewidths=1.4, zorder=3)  # fmt: skip
    chance = value == "accuracy" and {"low", "high"} <= set(rows)
    if chance:
        axes.vlines(places, rows["low"], rows["high"], color="#AAAAAA", linewidth=1.5, zorder=1)
    for chosen, colour, marker in ((both, BLUE, "o"), (~both, ORANGE, "^")):
        axes.scatter(places[chosen], rows.loc[chosen, value], s=area[chosen], color=colour,
                     marker=marker, edgecolors="white", linewidths=0.8, zorder=2)  # fmt: skip
    axes.set_ylabel(f"{label} (0–1)")
    side = 0.5 + 0.012 * len(rows)
    axes.set_xlim(-side, len(rows) - 1 + side)
    axes.grid(axis="y")
    if few:
        axes.set_xticks(places, _short_names(rows["patient"]), rotation=90, fontsize=11)
        axes.set_xlabel(f"patient, sorted by {label} (size: number of images)")
    else:
        axes.set_xticks([])
        axes.set_xlabel(f"{len(rows):,} patients, sorted by {label} (size: number of images)")
    handles = [Line2D([], [], linestyle="none", marker=marker, color=colour, markersize=9,
                      label=f"{label}, {name}")
               for chosen, colour, marker, name in ((both, BLUE, "o", "both classes"),
                                                    (~both, ORANGE, "^", "one class only"))
               if chosen.any()]  # fmt: skip
    if compare:
        handles.append(Line2D([], [], linestyle="none", marker="D", color=BLACK, markersize=7,
                              markerfacecolor="white", label=other))  # fmt: skip
    handles.append(Line2D([], [], color=GREY, linestyle="--", label="mean over patients"))
    if chance:
        handles.append(Line2D([], [], color="#AAAAAA", linestyle="none", marker="|", markersize=14,
                              markeredgewidth=1.5, label="95 %, by chance of images"))  # fmt: skip
    _legend_below(figure, axes, handles, columns=2)
    alt = (
        f"Dot plot of {label}, one dot a patient, sorted; the dot's size is the number of "
        "images, its shape tells patients with both classes from those with one"
        f"{'; a grey line shows how far chance moves it' if chance else ''}"
        f"{f'; a hollow diamond shows {other}' if compare else ''}. A dashed line is the mean."
    )
    return _finish(figure, title, alt)


@drawn
def intervals(
    estimates: Mapping[str, Estimate],
    title: str = "Each figure with its 95 % interval",
    *,
    label: str = "value",
    unit: str = "patients",
    reference: float | None = None,
    reference_label: str = "",
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Return a dot with its interval for each named figure, the numbers at the right.

    Args:
        estimates: objects with `value`, `low` and `high`; NaN where there is none.
        title: what to see.
        label: what is measured, such as `accuracy`; the axis says it, and over what the
            interval is.
        unit: over what: `patients`, `volumes`, …
        reference: a vertical line, such as the share of the majority class, or 0 for a
            difference.
        reference_label: what the line is.
        limits: the ends of the axis; from the figures themselves when None.

    Raises:
        ValueError: no figure, or an interval that ends below its beginning.
    """
    _check_estimates("intervals", estimates)
    figure, (axes,) = _new(1, 1, 10, 2.0 + 0.58 * len(estimates))
    _forest(axes, estimates, sign=False)
    axes.set_xlabel(f"{label}, with its 95 % interval over {unit}")
    _reference(axes, reference, reference_label)
    if limits:
        axes.set_xlim(*limits)
    marks = reference_label or "a reference value"
    line = f" A dashed line marks {marks}." if reference is not None else ""
    alt = (
        "Dots with 95 % intervals, one row each, the numbers at the right: "
        f"{_and(estimates)}.{line}"
    )
    return _finish(figure, title, alt)


@drawn
def grouped_intervals(
    groups: Mapping[str, Mapping[str, Estimate]],
    title: str = "Each figure with its 95 % interval, by group",
    *,
    label: str = "value",
    unit: str = "patients",
    reference: float | None = None,
    reference_label: str = "",
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Return dots with intervals in groups of rows: recall per class and model, for instance.

    Args:
        groups: for each group (a class, a magnification) figures by name (a model each); the
            same name has the same colour and mark in every group, and may be missing in one.
        title: what to see.
        label: what is measured: see `intervals`.
        unit: over what the intervals are.
        reference: a vertical line.
        reference_label: what the line is.
        limits: the ends of the axis.

    Raises:
        ValueError: no group, a group without a figure, or an interval that ends below its
            beginning.
    """
    if not groups:
        raise ValueError("grouped_intervals: give at least one group as name: {name: Estimate}.")
    for own in groups.values():
        _check_estimates("grouped_intervals", own)
    names = list(dict.fromkeys(name for own in groups.values() for name in own))
    rows, centres, row = [], [], 0.0
    for own in groups.values():
        first = row
        for name in names:
            if name in own:
                rows.append((row, names.index(name), own[name]))
                row += 1
        centres.append((first + row - 1) / 2)
        row += 0.6
    figure, (axes,) = _new(1, 1, 10, 2.2 + 0.38 * row)
    texts = []
    for place, number, estimate in rows:
        value, low, high = (float(v) for v in (estimate.value, estimate.low, estimate.high))
        texts.append(_estimate_text(value, low, high, sign=False))
        if math.isfinite(low) and math.isfinite(high):
            axes.plot([low, high], [place, place], color=_colour(number), linewidth=3,
                      solid_capstyle="butt", zorder=2)  # fmt: skip
        if math.isfinite(value):
            axes.plot(value, place, marker=_marker(number), markersize=10, color=_colour(number),
                      markeredgecolor="white", zorder=3)  # fmt: skip
    for before, after in pairwise(centres):
        axes.axhline((before + after) / 2, color="#DDDDDD", linewidth=1)
    axes.set_yticks(centres, [_wrap(name, 2.6, 13) for name in groups])
    axes.set_ylim(row - 0.6 - 0.3, -0.7)
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.06)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(f"{label}, with its 95 % interval over {unit}")
    _right_labels(axes, [place for place, _, _ in rows], texts)
    _reference(axes, reference, reference_label)
    if limits:
        axes.set_xlim(*limits)
    if len(names) > 1:
        handles = [Line2D([], [], color=_colour(k), marker=_marker(k), linewidth=3, markersize=9,
                          markeredgecolor="white", label=_wrap(name, 3, 12))
                   for k, name in enumerate(names)]  # fmt: skip
        _legend_below(figure, axes, handles)
    marks = reference_label or "a reference value"
    line = f" A dashed line marks {marks}." if reference is not None else ""
    alt = (
        f"Dots with 95 % intervals of {label}, in groups of rows ({_and(groups)}), a mark for "
        f"each of {_and(names)}; the numbers at the right.{line}"
    )
    return _finish(figure, title, alt)


@drawn
def difference(
    estimates: Mapping[str, Estimate],
    differences: Mapping[str, Estimate],
    *,
    label: str = "accuracy",
    title: str = "The wrong split beside the right one, and the difference",
) -> Figure:
    """Return figures with intervals and, in a panel of its own below, their difference and zero.

    Two intervals that overlap do not say whether two figures differ; the interval of their
    difference does.

    Args:
        estimates: the figures that are compared, by name (see `intervals`).
        differences: usually one: the first minus the second, by name.
        label: what is compared.
        title: what to see.

    Raises:
        ValueError: nothing to draw, or an interval that ends below its beginning.
    """
    _check_estimates("difference", estimates)
    _check_estimates("difference", differences)
    ratios = (len(estimates) + 0.4, len(differences) + 0.4)
    height = 2.9 + 0.58 * (len(estimates) + len(differences))
    figure, (above, below) = _new(2, 1, 10, height, height_ratios=ratios)
    _forest(above, estimates, sign=False)
    _forest(below, differences, sign=True, first=2)
    below.axvline(0, color=GREY, linestyle="--", linewidth=1.8, zorder=1)
    above.set_xlabel(f"{label}, with its 95 % interval over patients")
    below.set_xlabel(f"difference in {label} (dashed: none)")
    alt = (
        f"Above, dots with 95 % intervals of {label}: {_and(estimates)}. Below, the same for "
        f"{_and(differences)}, with a dashed line at no difference."
    )
    return _finish(figure, title, alt)


def _rates(table: Array, names: Sequence[str]) -> str:
    """Return sensitivity and precision as the names of the four cells have them."""
    count = dict(zip(names, (float(value) for value in table.flat), strict=True))
    found = count["true positive"]
    with np.errstate(invalid="ignore", divide="ignore"):
        sensitivity = np.float64(found) / (found + count["false negative"])
        precision = np.float64(found) / (found + count["false positive"])
    told = [f"{value:.3f}" if np.isfinite(value) else "–" for value in (sensitivity, precision)]
    return f"sensitivity by these names: {told[0]}\nprecision by these names: {told[1]}"


def _matrix(
    axes: Axes,
    table: Array,
    share: Array | None,
    classes: Sequence[str],
    positive: str | None,
    names: Sequence[str] | None,
    right: Sequence[str] | None,
    size: int,
) -> None:
    """Draw a confusion matrix; where `right` is given, `names` that differ from it are crossed.

    Without `share` only counts are written, and colours are theirs.
    """
    wrong = [right is not None and names is not None and names[k] != right[k]
             for k in range(table.size)]  # fmt: skip
    texts = []
    for k, count in enumerate(table.flat):
        called = [] if names is None else [f"✗ {names[k]}" if wrong[k] else names[k]]
        corrected = [f"(is {right[k]})"] if wrong[k] and right is not None else []
        percent = [] if share is None else [_percent(share.flat[k])]
        texts.append("\n".join([*called, *corrected, f"{int(count):,}", *percent]))
    sns.heatmap(
        table if share is None else np.nan_to_num(share), vmin=0,
        vmax=max(1, table.max()) if share is None else 1,
        cmap=sns.light_palette(BLUE, as_cmap=True),
        annot=np.array(texts, dtype=object).reshape(table.shape), fmt="", cbar=False, ax=axes,
        square=False, linewidths=2, linecolor="white", annot_kws={"fontsize": size},
    )  # fmt: skip
    for k in range(table.size):
        if not wrong[k]:
            continue
        row, column = divmod(k, len(classes))
        axes.add_patch(Rectangle((column + 0.03, row + 0.03), 0.94, 0.94, fill=False,
                                 edgecolor=VERMILION, linestyle="--", linewidth=3))  # fmt: skip
    marked = [name + ("\n(positive)" if name == positive else "") for name in classes]
    inches = max(6.0 / len(classes), 1.2)
    longest = max(len(word) for name in classes for word in name.split())
    if longest * 12 * 0.57 <= inches * 72:
        axes.set_xticklabels([_wrap(name, inches, 12) for name in marked], rotation=0)
    else:
        axes.set_xticklabels([_wrap(name, 2.0, 12) for name in marked], rotation=25, ha="right",
                             rotation_mode="anchor")  # fmt: skip
    axes.set_yticklabels([_wrap(name, 2.0, 12) for name in marked], rotation=0, va="center")
    axes.tick_params(length=0)
    axes.set(
        xlabel="predicted class",
        ylabel="true class" if share is None else "true class (each row: 100 %)",
    )


def _read_cell_names(
    given: Sequence[str] | None, right: Sequence[str] | None
) -> tuple[str, ...] | None:
    """Return four cell names in full, whatever way they were given."""
    if given is None:
        return None
    if right is None:
        raise ValueError("confusion(cell_names=…) needs positive=…: which class is positive?")
    names = tuple(ABBREVIATIONS.get(name.upper(), name.lower()) for name in given)
    if sorted(names) != sorted(ABBREVIATIONS.values()):
        raise ValueError(
            f"confusion: cell_names={list(given)} must be TN, FP, FN and TP, each once, in "
            "reading order."
        )
    return names


def _forest(axes: Axes, estimates: Mapping[str, Estimate], *, sign: bool, first: int = 0) -> None:
    """Draw dots with intervals, names at the left, numbers at the right."""
    texts = []
    for row, estimate in enumerate(estimates.values()):
        value, low, high = (float(v) for v in (estimate.value, estimate.low, estimate.high))
        texts.append(_estimate_text(value, low, high, sign=sign))
        if math.isfinite(low) and math.isfinite(high):
            axes.plot([low, high], [row, row], color=_forest_colour(first), linewidth=3,
                      solid_capstyle="butt", zorder=2)  # fmt: skip
            axes.plot([low, high], [row, row], linestyle="none", marker="|", markersize=12,
                      markeredgewidth=2.5, color=_forest_colour(first), zorder=2)  # fmt: skip
        if math.isfinite(value):
            axes.plot(value, row, marker="D" if first else "o", markersize=10, zorder=3,
                      color=_forest_colour(first), markeredgecolor="white")  # fmt: skip
    axes.set_yticks(np.arange(len(estimates)), [_wrap(name, 3.2, 13) for name in estimates])
    axes.set_ylim(len(estimates) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.06)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    _right_labels(axes, np.arange(len(estimates)), texts)


def _reference(axes: Axes, reference: float | None, label: str) -> None:
    """Draw a dashed vertical line and write above it what it is."""
    if reference is None:
        return
    axes.axvline(reference, color=GREY, linestyle="--", linewidth=1.8, zorder=1)
    if label:
        axes.annotate(label, (reference, 1.0), (0, 3), ha="center", va="bottom",
                      xycoords=("data", "axes fraction"), textcoords="offset points",
                      fontsize=12, color="#505050")  # fmt: skip


def _line(number: int) -> dict[str, Any]:
    """Return colour and line style of curve `number`."""
    return {"color": _colour(number), "linestyle": LINES[number % len(LINES)]}


def _forest_colour(first: int) -> str:
    """Return the colour of figures (0) or of differences (2)."""
    return BLACK if first == 0 else VERMILION


def _estimate_text(value: float, low: float, high: float, *, sign: bool) -> str:
    """Return "0.923 (0.901–0.944)", as `helpers.metrics.Estimate` prints itself."""
    if not math.isfinite(value):
        return "not computable"
    if sign:
        text, joint, form = f"{value:+.3f}", " to ", "+.3f"
    else:
        text, joint, form = f"{value:.3f}", "–", ".3f"
    if not (math.isfinite(low) and math.isfinite(high)):
        return text.replace("-", "−")
    return f"{text} ({low:{form}}{joint}{high:{form}})".replace("-", "−")


def _check_estimates(where: str, estimates: Mapping[str, Estimate]) -> None:
    """Refuse no figures at all, and intervals that end before they begin."""
    if not estimates:
        raise ValueError(f"{where}: give at least one figure as name: Estimate.")
    for name, estimate in estimates.items():
        if estimate.low > estimate.high:
            raise ValueError(f"{where}: the interval of {name!r} ends below its beginning.")
