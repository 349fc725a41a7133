"""Networks: preprocessing inside, weights from where they should come, nothing left to chance."""

from __future__ import annotations

import hashlib
import random
import urllib.error
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from helpers import backbones, models, runner

SIZE = 32
# What Keras itself does on the way to get_weights() is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")


def pixels(count: int = 3, seed: int = 0, size: int = SIZE) -> np.ndarray:
    """Return raw pictures, 0–255."""
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def digest(model: keras.Model) -> str:
    """Return a hash of a model's weights."""
    total = hashlib.sha256()
    for array in model.get_weights():
        total.update(array.tobytes())
    return total.hexdigest()


def answers(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Return a model's output; without tracing a graph first, which takes seconds."""
    return np.asarray(model(images, training=False))


def features_of(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Return a model's last maps."""
    return answers(keras.Model(model.input, model.get_layer("features").output), images)


def save_legacy(model: keras.Model, path: Path) -> Path:
    """Write weights in the format of the files that keras.applications downloads."""
    h5py = pytest.importorskip("h5py")
    legacy = pytest.importorskip("keras.src.legacy.saving.legacy_h5_format")
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        legacy.save_weights_to_hdf5_group(file, model)
    return path


@pytest.fixture
def keras_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which Keras looks for weights; every download from it fails."""
    config = pytest.importorskip("keras.src.backend.config")
    file_utils = pytest.importorskip("keras.src.utils.file_utils")
    monkeypatch.setattr(config, "_KERAS_DIR", str(tmp_path / "keras"))
    (tmp_path / "keras").mkdir()

    def offline(*_: Any) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(file_utils, "urlretrieve", offline)
    return tmp_path / "keras"


def require_equal(model: keras.Model, origin: keras.Model) -> None:
    """Fail unless a model has the weights of a network that it was built from."""
    for layer in origin.layers:
        if layer.weights:
            found = model.get_layer(layer.name).get_weights()
            for one, two in zip(layer.get_weights(), found, strict=True):
                np.testing.assert_array_equal(one, two, err_msg=layer.name)


def without_top(name: str, seed: int = 0) -> keras.Model:
    """Return a network of keras.applications itself, randomly initialised."""
    build = getattr(keras.applications, name)
    return models.reinitialise(
        build(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3)), seed
    )


# -- what a model is -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def small() -> keras.Model:
    """Return a small network."""
    return models.small_cnn(image_size=SIZE, seed=1)


@pytest.fixture(scope="module")
def lite() -> keras.Model:
    """Return the default: EfficientNet-Lite0 with its own weights."""
    return models.transfer(image_size=SIZE, seed=1)


@pytest.mark.parametrize("which", ["small", "lite"])
def test_raw_pixels_become_probabilities(which: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(which)
    found = answers(model, pixels())
    assert found.shape == (3, 2)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    assert found.std() > 0
    np.testing.assert_array_equal(answers(model, pixels().astype(np.float32)), found)
    logits = answers(keras.Model(model.input, model.get_layer("logits").output), pixels())
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)  # flat
    assert len(model.get_layer("features").output.shape) == 4


@pytest.fixture(scope="module")
def frozen() -> keras.Model:
    """Return the default with a frozen backbone."""
    return models.transfer(image_size=SIZE, trainable=False)


def test_names_are_the_same_every_time(lite: keras.Model, frozen: keras.Model) -> None:
    assert [layer.name for layer in frozen.layers] == [layer.name for layer in lite.layers]
    assert frozen.name == lite.name == "efficientnet_lite0_linear"


def test_classes_and_head() -> None:
    model = models.transfer(image_size=SIZE, classes=4, weights="none")
    assert model.output_shape == (None, 4)
    assert model.get_layer("logits").count_params() == 1_280 * 4 + 4
    assert models.small_cnn(image_size=SIZE, classes=3).output_shape == (None, 3)


def test_a_small_network_has_the_same_weights_for_every_size() -> None:
    counts = {models.small_cnn(image_size=size, seed=1).count_params() for size in (32, 50, 64)}
    assert len(counts) == 1
    two = models.small_cnn(image_size=SIZE, filters=(8, 16))
    # 3×3 kernels and four numbers a channel of batch normalisation, then dense
    expected = 9 * (3 * 8 + 8 * 8 + 8 * 16 + 16 * 16) + 4 * (8 + 8 + 16 + 16) + 16 * 2 + 2
    assert two.count_params() == expected
    assert two.get_layer("features").output.shape == (None, 8, 8, 16)


@pytest.mark.slow
def test_a_frozen_backbone_leaves_only_the_head_to_train(
    lite: keras.Model, frozen: keras.Model
) -> None:
    assert [variable.path for variable in frozen.trainable_variables] == [
        "logits/kernel",
        "logits/bias",
    ]
    assert len(lite.trainable_variables) > 100
    extractor = models.feature_extractor(image_size=SIZE)
    assert extractor.trainable_variables == []
    assert extractor.output_shape == (None, 1_280)
    pooled = features_of(lite, pixels()).mean(axis=(1, 2))
    np.testing.assert_allclose(answers(extractor, pixels()), pooled, atol=1e-5)


@pytest.mark.slow
def test_the_malaria_head_is_that_of_the_article() -> None:
    model = models.transfer("resnet50v2", head="malaria", image_size=128, weights="none")
    assert model.count_params() == 23_827_330
    table = {row["layer"]: row for row in models.layer_table(model)}
    assert table["features"]["output"] == "4×4×2048"
    assert table["pooled"]["output"] == "1×1×2048"
    assert table["hidden"]["parameters"] == 2_048 * 128 + 128
    assert model.get_layer("dropout").rate == 0.5
    assert sum(row["parameters"] for row in table.values()) == 23_827_330


@pytest.mark.parametrize(
    ("backbone", "head", "image_size", "parameters"),
    [
        pytest.param("densenet201", "breast_cancer", 224, 18_333_506, marks=pytest.mark.slow),
        ("resnet50", "brain_mri", 256, 25_817_218),
    ],
)
def test_heads_of_the_other_articles(
    backbone: str, head: str, image_size: int, parameters: int
) -> None:
    model = models.transfer(backbone, head=head, image_size=image_size, weights="none")
    assert model.count_params() == parameters
    names = [layer.name for layer in model.layers]
    after = names[names.index("features") + 1 :]
    expected = {
        "breast_cancer": ["pooled", "dropout", "normalise"],
        "brain_mri": ["pooled", "flat", "hidden1", "dropout1", "hidden2", "dropout2", "hidden3",
                      "dropout3"],
    }  # fmt: skip
    assert after == [*expected[head], "logits", "probabilities"]
    rates = {layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)}
    assert rates == {0.3 if head == "brain_mri" else 0.5}


@pytest.mark.slow
def test_the_oct_head_stands_on_the_network_s_own_dense_layers() -> None:
    model = models.transfer("vgg16", head="oct", classes=4, weights="none", trainable=False)
    assert model.count_params() == 135_310_404
    trainable = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    assert trainable == 1_049_860


@pytest.fixture(scope="module")
def on_dense() -> keras.Model:
    """Return the OCT article's model for tiny images: only the first dense layer is smaller."""
    return models.transfer(
        "vgg16", head="oct", classes=4, image_size=SIZE, weights="none", trainable=False, seed=4
    )


def test_the_dense_layers_that_stay_are_frozen(on_dense: keras.Model) -> None:
    names = [layer.name for layer in on_dense.layers]
    assert names[names.index("flatten") :] == [
        "flatten", "fc1", "fc2", "features", "hidden", "dropout", "logits", "probabilities",
    ]  # fmt: skip
    assert {variable.path.split("/")[0] for variable in on_dense.trainable_variables} == {
        "hidden",
        "logits",
    }
    trainable = sum(int(np.prod(variable.shape)) for variable in on_dense.trainable_variables)
    assert trainable == 1_049_860
    assert on_dense.get_layer("dropout").rate == 0.4
    found = answers(on_dense, pixels())
    assert found.shape == (3, 4)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


@pytest.mark.slow
def test_dense_layers_from_a_file_of_ones_own(tmp_path: Path) -> None:
    """A file of the whole network, its last layer included, which is then left away."""
    (tmp_path / "mine.h5").write_text("no weights", encoding="ascii")
    with pytest.raises(ValueError, match="does not hold weights of vgg16 with its dense layers"):
        models.transfer("vgg16", head="oct", weights=str(tmp_path / "mine.h5"))


def test_dense_layers_that_cannot_be_kept() -> None:
    with pytest.raises(ValueError, match=r"efficientnet_lite0 has no dense layers.*'vgg16'"):
        models.transfer(head="oct", classes=4)
    with pytest.raises(ValueError, match=r"image_size=128.*224 pixels and fit no other size"):
        models.transfer("vgg16", head="oct", image_size=128)


@pytest.mark.slow
def test_a_download_with_dense_layers_names_the_larger_file(keras_home: Path) -> None:
    with pytest.raises(RuntimeError, match="its dense layers included, could not") as caught:
        models.transfer("vgg16", head="oct", classes=4)
    name = "vgg16_weights_tf_dim_ordering_tf_kernels.h5"
    assert f"put it at {keras_home / 'models' / name}" in str(caught.value)
    assert "efficientnet_lite0" not in str(caught.value)  # which cannot carry this head
    assert "weights='none'" in str(caught.value)


@pytest.mark.slow
def test_dropout_is_the_head_s_own_unless_told() -> None:
    def rate(**options: Any) -> float:
        model = models.transfer(image_size=SIZE, weights="none", **options)
        return float(model.get_layer("dropout").rate)

    assert rate() == 0.5
    assert rate(dropout=0.1) == 0.1


# -- the pneumonia article's network -------------------------------------------------------


def test_the_pneumonia_article_s_network() -> None:
    model = models.article_cnn()
    assert model.count_params() == 2_424_194
    table = {row["layer"]: row for row in models.layer_table(model)}
    assert table["features"]["output"] == "17×17×64"
    assert table["hidden"]["parameters"] == 2_367_616
    assert model.get_layer("hidden").activation is keras.activations.sigmoid
    assert model.get_layer("dropout").rate == 0.5
    # pixels reach it as 0–1
    first = keras.Model(model.input, model.get_layer("rescale").output)
    np.testing.assert_allclose(answers(first, pixels(size=150)), pixels(size=150) / 255, atol=1e-6)


def test_its_twin_has_the_same_convolutions_and_no_weight_for_a_place() -> None:
    article = models.article_cnn(image_size=SIZE)
    twin = models.article_cnn(image_size=SIZE, regularised=True)
    for stage in (1, 2, 3):
        kernels = [model.get_layer(f"stage{stage}_look").kernel.shape for model in (article, twin)]
        assert kernels[0] == kernels[1]
    assert twin.count_params() == models.article_cnn(regularised=True).count_params() == 65_378
    assert twin.get_layer("hidden").activation is keras.activations.relu
    assert twin.name != article.name
    for model in (article, twin):
        found = answers(model, pixels())
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
        assert found.std() > 0
    assert digest(models.article_cnn(image_size=SIZE, seed=1)) == digest(
        models.article_cnn(image_size=SIZE, seed=1)
    )
    assert models.article_cnn(image_size=SIZE, classes=4).output_shape == (None, 4)
    with pytest.raises(ValueError, match=r"image_size=21.*below 22 pixels"):
        models.article_cnn(image_size=21)
    assert models.article_cnn(image_size=22).get_layer("features").output.shape[1:3] == (1, 1)


def test_the_table_of_layers_says_what_is_trainable(lite: keras.Model, frozen: keras.Model) -> None:
    rows = {row["layer"]: row for row in models.layer_table(frozen)}
    assert rows["logits"] == {
        "layer": "logits",
        "type": "Dense",
        "output": "2",
        "parameters": 2_562,
        "trainable": "yes",
    }
    assert rows["stem"]["trainable"] == "no" and rows["pooled"]["trainable"] == ""
    assert {row["layer"]: row["trainable"] for row in models.layer_table(lite)}["stem"] == "yes"


# -- preprocessing inside ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "application", "module"),
    [
        ("mobilenet", "MobileNet", "mobilenet"),  # −1…1
        ("vgg16", "VGG16", "vgg16"),  # BGR minus the mean
        pytest.param(  # mean and deviation of ImageNet
            "densenet121", "DenseNet121", "densenet", marks=pytest.mark.slow
        ),
        pytest.param(  # has its own inside
            "mobilenetv3small", "MobileNetV3Small", "mobilenet_v3", marks=pytest.mark.slow
        ),
    ],
)
def test_preprocessing_is_inside(name: str, application: str, module: str) -> None:
    outside = without_top(application)
    model = models.transfer(name, image_size=SIZE, weights="none", seed=5)
    for layer in outside.layers:
        if layer.weights:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    prepare = getattr(keras.applications, module).preprocess_input
    raw = pixels().astype(np.float32)
    expected = answers(outside, prepare(raw.copy()))
    assert expected.std() > 0
    # float32 through dozens of layers, the scaling done in another order
    np.testing.assert_allclose(features_of(model, raw), expected, atol=1e-3 * expected.std())
    if module != "mobilenet_v3":
        unprepared = answers(outside, raw)
        assert np.abs(unprepared - expected).max() > 0.1 * expected.std()


# -- seeds ---------------------------------------------------------------------------------


def build(which: str, seed: int) -> keras.Model:
    """Return a network with random weights."""
    if which == "small":
        return models.small_cnn(image_size=SIZE, seed=seed)
    if which == "malaria":
        return models.transfer(
            "mobilenet", head="malaria", image_size=128, weights="none", seed=seed
        )
    return models.transfer(which, image_size=SIZE, weights="none", seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["small", "efficientnet_lite0", "malaria"])
def test_a_seed_fixes_the_weights_whatever_the_global_state(which: str) -> None:
    random.seed(1)
    np.random.seed(1)
    keras.utils.set_random_seed(1)
    first = digest(build(which, seed=3))
    random.seed(2)
    np.random.seed(2)
    keras.utils.set_random_seed(2)
    before = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    assert digest(build(which, seed=3)) == first
    if which == "small":
        assert digest(build(which, seed=4)) != first
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # type: ignore[index]


def test_every_kind_of_layer_is_drawn_anew() -> None:
    """Among them the two kernels of separable convolutions, of Xception and NASNet."""
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.SeparableConv2D(4, 3, name="separable")(inputs)
    x = keras.layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = keras.layers.BatchNormalization(name="normalise")(x)
    x = keras.layers.Conv2D(5, 3, kernel_initializer="he_normal", name="convolution")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2, name="dense")(x))
    first = [array.copy() for array in models.reinitialise(model, 1).get_weights()]
    assert len({array.tobytes() for array in first if array.ndim > 1}) == 5  # no seed twice
    for variable in model.weights:
        variable.assign(variable * 0 + 7)
    again = models.reinitialise(model, 1).get_weights()
    for variable, one, two in zip(model.weights, first, again, strict=True):
        np.testing.assert_array_equal(one, two, err_msg=variable.path)
    other = models.reinitialise(model, 2).get_weights()
    for variable, one, two in zip(model.weights, first, other, strict=True):
        assert np.array_equal(one, two) == (one.ndim == 1), variable.path
    assert set(model.get_layer("normalise").get_weights()[0]) == {1.0}


@pytest.mark.slow
def test_a_randomised_copy_is_another_model_and_leaves_the_first_alone(lite: keras.Model) -> None:
    before = digest(lite)
    control = models.randomised(lite, seed=1)
    assert digest(lite) == before
    assert digest(control) != before
    assert [layer.name for layer in control.layers] == [layer.name for layer in lite.layers]
    differs = [
        not np.array_equal(one.get_weights()[0], two.get_weights()[0])
        for one, two in zip(lite.layers, control.layers, strict=True)
        if one.weights
    ]
    assert all(differs)  # no layer keeps what was learnt


def test_a_seed_fixes_a_randomised_copy(small: keras.Model) -> None:
    assert digest(models.randomised(small, seed=2)) == digest(models.randomised(small, seed=2))
    assert digest(models.randomised(small, seed=2)) != digest(models.randomised(small, seed=3))


def test_a_randomised_copy_of_what_was_trained_starts_afresh(small: keras.Model) -> None:
    copy = keras.models.clone_model(small)
    layer = copy.get_layer("stage1_halve_normalise")
    layer.set_weights([array * 0 + 9 for array in layer.get_weights()])
    fresh = models.randomised(copy, 0).get_layer("stage1_halve_normalise").get_weights()
    assert [set(array) for array in fresh] == [{1.0}, {0.0}, {0.0}, {1.0}]


# -- averages ------------------------------------------------------------------------------


def test_mirrored_is_the_mean_over_four_views(small: keras.Model, tmp_path: Path) -> None:
    images = pixels(4)
    views = [images, images[:, :, ::-1], images[:, ::-1], images[:, ::-1, ::-1]]
    expected = np.mean([answers(small, view) for view in views], axis=0)
    mirrored = models.mirrored(small)
    found = answers(mirrored, images)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    for view in views:  # so the answer to a mirror image is the same
        np.testing.assert_allclose(answers(mirrored, view), found, atol=1e-6)
    mirrored.save(tmp_path / "mirrored.keras")
    loaded = keras.models.load_model(tmp_path / "mirrored.keras")
    np.testing.assert_array_equal(answers(loaded, images), found)


def test_mirrored_left_and_right_alone_is_the_mean_over_two_views(small: keras.Model) -> None:
    images = pixels(4)
    mirrored = models.mirrored(small, up_down=False)
    expected = (answers(small, images) + answers(small, images[:, :, ::-1])) / 2
    np.testing.assert_allclose(answers(mirrored, images), expected, atol=1e-6)


def test_an_average_of_models_that_share_layers_is_saved_whole(tmp_path: Path) -> None:
    extractor = models.small_cnn(image_size=32, seed=3)
    features = extractor.get_layer("pooled").output
    members = [
        keras.Model(extractor.input, keras.layers.Dense(2, "softmax", name=f"head{n}")(features))
        for n in (1, 2)
    ]
    images = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype(np.float32)
    average = models.average(members)
    expected = np.mean([answers(member, images) for member in members], axis=0)
    np.testing.assert_allclose(answers(average, images), expected, atol=1e-6)
    average.save(tmp_path / "average.keras")
    loaded = keras.models.load_model(tmp_path / "average.keras")
    np.testing.assert_allclose(answers(loaded, images), expected, atol=1e-6)


def test_turned_is_the_mean_over_eight_views(small: keras.Model, tmp_path: Path) -> None:
    images = pixels(4)
    quarters = [np.rot90(images, quarter, axes=(1, 2)) for quarter in range(4)]
    views = [*quarters, *(view[:, :, ::-1] for view in quarters)]
    assert len({view.tobytes() for view in views}) == 8
    expected = np.mean([answers(small, view) for view in views], axis=0)
    turned = models.turned(small)
    assert turned.name == "small_cnn_turned"
    np.testing.assert_allclose(answers(turned, images), expected, atol=1e-6)
    for view in views:
        np.testing.assert_allclose(answers(turned, view), expected, atol=1e-6)
    turned.save(tmp_path / "turned.keras")
    loaded = keras.models.load_model(tmp_path / "turned.keras")
    np.testing.assert_array_equal(answers(loaded, images), answers(turned, images))


def test_only_squares_can_be_turned() -> None:
    inputs = keras.Input((16, 24, 3))
    flat = keras.layers.GlobalAveragePooling2D()(inputs)
    with pytest.raises(ValueError, match=r"square images; .* takes 24×16 pixels"):
        models.turned(keras.Model(inputs, flat))


def test_the_average_of_models_is_the_mean_of_their_answers(tmp_path: Path) -> None:
    members = [models.small_cnn(image_size=SIZE, seed=seed) for seed in range(3)]
    images = pixels(4)
    expected = np.mean([answers(member, images) for member in members], axis=0)
    together = models.average(members)
    np.testing.assert_allclose(answers(together, images), expected, atol=1e-6)
    both = models.mirrored(models.average(iter(members)))
    both.save(tmp_path / "both.keras")
    loaded = keras.models.load_model(tmp_path / "both.keras")
    np.testing.assert_array_equal(answers(loaded, images), answers(both, images))


def test_a_name_picks_a_candidate_and_any_other_their_mean() -> None:
    candidates = {str(seed): models.small_cnn(image_size=SIZE, seed=seed) for seed in range(2)}
    images = pixels(4)
    assert models.picked(candidates, "1") is candidates["1"]
    expected = np.mean([answers(member, images) for member in candidates.values()], axis=0)
    found = answers(models.picked(candidates, "mean of all"), images)
    np.testing.assert_allclose(found, expected, atol=1e-6)


# -- saving --------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["small", "vgg16", pytest.param("lite", marks=pytest.mark.slow)])
def test_a_saved_and_loaded_model_gives_the_same_answers(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if which == "vgg16":  # its preprocessing is operations, not layers
        model = models.transfer("vgg16", image_size=SIZE, weights="none")
    else:
        model = request.getfixturevalue(which)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(answers(loaded, pixels()), answers(model, pixels()))


# -- where weights come from ---------------------------------------------------------------


@pytest.mark.slow
def test_auto_needs_no_download_for_the_default(keras_home: Path, lite: keras.Model) -> None:
    extractor = models.feature_extractor(image_size=SIZE, weights="imagenet")
    kernel = extractor.get_layer("stem").get_weights()[0]
    np.testing.assert_array_equal(kernel, lite.get_layer("stem").get_weights()[0])
    drawn = models.feature_extractor(image_size=SIZE, weights="none").get_layer("stem")
    assert not np.array_equal(kernel, drawn.get_weights()[0])
    assert list(keras_home.rglob("*")) == []


@pytest.mark.filterwarnings("ignore:`input_shape` is undefined")
@pytest.mark.slow
def test_imagenet_weights_that_lie_in_keras_folder_are_loaded(keras_home: Path) -> None:
    """The whole way that a download takes, but for the download."""
    origin = without_top("MobileNet", seed=77)
    save_legacy(origin, keras_home / "models" / "mobilenet_1_0_224_tf_no_top.h5")
    for weights in ("imagenet", "auto"):
        require_equal(models.transfer("mobilenet", image_size=SIZE, weights=weights), origin)


@pytest.mark.slow
def test_imagenet_weights_of_the_article_s_network_are_loaded(
    keras_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_utils = pytest.importorskip("keras.src.utils.file_utils")
    origin = without_top("ResNet50V2", seed=77)
    name = "resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5"
    save_legacy(origin, keras_home / "models" / name)
    checked: list[str] = []
    # ours is not the real file: note that its hash would be checked, and let it pass
    monkeypatch.setattr(
        file_utils, "validate_file", lambda path, *_, **__: checked.append(Path(path).name) or True
    )
    model = models.transfer("resnet50v2", head="malaria", image_size=128, weights="imagenet")
    assert checked == [name]
    assert model.count_params() == 23_827_330
    require_equal(model, origin)


@pytest.mark.parametrize(
    ("network", "family", "md5"),
    [
        ("vgg16", "vgg16", "6d6bbae143d832006294945121d1f1fc"),
        pytest.param(
            "densenet201", "densenet", "c13680b51ded0fb44dff2d8f86ac8bb1", marks=pytest.mark.slow
        ),
    ],
)
def test_a_download_that_fails_says_which_file_goes_where(
    keras_home: Path, network: str, family: str, md5: str
) -> None:
    with pytest.raises(RuntimeError, match="could not be downloaded") as caught:
        models.transfer(network, image_size=SIZE, weights="imagenet")
    message = str(caught.value)
    name = f"{network}_weights_tf_dim_ordering_tf_kernels_notop.h5"
    assert f"put it at {keras_home / 'models' / name}" in message
    assert f"check that its md5 is {md5}" in message
    assert (
        f"https://storage.googleapis.com/tensorflow/keras-applications/{family}/{name}" in message
    )
    assert "Name or service not known" in message
    assert "efficientnet_lite0" in message
    assert "weights='none'" in message
    assert [path for path in keras_home.rglob("*") if path.is_file()] == []


@pytest.mark.filterwarnings("ignore:`input_shape` is undefined")
def test_a_file_without_a_known_hash_is_named_all_the_same(keras_home: Path) -> None:
    with pytest.raises(RuntimeError, match="could not be downloaded") as caught:
        models.transfer("mobilenet", image_size=SIZE)
    assert str(keras_home / "models" / "mobilenet_1_0_224_tf_no_top.h5") in str(caught.value)
    assert "on a machine that can, and put it at" in str(caught.value)


@pytest.mark.parametrize("kind", ["legacy", "keras 3"])
@pytest.mark.slow
def test_weights_from_a_file_of_ones_own(tmp_path: Path, kind: str) -> None:
    origin = without_top("MobileNet", seed=77)
    if kind == "legacy":
        path = save_legacy(origin, tmp_path / "mine notop.h5")
    else:
        path = tmp_path / "mine.weights.h5"
        origin.save_weights(path)
    model = models.transfer("mobilenet", image_size=SIZE, weights=str(path), seed=3)
    prepared = keras.applications.mobilenet.preprocess_input(pixels().astype(np.float32))
    expected = answers(origin, prepared)
    np.testing.assert_allclose(features_of(model, pixels()), expected, atol=1e-3 * expected.std())


@pytest.mark.slow
def test_weights_of_the_default_backbone_from_a_file(tmp_path: Path) -> None:
    origin = models.feature_extractor(image_size=SIZE, weights="none", seed=9)
    origin.save_weights(tmp_path / "mine.weights.h5")
    model = models.feature_extractor(
        image_size=SIZE, weights=str(tmp_path / "mine.weights.h5"), seed=1
    )
    assert digest(model) == digest(origin)


def test_a_missing_weights_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"'mine.h5' is no file and none of 'auto'") as caught:
        models.transfer(image_size=SIZE, weights="mine.h5")
    assert f"Looked for {tmp_path / 'mine.h5'}" in str(caught.value)


@pytest.mark.parametrize("name", ["mine.h5", "mine.weights.h5", "mine.txt"])
def test_a_weights_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("no weights", encoding="ascii")
    with pytest.raises(ValueError, match=f"{name} does not hold weights of mobilenet"):
        models.transfer("mobilenet", image_size=SIZE, weights=str(tmp_path / name))


@pytest.mark.filterwarnings("ignore:Skipping nested container")
def test_the_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    other = models.small_cnn(image_size=SIZE)
    other.save_weights(tmp_path / "small.weights.h5")
    save_legacy(other, tmp_path / "small.h5")
    for name in ("small.weights.h5", "small.h5"):
        with pytest.raises(ValueError, match="does not hold weights of mobilenet"):
            models.transfer("mobilenet", image_size=SIZE, weights=str(tmp_path / name))


# -- names ---------------------------------------------------------------------------------


def test_an_unknown_backbone_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"Unknown backbone 'resnet50v3'. Did you mean 'resnet50"):
        models.transfer("resnet50v3")
    with pytest.raises(ValueError, match=r"Unknown head 'malria'. Did you mean 'malaria'"):
        models.transfer(head="malria")


def test_all_applications_are_known() -> None:
    names = models.backbones()
    assert names[0] == "efficientnet_lite0"
    assert {"resnet50v2", "densenet201", "vgg16", "resnet50", "convnexttiny"} < set(names)
    assert all(name == name.lower() for name in names)
    assert len(set(names)) == len(names)


def test_a_head_that_needs_larger_images_says_so() -> None:
    with pytest.raises(ValueError, match="image_size"):
        models.transfer("mobilenet", head="malaria", image_size=64, weights="none")


def test_the_runner_knows_the_same_backbones_without_keras() -> None:
    """It reads them from Keras' own list, and refuses a misspelt one before anything starts."""
    assert set(runner._known_backbones()) == set(backbones.backbones())
