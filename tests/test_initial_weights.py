"""Initial weights: the same numbers on every backend, those that TensorFlow draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from helpers import backend, initial_weights, models

initializers = keras.initializers
SHAPES = [(3, 3, 5, 7), (40, 30), (9,), (3, 3, 96, 1)]
INITIALISERS: list[Callable[[int], Any]] = [
    initializers.GlorotUniform,
    initializers.GlorotNormal,
    initializers.HeNormal,
    initializers.HeUniform,
    initializers.LecunNormal,
    lambda seed: initializers.RandomUniform(-0.1, 0.3, seed=seed),
    lambda seed: initializers.RandomNormal(0.5, 0.2, seed=seed),
    lambda seed: initializers.TruncatedNormal(0.1, 0.02, seed=seed),
    lambda seed: initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal", seed=seed),
]


def numpy_of(tensor: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def as_on_another_backend(
    monkeypatch: pytest.MonkeyPatch, initialiser: Any, shape: tuple[int, ...]
) -> np.ndarray:
    with monkeypatch.context() as patch:
        patch.setattr(backend, "name", lambda: "jax")
        return numpy_of(initial_weights.draw(initialiser, shape))


def test_the_numbers_are_those_of_tensorflow() -> None:
    """Written down from TensorFlow 2.21, so that they are checked without it, too."""
    np.testing.assert_array_equal(
        initial_weights.uniform(3, 3), np.array([0.19591284, 0.93934524, 0.5322752], np.float32)
    )
    bells = initial_weights.truncated_normal(3, 3), initial_weights.normal(3, 3)
    for numbers in bells:  # none of the first three is cut off
        np.testing.assert_allclose(numbers, [-0.6715848, 1.6760504, -0.94424546], atol=1e-6)


@pytest.mark.parametrize("seed", [0, 7, 2**31 - 1, 2**32 - 1])
@pytest.mark.parametrize("kind", INITIALISERS)
def test_every_initialiser_draws_what_it_draws_on_tensorflow(
    monkeypatch: pytest.MonkeyPatch, kind: Callable[[int], Any], seed: int
) -> None:
    if backend.name() != "tensorflow":
        pytest.skip("compares with TensorFlow itself")
    for shape in SHAPES:
        there = numpy_of(kind(seed)(shape))
        here = as_on_another_backend(monkeypatch, kind(seed), shape)
        assert here.dtype == there.dtype
        if isinstance(kind(seed), initializers.GlorotUniform):
            np.testing.assert_array_equal(here, there)
        np.testing.assert_allclose(here, there, atol=1e-6)


def test_many_numbers_are_drawn_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(initial_weights, "_AT_ONCE", 1000)
    portions = initial_weights.truncated_normal(5, 10_001), initial_weights.uniform(5, 10_001)
    monkeypatch.undo()
    whole = initial_weights.truncated_normal(5, 10_001), initial_weights.uniform(5, 10_001)
    for one, other in zip(portions, whole, strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.abs(whole[0]).max() < 2


def test_numbers_are_spread_as_they_should_be() -> None:
    uniform = initial_weights.uniform(1, 40_000)
    assert uniform.min() >= 0 and uniform.max() < 1
    np.testing.assert_allclose([uniform.mean(), uniform.var()], [1 / 2, 1 / 12], atol=0.01)
    cut = initial_weights.truncated_normal(1, 40_000)
    np.testing.assert_allclose([cut.mean(), cut.std()], [0, 0.8796], atol=0.01)


def test_constants_and_unseeded_initialisers_draw_for_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ones = as_on_another_backend(monkeypatch, initializers.Ones(), (4,))
    np.testing.assert_array_equal(ones, np.ones(4))
    first, second = (as_on_another_backend(monkeypatch, initializers.GlorotUniform(), (50, 2))
                     for _ in range(2))  # fmt: skip
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    "build",
    [
        lambda: models.small_cnn(image_size=32, filters=(4, 8), seed=3),
        lambda: models.res_unet((4, 8), image_size=32, seed=3),
        lambda: models.article_cnn(image_size=32, regularised=True, seed=3),
        pytest.param(
            lambda: models.transfer(
                "mobilenetv2", head="linear", image_size=32, weights="none", seed=3
            ),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["small", "outlines", "article's", "transfer"],
)
def test_whole_networks_start_from_the_same_weights(
    monkeypatch: pytest.MonkeyPatch, build: Callable[[], keras.Model]
) -> None:
    if backend.name() != "tensorflow":
        pytest.skip("compares with TensorFlow itself")
    there = build()
    with monkeypatch.context() as patch:
        patch.setattr(backend, "name", lambda: "jax")
        here = build()
    for one, other in zip(here.weights, there.weights, strict=True):
        np.testing.assert_allclose(numpy_of(one), numpy_of(other), atol=1e-6, err_msg=one.path)
