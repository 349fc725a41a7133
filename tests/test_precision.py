"""Mixed precision: chosen where it pays, and nothing that is read afterwards has 16 bits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from tiny_images import PATIENTS, SIZE, draw_volumes, small_index

from helpers import backend, explain, models, training
from helpers import trainee as trainees
from helpers.augment import Augment
from helpers.index import load_index
from helpers.loading import Batches, all_pixels

MIXED = ("mixed_bfloat16", "mixed_float16")


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Return the index of 36 cells of six patients."""
    return small_index(tmp_path_factory.mktemp("precision"))


@pytest.fixture(params=MIXED)
def mixed(request: pytest.FixtureRequest) -> Iterator[str]:
    """Let Keras compute in 16 bits for a test, whatever the device."""
    before = keras.config.dtype_policy()
    backend.use_precision(request.param)
    yield str(request.param)
    keras.config.set_dtype_policy(before)


def tiny(seed: int = 0) -> keras.Model:
    """Return a network of two stages with batch normalisation."""
    return models.small_cnn(image_size=SIZE, filters=(4, 8), seed=seed)


# --- which precision is chosen ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("capability", "chosen"),
    [
        ((9, 0), "mixed_bfloat16"),  # H100, H200
        ((8, 0), "mixed_bfloat16"),  # A100
        ((7, 5), "mixed_float16"),  # T4, which Colab lends
        ((7, 0), "mixed_float16"),  # V100
        ((6, 1), "float32"),  # no tensor cores
        ((0, 0), "float32"),  # tells no capability
    ],
)
def test_auto_takes_what_the_card_multiplies_fast(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], chosen: str
) -> None:
    monkeypatch.setattr(backend, "device", lambda: "GPU")
    monkeypatch.setattr(backend, "_of_this_backend", lambda table: lambda: capability)
    assert backend.precision("auto") == chosen
    assert backend.precision("float32") == "float32"


def test_auto_stays_in_float32_on_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "device", lambda: "CPU")
    assert backend.precision() == "float32"


@pytest.mark.parametrize("use", [backend.precision, backend.use_precision])
def test_an_unknown_precision_brings_the_nearest(use: object) -> None:
    before = keras.config.dtype_policy().name
    with pytest.raises(ValueError, match=r"'bfloat16'; did you mean 'mixed_bfloat16'\?"):
        use("bfloat16")  # type: ignore[operator]
    assert keras.config.dtype_policy().name == before


# --- what 16 bits may not touch --------------------------------------------------------------


def test_answers_are_float32_and_weights_too(mixed: str) -> None:
    network = tiny()
    views = models.turned(network)
    several = models.average([network, tiny(1)])
    for model in (network, views, several, models.res_unet((4, 8), image_size=SIZE)):
        assert model.output.dtype == "float32", model.name
        assert {str(weight.dtype) for weight in model.trainable_weights} == {"float32"}
    assert network.get_layer("stage2_look").compute_dtype == mixed.removeprefix("mixed_")
    assert network.get_layer("logits").compute_dtype == "float32"


@pytest.mark.slow
def test_features_are_float32() -> None:
    backend.use_precision("mixed_bfloat16")
    try:
        features = models.feature_extractor(image_size=SIZE, weights="none")
    finally:
        backend.use_precision("float32")
    assert features.output.dtype == "float32"
    assert features.get_layer("features").output.dtype == "bfloat16"


def test_the_warp_is_float32(mixed: str) -> None:
    images = np.random.default_rng(0).uniform(0, 255, (2, SIZE, SIZE, 3)).astype(np.float32)
    masks = (images[..., :1] > 100).astype(np.float32)
    settings = {"rotate": 20.0, "shift": 0.1, "brightness": 10.0, "seed": 3}
    here = [np.asarray(found) for found in Augment(**settings)(images, masks, training=True)]
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    there = [np.asarray(found) for found in Augment(**settings)(images, masks, training=True)]
    keras.config.set_dtype_policy(policy)
    for ours, theirs in zip(here, there, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours, theirs)


def test_predictions_are_close_to_those_of_float32(mixed: str, cells: pd.DataFrame) -> None:
    with_bits = tiny()
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    reference = tiny()
    keras.config.set_dtype_policy(policy)
    for ours, theirs in zip(with_bits.get_weights(), reference.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    found = training.predict(with_bits, Batches(cells))
    expected = training.predict(reference, Batches(cells))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(found, expected, atol=0.01)
    assert np.abs(found - expected).max() > 0  # else nothing was computed in 16 bits


@pytest.mark.slow
def test_training_learns_and_stays_finite(
    mixed: str, cells: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def watched(model: keras.Model, augment: keras.layers.Layer | None) -> keras.Model:
        seen.append(trainees.with_augmentation(model, augment))
        return seen[-1]

    monkeypatch.setattr(training, "with_augmentation", watched)
    model = tiny()
    valid = cells["patient"].isin(PATIENTS[4:])
    history = training.fit(
        model, Batches(cells[~valid], 8, shuffle=True), Batches(cells[valid]), epochs=6,
        learning_rate=0.02, augment=Augment(rotate=10, flip_left_right=True),
        moving_average=0.5, checkpoint=tmp_path / "best.keras", early_stopping=False,
    )  # fmt: skip
    assert np.isfinite(history.to_numpy()).all()
    assert history["loss"].iloc[-1] < 0.8 * history["loss"].iloc[0]
    # float16 cannot tell small gradients from zero: the loss is scaled up, the gradients down
    scaled = isinstance(seen[0].optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (mixed == "mixed_float16")
    # read elsewhere, where Keras computes in float32, the file is still the same network
    keras.config.set_dtype_policy("float32")
    again = keras.models.load_model(tmp_path / "best.keras")
    assert again.get_layer("stage1_look").compute_dtype == mixed.removeprefix("mixed_")
    keras.config.set_dtype_policy(mixed)
    model.save(tmp_path / "last.keras")
    keras.config.set_dtype_policy("float32")
    last = keras.models.load_model(tmp_path / "last.keras")
    pixels = all_pixels(cells[valid])
    np.testing.assert_array_equal(last.predict_on_batch(pixels), model.predict_on_batch(pixels))


@pytest.mark.slow
def test_an_outline_is_learnt_with_its_mask(mixed: str, tmp_path: Path) -> None:
    draw_volumes(tmp_path / "volumes")
    index = load_index("brain_mri", tmp_path / "volumes", image_size=SIZE)
    model = models.res_unet((4, 8), image_size=SIZE)
    train = Batches(index, 4, shuffle=True, masks=True)
    history = training.fit(
        model, train, Batches(index, 4, masks=True), epochs=2, learning_rate=0.01,
        augment=Augment(rotate=10),
    )  # fmt: skip
    assert np.isfinite(history.to_numpy()).all()
    assert model.predict_on_batch(all_pixels(index[:2])).dtype == np.float32


def test_features_of_another_precision_are_not_taken(
    cells: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUTORIALS_DATA", str(tmp_path))
    found = {}
    for precision in ("float32", "mixed_bfloat16"):
        backend.use_precision(precision)
        try:
            extractor = tiny()
            extractor = keras.Model(extractor.input, extractor.get_layer("pooled").output)
            extractor.name = "tiny"
            found[precision] = training.extract_features(extractor, cells)
        finally:
            backend.use_precision("float32")
    assert len(list((tmp_path / "cache").glob("*tiny*.npy"))) == 2
    np.testing.assert_allclose(found["float32"], found["mixed_bfloat16"], atol=0.05)
    assert (found["float32"] != found["mixed_bfloat16"]).any()


def test_grad_cam_is_finite(mixed: str, cells: pd.DataFrame) -> None:
    maps = explain.grad_cam(tiny(), all_pixels(cells[:3]), 1)
    assert maps.dtype == np.float32
    assert np.isfinite(maps).all()
    assert maps.max() <= 1
