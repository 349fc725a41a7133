"""What all figures share: palette, style, display, grids of pictures, and checks of what is passed.

`show` puts a figure into the notebook and, if asked, into a file.
"""

from __future__ import annotations

import base64
import io
import math
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, wraps
from pathlib import Path
from typing import Any, ParamSpec, Protocol

import IPython.display
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from PIL import Image, PngImagePlugin

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
# of Linux, macOS and Windows
_OTHER_FONTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Micro Hei", "PingFang SC",
                "Hiragino Sans GB", "Microsoft YaHei", "SimHei")  # fmt: skip


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


def show(figure: Figure, save_as: str | Path | None = None, *, colours: int = 256) -> None:
    """Display a figure as one notebook output that carries its alternative text; save it if asked.

    Args:
        figure: what a function of this module returned.
        save_as: a PNG file to write as well. It is written whole or not at all, and
            holds the alternative text under the keyword `Description`.
        colours: how many a large picture keeps at most. Speckle in 256 greys makes a file of
            twice the size that it has in 48, and nobody sees the difference.

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
    picture = _png(figure, text, colours)
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
        with _styled():
            try:
                figure = function(*args, **kwargs)
                # Ticks are made when first drawn, with the sizes that hold at that moment.
                figure.draw_without_rendering()
            finally:
                for number in set(plt.get_fignums()) - before:
                    plt.close(number)
        return figure

    return draw


@contextmanager
def _styled() -> Iterator[None]:
    """Draw in our style; names in other scripts take a font that this machine has for them.

    Where it has none they show as boxes: a warning for each letter would say no more.
    """
    family = [_STYLE["font.family"], *_other_fonts()]
    style = _STYLE | {"font.family": family}
    with plt.style.context(["default", style]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ ")
        yield


@cache
def _other_fonts() -> tuple[str, ...]:
    """Return the installed fonts that have Chinese, Japanese and Korean letters."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return tuple(name for name in _OTHER_FONTS if name in installed)


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


def _png(figure: Figure, text: str, colours: int = 256) -> bytes:
    """Return the figure as PNG with its alternative text inside; many colours are thinned out.

    Photographs make large PNGs, and committed notebooks carry every one of them: above
    `LARGE_PNG` the picture keeps the `colours` that suit it best, 256 unless told.
    """
    buffer = io.BytesIO()
    with _styled():
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
            colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
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
        _kind_legend(figure, kinds, styles)
    return _finish(figure, title, alt)


def _kind_legend(
    figure: Figure, kinds: Sequence[str], styles: Mapping[str, tuple[str, Any]]
) -> None:
    """Say below the pictures what the frames mean that occur."""
    handles = [Line2D([], [], color=styles[kind][0], linestyle=styles[kind][1], linewidth=4,
                      label=kind) for kind in styles if kind in kinds]  # fmt: skip
    _legend_below(figure, figure.axes[0], handles)


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


def _short_names(names: Iterable[Any]) -> list[str]:
    """Return names for the ticks of an axis, the middle left out of those over 22 characters."""
    texts = map(str, names)
    return [text if len(text) <= 22 else f"{text[:10]}…{text[-10:]}" for text in texts]


def _wrap(text: str, inches: float, points: float, *, break_words: bool = False) -> str:
    """Return the text broken into lines that fit so many inches at a font size in points."""
    characters = max(8, int(inches * 72 / (points * 0.57)))
    # File names may break after an underscore: a space that is taken out again afterwards.
    loose = str(text).replace("_", "_\0 ") if break_words else str(text)
    lines = [
        textwrap.fill(line, characters, break_long_words=break_words) for line in loose.split("\n")
    ]
    return "\n".join(lines).replace("\0 ", "").replace("\0", "")
