"""U-Nets: the right shapes, the encoder's own weights, fixed by a seed, trained with masks."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from helpers import models
from helpers.unet import res_unet, unet

SIZE = 32
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")


def pixels(count: int = 2, size: int = SIZE, seed: int = 0) -> np.ndarray:
    """Return raw pictures, 0–255."""
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def answers(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Return a model's output; without tracing a graph first, which takes seconds."""
    return np.asarray(model(images, training=False))


def small_res_unet(seed: int = 0) -> keras.Model:
    """Return a residual U-Net of three levels."""
    return res_unet((4, 8, 16), image_size=SIZE, seed=seed)


@pytest.fixture(scope="module")
def pretrained() -> keras.Model:
    """Return the default: on EfficientNet-Lite0 with its own weights."""
    return unet(image_size=SIZE, seed=1)


@pytest.fixture(scope="module")
def residual() -> keras.Model:
    """Return the network of the sequels, at full width."""
    return res_unet(image_size=SIZE, seed=1)


@pytest.mark.parametrize("which", ["pretrained", "residual"])
def test_raw_pixels_become_a_probability_for_each(
    which: str, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(which)
    found = answers(model, pixels())
    assert found.shape == (2, SIZE, SIZE, 1)
    assert found.dtype == np.float32
    assert 0 <= found.min() < found.max() <= 1
    np.testing.assert_array_equal(answers(model, pixels().astype(np.float32)), found)
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)  # flat
    logits = answers(keras.Model(model.input, model.get_layer("logits").output), pixels())
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits)), atol=1e-6)


def test_how_many_parameters(pretrained: keras.Model, residual: keras.Model) -> None:
    assert pretrained.count_params() == 2_580_385
    assert residual.count_params() == 2_078_833
    decoder = sum(layer.count_params() for layer in pretrained.layers if "up" in layer.name)
    assert decoder == 192_752


def test_maps_of_four_sizes_are_carried_over(
    pretrained: keras.Model, residual: keras.Model
) -> None:
    joins = [layer for layer in pretrained.layers if layer.name.endswith("_join")]
    carried = [tuple(layer.input[1].shape[1:]) for layer in joins]
    assert carried == [(2, 2, 672), (4, 4, 240), (8, 8, 144), (16, 16, 96)]
    joins = [layer for layer in residual.layers if layer.name.endswith("_join")]
    carried = [tuple(layer.input[1].shape[1:]) for layer in joins]
    assert carried == [(4, 4, 128), (8, 8, 64), (16, 16, 32), (32, 32, 16)]


@pytest.mark.slow
def test_a_residual_block_is_two_convolutions_and_a_shortcut() -> None:
    model = small_res_unet()
    table = {row["layer"]: row for row in models.layer_table(model)}
    assert table["down2_look"]["parameters"] == 9 * 4 * 8
    assert table["down2_look_again"]["parameters"] == 9 * 8 * 8
    assert table["down2_shortcut"]["parameters"] == 4 * 8
    # with both convolutions silenced, what is left is the shortcut
    for name in ("down1_look", "down1_look_again"):
        layer = model.get_layer(name)
        layer.set_weights([array * 0 for array in layer.get_weights()])
    block = keras.Model(model.input, model.get_layer("down1_relu").output)
    shortcut = keras.Model(model.input, model.get_layer("down1_shortcut_normalise").output)
    expected = np.maximum(answers(shortcut, pixels()), 0)
    assert expected.std() > 0
    np.testing.assert_allclose(answers(block, pixels()), expected, atol=1e-5)


def test_the_encoder_has_its_own_weights_and_preprocessing(pretrained: keras.Model) -> None:
    extractor = models.feature_extractor(image_size=SIZE)
    for name in ("block5_expand_relu6", "block14_add"):
        expected = answers(keras.Model(extractor.input, extractor.get_layer(name).output), pixels())
        found = keras.Model(pretrained.input, pretrained.get_layer(name).output)
        np.testing.assert_allclose(answers(found, pixels()), expected, atol=1e-4)


def test_stored_means_follow_within_few_steps(pretrained: keras.Model) -> None:
    means = [layer for layer in pretrained.layers if isinstance(layer, layers.BatchNormalization)]
    assert len(means) > 40
    assert {layer.momentum for layer in means} == {0.9}


def test_a_frozen_encoder_leaves_the_decoder_to_train() -> None:
    model = unet(image_size=SIZE, weights="none", trainable=False)
    names = {variable.path.split("/")[0] for variable in model.trainable_variables}
    assert all(name.startswith("up") or name == "logits" for name in names)
    assert "up5_look_again" in names


@pytest.mark.slow
def test_a_seed_fixes_the_weights_whatever_the_global_state(pretrained: keras.Model) -> None:
    def weights(model: keras.Model) -> np.ndarray:
        return np.concatenate([array.ravel() for array in model.get_weights()])

    keras.utils.set_random_seed(1)
    first = weights(small_res_unet(3))
    keras.utils.set_random_seed(2)
    np.testing.assert_array_equal(weights(small_res_unet(3)), first)
    assert not np.array_equal(weights(small_res_unet(4)), first)
    np.testing.assert_array_equal(weights(unet(image_size=SIZE, seed=1)), weights(pretrained))
    other = unet(image_size=SIZE, seed=2)
    for layer in other.layers:
        if layer.weights:
            one, two = layer.get_weights()[0], pretrained.get_layer(layer.name).get_weights()[0]
            drawn = layer.name.startswith("up") or layer.name == "logits"
            assert np.array_equal(one, two) != (drawn and one.ndim > 1), layer.name


@pytest.mark.parametrize(
    "encoder", ["mobilenetv2", pytest.param("resnet50", marks=pytest.mark.slow)]
)
def test_other_encoders(encoder: str) -> None:
    model = unet(encoder, image_size=64, weights="none", filters=(16, 16, 8, 8, 8))
    assert model.name == f"unet_{encoder}"
    assert answers(model, pixels(1, 64)).shape == (1, 64, 64, 1)
    joins = [layer for layer in model.layers if layer.name.endswith("_join")]
    assert [layer.input[1].shape[1] for layer in joins] == [4, 8, 16, 32]


@pytest.mark.slow
def test_a_saved_and_loaded_model_gives_the_same_answers(
    pretrained: keras.Model, tmp_path: Path
) -> None:
    for number, model in enumerate((pretrained, small_res_unet())):
        model.save(tmp_path / f"{number}.keras")
        loaded = keras.models.load_model(tmp_path / f"{number}.keras")
        np.testing.assert_array_equal(answers(loaded, pixels()), answers(model, pixels()))


# -- averages over views: the map is brought back before it is averaged ------------------------


def test_mirrored_maps_lie_on_their_picture() -> None:
    model, images = small_res_unet(), pixels()
    flips = [(), (2,), (1,), (1, 2)]
    expected = np.mean(
        [np.flip(answers(model, np.flip(images, axes)), axes) for axes in flips], axis=0
    )
    np.testing.assert_allclose(answers(models.mirrored(model), images), expected, atol=1e-5)


@pytest.mark.slow
def test_turned_maps_lie_on_their_picture(tmp_path: Path) -> None:
    model, images = small_res_unet(), pixels()
    views = []
    for quarter in range(4):
        for axes in ((), (2,)):
            view = np.flip(np.rot90(images, quarter, axes=(1, 2)), axes)
            back = np.rot90(np.flip(answers(model, view), axes), -quarter, axes=(1, 2))
            views.append(back)
    turned = models.turned(model)
    found = answers(turned, images)
    np.testing.assert_allclose(found, np.mean(views, axis=0), atol=1e-5)
    # so a turned picture has the turned answer
    again = answers(turned, np.rot90(images, 1, axes=(1, 2)))
    np.testing.assert_allclose(again, np.rot90(found, 1, axes=(1, 2)), atol=1e-5)
    turned.save(tmp_path / "turned.keras")
    loaded = keras.models.load_model(tmp_path / "turned.keras")
    np.testing.assert_allclose(answers(loaded, images), found, atol=1e-6)


# -- errors --------------------------------------------------------------------------------


def test_sizes_that_cannot_be_halved() -> None:
    with pytest.raises(ValueError, match=r"image_size=100 .* 5 times: give a multiple of 32"):
        unet(image_size=100)
    with pytest.raises(ValueError, match=r"image_size=12 .* 4 times: give a multiple of 16"):
        res_unet(image_size=12)
    with pytest.raises(ValueError, match="give a multiple of 4"):
        res_unet((4, 8, 16), image_size=0)


def test_filters_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="give 5 numbers of channels"):
        unet(image_size=SIZE, filters=(64, 32))
    with pytest.raises(ValueError, match="at least two levels"):
        res_unet((16,), image_size=SIZE)


@pytest.mark.slow
def test_an_encoder_that_does_not_suit() -> None:
    with pytest.raises(ValueError, match=r"Unknown backbone 'efficientnet_lite1'.*Did you mean"):
        unet("efficientnet_lite1", image_size=SIZE)
    with pytest.raises(ValueError, match=r"has no map of .* such as efficientnet_lite0"):
        unet("inceptionv3", image_size=96, weights="none")
