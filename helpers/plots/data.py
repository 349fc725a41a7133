"""Figures of the data: examples, counts, sizes, splits, augmentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator
from scipy.stats import gaussian_kde

from helpers.plots._base import (
    BLACK,
    GREY,
    LINES,
    PART_COLOURS,
    VERMILION,
    Array,
    _and,
    _classes_of,
    _colour,
    _columns,
    _finish,
    _grid,
    _hatch,
    _labels,
    _legend_below,
    _marker,
    _new,
    _part_name,
    _parts_of,
    _percent,
    _right_labels,
    _rows,
    _short_names,
    _wrap,
    drawn,
)


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
    titled = ", each under its own title" if titles else ""
    alt = f"A grid of {len(images)} images{titled}{described}."
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
    alt: str | None = None,
) -> Figure:
    """Return rows of images, one row a patient, so that differences between patients show.

    Args:
        images: for each patient some images (see `examples`), best of the same class.
        title: what to see.
        alt: the same for who cannot see it; None speaks of stain and light.

    Raises:
        ValueError: no patient, a patient without images, or an array that is no image.
    """
    default = (
        f"Rows of images, one row for each of {len(images)} patients: within a row the "
        "images share stain and light, between rows these differ."
    )
    return _rows(images, title, alt or default, "patient")


@drawn
def class_counts(
    index: pd.DataFrame,
    *,
    by: str = "split",
    stacked: bool = False,
    title: str = "How many images each class has",
) -> Figure:
    """Return bars with the number of images of each class, in each part if there are parts.

    Args:
        index: data frame with columns `label`, `class_name` and, if wanted, `by`, and
            `patient`, which is then counted as well.
        by: the column that names the part of each image: `split` (ours) or `part` (the
            archive's own folders): `train`, `valid`, `test`.
        stacked: one bar a class, its parts on top of one another, instead of one group of
            bars a part.
        title: what to see.

    Raises:
        ValueError: a column is missing or the table is empty.
    """
    _columns(index, ("label", "class_name"), "class_counts")
    classes = _classes_of(index)
    split = index[by] if by in index else pd.Series("", index=index.index)
    parts = _parts_of(split)
    counts = np.array(
        [[((split == part) & (index["class_name"] == name)).sum() for name in classes]
         for part in parts]
    )  # fmt: skip
    figure, (axes,) = _new(1, 1, 10, 4.8 if stacked else 4.6)
    if stacked:
        _stacked_counts(axes, counts, parts, classes)
    else:
        _grouped_counts(axes, counts, parts, classes)
        names = [_part_name(part) or "all images" for part in parts]
        if "patient" in index:
            patients = [int(index.loc[split == part, "patient"].nunique()) for part in parts]
            names = [f"{name}\n({count:,} patients)"
                     for name, count in zip(names, patients, strict=True)]  # fmt: skip
        axes.set_xticks(np.arange(len(parts)), names)
    axes.set_ylabel("images")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y")
    if not stacked or len(parts) > 1:
        _legend_below(figure, axes)
    where = f" in the {_and(_part_name(part) for part in parts)} part" if parts != [""] else ""
    stack = ", one bar a class with its parts on top of one another" if stacked else ""
    alt = f"Bar chart of the number of images of each class ({_and(classes)}){where}{stack}."
    return _finish(figure, title, alt)


@drawn
def image_sizes(
    index: pd.DataFrame,
    *,
    kind: str = "histogram",
    title: str = "Width and height of the images, by class",
) -> Figure:
    """Return widths against heights, a dot for each size, and how either spreads in each class.

    A network must not learn a class from the size of its files: here one sees whether
    it could.

    Args:
        index: data frame with columns `label`, `class_name`, `width`, `height` (pixels).
        kind: how the spread is drawn: `"histogram"`, `"density"` (a smoothed histogram, of
            every image: not of class means) or `"box"` (quartiles, whiskers to 5 and 95 %).
        title: what to see.

    Raises:
        ValueError: a column is missing, the table is empty, or another kind.
    """
    _columns(index, ("label", "class_name", "width", "height"), "image_sizes")
    spreads = {"histogram": _size_histograms, "density": _size_densities, "box": _size_boxes}
    if kind not in spreads:
        raise ValueError(f"image_sizes(kind={kind!r}): choose one of {_and(spreads)}.")
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
        of_class = [values[(index["class_name"] == name).to_numpy()] for name in classes]
        spreads[kind](axes, of_class)
        axes.set(xlabel=f"{side} (pixels)")
        axes.set_title(f"{side}s", loc="left")
    for axes in (scatter, widths, heights):
        axes.grid(axis="x" if kind == "box" and axes is not scatter else "both")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    scatter.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    scatter.margins(0.12)
    handles = [Line2D([], [], color=_colour(k), linestyle=LINES[k % len(LINES)], marker=_marker(k),
                      markerfacecolor="none", label=_wrap(name, 3.0, 12))
               for k, name in enumerate(classes)]  # fmt: skip
    _legend_below(figure, scatter, handles)
    what = {"histogram": "a histogram", "density": "a density curve", "box": "a box plot"}[kind]
    alt = (
        f"Three panels on the image sizes of the classes {_and(classes)}: widths against "
        f"heights, then {what} of the widths and one of the heights, in pixels."
    )
    return _finish(figure, title, alt)


@drawn
def stain_variation(
    colours: pd.DataFrame,
    *,
    title: str = "Each patient has a stain and a light of their own",
) -> Figure:
    """Return brightness and colour of each patient's images: how far patients lie apart.

    One mark a patient, filled with the mean colour of their images; the line through it
    holds the middle 80 % of them. Where lines of different patients do not even touch, a
    network can tell the patients apart by colour alone.

    Args:
        colours: one row an image: `patient`, and its mean `red`, `green`, `blue` (0–255);
            with `class_name` and `label` the mark's shape tells the class, where each
            patient has one.
        title: what to see.

    Raises:
        ValueError: a column is missing or the table is empty.
    """
    _columns(colours, ("patient", "red", "green", "blue"), "stain_variation")
    table = colours.assign(
        brightness=colours[["red", "green", "blue"]].mean(axis=1),
        tint=colours["red"] - colours["blue"],
    )
    patients = table.groupby("patient")
    mean = patients[["red", "green", "blue", "brightness", "tint"]].mean()
    mean = mean.sort_values(["brightness"], kind="stable")
    low, high = (patients[["brightness", "tint"]].quantile(q).loc[mean.index] for q in (0.1, 0.9))
    shapes = _shape_of_patient(table, mean.index)
    few = len(mean) <= 45
    figure, panels = _new(2, 1, 10, 6.4 if few else 5.8, sharex=True)
    places = np.arange(len(mean))
    for axes, name, said in ((panels[0], "brightness", "brightness\n(0 black – 255 white)"),
                             (panels[1], "tint", "red minus blue\n(up: redder)")):  # fmt: skip
        axes.vlines(places, low[name], high[name], color=GREY, linewidth=2, zorder=1)
        for marker in sorted(set(shapes)):
            own = [shape == marker for shape in shapes]
            axes.scatter(places[own], mean.loc[own, name], s=110 if few else 45, marker=marker,
                         c=mean.loc[own, ["red", "green", "blue"]].to_numpy() / 255,
                         edgecolors=BLACK, linewidths=1.1, zorder=2)  # fmt: skip
        axes.set_ylabel(said)
        axes.grid(axis="y")
        axes.tick_params(axis="x", length=0)
    below = "patients, the darkest first (mark: mean colour; line: middle 80 % of the images)"
    if few:
        panels[1].set_xticks(places, _short_names(mean.index), rotation=90, fontsize=11)
    else:
        panels[1].set_xticks([])
    panels[1].set_xlabel(below)
    if "class_name" in table and len(set(shapes)) > 1:
        handles = [Line2D([], [], linestyle="none", marker=_marker(k), color=BLACK, markersize=9,
                          markerfacecolor="white", label=name)
                   for k, name in enumerate(_classes_of(table))]  # fmt: skip
        _legend_below(figure, panels[0], handles)
    alt = (
        "Two rows of marks, one mark a patient, sorted by brightness and filled with the mean "
        "colour of the patient's images: above their brightness, below red minus blue; a line "
        "through each holds the middle of its images."
    )
    return _finish(figure, title, alt)


@drawn
def split_overlap(
    overlaps: Mapping[str, tuple[int, int]],
    *,
    images: Mapping[str, float] | None = None,
    unit: str = "test patients",
    title: str = "How many test patients the model has already met",
) -> Figure:
    """Return one bar a split: all its test patients, and those that are in another part too.

    Args:
        overlaps: for each split (its name) the pair (test patients that are also in training
            or validation, test patients), as `splits.check_leaks(…).test_overlap` is.
        images: for each split the share of the test *images*, 0–1, that are of such patients,
            as `splits.check_leaks(…).tainted_test` is: written beside the bar, because a few
            shared patients may own most images.
        unit: what is counted.
        title: what to see.

    Raises:
        ValueError: no split, or a pair that cannot be: negative, or more shared than there
            are; or shares of other splits than those.
    """
    if not overlaps:
        raise ValueError("split_overlap: give at least one split as name: (shared, all).")
    for name, (shared, total) in overlaps.items():
        if not 0 <= shared <= total or total < 1:
            raise ValueError(
                f"split_overlap: {name!r} has {shared} shared of {total} {unit}; "
                "give (shared, all) with 0 ≤ shared ≤ all and at least one in all."
            )
    shares = dict(images) if images is not None else dict.fromkeys(overlaps, 0.0)
    if set(shares) != set(overlaps) or not all(0 <= share <= 1 for share in shares.values()):
        raise ValueError(
            f"split_overlap: images must hold a share, 0–1, for each of {_and(overlaps)}."
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
    told = [f"{shared} of {total} ({_percent(shared / total)})" for shared, total in pairs]
    if images is not None:
        told = [f"{text}\n{_percent(images[name])} of the images"
                for text, name in zip(told, overlaps, strict=True)]  # fmt: skip
    _right_labels(axes, places, told)
    _legend_below(figure, axes)
    alt = (
        f"Horizontal bars, one for each split ({_and(overlaps)}): the number of {unit}, "
        "and how many of them also have images in training or validation"
        f"{'; at the right also the share of test images that are theirs' if images else ''}."
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


def _grouped_counts(
    axes: Axes, counts: Array, parts: Sequence[str], classes: Sequence[str]
) -> None:
    """Draw one group of bars a part, one bar a class."""
    width = min(0.82 / len(classes), 0.3)
    for k, name in enumerate(classes):
        places = np.arange(len(parts)) + (k - (len(classes) - 1) / 2) * width
        bars = axes.bar(places, counts[:, k], width * 0.94, label=_wrap(name, 3.0, 12),
                        color=_colour(k), hatch=_hatch(k))  # fmt: skip
        axes.bar_label(bars, [f"{count:,}" for count in counts[:, k]], padding=2, fontsize=12)
    axes.set_ylim(0, max(1, counts.max()) * 1.12)
    axes.set_xlim(-0.55, len(parts) - 0.45)


def _stacked_counts(
    axes: Axes, counts: Array, parts: Sequence[str], classes: Sequence[str]
) -> None:
    """Draw one bar a class, its parts on top of one another; all numbers stand above it."""
    bottom = np.zeros(len(classes))
    for number, part in enumerate(parts):
        axes.bar(np.arange(len(classes)), counts[number], 0.62, bottom=bottom, zorder=2,
                 color=PART_COLOURS.get(part, _colour(number)), hatch=_hatch(number),
                 label=_part_name(part) or "all images")  # fmt: skip
        bottom += counts[number]
    for k, total in enumerate(counts.sum(axis=0)):
        told = f"{total:,}"
        if len(parts) > 1:  # a part of eight among thousands is too thin to be seen: write it
            told += "\n= " + " + ".join(f"{count:,}" for count in counts[:, k])
        axes.annotate(told, (k, total), (0, 4), textcoords="offset points", ha="center",
                      va="bottom", fontsize=12)  # fmt: skip
    axes.set_ylim(0, max(1, counts.sum(axis=0).max()) * (1.24 if len(parts) > 1 else 1.12))
    axes.set_xlim(-0.6, len(classes) - 0.4)
    axes.set_xticks(np.arange(len(classes)), [_wrap(name, 7.5 / len(classes), 12)
                                              for name in classes])  # fmt: skip


def _size_histograms(axes: Axes, of_class: Sequence[Array]) -> None:
    """Draw one outline a class: the share of its images in each of 25 bins."""
    low = min(float(values.min()) for values in of_class)
    high = max(float(values.max()) for values in of_class)
    edges = np.linspace(low, high if high > low else low + 1, 26).tolist()
    for k, values in enumerate(of_class):
        share = np.full(len(values), 100 / len(values))
        axes.hist(values, edges, weights=share, histtype="step", linewidth=2,
                  color=_colour(k), linestyle=LINES[k % len(LINES)])  # fmt: skip
    axes.set_ylabel("images of the class (%)")


def _size_densities(axes: Axes, of_class: Sequence[Array]) -> None:
    """Draw one smooth curve a class, its highest point at 1; a single size is a line."""
    low = min(float(values.min()) for values in of_class)
    high = max(float(values.max()) for values in of_class)
    margin = 0.25 * (high - low) + 1
    grid = np.linspace(low - margin, high + margin, 300)
    for k, values in enumerate(of_class):
        style = {"color": _colour(k), "linestyle": LINES[k % len(LINES)], "linewidth": 2}
        if np.ptp(values) == 0:
            axes.plot([values[0]] * 2, [0, 1], **style)
            continue
        # no narrower than can be seen: one outlying size must not make a needle of the rest
        narrowest = 0.01 * (grid[-1] - grid[0]) / values.std(ddof=1)
        smooth = gaussian_kde(values)
        smooth.set_bandwidth(max(smooth.factor, narrowest))
        density = smooth(grid)
        axes.plot(grid, density / density.max(), **style)
    axes.set_ylabel("density of the class (its peak: 1)")
    axes.set_ylim(0, 1.08)


def _size_boxes(axes: Axes, of_class: Sequence[Array]) -> None:
    """Draw one box a class: quartiles, median, and whiskers to 5 and 95 %."""
    drawn_boxes = axes.boxplot(
        list(of_class), orientation="horizontal", whis=(5, 95), widths=0.55, patch_artist=True,
        flierprops={"markersize": 3, "alpha": 0.3}, medianprops={"color": BLACK, "linewidth": 2.5},
    )  # fmt: skip
    for k, box in enumerate(drawn_boxes["boxes"]):
        box.set(facecolor=_colour(k), hatch=_hatch(k), edgecolor=BLACK)
        drawn_boxes["fliers"][k].set(marker=_marker(k), markeredgecolor=_colour(k))
    axes.set_yticks([])
    axes.invert_yaxis()


def _shape_of_patient(table: pd.DataFrame, patients: pd.Index[Any]) -> list[str]:
    """Return a marker for each patient: that of their class, or a dot where there are several."""
    if (
        not {"class_name", "label"} <= set(table)
        or (table.groupby("patient")["class_name"].nunique() > 1).any()
    ):
        return ["o"] * len(patients)
    number = {name: k for k, name in enumerate(_classes_of(table))}
    own = table.groupby("patient")["class_name"].first()
    return [_marker(number[own[name]]) for name in patients]
