"""Every figure is drawn, described in words and closed; wrong input is told what to do."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

mpl.use("Agg")

import IPython.display
import matplotlib.pyplot as plt

from helpers import plots

BINARY = ("Uninfected", "Parasitized")
FOUR = ("CNV", "DME", "DRUSEN", "NORMAL")


@dataclass(frozen=True)
class Estimate:
    value: float
    low: float
    high: float


def cells(count: int = 4, dtype: type = np.uint8) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (20 + k, 24, 3)).astype(dtype) for k in range(count)]


def index(classes: tuple[str, ...] = BINARY, split: bool = True) -> pd.DataFrame:
    generator = np.random.default_rng(1)
    label = np.arange(60) % len(classes)
    return pd.DataFrame(
        {
            "label": label,
            "class_name": np.array(classes)[label],
            "patient": [f"C{k % 7}" for k in range(60)],
            "split": np.where(np.arange(60) < 40, "train", "test") if split else "",
            "width": generator.integers(40, 200, 60),
            "height": generator.integers(40, 200, 60),
        }
    )


TRUTH = np.arange(80) % 2
SCORES = np.clip(TRUTH * 0.5 + np.random.default_rng(2).random(80) * 0.6, 0, 1)
CURVES = {"one model": (TRUTH, SCORES), "another, with a comma": (TRUTH, 1 - SCORES)}
OWNERS = np.arange(len(TRUTH)) % 7
HISTORY = {
    "loss": [0.6, 0.4, 0.3],
    "val_loss": [0.5, 0.45, 0.6],
    "accuracy": [0.7, 0.8, 0.9],
    "val_accuracy": [0.7, 0.75, 0.7],
}
PATIENTS = pd.DataFrame(
    {
        "patient": ["C1", "C2", "C47P8thin_Original_Motic"],
        "images": [65, 100, 702],
        "positive_share": [0.0, 0.4, 0.6],
        "accuracy": [0.9, 0.8, 0.95],
        "mean_score": [0.1, 0.5, 0.6],
    }
)
ESTIMATES = {
    "majority": Estimate(0.5, 0.4, 0.6),
    "network": Estimate(0.92, 0.9, 0.94),
    "none": Estimate(float("nan"), float("nan"), float("nan")),  # one class only: no AUC
}
HEAT = [np.linspace(0, 1, 16).reshape(4, 4)] * 2


def scans(count: int = 3) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Return colour images, true masks and predicted ones."""
    images = [image[:20] for image in cells(count)]
    truth, predicted = np.zeros((2, 20, 24), bool)
    truth[4:10, 5:12] = True
    predicted[5:11, 6:13] = True
    return images, [truth] * count, [predicted * np.uint8(255)] * count


SCANS = scans()
FOUR_TRUTH = np.arange(80) % 4
FOUR_SCORES = np.random.default_rng(3).dirichlet(np.ones(4), 80) * 0.6 + 0.4 * np.eye(4)[FOUR_TRUTH]
DICE = pd.DataFrame(
    {
        "patient": ["TCGA_CS_4941_19960909", "b", "c", "empty"],
        "dice": [0.9, 0.4, 0.8, np.nan],
        "truth_pixels": [900, 40, 2000, 0],
        "two_stage": [0.9, 0.2, 0.8, np.nan],
    }
)
COLOURS = pd.DataFrame(
    {
        "patient": np.repeat(["a", "b", "c"], 4),
        "label": np.repeat([0, 1, 1], 4),
        "class_name": np.repeat(["benign", "malignant", "malignant"], 4),
        "red": np.linspace(190, 220, 12),
        "green": np.linspace(140, 180, 12),
        "blue": np.linspace(200, 190, 12),
    }
)
GROUPS = {"CNV": ESTIMATES, "DRUSEN": {"network": Estimate(0.7, 0.5, 0.8)}}

FIGURES: dict[str, Callable[[], Figure]] = {
    "examples": lambda: plots.examples(cells(), ["a", "b", "c", "d"]),
    "examples, framed": lambda: plots.examples(cells(), labels=[0, 1, 0, 1], classes=BINARY),
    "examples, one": lambda: plots.examples([np.zeros((1, 1), np.uint8)]),
    "samples_per_class": lambda: plots.samples_per_class({"a": cells(3), "b": cells(2)}),
    "patient_sheet": lambda: plots.patient_sheet({"C1P1": cells(3), "C2P2": cells(3)}),
    "class_counts": lambda: plots.class_counts(index()),
    "class_counts, no split": lambda: plots.class_counts(index(split=False)),
    "class_counts, four": lambda: plots.class_counts(index(FOUR)),
    "class_counts, stacked": lambda: plots.class_counts(
        index(FOUR).assign(part=["train", "test"] * 30), by="part", stacked=True
    ),
    "class_counts, stacked, no part": lambda: plots.class_counts(index(), by="part", stacked=True),
    "image_sizes": lambda: plots.image_sizes(index()),
    "image_sizes, all alike": lambda: plots.image_sizes(index(FOUR).assign(width=50, height=50)),
    "image_sizes, density": lambda: plots.image_sizes(index(FOUR), kind="density"),
    "image_sizes, density, alike": lambda: plots.image_sizes(
        index().assign(width=50), kind="density"
    ),
    "image_sizes, box": lambda: plots.image_sizes(index(FOUR), kind="box"),
    "stain_variation": lambda: plots.stain_variation(COLOURS),
    "stain_variation, many": lambda: plots.stain_variation(
        pd.concat([COLOURS.assign(patient=COLOURS["patient"] + str(k)) for k in range(20)]).drop(
            columns=["label", "class_name"]
        )
    ),
    "split_overlap, images": lambda: plots.split_overlap(
        {"by cell": (9, 10), "by patient": (0, 10)}, images={"by cell": 0.98, "by patient": 0.0}
    ),
    "split_overlap": lambda: plots.split_overlap({"by cell": (9, 10), "by patient": (0, 10)}),
    "augmentations": lambda: plots.augmentations(cells()[0], cells(5, np.float32)),
    "history": lambda: plots.history(HISTORY),
    "history, together": lambda: plots.history(pd.DataFrame(HISTORY), together=True),
    "history, outlines": lambda: plots.history(
        {"loss": [1.1, 0.7], "dice": [0.2, 0.5], "val_loss": [1.2, 0.8], "val_dice": [0.1, 0.4]}
    ),
    "history, loss of one epoch": lambda: plots.history({"loss": [0.3]}),
    "learning_rate": lambda: plots.learning_rate({"cosine": [1e-3, 5e-4], "cut": [1e-4, 1e-5]}),
    "learning_rate, steps": lambda: plots.learning_rate(
        {"linear": np.linspace(1e-3, 0, 60).tolist()}, unit="step", logarithmic=False
    ),
    "confusion": lambda: plots.confusion(TRUTH, SCORES > 0.5, BINARY, positive="Parasitized"),
    "confusion, four": lambda: plots.confusion(np.arange(8) % 4, np.arange(8) // 2, FOUR),
    "confusion, counts": lambda: plots.confusion(
        np.arange(8) % 4, np.arange(8) // 2, FOUR, normalise=False
    ),
    "confusion, rates": lambda: plots.confusion(
        TRUTH, SCORES > 0.5, BINARY, positive="Parasitized", rates=True
    ),
    "roc_one_against_rest": lambda: plots.roc_one_against_rest(FOUR_TRUTH, FOUR_SCORES, FOUR),
    "roc": lambda: plots.roc(CURVES, labels={"one model": "AUC"}, points={"corner": (0.1, 0.9)}),
    "calibration": lambda: plots.calibration(CURVES),
    "calibration, intervals": lambda: plots.calibration(CURVES, OWNERS),
    "score_histogram": lambda: plots.score_histogram(TRUTH, SCORES, BINARY),
    "score_strips": lambda: plots.score_strips(TRUTH, SCORES, ["a", "b"] * 40, BINARY),
    "score_strips, many rows": lambda: plots.score_strips(TRUTH, SCORES, range(80), BINARY),
    "per_patient": lambda: plots.per_patient(PATIENTS),
    "per_patient, intervals": lambda: plots.per_patient(
        PATIENTS.assign(low=[0.8, 0.7, 0.93], high=[0.95, 0.9, 0.97])
    ),
    "per_patient, compared": lambda: plots.per_patient(
        PATIENTS, value="mean_score", compare="positive_share"
    ),
    "per_patient, many": lambda: plots.per_patient(pd.concat([PATIENTS] * 20)),
    "intervals": lambda: plots.intervals(ESTIMATES, reference=0.5, reference_label="guessing"),
    "grouped_intervals": lambda: plots.grouped_intervals(GROUPS, label="recall", reference=0.25),
    "grouped_intervals, one each": lambda: plots.grouped_intervals(
        {"40": {"network": Estimate(0.9, 0.8, 0.95)}}, reference=0.5, reference_label="guessing"
    ),
    "mri_mask_overlay": lambda: plots.mri_mask_overlay(*SCANS[:2], titles=["a", "b", "c"]),
    "mask_outlines": lambda: plots.mask_outlines(
        *SCANS, ["Dice 0.7"] * 3, columns=2, row_labels=["best", "worst"]
    ),
    "mask_outlines, plain": lambda: plots.mask_outlines(*SCANS),
    "channels": lambda: plots.channels(SCANS[0], masks=SCANS[1], titles=["a", "b", "c"]),
    "channels, plain": lambda: plots.channels(SCANS[0]),
    "dice_per_patient": lambda: plots.dice_per_patient(DICE, compare="two_stage"),
    "dice_per_patient, many": lambda: plots.dice_per_patient(pd.concat([DICE] * 20)),
    "dice_by_area": lambda: plots.dice_by_area(np.arange(60), np.linspace(0, 1, 60)),
    "difference": lambda: plots.difference(ESTIMATES, {"difference": Estimate(0.01, -0.01, 0.03)}),
    "gallery": lambda: plots.gallery(cells(), list("abcd"), ["FP", "FN", "false positive", "?"]),
    "heatmaps": lambda: plots.heatmaps(cells(2), HEAT, HEAT, titles=["a", "b"]),
    "heatmaps, framed": lambda: plots.heatmaps(
        cells(2), HEAT, titles=["found, 0.98", "missed, 0.12"], borders=["TP", "FN"]
    ),
    "heatmaps, no control": lambda: plots.heatmaps(cells(1), HEAT[:1]),
    "prediction": lambda: plots.prediction(cells()[0], [0.1, 0.9], BINARY, truth="Parasitized"),
    "prediction, four": lambda: plots.prediction(cells()[0], [0.1, 0.2, 0.3, 0.4], FOUR, top=3),
}


def texts(figure: Figure) -> list[str]:
    """Return every text that is drawn in the axes of a figure."""
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_names_in_another_script_do_not_fill_the_notebook_with_warnings(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sheet = plots.patient_sheet({"病人一": cells(3), "病人二": cells(3)})
        plots.show(sheet, tmp_path / "sheet.png")
    assert plt.rcParams["font.family"] == mpl.rcParamsDefault["font.family"]


@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_described_readable_and_closed(name: str) -> None:
    figure = FIGURES[name]()
    assert isinstance(figure, Figure)
    assert len(str(figure.get_label()).split()) >= 5
    assert str(figure.get_label()).endswith(".")
    assert figure.get_suptitle()
    assert figure.get_figwidth() * plots.DOTS_PER_INCH <= 800
    assert plt.get_fignums() == []
    sizes = [
        float(label.get_fontsize())
        for axes in figure.axes
        for label in (*axes.get_xticklabels(), *axes.get_yticklabels(), axes.xaxis.label)
        if label.get_text()
    ]
    assert min(sizes, default=11) >= 11


def test_every_public_function_is_tried_here() -> None:
    public = {
        name
        for name, value in vars(plots).items()
        if hasattr(value, "__wrapped__") and value.__module__.startswith("helpers.plots.")
    }
    assert public == {name.split(",")[0] for name in FIGURES}


@pytest.mark.parametrize("name", ["intervals", "difference", "confusion, rates", "roc",
                                  "prediction, four", "grouped_intervals", "dice_per_patient",
                                  "split_overlap, images", "class_counts, stacked"])  # fmt: skip
def test_alternative_text_has_no_trained_number(name: str) -> None:
    text = str(FIGURES[name]().get_label()).replace("95 %", "").replace("1 − ", "")
    assert not any(character.isdigit() for character in text)


@pytest.mark.parametrize(
    ("classes", "positive", "expected"),
    [
        (BINARY, "Parasitized", ["true negative", "false positive", "false negative",
                                 "true positive"]),
        (BINARY[::-1], "Parasitized", ["true positive", "false negative", "false positive",
                                       "true negative"]),
    ],
)  # fmt: skip
def test_cells_are_named_by_where_the_positive_class_stands(
    classes: tuple[str, str], positive: str, expected: list[str]
) -> None:
    # 3 healthy cells, of which one is called infected; 5 infected ones, of which two are missed.
    truth = np.array(["Uninfected"] * 3 + ["Parasitized"] * 5)
    predicted = np.array(
        ["Uninfected"] * 2 + ["Parasitized"] * 1 + ["Uninfected"] * 2 + ["Parasitized"] * 3
    )
    numbers = {name: k for k, name in enumerate(classes)}
    figure = plots.confusion(
        [numbers[name] for name in truth],
        [numbers[name] for name in predicted],
        classes,
        positive=positive,
    )
    assert plots.confusion_names(classes, positive) == tuple(expected)
    facts = {
        "true negative": "2\n66.7 %",
        "false positive": "1\n33.3 %",
        "false negative": "2\n40.0 %",
        "true positive": "3\n60.0 %",
    }
    assert texts(figure) == [f"{name}\n{facts[name]}" for name in expected]
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert rows == [f"{name}\n(positive)" if name == positive else name for name in classes]


def test_order_moves_rows_columns_and_names_together() -> None:
    truth, predicted = [0, 0, 0, 1, 1], [0, 0, 1, 1, 1]
    figure = plots.confusion(
        truth, predicted, BINARY, positive="Parasitized", order=("Parasitized", "Uninfected")
    )
    assert [text.split("\n")[:2] for text in texts(figure)] == [
        ["true positive", "2"],
        ["false negative", "0"],
        ["false positive", "1"],
        ["true negative", "2"],
    ]


def test_names_of_the_source_are_crossed_where_wrong() -> None:
    figure = plots.confusion(
        [0, 0, 0, 1, 1],
        [0, 0, 1, 1, 1],
        ("Parasitized", "Uninfected"),
        positive="Parasitized",
        cell_names=("TP", "FP", "FN", "TN"),
    )
    theirs = [text.get_text() for text in figure.axes[1].texts]
    assert [text.split("\n")[0] for text in theirs] == [
        "true positive",
        "✗ false positive",
        "✗ false negative",
        "true negative",
    ]
    assert theirs[1].split("\n")[1] == "(is false negative)"
    assert "crossed" in str(figure.get_label())


def test_confusion_of_a_class_that_does_not_occur() -> None:
    figure = plots.confusion([0, 0, 1], [0, 2, 1], FOUR)
    assert texts(figure)[-1] == "0\n–"
    assert texts(figure)[2] == "1\n50.0 %"


def test_best_epoch_is_counted_from_one() -> None:
    figure = plots.history(HISTORY)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "best epoch: 2" in legend
    no_mark = plots.history(HISTORY, best=None)
    assert not any("best" in text.get_text() for text in no_mark.legends[0].get_texts())
    by_accuracy = plots.history({"acc_accuracy": [0.1, 0.3, 0.2]}, best="acc_accuracy")
    assert "best epoch: 2" in [text.get_text() for text in by_accuracy.legends[0].get_texts()]


def test_the_history_of_outlines_shows_dice() -> None:
    figure = FIGURES["history, outlines"]()
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "Dice (overlap, 0–1)"]
    assert "Loss and Dice" in "".join(texts(figure)) + (figure.get_suptitle() or "")


def test_all_four_curves_on_one_pair_of_axes() -> None:
    figure = plots.history(HISTORY, together=True)
    assert len(figure.axes) == 1
    assert {line.get_label() for line in figure.axes[0].lines} >= {
        "training loss",
        "validation loss",
        "training accuracy",
        "validation accuracy",
    }


def test_class_counts_are_written_on_the_bars() -> None:
    assert texts(plots.class_counts(index())) == ["20", "10", "20", "10"]


def test_figures_stand_beside_their_intervals() -> None:
    figure = FIGURES["difference"]()
    figure.draw_without_rendering()
    sides = [
        label.get_text()
        for axes in figure.axes
        for side in axes.child_axes
        for label in side.get_yticklabels()
    ]
    assert "0.920 (0.900–0.940)" in sides
    assert "not computable" in sides
    assert "+0.010 (−0.010 to +0.030)" in sides


def test_images_of_any_kind_are_drawn_as_uint8() -> None:
    grey, colour = np.full((3, 4, 1), 7, np.uint8), np.full((3, 4, 3), 300.0)
    share = np.full((3, 4), 0.5, np.float32)
    figure = plots.examples([grey, colour, share, np.ones((3, 4), bool)])
    values = [int(np.asarray(axes.images[0].get_array()).max()) for axes in figure.axes]
    assert values == [7, 255, 128, 255]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.examples([]), "at least one"),
        (lambda: plots.examples([np.zeros((2, 4, 4, 3))]), r"batch\[0\]"),
        (lambda: plots.examples(cells(), ["only one"]), "one each"),
        (lambda: plots.examples(cells(), labels=[0, 1, 0, 1]), "needs classes"),
        (lambda: plots.examples(cells(), labels=[0, 1, 0, 2], classes=BINARY), "0 to 1"),
        (lambda: plots.examples(cells(), columns=0), "one column or more"),
        (lambda: plots.samples_per_class({}), "at least one class"),
        (lambda: plots.patient_sheet({"C1": []}), "'C1'"),
        (lambda: plots.class_counts(index().drop(columns="label")), "lacks label"),
        (lambda: plots.image_sizes(index().iloc[:0]), "no rows"),
        (lambda: plots.image_sizes(index(), kind="violin"), "choose one of"),
        (lambda: plots.stain_variation(COLOURS.drop(columns="red")), "lacks red"),
        (lambda: plots.split_overlap({"a": (1, 2)}, images={"b": 0.5}), "for each of a"),
        (lambda: plots.split_overlap({"a": (1, 2)}, images={"a": 50}), "a share, 0–1"),
        (lambda: plots.learning_rate({}), "at least one schedule"),
        (lambda: plots.learning_rate({"a": []}), "list of rates"),
        (lambda: plots.learning_rate({"a": [1e-3, 0.0]}), "logarithmic=False"),
        (lambda: plots.confusion([0], [0], BINARY, rates=True), "needs positive"),
        (lambda: plots.roc_one_against_rest([0, 1], [0.2, 0.8], FOUR), "a column a class"),
        (lambda: plots.roc_one_against_rest([0, 1], np.eye(4)[:2], FOUR), "one class only"),
        (lambda: plots.grouped_intervals({}), "at least one group"),
        (lambda: plots.grouped_intervals({"a": {}}), "at least one figure"),
        (lambda: plots.mri_mask_overlay(SCANS[0], SCANS[1][:1]), "one each"),
        (lambda: plots.mri_mask_overlay(*SCANS[:2], titles=["a"]), "1 titles for 3"),
        (lambda: plots.mask_outlines(cells(3), *SCANS[1:]), "resize the mask"),
        (lambda: plots.mask_outlines(*SCANS, row_labels=["a", "b"]), "2 row_labels for 1 rows"),
        (lambda: plots.mask_outlines(*SCANS, columns=0), "one column or more"),
        (lambda: plots.channels([np.zeros((4, 4))]), "three names"),
        (lambda: plots.dice_per_patient(DICE.drop(columns="dice")), "lacks dice"),
        (lambda: plots.dice_per_patient(DICE[DICE["patient"] == "empty"]), "no rows"),
        (lambda: plots.dice_by_area([0, 0], [np.nan, 1]), "no slice has a tumour"),
        (lambda: plots.dice_by_area([1], [1, 1]), "one value an image"),
        (lambda: plots.heatmaps(cells(2), HEAT, borders=["FP"]), "1 borders for 2"),
        (lambda: plots.split_overlap({}), "at least one split"),
        (lambda: plots.split_overlap({"a": (3, 2)}), "0 ≤ shared ≤ all"),
        (lambda: plots.augmentations(cells()[0], []), "at least one augmented"),
        (lambda: plots.history({}), "no epoch"),
        (lambda: plots.history({"lr": [1.0]}), "model.fit"),
        (lambda: plots.history({"loss": [1, 2], "val_loss": [1]}), "different lengths"),
        (lambda: plots.confusion([0, 1], [0], BINARY), "truth has 2 and predicted has 1"),
        (lambda: plots.confusion([], [], BINARY), "empty"),
        (lambda: plots.confusion([0, 2], [0, 1], BINARY), "class numbers 0 to 1"),
        (lambda: plots.confusion([[0, 1]], [[0, 1]], BINARY), "argmax"),
        (lambda: plots.confusion([0], [0], FOUR, positive="CNV"), "positive=None"),
        (lambda: plots.confusion([0], [0], BINARY, positive="ill"), "none of the classes"),
        (lambda: plots.confusion([0], [0], BINARY, order=["Uninfected"]), "each once"),
        (lambda: plots.confusion([0], [0], BINARY, cell_names=["TP"] * 4), "needs positive"),
        (
            lambda: plots.confusion(
                [0], [0], BINARY, positive="Parasitized", cell_names=["TP"] * 4
            ),
            "reading order",
        ),
        (lambda: plots.roc({}), "at least one curve"),
        (lambda: plots.roc({"a": ([1, 1], [0.1, 0.2])}), "one class only"),
        (lambda: plots.roc({"a": ([0, 1], [0.1])}), "one value an image"),
        (lambda: plots.roc({"a": ([0, 1], [[0.1, 0.9], [0.2, 0.8]])}), r"scores\[:, 1\]"),
        (lambda: plots.roc({"a": ([0, 2], [0.1, 0.2])}), "labels == positive"),
        (lambda: plots.roc({"a": ([0, 1], [0.1, np.nan])}), "finite"),
        (lambda: plots.roc(CURVES, points={"p": (10, 90)}), "1 − specificity"),
        (lambda: plots.calibration({"a": ([0, 1], [-3, 4])}), "not logits"),
        (lambda: plots.calibration(CURVES, bins=1), "two bins or more"),
        (lambda: plots.score_histogram([0], [0.5], FOUR), "two classes"),
        (lambda: plots.score_histogram([], [], BINARY), "no images"),
        (lambda: plots.per_patient(PATIENTS, value="auc"), "lacks auc"),
        (lambda: plots.intervals({}), "at least one figure"),
        (lambda: plots.intervals({"a": Estimate(1, 2, 0)}), "ends below"),
        (lambda: plots.difference(ESTIMATES, {}), "at least one figure"),
        (lambda: plots.gallery([], []), "at least one"),
        (lambda: plots.heatmaps(cells(2), HEAT[:1]), "one each"),
        (lambda: plots.heatmaps(cells(1), [np.ones((2, 2, 1))]), r"\(height, width\)"),
        (lambda: plots.heatmaps(cells(1), [np.full((2, 2), 3)]), "divide it by its maximum"),
        (lambda: plots.prediction(cells()[0], [0.9], BINARY), r"predict\(images\)\[0\]"),
        (lambda: plots.prediction(cells()[0], [2.0, -1.0], BINARY), r"\[1 − p, p\]"),
        (lambda: plots.prediction(cells()[0], [0.5, 0.5], BINARY, truth="ill"), "none of"),
    ],
)
def test_wrong_input_is_told_what_to_do(call: Callable[[], Figure], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
    assert plt.get_fignums() == []


def test_show_displays_one_output_and_writes_the_same_picture(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shown = []
    monkeypatch.setattr(IPython.display, "display", lambda *a, **k: shown.append((a, k)))
    figure = FIGURES["roc"]()
    target = tmp_path / "figures" / "roc.png"
    plots.show(figure, save_as=target)
    text = figure.get_label()
    ((data,), options), *others = shown
    assert not others
    assert data["text/plain"] == text
    assert options == {"metadata": {"image/png": {"alt": text}}, "raw": True}
    assert base64.b64decode(data["image/png"]) == target.read_bytes()
    with Image.open(target) as picture:
        assert picture.info["Description"] == text
        assert picture.width == round(figure.get_figwidth() * 80)
    assert [path.name for path in target.parent.iterdir()] == ["roc.png"]
    assert plt.get_fignums() == []


@pytest.mark.parametrize("limit", [0, 10**9])
@pytest.mark.parametrize("text", ["plain words", "1 − specificity, „quoted“"])
def test_png_is_described_whatever_its_size_and_letters(
    monkeypatch: pytest.MonkeyPatch, limit: int, text: str
) -> None:
    monkeypatch.setattr(plots._base, "LARGE_PNG", limit)
    figure = FIGURES["examples"]()
    with Image.open(io.BytesIO(plots._base._png(figure, text))) as picture:
        assert picture.info["Description"] == text
        assert picture.convert("RGB").getpixel((1, 1)) == (255, 255, 255)


def test_typical_figures_are_small() -> None:
    for name in ("history", "roc", "confusion", "intervals", "class_counts"):
        figure = FIGURES[name]()
        assert len(plots._base._png(figure, str(figure.get_label()))) < 60_000


def test_failed_save_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    figure = FIGURES["history"]()
    with pytest.raises(ValueError, match=r"\.png"):
        plots.show(figure, save_as=tmp_path / "figure.jpg")
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        plots.show(figure, save_as=tmp_path / "figure.png")
    assert list(tmp_path.iterdir()) == []


def test_show_refuses_a_figure_without_words() -> None:
    with pytest.raises(ValueError, match="set_label"):
        plots.show(Figure())


def test_readers_settings_do_not_leak_in_or_out() -> None:
    with plt.rc_context({"font.size": 31, "axes.facecolor": "black"}):
        figure = FIGURES["history"]()
        assert plt.rcParams["font.size"] == 31
    assert figure.axes[0].get_facecolor() == (1, 1, 1, 1)
    assert figure.axes[0].xaxis.label.get_fontsize() == 13


def test_readers_own_open_figures_stay_open() -> None:
    mine = plt.figure()
    try:
        FIGURES["history"]()
        assert plt.get_fignums() == [mine.number]
    finally:
        plt.close(mine)


def test_same_input_gives_the_same_picture() -> None:
    first, second = (plots._base._png(FIGURES["score_strips"](), "text") for _ in range(2))
    assert first == second


def test_colours_are_told_apart_in_grey_or_by_hatch() -> None:
    looks = set(zip(plots.CLASS_COLOURS, plots.MARKERS, plots.HATCHES, strict=True))
    assert len(looks) == len(set(plots.MARKERS)) == len(set(plots.HATCHES)) == 8
    assert len({str(line) for line in plots.LINES}) == 8


@pytest.mark.slow
def test_import_loads_no_engine() -> None:
    code = (
        "import sys, helpers.plots; "
        "print([m for m in ('tensorflow', 'keras', 'torch', 'jax') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_label_that_begins_with_the_name_does_not_repeat_it() -> None:
    curves = {"network": (TRUTH, SCORES), "colour": (TRUTH, 1 - SCORES)}
    figure = plots.roc(curves, labels={"network": "network: AUC 0.9", "colour": "AUC 0.6"})
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["guessing", "network: AUC 0.9", "colour\nAUC 0.6"]


# ------------------------------------------------------------------ what the new figures show


def test_wrong_names_change_sensitivity_and_precision_below_the_matrix() -> None:
    """The matrix that an X-ray article printed: it took each for the other."""
    truth, predicted = np.repeat([0, 0, 1, 1], [163, 71, 18, 342]), np.repeat(
        [0, 1, 0, 1], [163, 71, 18, 342]
    )  # fmt: skip
    figure = plots.confusion(
        truth,
        predicted,
        ("NORMAL", "PNEUMONIA"),
        positive="PNEUMONIA",
        cell_names=["TN", "FN", "FP", "TP"],
        rates=True,
    )
    ours, theirs = (figure.axes[k].get_xlabel().split("\n")[-2:] for k in (0, 1))
    assert ours == ["sensitivity by these names: 0.950", "precision by these names: 0.828"]
    assert theirs == ["sensitivity by these names: 0.828", "precision by these names: 0.950"]


def test_a_rate_of_nothing_is_a_dash() -> None:
    figure = plots.confusion([0, 0], [0, 0], BINARY, positive="Parasitized", rates=True)
    assert figure.axes[0].get_xlabel().count("–") == 2


def test_without_normalising_cells_hold_counts_alone() -> None:
    figure = FIGURES["confusion, counts"]()
    assert texts(figure) == [
        str(value) for value in np.histogram2d(np.arange(8) % 4, np.arange(8) // 2, 4)[0]
        .astype(int).ravel()
    ]  # fmt: skip
    assert "percentage" not in str(figure.get_label())


def test_a_curve_of_labels_has_its_corner_marked() -> None:
    called = (SCORES >= 0.5).astype(int)
    figure = plots.roc({"probabilities": (TRUTH, SCORES), "labels": (TRUTH, called)})
    _, smooth, cornered = figure.axes[0].lines
    assert smooth.get_marker() in ("None", None, "")
    x, y = cornered.get_xydata()[1]
    assert (x, y) == (called[TRUTH == 0].mean(), called[TRUTH == 1].mean())
    assert cornered.get_marker() == "^"


def test_bins_of_few_images_are_hollow_and_not_joined() -> None:
    scores = np.r_[np.full(20, 0.15), np.full(4, 0.45), np.full(80, 0.85)]
    truth = np.r_[np.zeros(18), np.ones(2), 0, 1, 0, 1, np.ones(60), np.zeros(20)].astype(int)
    figure = plots.calibration({"network": (truth, scores)})
    axes = figure.axes[0]
    np.testing.assert_allclose(axes.lines[1].get_xydata(), [[0.15, 0.1], [0.85, 0.75]])
    _, full, hollow = axes.collections  # behind them the (here empty) intervals
    np.testing.assert_allclose(np.asarray(hollow.get_offsets()), [[0.45, 0.5]])
    small, large = full.get_sizes()
    assert large > 2 * small
    legend = [text.get_text().replace("\n", " ") for text in figure.legends[0].get_texts()]
    assert "fewer than 5, not joined" in legend


def test_a_training_that_nobody_watched_says_so() -> None:
    figure = plots.history({"loss": [0.6, 0.4], "dice": [0.5, 0.7]})
    assert "validation" not in str(figure.get_label())
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert said == ["training"]


def test_the_axis_says_what_is_measured() -> None:
    figure = plots.intervals(ESTIMATES, label="accuracy", unit="volumes")
    assert figure.axes[0].get_xlabel() == "accuracy, with its 95 % interval over volumes"


def test_the_share_of_images_stands_beside_that_of_patients() -> None:
    figure = FIGURES["split_overlap, images"]()
    side = [label.get_text() for label in figure.axes[0].child_axes[0].get_yticklabels()]
    assert side[0] == "9 of 10 (90.0 %)\n98.0 % of the images"


def test_stacked_counts_write_every_part() -> None:
    data = index(FOUR).assign(part=["train"] * 56 + ["test"] * 4)
    told = texts(plots.class_counts(data, by="part", stacked=True))
    assert told == ["15\n= 14 + 1"] * 4


def test_rows_of_one_name_have_one_colour_and_missing_ones_no_row() -> None:
    figure = FIGURES["grouped_intervals"]()
    axes = figure.axes[0]
    marks = [line for line in axes.lines if line.get_marker() == "^"]
    assert len(marks) == 2  # "network" in both groups
    assert len({line.get_color() for line in marks}) == 1
    side = [label.get_text() for label in axes.child_axes[0].get_yticklabels()]
    assert side == ["0.500 (0.400–0.600)", "0.920 (0.900–0.940)", "not computable",
                    "0.700 (0.500–0.800)"]  # fmt: skip


def test_the_red_veil_lies_where_the_mask_is() -> None:
    images, masks, _ = SCANS
    figure = plots.mri_mask_overlay(images, masks)
    veil = figure.axes[2].images[1].get_array()
    np.testing.assert_array_equal(~np.ma.getmaskarray(veil), masks[0])


def test_truth_and_prediction_have_outlines_of_their_own() -> None:
    figure = plots.mask_outlines(*SCANS)
    truth, predicted = figure.axes[0].lines
    assert truth.get_color() != predicted.get_color()
    assert truth.get_linestyle() == "-" != predicted.get_linestyle()
    np.testing.assert_allclose(truth.get_xydata().min(axis=0), [4.5, 3.5])  # x, y
    np.testing.assert_allclose(predicted.get_xydata().min(axis=0), [5.5, 4.5])


def test_a_mask_that_is_empty_has_no_outline() -> None:
    images, masks, _ = SCANS
    figure = plots.mask_outlines(images, [mask * 0 for mask in masks], masks)
    assert [len(axes.lines) for axes in figure.axes] == [1, 1, 1]


def test_channels_are_shown_in_grey() -> None:
    image = np.stack([np.full((6, 8), value, np.uint8) for value in (10, 120, 240)], axis=-1)
    figure = plots.channels([image])
    values = [int(np.asarray(axes.images[0].get_array()).mean()) for axes in figure.axes[1:]]
    assert values == [10, 120, 240]
    assert [axes.get_title() for axes in figure.axes][2] == "FLAIR\n(green)"


def test_volumes_without_a_dice_are_left_out() -> None:
    figure = FIGURES["dice_per_patient"]()
    names = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert names == ["b", "c", "TCGA_CS_4941_19960909"]


def test_slices_without_a_tumour_are_left_out() -> None:
    figure = plots.dice_by_area([0, 10, 100, 1000], [1.0, 0.5, np.nan, 0.9])
    spots = np.asarray(figure.axes[0].collections[0].get_offsets())
    np.testing.assert_allclose(spots, [[10, 0.5], [1000, 0.9]])


def test_the_true_class_is_shown_even_where_it_is_unlikely() -> None:
    figure = plots.prediction(cells()[0], [0.1, 0.2, 0.3, 0.4], FOUR, top=2, truth="CNV")
    names = [label.get_text() for label in figure.axes[1].get_yticklabels()]
    assert names == ["NORMAL", "DRUSEN", "CNV (true)"]


def test_patients_are_marked_by_their_class_and_colour() -> None:
    figure = FIGURES["stain_variation"]()
    round_ones, triangles = figure.axes[0].collections[1:3]
    assert (len(round_ones.get_offsets()), len(triangles.get_offsets())) == (2, 1) or (
        len(triangles.get_offsets()) == 2
    )
    first = COLOURS[COLOURS["patient"] == "a"][["red", "green", "blue"]].mean().to_numpy() / 255
    faces = np.concatenate([round_ones.get_facecolors(), triangles.get_facecolors()])[:, :3]
    assert np.abs(faces - first).max(axis=1).min() < 1e-6


def test_every_name_is_exported_once() -> None:
    assert len(set(plots.__all__)) == len(plots.__all__)
    assert {name for name in vars(plots) if name.isupper()} <= set(plots.__all__)
