"""Every figure of the series: drawn from arrays and tables, readable, described in words.

Each function returns a closed `Figure`, 800 pixels wide or less at 80 dots an inch, whose
label (`figure.get_label()`) is its alternative text. That text says what is drawn and
never holds a trained number, because those differ from machine to machine. Colour never
carries a meaning alone: a marker, a line style, a hatch or a word goes with it. The
colours are those of Okabe and Ito (2008, "Color Universal Design"), which people with any
kind of colour vision can tell apart.

`show` puts a figure into the notebook and, if asked, into a file.
"""

from __future__ import annotations

import base64
import io
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, Protocol

import IPython.display
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image, PngImagePlugin
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix, roc_curve

from helpers.paths import atomic_file

Array = npt.NDArray[Any]
Curves = Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]]
Parameters = ParamSpec("Parameters")

DOTS_PER_INCH = 80
LARGE_PNG = 25_000  # bytes; a larger picture is stored with 256 colours of its own

BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, GREY, BLACK = "#E69F00", "#56B4E9", "#6E6E6E", "#222222"

# Class k of every dataset has colour, marker, hatch and line style k; in a binary task
# the positive class is usually class 1, so what is ill is vermilion.
CLASS_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, GREY, BLACK)
MARKERS = ("o", "^", "s", "D", "v", "P", "X", "*")
HATCHES = ("", "///", "...", "xx", "\\\\\\", "++", "oo", "--")
LINES: tuple[Any, ...] = (
    "-", (0, (5, 1.5)), (0, (4, 1.5, 1, 1.5)), (0, (1, 1.2)),
    (0, (8, 2)), (0, (6, 1, 1, 1, 1, 1)), (0, (2, 2)), (0, (1, 3)),
)  # fmt: skip
# What a colour means where it does not mean a class.
PART_COLOURS = {"train": GREY, "valid": ORANGE, "test": SKY}
PART_NAMES = {"train": "training", "valid": "validation", "test": "test"}
KIND_COLOURS = {
    "true negative": BLUE,
    "false positive": ORANGE,
    "false negative": PURPLE,
    "true positive": VERMILION,
}
ABBREVIATIONS = {
    "TN": "true negative",
    "FP": "false positive",
    "FN": "false negative",
    "TP": "true positive",
}

_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 13,
    "axes.titlesize": 13,
    "axes.labelsize": 13,
    "xtick.labelsize": 12,
    "ytick.labelsize": 12,
    "legend.fontsize": 12,
    "legend.frameon": False,
    "figure.titlesize": 15,
    "figure.titleweight": "bold",
    "figure.dpi": DOTS_PER_INCH,
    "savefig.dpi": DOTS_PER_INCH,
    "figure.facecolor": "white",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "lines.linewidth": 2.2,
    "hatch.linewidth": 0.8,
    "hatch.color": "white",
    "patch.force_edgecolor": False,
}


class Estimate(Protocol):
    """A figure with its interval, as `helpers.metrics.Estimate` has it."""

    @property
    def value(self) -> float:
        """The figure itself."""

    @property
    def low(self) -> float:
        """The lower end of its interval."""

    @property
    def high(self) -> float:
        """The upper end of its interval."""


def show(figure: Figure, save_as: str | Path | None = None) -> None:
    """Display a figure as one notebook output that carries its alternative text; save it if asked.

    Args:
        figure: what a function of this module returned.
        save_as: a PNG file to write as well. It is written whole or not at all, and
            holds the alternative text under the keyword `Description`.

    Raises:
        ValueError: the figure has no alternative text, or `save_as` does not end in `.png`.
    """
    text = str(figure.get_label() or "").strip()
    if not text:
        raise ValueError(
            "This figure has no alternative text, so a reader who cannot see it learns nothing. "
            "Say what it shows: figure.set_label('…')."
        )
    if save_as is not None and Path(save_as).suffix.lower() != ".png":
        raise ValueError(f"{save_as}: figures are saved as PNG; give a name that ends in .png.")
    picture = _png(figure, text)
    if save_as is not None:
        with atomic_file(save_as) as temporary:
            temporary.write_bytes(picture)
    IPython.display.display(  # type: ignore[no-untyped-call]
        {"image/png": base64.b64encode(picture).decode("ascii"), "text/plain": text},
        metadata={"image/png": {"alt": text}},
        raw=True,
    )


def drawn(
    function: Callable[Parameters, Figure],
) -> Callable[Parameters, Figure]:
    """Return the function with our style around it and its figure closed and described.

    Closed, because an open figure would be shown a second time by a notebook. A reader's
    own matplotlib settings are left alone, and nothing stays open after an error.
    """

    @wraps(function)
    def draw(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Figure:
        before = set(plt.get_fignums())
        with plt.style.context(["default", _STYLE]):
            try:
                figure = function(*args, **kwargs)
                # Ticks are made when first drawn, with the sizes that hold at that moment.
                figure.draw_without_rendering()
            finally:
                for number in set(plt.get_fignums()) - before:
                    plt.close(number)
        return figure

    return draw


# ------------------------------------------------------------------ Look: the data


@drawn
def examples(
    images: Sequence[Array],
    titles: Sequence[str] | None = None,
    *,
    labels: npt.ArrayLike | None = None,
    classes: Sequence[str] | None = None,
    columns: int = 4,
    title: str = "Some of the images",
) -> Figure:
    """Return a grid of images without axes, each under its own title.

    Args:
        images: arrays (height, width, 3) or (height, width), uint8 or 0–255; floats up
            to 1 are taken as 0–1. Sizes may differ.
        titles: one text an image.
        labels: class number of each image; draws a frame in the colour of the class.
        classes: class names in label order; needed with `labels`, explains the frames.
        columns: images side by side.
        title: what to see.

    Raises:
        ValueError: no images, an array that is no image, or lists of different lengths.
    """
    kinds: list[str] | None = None
    if labels is not None:
        if classes is None:
            raise ValueError("examples(labels=…) needs classes=…: the class names in label order.")
        numbers = _labels(labels, classes, "labels")
        kinds = [classes[number] for number in numbers]
    described = f", framed by class: {_and(classes)}" if kinds and classes else ""
    styles = {name: (_colour(k), LINES[k % len(LINES)]) for k, name in enumerate(classes or ())}
    alt = f"A grid of {len(images)} images{described}."
    return _grid(images, titles, kinds, styles, columns, title, alt)


@drawn
def samples_per_class(
    images: Mapping[str, Sequence[Array]],
    *,
    title: str = "Examples of each class, one class a row",
) -> Figure:
    """Return rows of images, one row a class, the class name at its left.

    Args:
        images: for each class name some images (see `examples`); rows may differ in length.
        title: what to see.

    Raises:
        ValueError: no class, a class without images, or an array that is no image.
    """
    alt = f"Rows of example images, one row a class: {_and(images)}."
    return _rows(images, title, alt, "class")


@drawn
def patient_sheet(
    images: Mapping[str, Sequence[Array]],
    *,
    title: str = "Each row is one patient: stain and light differ between patients",
) -> Figure:
    """Return rows of images, one row a patient, so that differences between patients show.

    Args:
        images: for each patient some images (see `examples`), best of the same class.
        title: what to see.

    Raises:
        ValueError: no patient, a patient without images, or an array that is no image.
    """
    alt = (
        f"Rows of images, one row for each of {len(images)} patients: within a row the "
        "images share stain and light, between rows these differ."
    )
    return _rows(images, title, alt, "patient")


@drawn
def class_counts(index: pd.DataFrame, *, title: str = "How many images each class has") -> Figure:
    """Return bars with the number of images of each class, in each part of the split if it has one.

    Args:
        index: data frame with columns `label`, `class_name` and, if wanted, `split`
            (`train`, `valid`, `test`) and `patient`, which is then counted as well.
        title: what to see.

    Raises:
        ValueError: a column is missing or the table is empty.
    """
    _columns(index, ("label", "class_name"), "class_counts")
    classes = _classes_of(index)
    split = index["split"] if "split" in index else pd.Series("", index=index.index)
    parts = _parts_of(split)
    figure, (axes,) = _new(1, 1, 10, 4.6)
    width = min(0.82 / len(classes), 0.3)
    highest = 1
    for k, name in enumerate(classes):
        counts = [int(((split == part) & (index["class_name"] == name)).sum()) for part in parts]
        highest = max(highest, *counts)
        places = np.arange(len(parts)) + (k - (len(classes) - 1) / 2) * width
        bars = axes.bar(places, counts, width * 0.94, label=_wrap(name, 3.0, 12),
                        color=_colour(k), hatch=_hatch(k))  # fmt: skip
        axes.bar_label(bars, [f"{count:,}" for count in counts], padding=2, fontsize=12)
    names = [_part_name(part) or "all images" for part in parts]
    if "patient" in index:
        patients = [int(index.loc[split == part, "patient"].nunique()) for part in parts]
        names = [f"{name}\n({count:,} patients)"
                 for name, count in zip(names, patients, strict=True)]  # fmt: skip
    axes.set_xticks(np.arange(len(parts)), names)
    axes.set_ylim(0, highest * 1.12)
    axes.set_xlim(-0.55, len(parts) - 0.45)
    axes.set_ylabel("images")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y")
    _legend_below(figure, axes)
    where = f" in the {_and(_part_name(part) for part in parts)} part" if parts != [""] else ""
    alt = f"Bar chart of the number of images of each class ({_and(classes)}){where}."
    return _finish(figure, title, alt)


@drawn
def image_sizes(
    index: pd.DataFrame, *, title: str = "Width and height of the images, by class"
) -> Figure:
    """Return widths against heights, a dot for each size, and how either spreads in each class.

    A network must not learn a class from the size of its files: here one sees whether
    it could.

    Args:
        index: data frame with columns `label`, `class_name`, `width`, `height` (pixels).
        title: what to see.

    Raises:
        ValueError: a column is missing or the table is empty.
    """
    _columns(index, ("label", "class_name", "width", "height"), "image_sizes")
    classes = _classes_of(index)
    figure, (scatter, widths, heights) = _new(1, 3, 10, 4.6)
    sizes = index.groupby(["class_name", "width", "height"]).size().reset_index(name="images")
    for k, name in enumerate(classes):
        own = sizes[sizes["class_name"] == name]
        area = 14 + 500 * own["images"] / own["images"].sum()
        faint = 0.75 if len(own) < 300 else 0.3
        scatter.scatter(own["width"], own["height"], s=area, marker=_marker(k), alpha=faint,
                        facecolors="none", edgecolors=_colour(k), linewidths=1.3)  # fmt: skip
    scatter.set(xlabel="width (pixels)", ylabel="height (pixels)")
    scatter.set_title("a mark: one size", loc="left")
    for axes, side in ((widths, "width"), (heights, "height")):
        values = index[side].to_numpy(float)
        low, high = float(values.min()), float(values.max())
        edges = np.linspace(low, high if high > low else low + 1, 26).tolist()
        for k, name in enumerate(classes):
            own_values = values[(index["class_name"] == name).to_numpy()]
            share = np.full(len(own_values), 100 / max(len(own_values), 1))
            axes.hist(own_values, edges, weights=share, histtype="step", linewidth=2,
                      color=_colour(k), linestyle=LINES[k % len(LINES)])  # fmt: skip
        axes.set(xlabel=f"{side} (pixels)", ylabel="images of the class (%)")
        axes.set_title(f"{side}s", loc="left")
    for axes in (scatter, widths, heights):
        axes.grid()
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    scatter.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    scatter.margins(0.12)
    handles = [Line2D([], [], color=_colour(k), linestyle=LINES[k % len(LINES)], marker=_marker(k),
                      markerfacecolor="none", label=_wrap(name, 3.0, 12))
               for k, name in enumerate(classes)]  # fmt: skip
    _legend_below(figure, scatter, handles)
    alt = (
        f"Three panels on the image sizes of the classes {_and(classes)}: widths against "
        "heights, then a histogram of the widths and one of the heights, in pixels."
    )
    return _finish(figure, title, alt)


# ------------------------------------------------------------------ Split and prepare


@drawn
def split_overlap(
    overlaps: Mapping[str, tuple[int, int]],
    *,
    unit: str = "test patients",
    title: str = "How many test patients the model has already met",
) -> Figure:
    """Return one bar a split: all its test patients, and those that are in another part too.

    Args:
        overlaps: for each split (its name) the pair (test patients that are also in training
            or validation, test patients), as `splits.check_leaks(…).test_overlap` is.
        unit: what is counted.
        title: what to see.

    Raises:
        ValueError: no split, or a pair that cannot be: negative, or more shared than there are.
    """
    if not overlaps:
        raise ValueError("split_overlap: give at least one split as name: (shared, all).")
    for name, (shared, total) in overlaps.items():
        if not 0 <= shared <= total or total < 1:
            raise ValueError(
                f"split_overlap: {name!r} has {shared} shared of {total} {unit}; "
                "give (shared, all) with 0 ≤ shared ≤ all and at least one in all."
            )
    figure, (axes,) = _new(1, 1, 10, 2.2 + 0.75 * len(overlaps))
    places = np.arange(len(overlaps))
    shared_counts = [pair[0] for pair in overlaps.values()]
    totals = [pair[1] for pair in overlaps.values()]
    clean = [total - shared for shared, total in overlaps.values()]
    axes.barh(
        places,
        shared_counts,
        0.6,
        color=VERMILION,
        hatch="///",
        label="also in training or validation",
    )
    axes.barh(places, clean, 0.6, left=shared_counts, color="#D9D9D9", label="new")
    axes.set_yticks(places, [_wrap(name, 2.6, 13) for name in overlaps])
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    axes.set_xlim(0, max(totals) * 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    pairs = zip(shared_counts, totals, strict=True)
    _right_labels(axes, places, [f"{shared} of {total} ({_percent(shared / total)})"
                                 for shared, total in pairs])  # fmt: skip
    _legend_below(figure, axes)
    alt = (
        f"Horizontal bars, one for each split ({_and(overlaps)}): the number of {unit}, "
        "and how many of them also have images in training or validation."
    )
    return _finish(figure, title, alt)


@drawn
def augmentations(
    original: Array,
    augmented: Sequence[Array],
    *,
    columns: int = 4,
    title: str = "One image and what augmentation makes of it",
) -> Figure:
    """Return an image followed by augmented versions of it.

    Args:
        original: (height, width, 3), uint8 or 0–255.
        augmented: images of the same kind.
        columns: images side by side.
        title: what to see.

    Raises:
        ValueError: no augmented image, or an array that is no image.
    """
    if not len(augmented):
        raise ValueError("augmentations: give at least one augmented image.")
    titles = ["original"] + [f"augmented {number + 1}" for number in range(len(augmented))]
    alt = f"One image and {len(augmented)} augmented versions of it, in a grid."
    figure = _grid([original, *augmented], titles, None, {}, columns, title, alt)
    figure.axes[0].set_title("original", fontsize=12, fontweight="bold")
    return figure


# ------------------------------------------------------------------ Train


@drawn
def history(
    histories: Mapping[str, Sequence[float]] | pd.DataFrame,
    *,
    together: bool = False,
    best: str | None = "val_loss",
    title: str | None = None,
) -> Figure:
    """Return loss and accuracy after each epoch, for training and for validation.

    Args:
        histories: Keras's `History.history` or a data frame with one row an epoch:
            `loss`, `val_loss`, a key that ends in `accuracy` and the same with `val_`.
            What is missing is not drawn.
        together: all four curves on one pair of axes, as some sources draw them.
        best: marks the epoch where this key is best (least for a loss, greatest for
            anything else); None marks none.
        title: what to see.

    Raises:
        ValueError: no epoch, no curve, or curves of different lengths.
    """
    table = _history_table(histories)
    accuracy = next((str(key) for key in table if str(key).endswith("accuracy")
                     and not str(key).startswith("val_")), "accuracy")  # fmt: skip
    quantities = [(key, word) for key, word in (("loss", "loss"), (accuracy, "accuracy"))
                  if key in table or f"val_{key}" in table]  # fmt: skip
    if not quantities:
        raise ValueError(
            f"history: no 'loss' and no '…accuracy' among {', '.join(map(str, table))}; "
            "pass the dictionary that model.fit(…).history holds."
        )
    marked = _best_epoch(table, best)
    figure, panels = _new(1, 1 if together else len(quantities), 10, 4.8)
    epochs = np.arange(1, len(table) + 1)
    many = len(table) > 40  # markers would merge into a band
    for number, (key, word) in enumerate(quantities):
        axes = panels[0] if together else panels[number]
        for part, name in (("train", key), ("valid", f"val_{key}")):
            if name not in table:
                continue
            label = PART_NAMES[part] + (f" {word}" if together else "")
            marker = None if many else (("o", "s")[number] if together else "o")
            axes.plot(epochs, table[name], label=label, marker=marker, markersize=6,
                      color=_curve_colour(part), linestyle="-" if part == "train" else "--",
                      markerfacecolor="white" if together and number else _curve_colour(part),
                      linewidth=3.2 if together and number else 2.2)  # fmt: skip
        unit = "loss (cross-entropy)" if word == "loss" else "accuracy (share right)"
        axes.set_ylabel("loss, and accuracy (share)" if together else unit)
    for axes in panels:
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        axes.grid()
        if marked is not None:
            axes.axvline(marked, color=BLACK, linestyle=":", linewidth=2,
                         label=f"best epoch: {marked}")  # fmt: skip
    _legend_below(figure, panels[0], columns=3 if together else None)
    drawn_words = _and(word for _, word in quantities)
    default = f"{drawn_words.capitalize()} after each epoch: do training and validation part ways?"
    alt = (
        f"Line chart of {drawn_words} after each epoch, training as solid and validation as "
        f"dashed lines{', all on one pair of axes' if together else ''}"
        f"{'; a dotted line marks the best epoch' if marked is not None else ''}."
    )
    return _finish(figure, title or default, alt)


# ------------------------------------------------------------------ Evaluate


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


@drawn
def confusion(
    truth: npt.ArrayLike,
    predicted: npt.ArrayLike,
    classes: Sequence[str],
    *,
    positive: str | None = None,
    order: Sequence[str] | None = None,
    cell_names: Sequence[str] | None = None,
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
    height = 5.2 if not many else min(1.9 + 0.95 * len(classes), 9.0)
    figure, panels = _new(1, 2 if theirs else 1, 10 if theirs or many else 8, height)
    _matrix(panels[0], table, share, shown, positive, right, None, size)
    if theirs and right:
        _matrix(panels[1], table, share, shown, positive, theirs, right, size)
        panels[0].set_title("names by the positive class", loc="left")
        panels[1].set_title("names as the source has them", loc="left")
        panels[1].set(ylabel="", yticklabels=[])
    bar = figure.colorbar(panels[-1].collections[0], ax=list(panels), shrink=0.8, pad=0.02)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f}"))
    bar.set_label(f"share of the true class's {unit} (%)")
    bar.outline.set_visible(False)
    default = f"What became of the {unit} of each true class"
    alt = (
        f"Confusion matrix, rows true class, columns predicted class, of {_and(shown)}"
        f"{f', with {positive} as the positive class' if positive else ''}; each cell shows "
        f"{'its name, ' if positive else ''}its count and its percentage of the true class."
    )
    if theirs:
        alt += " Beside it the same with the source's cell names; the wrong ones are crossed."
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
            that are higher for the positive class.
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
                  linestyle=LINES[number % len(LINES)])  # fmt: skip
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
def calibration(
    curves: Curves,
    *,
    bins: int = 10,
    title: str = "Can the score be read as a probability? On the diagonal it can",
) -> Figure:
    """Return how often the positive class is true at each score, above a histogram of the scores.

    Args:
        curves: for each name the pair (truth, scores): (n,) of 0 and 1, and (n,) of 0–1.
        bins: the scores are put into so many bins of equal width.
        title: what to see.

    Raises:
        ValueError: no curve, different lengths, or scores outside 0–1.
    """
    if not curves:
        raise ValueError("calibration: give at least one curve as name: (truth, scores).")
    if bins < 2:
        raise ValueError(f"calibration(bins={bins}): two bins or more make a curve.")
    figure, (axes, below) = _new(2, 1, 10, 6.4, sharex=True, height_ratios=(3, 1.1))
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=(0, (1, 2)), linewidth=1.8,
              label="perfectly calibrated")  # fmt: skip
    edges = np.linspace(0, 1, bins + 1).tolist()
    for number, (name, pair) in enumerate(curves.items()):
        truth, scores = _truth_and_scores("calibration", name, *pair, probabilities=True)
        observed, mean_score = calibration_curve(truth, scores, n_bins=bins)
        style = {"color": _colour(number), "linestyle": LINES[number % len(LINES)]}
        axes.plot(mean_score, observed, marker=_marker(number), markersize=8, clip_on=False,
                  label=_wrap(name, 2.6, 12), **style)  # fmt: skip
        below.hist(scores, edges, histtype="step", linewidth=2, **style)
    axes.set(ylim=(-0.02, 1.02), xlim=(-0.02, 1.02), ylabel="share truly positive (0–1)")
    below.set(xlabel="score of the positive class (0–1)", ylabel="images")
    axes.grid()
    below.grid()
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", labelspacing=0.9)
    alt = (
        f"Calibration of {_and(curves)}: share truly positive against the mean score of each "
        "bin, with the diagonal of perfect calibration; below, a histogram of the scores."
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
            they first occur.
        classes: the names of class 0 and class 1.
        threshold: from this score on an image is called positive.
        positive: name of the class that `truth == 1` means; the second of `classes` if None.
        title: what to see.

    Raises:
        ValueError: different lengths, not two classes, more than 40 groups, or scores
            outside 0–1.
    """
    names, positive = _two_classes("score_strips", classes, positive)
    true, score = _truth_and_scores("score_strips", "scores", truth, scores, probabilities=True)
    rows = np.asarray(groups).astype(str)
    _same_length("score_strips", truth=true, groups=rows)
    order = list(dict.fromkeys(rows.tolist()))
    if len(order) > 40:
        raise ValueError(
            f"score_strips: {len(order)} rows cannot be read; pass the images of 40 groups at most."
        )
    table = pd.DataFrame({"score": score, "row": rows, "class": np.array(names)[true]})
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
            and the column `value`.
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
    for chosen, colour, marker in ((both, BLUE, "o"), (~both, ORANGE, "^")):
        axes.scatter(places[chosen], rows.loc[chosen, value], s=area[chosen], color=colour,
                     marker=marker, edgecolors="white", linewidths=0.8, zorder=2)  # fmt: skip
    axes.set_ylabel(f"{label} (0–1)")
    side = 0.5 + 0.012 * len(rows)
    axes.set_xlim(-side, len(rows) - 1 + side)
    axes.grid(axis="y")
    if few:
        axes.set_xticks(places, [_shorten(str(name), 16) for name in rows["patient"]],
                        rotation=90, fontsize=11)  # fmt: skip
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
    _legend_below(figure, axes, handles, columns=2)
    alt = (
        f"Dot plot of {label}, one dot a patient, sorted; the dot's size is the number of "
        "images, its shape tells patients with both classes from those with one"
        f"{f'; a hollow diamond shows {other}' if compare else ''}. A dashed line is the mean."
    )
    return _finish(figure, title, alt)


@drawn
def intervals(
    estimates: Mapping[str, Estimate],
    title: str = "Each figure with its 95 % interval",
    *,
    label: str = "value, with its 95 % interval over patients",
    reference: float | None = None,
    reference_label: str = "",
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Return a dot with its interval for each named figure, the numbers at the right.

    Args:
        estimates: objects with `value`, `low` and `high`; NaN where there is none.
        title: what to see.
        label: what the axis says.
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
    axes.set_xlabel(label)
    if reference is not None:
        axes.axvline(reference, color=GREY, linestyle="--", linewidth=1.8, zorder=1)
        if reference_label:
            axes.annotate(reference_label, (reference, 1.0), (0, 3), ha="center", va="bottom",
                          xycoords=("data", "axes fraction"), textcoords="offset points",
                          fontsize=12, color="#505050")  # fmt: skip
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


# ------------------------------------------------------------------ Look inside, predict


@drawn
def gallery(
    images: Sequence[Array],
    titles: Sequence[str],
    borders: Sequence[str] | None = None,
    *,
    columns: int = 4,
    title: str = "The errors, the most confident first",
) -> Figure:
    """Return a grid of images whose frames tell the kind of error.

    Args:
        images: see `examples`; they stay in the order given.
        titles: one text an image: its score, its patient, …
        borders: the kind of each image: `"false positive"`, `"false negative"` or any other
            word; each kind has its own colour and line style.
        columns: images side by side.
        title: what to see.

    Raises:
        ValueError: no images, an array that is no image, or lists of different lengths. Show
            a sentence instead where there is no error at all.
    """
    kinds = None if borders is None else [ABBREVIATIONS.get(kind, kind) for kind in borders]
    styles: dict[str, tuple[str, Any]] = {
        kind: (colour, LINES[number % 2]) for number, (kind, colour) in
        enumerate(KIND_COLOURS.items())
    }  # fmt: skip
    for number, kind in enumerate(sorted(set(kinds or ()) - set(styles))):
        styles[kind] = (_colour(number), LINES[number % len(LINES)])
    alt = "A grid of images that the model got wrong, the most confident errors first"
    alt += ", each with a frame that tells the kind of error." if kinds else "."
    return _grid(images, titles, kinds, styles, columns, title, alt)


@drawn
def heatmaps(
    images: Sequence[Array],
    maps: Sequence[Array],
    randomised: Sequence[Array] | None = None,
    *,
    titles: Sequence[str] | None = None,
    title: str = "Where the model looks, beside the same with random weights",
) -> Figure:
    """Return rows of image, image with Grad-CAM, and image with that of randomised weights.

    A map that looks the same with random weights shows the image, not what was learnt
    (Adebayo et al. 2018, "Sanity checks for saliency maps").

    Args:
        images: see `examples`.
        maps: one array (height, width) of 0–1 an image, of any size: it is stretched.
        randomised: the same from a model with random weights.
        titles: one text a row.
        title: what to see.

    Raises:
        ValueError: no images, lists of different lengths, or maps that are not 2-D 0–1.
    """
    pictures = _pictures(images, "heatmaps")
    columns: list[tuple[str, Sequence[Array] | None]] = [("image", None), ("Grad-CAM", maps)]
    if randomised is not None:
        columns.append(("Grad-CAM, random weights", randomised))
    for name, own in columns:
        if own is not None and len(own) != len(pictures):
            raise ValueError(
                f"heatmaps: {len(own)} maps ({name}) for {len(pictures)} images; give one each."
            )
    if titles is not None and len(titles) != len(pictures):
        raise ValueError(f"heatmaps: {len(titles)} titles for {len(pictures)} images.")
    tall = float(np.mean([picture.shape[0] / picture.shape[1] for picture in pictures]))
    wide = 8.0 if len(columns) > 2 else 6.6
    cell = (wide - 1.2 - (1.3 if titles else 0)) / len(columns)
    figure, panels = _new(len(pictures), len(columns), wide,
                          1.2 + len(pictures) * (cell * min(tall, 2.0) + 0.08))  # fmt: skip
    grid = np.array(panels, dtype=object).reshape(len(pictures), len(columns))
    drawn_map: Any = None
    for row, picture in enumerate(pictures):
        for column, (name, own) in enumerate(columns):
            axes = grid[row, column]
            _frame(axes, None)
            axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
            if own is not None:
                edge = (-0.5, picture.shape[1] - 0.5, picture.shape[0] - 0.5, -0.5)
                drawn_map = axes.imshow(_heat(own[row], name), extent=edge, cmap="viridis",
                                        vmin=0, vmax=1, alpha=0.55,
                                        interpolation="bilinear")  # fmt: skip
            if row == 0:
                axes.set_title(_wrap(name, cell, 13))
        if titles is not None:
            grid[row, 0].set_ylabel(_wrap(titles[row], 1.5, 12), rotation=0, ha="right",
                                    va="center", fontsize=12)  # fmt: skip
    solid = plt.cm.ScalarMappable(norm=drawn_map.norm, cmap=drawn_map.cmap)
    bar = figure.colorbar(solid, ax=panels, shrink=min(1.0, 3.2 / figure.get_figheight()),
                          pad=0.02, ticks=(0, 0.5, 1))  # fmt: skip
    bar.set_label("influence on the score\n(1 = strongest in this image)")
    bar.outline.set_visible(False)
    alt = (
        f"Rows of images, in columns: {_and(name for name, _ in columns)}; the maps are laid "
        "over the image, from dark blue (no influence on the score) to yellow (strongest)."
    )
    return _finish(figure, title, alt)


@drawn
def prediction(
    image: Array,
    probabilities: npt.ArrayLike,
    classes: Sequence[str],
    *,
    truth: str | None = None,
    top: int | None = None,
    title: str = "What the model says about this image",
) -> Figure:
    """Return an image beside a bar for the probability of each class, the most likely on top.

    Args:
        image: see `examples`.
        probabilities: one a class, 0–1, adding up to 1, (k,).
        classes: class names in the same order.
        truth: the true class where it is known: the name is marked.
        top: only so many of the most likely classes.
        title: what to see.

    Raises:
        ValueError: an array that is no image, or probabilities that are none or too few.
    """
    picture = _pictures([image], "prediction")[0]
    values = np.asarray(probabilities, dtype=float)
    if values.shape != (len(classes),):
        raise ValueError(
            f"prediction: probabilities have the shape {values.shape}; give one for each of the "
            f"{len(classes)} classes, of one image: model.predict(images)[0]."
        )
    if not np.isfinite(values).all() or values.min() < 0 or abs(values.sum() - 1) > 0.01:
        raise ValueError(
            f"prediction: {values.round(3).tolist()} are no probabilities: each must lie in 0–1 "
            "and all add up to 1. A single sigmoid score p becomes [1 − p, p]."
        )
    if truth is not None and truth not in classes:
        raise ValueError(f"prediction: truth={truth!r} is none of the classes {_and(classes)}.")
    order = np.argsort(-values, kind="stable")[:top]
    figure, (left, right) = _new(1, 2, 10, max(4.2, 1.6 + 0.55 * len(order)), width_ratios=(1, 1.5))
    _frame(left, None)
    left.imshow(picture, cmap="gray", vmin=0, vmax=255)
    places = np.arange(len(order))
    bars = right.barh(places, values[order], 0.6)
    for bar, k in zip(bars, order, strict=True):
        bar.set(facecolor=_colour(int(k)), hatch=_hatch(int(k)))
    names = [_wrap(classes[k] + (" (true)" if classes[k] == truth else ""), 2.0, 13)
             for k in order]  # fmt: skip
    right.set_yticks(places, names)
    right.bar_label(bars, [f"{values[k]:.3f}" for k in order], padding=4)
    right.set(xlim=(0, 1.16), xlabel="probability (0–1)", xticks=np.linspace(0, 1, 6))
    right.set_ylim(len(order) - 0.4, -0.6)
    right.tick_params(axis="y", length=0)
    right.grid(axis="x")
    which = f"the {len(order)} most likely classes" if top else f"the classes {_and(classes)}"
    alt = f"An image, and beside it horizontal bars with the probabilities of {which}."
    return _finish(figure, title, alt)


# ------------------------------------------------------------------ private helpers


def _new(
    rows: int,
    columns: int,
    width: float,
    height: float,
    *,
    sharex: bool = False,
    height_ratios: Sequence[float] | None = None,
    width_ratios: Sequence[float] | None = None,
) -> tuple[Figure, list[Axes]]:
    """Return a figure of so many inches with its axes in reading order."""
    figure, axes = plt.subplots(
        rows, columns, figsize=(width, height), squeeze=False, layout="constrained", sharex=sharex,
        height_ratios=height_ratios, width_ratios=width_ratios,
    )  # fmt: skip
    return figure, list(axes.flat)


def _finish(figure: Figure, title: str, alt: str) -> Figure:
    """Return the figure with its title, wrapped to its width, and its alternative text."""
    width = figure.get_figwidth()
    figure.suptitle(_wrap(title, width - 0.2, 15.5), x=0.01, ha="left")
    figure.set_label(alt)
    return figure


def _png(figure: Figure, text: str) -> bytes:
    """Return the figure as PNG with its alternative text inside; many colours are thinned out.

    Photographs make large PNGs, and committed notebooks carry every one of them: above
    `LARGE_PNG` the picture keeps the 256 colours that suit it best.
    """
    buffer = io.BytesIO()
    with plt.style.context(["default", _STYLE]):
        figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH,
                       metadata={"Description": text, "Software": None})  # fmt: skip
    if buffer.tell() <= LARGE_PNG:
        return buffer.getvalue()
    about = PngImagePlugin.PngInfo()
    try:
        text.encode("latin-1")
        about.add_text("Description", text)
    except UnicodeEncodeError:
        about.add_itxt("Description", text)
    smaller = io.BytesIO()
    buffer.seek(0)
    with Image.open(buffer) as picture:
        # The largest error stays small (about 12 of 255): rare colours, such as those of a
        # colour bar, are not sacrificed to frequent ones as by the usual median cut.
        thinned = picture.convert("RGB").quantize(
            256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
        )
        thinned.save(smaller, format="PNG", optimize=True, pnginfo=about)
    return min(smaller.getvalue(), buffer.getvalue(), key=len)


def _grid(
    images: Sequence[Array],
    titles: Sequence[str] | None,
    kinds: Sequence[str] | None,
    styles: Mapping[str, tuple[str, Any]],
    columns: int,
    title: str,
    alt: str,
) -> Figure:
    """Return images in a grid; `kinds` names the frame of each, `styles` how it is drawn."""
    pictures = _pictures(images, "this grid")
    for name, own in (("titles", titles), ("frames", kinds)):
        if own is not None and len(own) != len(pictures):
            raise ValueError(f"{len(own)} {name} for {len(pictures)} images; give one each.")
    if columns < 1:
        raise ValueError(f"columns={columns}: one column or more.")
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    width = max(6.0, min(10.0, 2.5 * columns))
    cell = width / columns - 0.15
    texts = [_wrap(text, cell, 12, break_words=True) for text in titles or ()]
    lines = max((text.count("\n") + 1 for text in texts), default=0)
    tall = min(1.6, max(picture.shape[0] / picture.shape[1] for picture in pictures))
    height = (
        0.75 + rows * (cell * tall + 0.235 * lines + 0.12) + (0.4 + 0.13 * rows if kinds else 0)
    )
    figure, panels = _new(rows, columns, width, height)
    pad = 0.1 if kinds else 0.06
    figure.set_layout_engine("constrained", w_pad=pad, h_pad=pad)
    for axes in panels[len(pictures) :]:
        axes.set_axis_off()
    for number, picture in enumerate(pictures):
        axes = panels[number]
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
        _frame(axes, styles.get(kinds[number]) if kinds else None)
        axes.set_anchor("N")  # images of different heights hang from one line
        if texts:
            axes.set_title(texts[number], fontsize=12, pad=9 if kinds else 6)
    if kinds:
        present = [kind for kind in styles if kind in kinds]
        handles = [Line2D([], [], color=styles[kind][0], linestyle=styles[kind][1], linewidth=4,
                          label=kind) for kind in present]  # fmt: skip
        _legend_below(figure, panels[0], handles)
    return _finish(figure, title, alt)


def _rows(images: Mapping[str, Sequence[Array]], title: str, alt: str, what: str) -> Figure:
    """Return rows of images, each with its name at the left."""
    if not images:
        raise ValueError(f"Nothing to draw: give at least one {what} with its images.")
    rows = {name: _pictures(own, f"the {what} {name!r}") for name, own in images.items()}
    columns = max(len(own) for own in rows.values())
    everything = [picture for own in rows.values() for picture in own]
    tall = min(1.6, float(np.median([p.shape[0] / p.shape[1] for p in everything])))
    cell = min(1.7, 8.0 / columns)
    figure, panels = _new(len(rows), columns, max(6.0, 2.0 + cell * columns),
                          0.75 + len(rows) * (cell * tall + 0.1))  # fmt: skip
    for row, (name, own) in enumerate(rows.items()):
        for column in range(columns):
            axes = panels[row * columns + column]
            _frame(axes, None)
            if column < len(own):
                axes.imshow(own[column], cmap="gray", vmin=0, vmax=255)
            elif column:
                axes.set_axis_off()
        panels[row * columns].set_ylabel(_wrap(name, 1.8, 12, break_words=True), rotation=0,
                                         ha="right", va="center", fontsize=12)  # fmt: skip
    return _finish(figure, title, alt)


def _frame(axes: Axes, style: tuple[str, Any] | None) -> None:
    """Take ticks and, where no style is given, the frame from an image's axes."""
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(style is not None)
        if style is not None:
            # Outside the image, so that the gaps of a dashed line are white and seen in grey.
            spine.set_position(("outward", 3))
            spine.set(edgecolor=style[0], linestyle=style[1], linewidth=4)


def _matrix(
    axes: Axes,
    table: Array,
    share: Array,
    classes: Sequence[str],
    positive: str | None,
    names: Sequence[str] | None,
    right: Sequence[str] | None,
    size: int,
) -> None:
    """Draw a confusion matrix; where `right` is given, `names` that differ from it are crossed."""
    wrong = [right is not None and names is not None and names[k] != right[k]
             for k in range(table.size)]  # fmt: skip
    texts = []
    for k, (count, part) in enumerate(zip(table.flat, share.flat, strict=True)):
        called = [] if names is None else [f"✗ {names[k]}" if wrong[k] else names[k]]
        corrected = [f"(is {right[k]})"] if wrong[k] and right is not None else []
        texts.append("\n".join([*called, *corrected, f"{int(count):,}", _percent(part)]))
    sns.heatmap(
        np.nan_to_num(share), vmin=0, vmax=1, cmap=sns.light_palette(BLUE, as_cmap=True),
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
    axes.set(xlabel="predicted class", ylabel="true class (each row: 100 %)")


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


def _right_labels(axes: Axes, places: Iterable[float], texts: Sequence[str]) -> None:
    """Write a text at the right of each row; as tick labels they never overlap the drawing."""
    side = axes.secondary_yaxis("right")
    side.set_yticks(list(places), list(texts))
    side.tick_params(length=0)
    side.spines["right"].set_visible(False)


def _legend_below(
    figure: Figure,
    axes: Axes,
    handles: Sequence[Line2D | Patch] | None = None,
    columns: int | None = None,
) -> None:
    """Put a legend under everything, in as many columns as fit."""
    if handles is None:
        entries, texts = axes.get_legend_handles_labels()
    else:
        entries, texts = list(handles), [str(handle.get_label()) for handle in handles]
    longest = max((len(line) for text in texts for line in text.split("\n")), default=1)
    room = max(1, int(figure.get_figwidth() * 72 / ((longest + 7) * 12 * 0.56)))
    figure.legend(entries, texts, loc="outside lower center",
                  ncols=min(columns or room, room, len(texts)), handlelength=2.6)  # fmt: skip


def _history_table(histories: Mapping[str, Sequence[float]] | pd.DataFrame) -> pd.DataFrame:
    """Return the curves as a table, one row an epoch."""
    try:
        table = pd.DataFrame(histories)
    except ValueError as error:
        lengths = {key: len(list(values)) for key, values in dict(histories).items()}
        raise ValueError(f"history: curves of different lengths: {lengths}.") from error
    if table.empty:
        raise ValueError("history: no epoch to draw; pass what model.fit(…).history holds.")
    return table


def _best_epoch(table: pd.DataFrame, best: str | None) -> int | None:
    """Return the number, from 1, of the epoch with the best value of a column; None if unknown."""
    if best is None or best not in table or not table[best].notna().any():
        return None
    values = table[best].to_numpy(float)
    return 1 + int(np.nanargmin(values) if best.endswith("loss") else np.nanargmax(values))


def _curve_colour(part: str) -> str:
    """Return the colour of a part's curve: a line wants a darker orange than an area."""
    return {"train": "#4D4D4D", "valid": "#C77700"}[part]


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


def _pictures(images: Sequence[Array], where: str) -> list[Array]:
    """Return images as uint8 arrays (height, width) or (height, width, 3), checked."""
    if images is None or not len(images):
        raise ValueError(f"No image for {where}: give at least one.")
    return [_picture(image, where, number) for number, image in enumerate(images)]


def _picture(image: Array, where: str, number: int) -> Array:
    """Return one image as uint8; floats up to 1 are taken as 0–1, others as 0–255."""
    array = np.asarray(image)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    good = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if not good or not array.size or array.dtype.kind not in "uifb":
        raise ValueError(
            f"Image {number} for {where} has the shape {array.shape} and type {array.dtype}; an "
            "image is (height, width) or (height, width, 3) of numbers. A batch holds several: "
            "pass batch[0], or list(batch)."
        )
    if array.dtype == np.uint8:
        return array
    values = np.nan_to_num(array.astype(np.float32))
    if array.dtype.kind in "fb" and values.max() <= 1.0:
        values = values * 255
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _heat(heat: Array, name: str) -> Array:
    """Return a heat map as float array after a check."""
    array = np.asarray(heat, dtype=float)
    if array.ndim != 2 or not array.size:
        raise ValueError(
            f"heatmaps: a map ({name}) has the shape {array.shape}; give (height, width)."
        )
    if not np.isfinite(array).all() or array.min() < -1e-6 or array.max() > 1 + 1e-6:
        raise ValueError(
            f"heatmaps: a map ({name}) leaves 0–1; divide it by its maximum, and nothing where "
            "that is 0."
        )
    return array


def _truth_and_scores(
    where: str,
    name: str,
    truth: npt.ArrayLike,
    scores: npt.ArrayLike,
    *,
    both: bool = False,
    probabilities: bool = False,
) -> tuple[Array, Array]:
    """Return truth as 0 and 1 and scores as floats, checked."""
    true, score = np.asarray(truth), np.asarray(scores, dtype=float)
    if score.ndim == 2 and score.shape[1] == 1:
        score = score[:, 0]
    if true.ndim != 1 or score.ndim != 1:
        raise ValueError(
            f"{where}: {name!r} has truth {true.shape} and scores {score.shape}; both must be "
            "lists of n numbers. Of softmax output pass the positive column: scores[:, 1]."
        )
    _same_length(where, truth=true, scores=score)
    if not np.isin(true, (0, 1)).all():
        raise ValueError(f"{where}: truth of {name!r} must be 0 or 1: pass labels == positive.")
    if not np.isfinite(score).all():
        raise ValueError(f"{where}: some scores of {name!r} are not finite numbers.")
    if both and len(np.unique(true)) < 2:
        raise ValueError(f"{where}: {name!r} has one class only; a curve needs both.")
    if probabilities and (score.min() < 0 or score.max() > 1):
        raise ValueError(
            f"{where}: scores of {name!r} leave 0–1; pass probabilities (a sigmoid or softmax), "
            "not logits."
        )
    return true.astype(int), score


def _labels(values: npt.ArrayLike, classes: Sequence[str], name: str) -> Array:
    """Return class numbers as integers, checked against the number of classes."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(
            f"{name} has the shape {array.shape}; give one class number an image. Of softmax "
            "output take scores.argmax(axis=1)."
        )
    if not array.size:
        raise ValueError(f"{name} is empty: there is nothing to count.")
    if array.dtype.kind not in "iub" or array.min() < 0 or array.max() >= len(classes):
        raise ValueError(
            f"{name} must be class numbers 0 to {len(classes) - 1} ({_and(classes)}); it holds "
            f"{np.unique(array)[:6].tolist()}."
        )
    return array.astype(int)


def _same_length(where: str, **arrays: Array) -> None:
    """Refuse arrays of different lengths, and empty ones."""
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) != 1:
        told = _and(f"{name} has {length}" for name, length in lengths.items())
        raise ValueError(f"{where}: {told}; give one value an image in each.")
    if not next(iter(lengths.values())):
        raise ValueError(f"{where}: there are no images; check the split or the filter before.")


def _two_classes(
    where: str, classes: Sequence[str], positive: str | None
) -> tuple[tuple[str, str], str]:
    """Return (negative name, positive name) and the positive name."""
    if len(classes) != 2:
        raise ValueError(f"{where}: two classes are needed; these are {len(classes)}.")
    chosen = classes[1] if positive is None else positive
    if chosen not in classes:
        raise ValueError(f"{where}: positive={chosen!r} is none of {_and(classes)}.")
    other = classes[1 - list(classes).index(chosen)]
    return (other, chosen), chosen


def _columns(table: pd.DataFrame, wanted: Sequence[str], where: str) -> None:
    """Refuse a table without rows or without a column."""
    missing = [name for name in wanted if name not in table]
    if missing:
        raise ValueError(f"{where}: the table lacks {_and(missing)}; it has {_and(table)}.")
    if table.empty:
        raise ValueError(f"{where}: the table has no rows; check the filter before.")


def _check_estimates(where: str, estimates: Mapping[str, Estimate]) -> None:
    """Refuse no figures at all, and intervals that end before they begin."""
    if not estimates:
        raise ValueError(f"{where}: give at least one figure as name: Estimate.")
    for name, estimate in estimates.items():
        if estimate.low > estimate.high:
            raise ValueError(f"{where}: the interval of {name!r} ends below its beginning.")


def _classes_of(index: pd.DataFrame) -> list[str]:
    """Return the class names that occur, in label order."""
    pairs = index[["label", "class_name"]].drop_duplicates().sort_values("label")
    return [str(name) for name in pairs["class_name"]]


def _parts_of(split: pd.Series[Any]) -> list[str]:
    """Return the parts that occur, in the order train, valid, test, then others."""
    found = [str(part) for part in split.unique()]
    known = [part for part in PART_NAMES if part in found]
    return known + sorted(part for part in found if part not in known)


def _part_name(part: str) -> str:
    """Return what a part of the split is called in full."""
    return PART_NAMES.get(part, part)


def _colour(number: int) -> str:
    """Return the colour of class (or curve) `number`."""
    return CLASS_COLOURS[number % len(CLASS_COLOURS)]


def _marker(number: int) -> str:
    """Return the marker of class (or curve) `number`."""
    return MARKERS[number % len(MARKERS)]


def _hatch(number: int) -> str:
    """Return the hatch of class `number`."""
    return HATCHES[number % len(HATCHES)]


def _percent(share: float) -> str:
    """Return "95.1 %", or a dash where there is nothing to divide by."""
    return f"{100 * share:.1f} %" if math.isfinite(share) else "–"


def _and(names: Iterable[Any]) -> str:
    """Return "A", "A and B" or "A, B and C"."""
    texts = [" ".join(str(name).split()) for name in names]
    comma = "; " if any("," in text for text in texts) else ", "
    return " and ".join([comma.join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def _shorten(text: str, length: int) -> str:
    """Return the text, its middle left out where it is longer than `length` characters."""
    half = (length - 1) // 2
    return text if len(text) <= length else f"{text[:half]}…{text[-half:]}"


def _wrap(text: str, inches: float, points: float, *, break_words: bool = False) -> str:
    """Return the text broken into lines that fit so many inches at a font size in points."""
    characters = max(8, int(inches * 72 / (points * 0.57)))
    # File names may break after an underscore: a space that is taken out again afterwards.
    loose = str(text).replace("_", "_\0 ") if break_words else str(text)
    lines = [
        textwrap.fill(line, characters, break_long_words=break_words) for line in loose.split("\n")
    ]
    return "\n".join(lines).replace("\0 ", "").replace("\0", "")
