"""Figures of masks: where a tumour is, where the network says it is, and how well both agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from helpers import regions
from helpers.plots._base import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    SKY,
    VERMILION,
    Array,
    _and,
    _columns,
    _finish,
    _frame,
    _legend_below,
    _new,
    _pictures,
    _same_length,
    _short_names,
    _wrap,
    drawn,
)

MASK_RED = "#FF2020"
TRUTH_COLOUR, PREDICTION_COLOUR = SKY, ORANGE  # both bright: scans are dark
DOWNWARDS = ("#000000", "#FFFFFF")


@drawn
def mri_mask_overlay(
    images: Sequence[Array],
    masks: Sequence[Array],
    titles: Sequence[str] | None = None,
    *,
    names: Sequence[str] = ("MRI", "mask", "MRI with mask in red"),
    title: str = "The slice, its mask, and both together",
) -> Figure:
    """Return rows of three: a scan, its mask, and the scan with the mask in red over it.

    Args:
        images: see `examples`.
        masks: one (height, width) an image, of its size; what is not 0 is drawn.
        titles: one text a row, at its left.
        names: what the three columns are called.
        title: what to see.

    Raises:
        ValueError: no images, lists of different lengths, or a mask of another size.
    """
    pictures, covered = _pictures_and_masks("mri_mask_overlay", images, (masks,), titles)
    figure, grid = _picture_rows(pictures, len(names), titles, 8.0)
    for picture, mask, row in zip(pictures, covered[0], grid, strict=True):
        row[0].imshow(picture, cmap="gray", vmin=0, vmax=255)
        row[1].imshow(mask, cmap=ListedColormap(DOWNWARDS), vmin=0, vmax=1, interpolation="nearest")
        row[2].imshow(picture, cmap="gray", vmin=0, vmax=255)
        veil = np.ma.masked_where(~mask, mask.astype(float))
        row[2].imshow(veil, cmap=ListedColormap([MASK_RED]), alpha=0.45, interpolation="nearest")
        _outline(row[2], mask, MASK_RED, "-", 1.6)
    for axes, name in zip(grid[0], names, strict=True):
        axes.set_title(_wrap(name, 2.2, 13))
    alt = f"Rows of images, in columns: {_and(names)}."
    return _finish(figure, title, alt)


@drawn
def mask_outlines(
    images: Sequence[Array],
    truth: Sequence[Array],
    predicted: Sequence[Array],
    titles: Sequence[str] | None = None,
    *,
    row_labels: Sequence[str] | None = None,
    columns: int = 4,
    title: str = "The tumour as it was drawn, and as the network draws it",
) -> Figure:
    """Return images with two outlines: solid around the true mask, dashed around the predicted one.

    Args:
        images: see `examples`.
        truth: one mask (height, width) an image, of its size.
        predicted: likewise.
        titles: one text an image, such as its Dice.
        row_labels: one text a row of the grid, at its left: the patient, "best", "worst".
        columns: images side by side.
        title: what to see.

    Raises:
        ValueError: no images, lists of different lengths, or a mask of another size.
    """
    pictures, (ours, theirs) = _pictures_and_masks(
        "mask_outlines", images, (truth, predicted), titles
    )
    if columns < 1:
        raise ValueError(f"columns={columns}: one column or more.")
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    if row_labels is not None and len(row_labels) != rows:
        raise ValueError(f"mask_outlines: {len(row_labels)} row_labels for {rows} rows.")
    side = 1.3 if row_labels else 0.0
    width = max(6.0, min(10.0, 2.5 * columns + side))
    cell = (width - side) / columns - 0.1
    tall = min(1.6, max(picture.shape[0] / picture.shape[1] for picture in pictures))
    lines = 0.26 if titles else 0.0
    figure, panels = _new(rows, columns, width, 0.9 + rows * (cell * tall + lines))
    for number, axes in enumerate(panels):
        _frame(axes, None)
        if number >= len(pictures):
            axes.set_axis_off()
            continue
        axes.imshow(pictures[number], cmap="gray", vmin=0, vmax=255)
        _outline(axes, ours[number], TRUTH_COLOUR, "-", 2.4)
        _outline(axes, theirs[number], PREDICTION_COLOUR, (0, (2.2, 1.2)), 2.2)
        if titles is not None:
            axes.set_title(_wrap(titles[number], cell, 12), fontsize=12)
        if row_labels is not None and number % columns == 0:
            axes.set_ylabel(_wrap(row_labels[number // columns], 1.4, 12, break_words=True),
                            rotation=0, ha="right", va="center", fontsize=12)  # fmt: skip
    handles = [
        Line2D([], [], color=TRUTH_COLOUR, linewidth=3, label="truth"),
        Line2D([], [], color=PREDICTION_COLOUR, linewidth=3, linestyle=(0, (2.2, 1.2)),
               label="prediction"),
    ]  # fmt: skip
    _legend_below(figure, panels[0], handles)
    described = f", in rows: {_and(row_labels)}" if row_labels else ""
    alt = (
        "A grid of images, each with a solid outline around the true mask and a dashed one "
        f"around the predicted mask{described}."
    )
    return _finish(figure, title, alt)


@drawn
def channels(
    images: Sequence[Array],
    names: Sequence[str] = ("pre-contrast", "FLAIR", "post-contrast"),
    *,
    masks: Sequence[Array] | None = None,
    titles: Sequence[str] | None = None,
    title: str = "One colour picture is three grey ones: what each channel shows",
) -> Figure:
    """Return rows of images: as they are, then each of their three channels in grey.

    Args:
        images: arrays (height, width, 3): see `examples`.
        names: what the channels red, green and blue hold.
        masks: one (height, width) an image; outlined in red in the channels.
        titles: one text a row, at its left.
        title: what to see.

    Raises:
        ValueError: no images, lists of different lengths, an image without three channels, or
            a mask of another size.
    """
    given = [np.zeros(np.shape(image)[:2]) for image in images] if masks is None else masks
    pictures, (covered,) = _pictures_and_masks("channels", images, (given,), titles)
    if len(names) != 3 or any(picture.ndim != 3 for picture in pictures):
        raise ValueError("channels: give images (height, width, 3) and three names.")
    figure, grid = _picture_rows(pictures, 4, titles, 9.6)
    for picture, mask, row in zip(pictures, covered, grid, strict=True):
        row[0].imshow(picture)
        for channel in range(3):
            row[channel + 1].imshow(picture[:, :, channel], cmap="gray", vmin=0, vmax=255)
            _outline(row[channel + 1], mask, MASK_RED, "-", 1.8)
    colours = ("red", "green", "blue")
    told = [f"{name}\n({colour})" for name, colour in zip(names, colours, strict=True)]
    for axes, name in zip(grid[0], ("all three\nas colours", *told), strict=True):
        axes.set_title(name)
    outlined = ", the mask outlined in the channels" if masks is not None else ""
    alt = (
        f"Rows of images, in columns: the colour picture, then its channels in grey: "
        f"{_and(names)}{outlined}."
    )
    return _finish(figure, title, alt)


@drawn
def dice_per_patient(
    table: pd.DataFrame,
    *,
    compare: str | None = None,
    compare_label: str | None = None,
    title: str = "Every dot is one patient: whose tumour is found, whose is not?",
) -> Figure:
    """Return one dot a patient, sorted by Dice, as large as the tumour is.

    Args:
        table: one row a patient, as `metrics.dice_per_patient` gives: `patient`, `dice` (0–1;
            NaN is left out) and `truth_pixels`.
        compare: a second column of Dice, drawn as a hollow diamond and joined to the dot: that
            of the two-stage pipeline, for instance.
        compare_label: what the legend calls it.
        title: what to see.

    Raises:
        ValueError: a column is missing or there is no Dice.
    """
    wanted = ("patient", "dice", "truth_pixels", *([compare] if compare else []))
    _columns(table, wanted, "dice_per_patient")
    rows = table.dropna(subset=["dice"]).sort_values(["dice", "patient"], kind="stable")
    rows = rows.reset_index(drop=True)
    _columns(rows, wanted, "dice_per_patient")
    few = len(rows) <= 45
    figure, (axes,) = _new(1, 1, 10, 6.6 if few else 5.2)
    places = np.arange(len(rows))
    area = 30 + (220 if few else 90) * rows["truth_pixels"] / max(1, rows["truth_pixels"].max())
    other = compare_label or (compare or "").replace("_", " ")
    if compare:
        pair = rows[["dice", compare]]
        axes.vlines(places, pair.min(axis=1), pair.max(axis=1), color="#BBBBBB", linewidth=1.5,
                    zorder=1)  # fmt: skip
        axes.scatter(places, rows[compare], s=42, marker="D", facecolors="white",
                     edgecolors=BLACK, linewidths=1.4, zorder=3)  # fmt: skip
    axes.scatter(places, rows["dice"], s=area, color=BLUE, edgecolors="white", linewidths=0.8,
                 zorder=2)  # fmt: skip
    axes.axhline(float(rows["dice"].mean()), color=GREY, linestyle="--", linewidth=1.8, zorder=0)
    axes.axhline(float(rows["dice"].median()), color=GREY, linestyle=":", linewidth=1.8, zorder=0)
    side = 0.5 + 0.012 * len(rows)
    axes.set(xlim=(-side, len(rows) - 1 + side), ylim=(-0.03, 1.03))
    axes.set_ylabel("Dice of the volume (0–1)")
    axes.grid(axis="y")
    if few:
        axes.set_xticks(places, _short_names(rows["patient"]), rotation=90, fontsize=11)
        axes.set_xlabel("patient, sorted by Dice (size: tumour)")
    else:
        axes.set_xticks([])
        axes.set_xlabel(f"{len(rows):,} patients, sorted by Dice (size: tumour)")
    handles = [Line2D([], [], linestyle="none", marker="o", color=BLUE, markersize=9,
                      label="Dice of a patient")]  # fmt: skip
    if compare:
        handles.append(Line2D([], [], linestyle="none", marker="D", color=BLACK, markersize=7,
                              markerfacecolor="white", label=other))  # fmt: skip
    handles.append(Line2D([], [], color=GREY, linestyle="--", label="mean over patients"))
    handles.append(Line2D([], [], color=GREY, linestyle=":", label="median over patients"))
    _legend_below(figure, axes, handles)
    alt = (
        "Dot plot of Dice, one dot a patient, sorted, the dot's size that of the tumour"
        f"{f'; a hollow diamond: {other}' if compare else ''}. A dashed line is the mean, "
        "a dotted one the median."
    )
    return _finish(figure, title, alt)


@drawn
def dice_by_area(
    areas: npt.ArrayLike,
    dice: npt.ArrayLike,
    *,
    unit: str = "pixels",
    title: str = "Dice of each slice by the tumour's size: are small ones the hard ones?",
) -> Figure:
    """Return Dice of each slice against the true area, with the median of slices of like size.

    Args:
        areas: true area of each slice, (n,); slices without a tumour (0) are left out.
        dice: Dice of each slice, 0–1, (n,); NaN is left out.
        unit: of the areas.
        title: what to see.

    Raises:
        ValueError: different lengths, or no slice that has both an area and a Dice.
    """
    size, value = np.asarray(areas, dtype=float), np.asarray(dice, dtype=float)
    _same_length("dice_by_area", areas=size, dice=value)
    drawn_ones = (size > 0) & np.isfinite(value)
    if not drawn_ones.any():
        raise ValueError("dice_by_area: no slice has a tumour and a Dice.")
    size, value = size[drawn_ones], value[drawn_ones]
    figure, (axes,) = _new(1, 1, 10, 5.2)
    axes.scatter(size, value, s=34, color=BLUE, alpha=0.35 if len(size) > 150 else 0.6,
                 edgecolors="none", label="a slice")  # fmt: skip
    order = np.argsort(size, kind="stable")
    groups = np.array_split(order, max(1, min(8, len(order) // 12)))
    axes.plot([np.median(size[group]) for group in groups],
              [np.median(value[group]) for group in groups], color=VERMILION, marker="D",
              markersize=8, label="median of slices of like size")  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 3)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.10g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(ylim=(-0.03, 1.03), ylabel="Dice of the slice (0–1)")
    axes.set_xlabel(f"tumour in the slice ({unit}, equal factors are equal distances)")
    axes.grid()
    _legend_below(figure, axes)
    alt = (
        "Scatter plot of Dice, one dot a slice, against the area of its tumour on a logarithmic "
        "axis; a line joins the medians of slices of like size."
    )
    return _finish(figure, title, alt)


def _pictures_and_masks(
    where: str,
    images: Sequence[Array],
    masks: Sequence[Sequence[Array]],
    titles: Sequence[str] | None,
) -> tuple[list[Array], list[list[Array]]]:
    """Return images as uint8, and each list of masks as truths of the images' sizes."""
    pictures = _pictures(images, where)
    if titles is not None and len(titles) != len(pictures):
        raise ValueError(f"{where}: {len(titles)} titles for {len(pictures)} images.")
    covered = []
    for own in masks:
        if len(own) != len(pictures):
            raise ValueError(f"{where}: {len(own)} masks for {len(pictures)} images; one each.")
        arrays = [np.asarray(mask) != 0 for mask in own]
        arrays = [mask[:, :, 0] if mask.ndim == 3 else mask for mask in arrays]
        for number, (mask, picture) in enumerate(zip(arrays, pictures, strict=True)):
            if mask.shape != picture.shape[:2]:
                raise ValueError(
                    f"{where}: mask {number} is {mask.shape}, its image {picture.shape[:2]}; "
                    "resize the mask to the image, without smoothing."
                )
        covered.append(arrays)
    return pictures, covered


def _picture_rows(
    pictures: Sequence[Array], columns: int, titles: Sequence[str] | None, width: float
) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure with a row of empty picture axes for each image, its title at the left."""
    tall = min(1.6, float(np.mean([picture.shape[0] / picture.shape[1] for picture in pictures])))
    cell = (width - 0.3 - (1.2 if titles else 0)) / columns
    figure, panels = _new(len(pictures), columns, width,
                          1.0 + len(pictures) * (cell * tall + 0.04))  # fmt: skip
    grid = [panels[row * columns : (row + 1) * columns] for row in range(len(pictures))]
    for row, axes_of_row in enumerate(grid):
        for axes in axes_of_row:
            _frame(axes, None)
        if titles is not None:
            axes_of_row[0].set_ylabel(_wrap(titles[row], 1.3, 12, break_words=True), rotation=0,
                                      ha="right", va="center", fontsize=12)  # fmt: skip
    return figure, grid


def _outline(axes: Axes, mask: Array, colour: str, style: Any, width: float) -> None:
    """Draw the lines around a mask."""
    for line in regions.outline(mask):
        axes.plot(line[:, 1], line[:, 0], color=colour, linestyle=style, linewidth=width)
