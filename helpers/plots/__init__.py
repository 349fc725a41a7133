"""Every figure of the series: drawn from arrays and tables, readable, described in words.

Each function returns a closed `Figure`, 800 pixels wide or less at 80 dots an inch, whose
label (`figure.get_label()`) is its alternative text. That text says what is drawn and
never holds a trained number, because those differ from machine to machine. Colour never
carries a meaning alone: a marker, a line style, a hatch or a word goes with it. The
colours are those of Okabe and Ito (2008, "Color Universal Design"), which people with any
kind of colour vision can tell apart.

`show` puts a figure into the notebook and, if asked, into a file.

The functions stand in modules by what they are asked: `data` (what is there, and how is it
split?), `training`, `evaluation` (what are the answers worth?), `masks` (where is it?) and
`explanation` (why, and what of this one image?). All of them are `plots.<name>` here.
"""

from __future__ import annotations

from helpers.plots._base import (
    ABBREVIATIONS,
    BLACK,
    BLUE,
    CLASS_COLOURS,
    DOTS_PER_INCH,
    GREEN,
    GREY,
    HATCHES,
    KIND_COLOURS,
    LINES,
    MARKERS,
    ORANGE,
    PART_COLOURS,
    PART_NAMES,
    PURPLE,
    SKY,
    VERMILION,
    Curves,
    Estimate,
    drawn,
    show,
)
from helpers.plots.data import (
    augmentations,
    class_counts,
    examples,
    image_sizes,
    patient_sheet,
    samples_per_class,
    split_overlap,
    stain_variation,
)
from helpers.plots.evaluation import (
    calibration,
    confusion,
    confusion_names,
    difference,
    grouped_intervals,
    intervals,
    per_patient,
    roc,
    roc_one_against_rest,
    score_histogram,
    score_strips,
)
from helpers.plots.explanation import (
    gallery,
    heatmaps,
    prediction,
)
from helpers.plots.masks import (
    channels,
    dice_by_area,
    dice_per_patient,
    mask_outlines,
    mri_mask_overlay,
)
from helpers.plots.training import (
    history,
    learning_rate,
)

__all__ = [
    "ABBREVIATIONS",
    "BLACK",
    "BLUE",
    "CLASS_COLOURS",
    "DOTS_PER_INCH",
    "GREEN",
    "GREY",
    "HATCHES",
    "KIND_COLOURS",
    "LINES",
    "MARKERS",
    "ORANGE",
    "PART_COLOURS",
    "PART_NAMES",
    "PURPLE",
    "SKY",
    "VERMILION",
    "Curves",
    "Estimate",
    "augmentations",
    "calibration",
    "channels",
    "class_counts",
    "confusion",
    "confusion_names",
    "dice_by_area",
    "dice_per_patient",
    "difference",
    "drawn",
    "examples",
    "gallery",
    "grouped_intervals",
    "heatmaps",
    "history",
    "image_sizes",
    "intervals",
    "learning_rate",
    "mask_outlines",
    "mri_mask_overlay",
    "patient_sheet",
    "per_patient",
    "prediction",
    "roc",
    "roc_one_against_rest",
    "samples_per_class",
    "score_histogram",
    "score_strips",
    "show",
    "split_overlap",
    "stain_variation",
]
