"""Grad-CAM against its formula, and errors in the right order."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from helpers import models
from helpers.explain import grad_cam, most_confident_errors


def linear_model(
    kernel: np.ndarray, head: np.ndarray, size: int = 6, stride: int = 1
) -> keras.Model:
    """Return a 1×1 convolution, its mean and a dense layer, with weights known."""
    inputs = keras.Input((size, size, 3), name="pixels")
    maps = layers.Conv2D(kernel.shape[1], 1, stride, use_bias=False, name="features")(inputs)
    pooled = layers.GlobalAveragePooling2D(name="pooled")(maps)
    logits = layers.Dense(head.shape[1], name="logits")(pooled)
    model = keras.Model(inputs, layers.Softmax(name="probabilities")(logits), name="linear")
    model.get_layer("features").set_weights([kernel[None, None]])
    model.get_layer("logits").set_weights([head, np.array([3.0, -1.0])])
    return model


@pytest.fixture
def known() -> tuple[keras.Model, np.ndarray, np.ndarray, np.ndarray]:
    """Return a model, its two matrices and two pictures."""
    rng = np.random.default_rng(0)
    kernel, head = rng.normal(size=(3, 4)), rng.normal(size=(4, 2))
    images = rng.uniform(-255, 255, (2, 6, 6, 3)).astype(np.float32)  # signs of both kinds
    return linear_model(kernel, head), kernel, head, images


@pytest.mark.parametrize("label", [0, 1])
def test_a_linear_network_has_the_map_of_the_formula(
    known: tuple[keras.Model, np.ndarray, np.ndarray, np.ndarray], label: int
) -> None:
    model, kernel, head, images = known
    maps = images @ kernel
    # the gradient of the mean is 1/36 of the dense layer's weight at every place
    heat = np.maximum(maps @ (head[:, label] / 36), 0)
    expected = heat / heat.max(axis=(1, 2), keepdims=True)
    found = grad_cam(model, images, label)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert 0 < (found > 0).mean() < 1  # something was cut off, something stayed


def test_each_map_is_about_its_own_picture() -> None:
    """Above a layer in the middle the slopes differ from picture to picture."""
    model = models.small_cnn(image_size=32, filters=(4, 8))
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    both = grad_cam(model, images, 1, "stage1_look_relu")
    for number in range(2):
        alone = grad_cam(model, images[number : number + 1], 1, "stage1_look_relu")
        np.testing.assert_allclose(both[number], alone[0], atol=1e-4)


def test_a_network_that_is_sure_still_has_a_map(
    known: tuple[keras.Model, np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """The slope of a saturated softmax is zero: the map must come from the logits."""
    model, kernel, head, images = known
    sure = linear_model(kernel, head * 1_000)
    assert np.asarray(sure(images))[:, 1].round(6).tolist() in ([0, 0], [0, 1], [1, 0], [1, 1])
    np.testing.assert_allclose(grad_cam(sure, images, 1), grad_cam(model, images, 1), atol=1e-4)


def test_where_nothing_speaks_for_a_class_the_map_is_empty() -> None:
    model = linear_model(np.ones((3, 1)), np.array([[1.0, -1.0]]))
    found = grad_cam(model, np.full((1, 6, 6, 3), 9, np.float32), 1)
    np.testing.assert_array_equal(found, np.zeros((1, 6, 6)))


def test_the_map_has_the_size_of_the_picture_and_lies_where_it_should() -> None:
    model = linear_model(np.ones((3, 1)), np.array([[-1.0, 1.0]]), size=32, stride=4)
    images = np.zeros((1, 32, 32, 3), np.uint8)
    images[0, 16:28, 4:12] = 200  # below, on the left
    found = grad_cam(model, images, 1)
    assert found.shape == (1, 32, 32)
    assert found.min() == 0.0
    assert found.max() == 1.0
    rows, columns = np.mgrid[:32, :32]
    assert (found[0] * rows).sum() / found.sum() == pytest.approx(21.5, abs=2)
    assert (found[0] * columns).sum() / found.sum() == pytest.approx(7.5, abs=2)


def test_the_last_map_is_taken_unless_another_is_named() -> None:
    model = models.small_cnn(image_size=32, filters=(4, 8))
    images = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    chosen = [grad_cam(model, images, 1, layer) for layer in (None, "features", "stage1_look_relu")]
    np.testing.assert_array_equal(chosen[0], chosen[1])
    assert np.abs(chosen[2] - chosen[0]).max() > 0.01


def test_a_class_may_be_named_or_differ_from_picture_to_picture(
    known: tuple[keras.Model, np.ndarray, np.ndarray, np.ndarray],
) -> None:
    model, _, _, images = known
    each = [grad_cam(model, images, label) for label in (0, 1)]
    named = grad_cam(model, images, "ill", classes=("healthy", "ill"))
    np.testing.assert_array_equal(named, each[1])
    mixed = grad_cam(model, images, np.array([1, 0]))
    np.testing.assert_allclose(mixed, [each[1][0], each[0][1]], atol=1e-6)


@pytest.mark.parametrize(
    ("label", "classes", "message"),
    [
        ("ill", None, "classes is missing"),
        ("dead", ("healthy", "ill"), "there are healthy, ill"),
        (2, None, "0 to 1"),
        ([0], None, "one for each of the 2 images"),
    ],
)
def test_a_class_that_does_not_exist(
    known: tuple[keras.Model, np.ndarray, np.ndarray, np.ndarray],
    label: int | str | list[int],
    classes: tuple[str, ...] | None,
    message: str,
) -> None:
    model, _, _, images = known
    with pytest.raises(ValueError, match=message):
        grad_cam(model, images, label, classes=classes)


def test_models_that_have_no_map_or_no_logits() -> None:
    inputs = keras.Input((6, 6, 3), name="pixels")
    maps = layers.Conv2D(2, 1, name="features")(inputs)
    pooled = layers.GlobalAveragePooling2D()(maps)
    unnamed = keras.Model(inputs, layers.Dense(2, name="answer")(pooled), name="unnamed")
    images = np.zeros((1, 6, 6, 3), np.float32)
    with pytest.raises(ValueError, match="unnamed has no layer 'logits'; build it with helpers"):
        grad_cam(unnamed, images, 1)
    with pytest.raises(ValueError, match="nowhere"):
        grad_cam(unnamed, images, 1, "nowhere")
    flat = keras.Sequential([keras.Input((8,)), layers.Dense(2, name="logits")], name="flat")
    with pytest.raises(ValueError, match="flat has no layer whose output is a map"):
        grad_cam(flat, np.zeros((1, 8), np.float32), 1)


# -- errors --------------------------------------------------------------------------------


def test_errors_come_the_most_confident_first() -> None:
    truth = np.array([1, 0, 1, 0, 1, 0, 1])
    scores = np.array([0.4, 0.9, 0.05, 0.5, 0.99, 0.2, 0.5])
    # wrong: 0 (0.4 for a positive), 1 (0.9 for a negative), 2, and 3 (0.5 counts as positive)
    assert most_confident_errors(truth, scores, most=9).tolist() == [2, 1, 0, 3]
    assert most_confident_errors(truth, scores, most=2).tolist() == [2, 1]
    # from 0.95 on: 0.4, 0.05 and 0.5 for positives are wrong, the farthest from it first
    assert most_confident_errors(truth, scores, 9, threshold=0.95).tolist() == [2, 0, 6]


def test_errors_of_equal_confidence_keep_their_order() -> None:
    truth, scores = np.array([0, 1, 0]), np.array([0.75, 0.25, 0.75])
    assert most_confident_errors(truth, scores, most=3).tolist() == [0, 1, 2]


def test_no_errors() -> None:
    assert most_confident_errors(np.array([0, 1]), np.array([0.1, 0.9]), most=3).tolist() == []


def test_errors_of_four_classes_by_the_probability_of_the_wrong_one() -> None:
    truth = np.array([0, 1, 2, 3, 3])
    scores = np.array(
        [
            [0.9, 0.1, 0.0, 0.0],  # right
            [0.4, 0.3, 0.2, 0.1],  # wrong, 0.4
            [0.0, 0.0, 0.3, 0.7],  # wrong, 0.7
            [0.1, 0.1, 0.1, 0.7],  # right
            [0.0, 0.6, 0.0, 0.4],  # wrong, 0.6
        ]
    )
    assert most_confident_errors(truth, scores, most=9).tolist() == [2, 4, 1]
    assert most_confident_errors(truth, scores, most=1).tolist() == [2]


def test_two_classes_as_two_columns_are_the_same() -> None:
    rng = np.random.default_rng(0)
    truth, scores = rng.integers(0, 2, 50), rng.random(50)
    columns = np.column_stack([1 - scores, scores])
    as_columns = most_confident_errors(truth, columns, 50)
    assert as_columns.tolist() == most_confident_errors(truth, scores, 50).tolist()
