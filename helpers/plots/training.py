"""Figures of the training: curves of each epoch, learning rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from helpers.plots._base import (
    BLACK,
    LINES,
    PART_NAMES,
    _and,
    _colour,
    _finish,
    _legend_below,
    _marker,
    _new,
    _wrap,
    drawn,
)


@drawn
def history(
    histories: Mapping[str, Sequence[float]] | pd.DataFrame,
    *,
    together: bool = False,
    best: str | None = "val_loss",
    title: str | None = None,
) -> Figure:
    """Return loss and accuracy (of outlines: Dice) after each epoch, training and validation.

    Args:
        histories: Keras's `History.history` or a data frame with one row an epoch:
            `loss`, `val_loss`, a key that ends in `accuracy` or `dice` and the same with `val_`.
            What is missing is not drawn.
        together: all four curves on one pair of axes, as some sources draw them.
        best: marks the epoch where this key is best (least for a loss, greatest for
            anything else); None marks none.
        title: what to see.

    Raises:
        ValueError: no epoch, no curve, or curves of different lengths.
    """
    table = _history_table(histories)
    score = next((str(key) for key in table if str(key).endswith(("accuracy", "dice"))
                  and not str(key).startswith("val_")), "accuracy")  # fmt: skip
    word_of_score = "Dice" if score.endswith("dice") else "accuracy"
    quantities = [(key, word) for key, word in (("loss", "loss"), (score, word_of_score))
                  if key in table or f"val_{key}" in table]  # fmt: skip
    if not quantities:
        raise ValueError(
            f"history: no 'loss', '…accuracy' or '…dice' among {', '.join(map(str, table))}; "
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
        of_labels = word_of_score == "accuracy"  # outlines have losses of several kinds
        score_unit = "accuracy (share right)" if of_labels else "Dice (overlap, 0–1)"
        unit = ("loss (cross-entropy)" if of_labels else "loss") if word == "loss" else score_unit
        axes.set_ylabel(f"loss, and {word_of_score} (share)" if together else unit)
        if word == "loss" and not together:
            _logarithmic(axes, table, (key, f"val_{key}"))
    for axes in panels:
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        axes.grid()
        if marked is not None:
            axes.axvline(marked, color=BLACK, linestyle=":", linewidth=2,
                         label=f"best epoch: {marked}")  # fmt: skip
    _legend_below(figure, panels[0], columns=3 if together else None)
    drawn_words = _and(word for _, word in quantities)
    what = drawn_words[:1].upper() + drawn_words[1:]
    watched = any(f"val_{key}" in table for key, _ in quantities)
    default = f"{what} after each epoch" + (
        ": do training and validation part ways?" if watched else " of training: nobody watched"
    )
    parts = "training as solid and validation as dashed lines" if watched else "of training"
    alt = (
        f"Line chart of {drawn_words} after each epoch, {parts}"
        f"{', all on one pair of axes' if together else ''}"
        f"{'; a dotted line marks the best epoch' if marked is not None else ''}."
    )
    return _finish(figure, title or default, alt)


@drawn
def learning_rate(
    rates: Mapping[str, Sequence[float]],
    *,
    unit: str = "epoch",
    logarithmic: bool = True,
    title: str = "The learning rate as training goes on",
) -> Figure:
    """Return the learning rate at each epoch (or step), one line a schedule.

    Args:
        rates: for each schedule (its name) one rate an epoch, above 0. Keras writes them into
            `History.history["learning_rate"]` where a callback changes them.
        unit: what is counted along the axis: `epoch` or `step`.
        logarithmic: equal factors are equal distances, so that a cut by ten shows each time.
        title: what to see.

    Raises:
        ValueError: no schedule, no rate, or rates that are no numbers or negative; 0 too where
            the axis is logarithmic.
    """
    if not rates:
        raise ValueError("learning_rate: give at least one schedule as name: rates.")
    figure, (axes,) = _new(1, 1, 10, 4.4)
    for number, (name, values) in enumerate(rates.items()):
        rate = np.asarray(values, dtype=float)
        lowest = float(rate.min()) if rate.ndim == 1 and rate.size else -1.0
        if not np.isfinite(rate).all() or lowest < 0 or (logarithmic and lowest == 0):
            raise ValueError(
                f"learning_rate: {name!r} must be a list of rates above 0"
                f"{'; draw 0 with logarithmic=False' if lowest == 0 else ''}."
            )
        axes.plot(np.arange(1, len(rate) + 1), rate, color=_colour(number),
                  label=_wrap(name, 4, 12), linestyle=LINES[number % len(LINES)],
                  drawstyle="steps-mid", markersize=6,
                  marker=_marker(number) if len(rate) <= 40 else None)  # fmt: skip
    axes.set(xlabel=unit, ylabel="learning rate")
    if logarithmic:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    axes.grid()
    _legend_below(figure, axes)
    alt = f"Line chart of the learning rate at each {unit}: {_and(rates)}."
    return _finish(figure, title, alt)


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


def _logarithmic(axes: Axes, table: pd.DataFrame, keys: Sequence[str]) -> None:
    """Let equal factors be equally high where one early peak would flatten all the rest."""
    values = np.concatenate([table[key].to_numpy(float) for key in keys if key in table])
    if values.min() <= 0 or values.max() < 5 * np.median(values):
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
