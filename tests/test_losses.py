"""Losses of segmentation: against their formulas, against Keras, and saved and loaded."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from helpers import backend
from helpers.losses import DiceCrossEntropy, DiceScore, FocalTversky


def case(seed: int = 0, count: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Return masks and predictions (n, 8, 8, 1); the first image has no lesion."""
    rng = np.random.default_rng(seed)
    truth = (rng.uniform(size=(count, 8, 8, 1)) < rng.uniform(0.1, 0.6, (count, 1, 1, 1))) * 1.0
    truth[0] = 0
    return truth.astype(np.float32), rng.uniform(0.01, 0.99, truth.shape).astype(np.float32)


def number(value: Any) -> Any:
    """Return a tensor as numpy."""
    return keras.ops.convert_to_numpy(value)


def overlap(truth: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return pixels found both ways, missed and invented, of each image."""
    pairs = (truth * predicted, truth * (1 - predicted), (1 - truth) * predicted)
    return tuple(pixels.sum(axis=(1, 2, 3)) for pixels in pairs)


# -- formulas ------------------------------------------------------------------------------


@pytest.mark.parametrize("smooth", [0.5, 1.0])
def test_dice_and_cross_entropy_are_those_of_the_formula(smooth: float) -> None:
    truth, predicted = case()
    both, missed, invented = overlap(truth, predicted)
    dice = (2 * both + smooth) / (2 * both + missed + invented + smooth)
    entropy = -np.where(truth == 1, np.log(predicted), np.log(1 - predicted)).mean(axis=(1, 2, 3))
    each = DiceCrossEntropy(smooth, reduction="none")(truth, predicted)
    np.testing.assert_allclose(number(each), 1 - dice + entropy, rtol=1e-4)
    mean = number(DiceCrossEntropy(smooth)(truth, predicted))
    assert mean == pytest.approx((1 - dice + entropy).mean(), rel=1e-4)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.7, 0.75), (0.3, 0.75), (0.5, 1.0), (1.0, 2.0)])
def test_focal_tversky_is_that_of_the_paper(alpha: float, gamma: float) -> None:
    truth, predicted = case()
    both, missed, invented = overlap(truth, predicted)
    index = (both + 1) / (both + alpha * missed + (1 - alpha) * invented + 1)
    each = FocalTversky(alpha, gamma, reduction="none")(truth, predicted)
    np.testing.assert_allclose(number(each), (1 - index) ** gamma, rtol=1e-4, atol=1e-6)
    assert number(FocalTversky(alpha, gamma)(truth, predicted)) == pytest.approx(
        ((1 - index) ** gamma).mean(), rel=1e-4
    )


def test_alpha_weighs_what_was_missed() -> None:
    """The same number of wrong pixels costs more where they were missed than invented."""
    truth = np.zeros((2, 8, 8, 1), np.float32)
    truth[:, 2:6, 2:6] = 1
    predicted = truth.copy()
    predicted[0, 2, 2:6] = 0  # four missed
    predicted[1, 1, 2:6] = 1  # four invented
    missed, invented = number(FocalTversky(reduction="none")(truth, predicted))
    assert missed > 1.2 * invented
    reversed_missed, reversed_invented = number(
        FocalTversky(alpha=0.3, reduction="none")(truth, predicted)
    )
    assert reversed_missed < reversed_invented


def test_each_image_counts_the_same() -> None:
    """A large lesion found well must not hide a small one that was missed."""
    truth = np.zeros((2, 8, 8, 1), np.float32)
    truth[0] = 1
    truth[1, 3, 3:5] = 1
    predicted = truth.copy()
    predicted[1] = 0
    for loss in (FocalTversky(gamma=1.0), DiceCrossEntropy()):
        apart = [number(loss(truth[[row]], predicted[[row]])) for row in (0, 1)]
        assert number(loss(truth, predicted)) == pytest.approx(np.mean(apart), rel=1e-5)
    # Keras adds the batch up: the small lesion's loss all but vanishes
    assert number(keras.losses.Dice()(truth, predicted)) < 0.02
    assert number(FocalTversky(alpha=0.5, gamma=1.0)(truth, predicted)) > 0.2


# -- against Keras -------------------------------------------------------------------------


def test_without_smoothing_and_image_by_image_dice_is_keras_dice() -> None:
    truth, predicted = (array[1:] for array in case())
    image_by_image = keras.losses.Dice(axis=(1, 2, 3))(truth, predicted)
    ours = FocalTversky(alpha=0.5, gamma=1.0, smooth=0.0)(truth, predicted)
    assert number(ours) == pytest.approx(number(image_by_image), rel=1e-4)
    cross_entropy = keras.losses.BinaryCrossentropy()(truth, predicted)
    both = DiceCrossEntropy(smooth=0.0)(truth, predicted)
    assert number(both) == pytest.approx(number(image_by_image) + number(cross_entropy), rel=1e-4)


def test_tversky_is_that_of_keras_with_its_weights_one_way_round() -> None:
    """Keras documents alpha for false positives; whichever it weighs, the numbers are ours."""
    truth, predicted = (array[1:] for array in case())
    theirs = [
        float(number(keras.losses.Tversky(alpha, 1 - alpha, axis=(1, 2, 3))(truth, predicted)))
        for alpha in (0.7, 0.3)
    ]
    ours = [
        float(number(FocalTversky(alpha, gamma=1.0, smooth=0.0)(truth, predicted)))
        for alpha in (0.7, 0.3)
    ]
    assert abs(ours[0] - ours[1]) > 0.01
    assert sorted(ours) == pytest.approx(sorted(theirs), rel=1e-4)


# -- where a fraction or a root could break ------------------------------------------------


@pytest.mark.parametrize("smooth", [0.0, 1.0])
@pytest.mark.parametrize("loss", [FocalTversky, DiceCrossEntropy])
@pytest.mark.parametrize("filled", [0.0, 1.0])
def test_a_perfect_answer_costs_nothing_and_has_a_finite_slope(
    loss: type, smooth: float, filled: float
) -> None:
    """Also where there is nothing to find: 0/0, and the root of 0, have no slope."""
    truth = np.full((2, 4, 4, 1), filled, np.float32)
    chosen = loss(smooth=smooth, reduction="none")
    values, slopes = backend.gradient(lambda predicted: chosen(truth, predicted), truth.copy())
    assert np.isfinite(slopes).all()
    if smooth or filled:
        np.testing.assert_allclose(values, 0, atol=1e-4)


@pytest.mark.parametrize("loss", [FocalTversky(), DiceCrossEntropy()])
def test_the_slope_leads_to_the_truth(loss: keras.losses.Loss) -> None:
    truth, predicted = case()
    _, slopes = backend.gradient(
        lambda found: keras.ops.reshape(loss(truth, found), (1,)), predicted
    )
    assert (slopes[1:][truth[1:] == 1] < 0).all()
    assert (slopes[truth == 0] > 0).all()


def test_whole_numbers_and_half_precision_are_taken() -> None:
    truth, predicted = case()
    for loss in (FocalTversky(), DiceCrossEntropy()):
        expected = number(loss(truth, predicted))
        assert number(loss(truth.astype(np.uint8), predicted)) == pytest.approx(expected)


# -- the score of an epoch -----------------------------------------------------------------


def test_the_score_is_dice_over_all_pixels_whatever_the_batches() -> None:
    truth, predicted = case(count=7)
    found = predicted >= 0.5
    expected = 2 * (truth * found).sum() / (truth.sum() + found.sum())
    for size in (1, 3, 7):
        score = DiceScore()
        for start in range(0, 7, size):
            score.update_state(truth[start : start + size], predicted[start : start + size])
        assert number(score.result()) == pytest.approx(expected, rel=1e-5)
    assert score.name == "dice"


def test_the_score_starts_afresh_and_knows_empty_images() -> None:
    score = DiceScore()
    empty = np.zeros((1, 4, 4, 1), np.float32)
    score.update_state(empty, empty)
    assert number(score.result()) == 1
    score.update_state(empty, empty + 0.9)
    assert number(score.result()) == 0
    score.reset_state()
    score.update_state(empty + 1, empty + 0.9)
    assert number(score.result()) == 1
    strict = DiceScore(threshold=0.95)
    strict.update_state(empty + 1, empty + 0.9)
    assert number(strict.result()) == 0


# -- saved and loaded ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "item",
    [
        DiceCrossEntropy(smooth=2.0),
        FocalTversky(alpha=0.6, gamma=1.5, smooth=0.5, reduction="sum"),
        DiceScore(threshold=0.3),
    ],
)
def test_it_can_be_built_again_from_its_settings(item: Any) -> None:
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(item))
    assert type(again) is type(item)
    assert again.get_config() == item.get_config()
    if not isinstance(item, DiceScore):
        np.testing.assert_allclose(number(again(*case())), number(item(*case())))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: FocalTversky(alpha=1.2), "alpha=1.2.*between 0 and 1"),
        (lambda: FocalTversky(gamma=0), "gamma=0.*above 0"),
        (lambda: FocalTversky(smooth=-1), "smooth=-1.*0 or more"),
        (lambda: DiceCrossEntropy(smooth=-1), "smooth=-1.*0 or more"),
    ],
)
def test_settings_that_cannot_be_meant(wrong: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrong()
