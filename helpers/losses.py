"""Losses and the score of segmentation: how well an outline covers the truth.

An outline's pixels are few: a network that answers "nothing" everywhere is right for 98 %
of them. So these losses count overlap rather than pixels. Each is computed image by image
and then averaged: otherwise the largest lesion of a batch would decide for all of it, and the
loss would depend on which images a batch happens to hold. (``keras.losses.Dice`` and
``keras.losses.Tversky`` add up the whole batch unless ``axis`` is given.)

Truth is 0 or 1, predictions are probabilities, both (n, height, width, 1).
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

_LEAST = 1e-7  # below it, a root's slope or a logarithm would no longer be a finite number


@keras.saving.register_keras_serializable(package="helpers")
class DiceCrossEntropy(keras.losses.Loss):
    """One minus the soft Dice overlap, plus binary cross-entropy: the default for outlines.

    Dice makes few pixels count as much as many; cross-entropy judges each pixel by itself, so
    that a slice without a lesion and the first epochs, when nothing overlaps yet, have a
    slope too. Milletari 2016 (arXiv 1606.04797) for the soft Dice.

    Args:
        smooth: pixels added to the numerator and denominator of Dice: an image without a
            lesion, found to have none, has an overlap of 1 rather than 0/0.
        name: of the loss.
        reduction: how the images' losses become one number: ``"sum_over_batch_size"`` (their
            mean), ``"sum"`` or ``"none"`` (one number an image).

    Raises:
        ValueError: smooth is negative.
    """

    def __init__(
        self,
        smooth: float = 1.0,
        name: str = "dice_cross_entropy",
        reduction: str = "sum_over_batch_size",
        **kwargs: Any,
    ) -> None:
        """Store the settings after checking them."""
        super().__init__(name=name, reduction=reduction, **kwargs)
        _check_smooth("DiceCrossEntropy", smooth)
        self.smooth = smooth

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each image, (n,)."""
        truth, predicted = _pixels(y_true, y_pred)
        both, missed, invented = _overlap(truth, predicted)
        dice = (2 * both + self.smooth) / _positive(2 * both + missed + invented + self.smooth)
        return 1 - dice + ops.mean(ops.binary_crossentropy(truth, predicted), axis=1)

    def get_config(self) -> dict[str, Any]:
        """Return the settings from which Keras can build the loss again."""
        return {**super().get_config(), "smooth": self.smooth}


@keras.saving.register_keras_serializable(package="helpers")
class FocalTversky(keras.losses.Loss):
    """The focal Tversky loss: missed pixels weigh more than invented ones.

    Abraham & Khan 2018 (arXiv 1810.07842). With the pixels found *both* ways, those *missed*
    (false negatives) and those *invented* (false positives), the Tversky index is
    ``T = both / (both + alpha · missed + (1 − alpha) · invented)`` and the loss
    ``(1 − T) ** gamma``.

    In their paper and their own code (github.com/nabsabraham/focal-tversky-unet, ``losses.py``)
    ``alpha`` = 0.7 weighs the *missed* pixels; Salehi 2017 (arXiv 1706.05721), who proposed the
    index as a loss, and several libraries give that role to ``beta``. The documentation of
    ``keras.losses.Tversky`` does so too, yet its code (Keras 3.15) weighs missed pixels
    by ``alpha``. Their paper writes the exponent as 1/γ with γ = 4/3, their code as
    ``gamma`` = 0.75; it is the same number, and it is the exponent here.

    Args:
        alpha: weight of missed pixels, 0–1; that of invented ones is ``1 − alpha``. With 0.5
            the index is Dice.
        gamma: exponent. Below 1 it keeps the slope steep while the overlap is good already.
        smooth: pixels added to the numerator and denominator, as in ``DiceCrossEntropy``.
        name: of the loss.
        reduction: as in ``DiceCrossEntropy``.

    Raises:
        ValueError: alpha is no share, gamma is not above 0, or smooth is negative.
    """

    def __init__(
        self,
        alpha: float = 0.7,
        gamma: float = 0.75,
        smooth: float = 1.0,
        name: str = "focal_tversky",
        reduction: str = "sum_over_batch_size",
        **kwargs: Any,
    ) -> None:
        """Store the settings after checking them."""
        super().__init__(name=name, reduction=reduction, **kwargs)
        if not 0 <= alpha <= 1:
            raise ValueError(f"FocalTversky(alpha={alpha}): give a share between 0 and 1.")
        if gamma <= 0:
            raise ValueError(f"FocalTversky(gamma={gamma}): give an exponent above 0.")
        _check_smooth("FocalTversky", smooth)
        self.alpha, self.gamma, self.smooth = alpha, gamma, smooth

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each image, (n,)."""
        both, missed, invented = _overlap(*_pixels(y_true, y_pred))
        wrong = self.alpha * missed + (1 - self.alpha) * invented
        # 1 − T without taking the difference of two numbers that are almost equal
        apart = wrong / _positive(both + wrong + self.smooth)
        return ops.power(_positive(apart), self.gamma)

    def get_config(self) -> dict[str, Any]:
        """Return the settings from which Keras can build the loss again."""
        own = {"alpha": self.alpha, "gamma": self.gamma, "smooth": self.smooth}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="helpers")
class DiceScore(keras.metrics.Metric):
    """Dice of all pixels seen in an epoch: 2·|both| / (|truth| + |predicted|), 0–1.

    It is for the line printed each epoch. All images' pixels are added up before the division,
    so the number depends neither on how images were dealt to batches nor on slices that are
    empty; the Dice *per patient* that a study reports is another number. It is 1 where there
    is neither a lesion nor a predicted one.

    Args:
        threshold: a pixel counts as predicted from this probability on.
        name: of the metric.
    """

    def __init__(self, threshold: float = 0.5, name: str = "dice", **kwargs: Any) -> None:
        """Start from no pixels."""
        super().__init__(name=name, **kwargs)
        self.threshold = threshold
        self.both = self.add_weight(shape=(), initializer="zeros", name="both")
        self.total = self.add_weight(shape=(), initializer="zeros", name="total")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add the pixels of a batch; weights are left aside, as a pixel is a pixel."""
        truth = ops.cast(y_true, "float32")
        predicted = ops.cast(ops.cast(y_pred, "float32") >= self.threshold, "float32")
        self.both.assign_add(ops.sum(truth * predicted))
        self.total.assign_add(ops.sum(truth) + ops.sum(predicted))

    def result(self) -> Any:
        """Return the Dice of the pixels so far."""
        return ops.where(self.total > 0, 2 * self.both / ops.maximum(self.total, 1.0), 1.0)

    def get_config(self) -> dict[str, Any]:
        """Return the settings from which Keras can build the metric again."""
        return {**super().get_config(), "threshold": self.threshold}


def _pixels(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Return truth and predictions as float32 rows of pixels, one row an image."""
    return tuple(
        ops.reshape(ops.cast(values, "float32"), (ops.shape(values)[0], -1))
        for values in (y_true, y_pred)
    )


def _overlap(truth: Any, predicted: Any) -> tuple[Any, Any, Any]:
    """Return how much of each image is found both ways, missed and invented, (n,) each."""
    both = ops.sum(truth * predicted, axis=1)
    missed = ops.sum(truth * (1 - predicted), axis=1)
    invented = ops.sum((1 - truth) * predicted, axis=1)
    return both, missed, invented


def _positive(values: Any) -> Any:
    """Return the values, those at zero lifted so little that only 0/0 and 0⁻¹ notice."""
    return ops.maximum(values, _LEAST)


def _check_smooth(name: str, smooth: float) -> None:
    """Refuse a smoothing that cannot be meant."""
    if smooth < 0:
        raise ValueError(f"{name}(smooth={smooth}): give 0 or more pixels.")
