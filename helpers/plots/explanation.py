"""Figures that look inside: errors, heat maps, the answer for one image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from helpers.plots._base import (
    ABBREVIATIONS,
    KIND_COLOURS,
    LINES,
    Array,
    _and,
    _colour,
    _finish,
    _frame,
    _grid,
    _hatch,
    _kind_legend,
    _new,
    _pictures,
    _wrap,
    drawn,
)


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
    kinds, styles = _kinds(borders)
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
    borders: Sequence[str] | None = None,
    title: str = "Where the model looks, beside the same with random weights",
) -> Figure:
    """Return rows of image, image with Grad-CAM, and image with that of randomised weights.

    A map that looks the same with random weights shows the image, not what was learnt
    (Adebayo et al. 2018, "Sanity checks for saliency maps").

    Args:
        images: see `examples`.
        maps: one array (height, width) of 0–1 an image, of any size: it is stretched.
        randomised: the same from a model with random weights.
        titles: one text a row, written at its left, such as `found, 0.98`.
        borders: the kind of each row, as in `gallery`: frames the image in its first column.
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
    if borders is not None and len(borders) != len(pictures):
        raise ValueError(f"heatmaps: {len(borders)} borders for {len(pictures)} images.")
    kinds, styles = _kinds(borders)
    tall = float(np.mean([picture.shape[0] / picture.shape[1] for picture in pictures]))
    wide = 8.0 if len(columns) > 2 else 6.6
    cell = (wide - 1.2 - (1.3 if titles else 0)) / len(columns)
    figure, panels = _new(len(pictures), len(columns), wide,
                          1.2 + len(pictures) * (cell * min(tall, 2.0) + 0.08))  # fmt: skip
    grid = np.array(panels, dtype=object).reshape(len(pictures), len(columns))
    for row, picture in enumerate(pictures):
        for column, (name, own) in enumerate(columns):
            axes = grid[row, column]
            _frame(axes, styles[kinds[row]] if kinds and own is None else None)
            axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
            if row == 0:
                axes.set_title(_wrap(name, cell, 13), pad=10 if kinds else 6)
            if own is not None:
                heat = _heat(own[row], name)
                if not heat.any():  # a dark veil would say "looked everywhere, weakly"
                    axes.text(0.5, 0.05, "nothing", transform=axes.transAxes, ha="center",
                              color="white", backgroundcolor="black", fontsize=10)  # fmt: skip
                    continue
                edge = (-0.5, picture.shape[1] - 0.5, picture.shape[0] - 0.5, -0.5)
                axes.imshow(heat, extent=edge, cmap="viridis", vmin=0, vmax=1,
                            alpha=0.55, interpolation="bilinear")  # fmt: skip
        if titles is not None:
            grid[row, 0].set_ylabel(_wrap(titles[row], 1.5, 12), rotation=0, ha="right",
                                    va="center", fontsize=12)  # fmt: skip
    solid = plt.cm.ScalarMappable(norm=Normalize(0, 1), cmap="viridis")
    bar = figure.colorbar(solid, ax=panels, shrink=min(1.0, 3.2 / figure.get_figheight()),
                          pad=0.02, ticks=(0, 0.5, 1))  # fmt: skip
    bar.set_label("influence on the score\n(1 = strongest in this image)")
    bar.outline.set_visible(False)
    if kinds:
        _kind_legend(figure, kinds, styles)
    alt = (
        f"Rows of images, in columns: {_and(name for name, _ in columns)}; the maps are laid "
        "over the image, from dark blue (no influence on the score) to yellow (strongest)"
        f"{'; a frame tells the kind of each row' if kinds else ''}."
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
        top: only so many of the most likely classes; the true one is added where it is not
            among them.
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
    order = np.argsort(-values, kind="stable")[:top].tolist()
    if truth is not None and list(classes).index(truth) not in order:
        order.append(list(classes).index(truth))
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
    which = "the most likely classes" if top else f"the classes {_and(classes)}"
    alt = f"An image, and beside it horizontal bars with the probabilities of {which}."
    return _finish(figure, title, alt)


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


def _kinds(
    borders: Sequence[str] | None,
) -> tuple[list[str] | None, dict[str, tuple[str, Any]]]:
    """Return the kinds in full, and colour and line style of every kind."""
    kinds = None if borders is None else [ABBREVIATIONS.get(kind, kind) for kind in borders]
    styles: dict[str, tuple[str, Any]] = {
        kind: (colour, LINES[number]) for number, (kind, colour) in
        enumerate(KIND_COLOURS.items())
    }  # fmt: skip
    for number, kind in enumerate(sorted(set(kinds or ()) - set(styles))):
        styles[kind] = (_colour(number), LINES[number % len(LINES)])
    return kinds, styles
