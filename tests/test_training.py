"""Training: it learns, keeps its best weights, repeats itself, and predicts in order."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler
from tiny_images import PATIENTS, SIZE, small_index
from tiny_outlines import MaskBatches, tiny_unet

from helpers import training
from helpers.augment import Augment
from helpers.index import open_pixels
from helpers.loading import Batches
from helpers.losses import FocalTversky
from helpers.models import reinitialise, transfer
from helpers.trainee import with_augmentation
from helpers.training import attach_head, extract_features, fit_head, predict

Index = pd.DataFrame


def tiny_model(seed: int = 0, dropout: float = 0.0) -> keras.Model:
    """Return a logistic regression on the mean colour: the cells are told apart by it."""
    inputs = keras.Input((SIZE, SIZE, 3), name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="rescale")(inputs)
    x = layers.GlobalAveragePooling2D(name="pooled")(x)
    x = layers.Dropout(dropout, seed=seed, name="dropout")(x)
    x = layers.Dense(2, name="logits")(x)
    x = layers.Activation("softmax", name="probabilities")(x)
    return reinitialise(keras.Model(inputs, x, name="tiny"), seed)


def tiny_extractor(seed: int = 0) -> keras.Model:
    """Return a frozen backbone of one convolution with batch normalisation."""
    inputs = keras.Input((SIZE, SIZE, 3), name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="rescale")(inputs)
    x = layers.Conv2D(5, 3, 4, use_bias=False, name="convolution")(x)
    x = layers.BatchNormalization(name="normalise")(x)
    x = layers.ReLU(name="features")(x)
    x = layers.GlobalAveragePooling2D(name="pooled")(x)
    model = reinitialise(keras.Model(inputs, x, name="tiny_features"), seed)
    model.trainable = False
    return model


def parts(index: Index) -> tuple[Index, Index]:
    """Return the cells of four patients to train on and those of two to validate with."""
    valid = index["patient"].isin(PATIENTS[4:])
    return index[~valid], index[valid]


def losses(model: keras.Model, index: Index) -> float:
    """Return the cross-entropy of a model on an index, computed by scikit-learn."""
    return float(log_loss(index["label"], predict(model, Batches(index)), labels=[0, 1]))


@pytest.fixture(scope="module")
def tiny_index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Return the index of 36 cells of six patients; the cache is made once a module."""
    return small_index(tmp_path_factory.mktemp("tiny"))


# -- one run that many tests look at -------------------------------------------------------


class Run(NamedTuple):
    """What a training left."""

    model: keras.Model
    history: pd.DataFrame
    valid: Index
    checkpoint: Path


EPOCHS = 15


@pytest.fixture(scope="module")
def run(tiny_index: Index, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a model trained with augmentation and checkpoint."""
    folder = tmp_path_factory.mktemp("run")
    train, valid = parts(tiny_index)
    model = tiny_model()
    history = training.fit(
        model,
        Batches(train, 8, shuffle=True),
        Batches(valid),
        epochs=EPOCHS,
        learning_rate=0.5,
        augment=Augment(quarter_turns=True, flip_left_right=True),
        patience=EPOCHS,
        checkpoint=folder / "deep" / "best.keras",
    )
    return Run(model, history, valid, folder / "deep" / "best.keras")


@pytest.mark.slow
def test_what_is_told_apart_by_colour_is_learnt(run: Run, tiny_index: Index) -> None:
    # The classes lie apart, and their regression has one best solution: nothing is luck here.
    found = predict(run.model, Batches(tiny_index)).argmax(axis=1)
    np.testing.assert_array_equal(found, tiny_index["label"])
    assert run.history["loss"].iloc[-1] < run.history["loss"].iloc[0]


def test_the_history_has_a_row_an_epoch(run: Run) -> None:
    names = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"]
    assert sorted(run.history.columns) == sorted(names)
    assert list(run.history["epoch"]) == list(range(1, EPOCHS + 1))
    assert run.history.notna().all(axis=None)
    assert run.history["learning_rate"].iloc[0] == pytest.approx(0.5)
    assert run.history["learning_rate"].is_monotonic_decreasing


def test_the_best_weights_stay_in_the_model(run: Run) -> None:
    assert losses(run.model, run.valid) == pytest.approx(run.history["val_loss"].min(), rel=1e-4)


def test_the_checkpoint_is_the_best_model_without_augmentation(run: Run) -> None:
    loaded = keras.models.load_model(run.checkpoint)
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in run.model.layers]
    assert not any(isinstance(layer, Augment | keras.Model) for layer in loaded.layers)
    np.testing.assert_allclose(
        predict(loaded, Batches(run.valid)), predict(run.model, Batches(run.valid)), atol=1e-6
    )
    assert [path.name for path in run.checkpoint.parent.iterdir()] == ["best.keras"]


def test_a_model_keeps_nothing_of_its_training(tiny_index: Index, tmp_path: Path) -> None:
    """Neither the optimiser, which is twice its size, nor a loss that loading would ask for."""
    train, valid = parts(tiny_index)
    model = tiny_model()

    def own_loss(truth: Any, predicted: Any) -> Any:
        return keras.losses.categorical_crossentropy(truth, predicted)

    training.fit(
        model,
        Batches(train),
        Batches(valid),
        epochs=1,
        learning_rate=0.1,
        loss=own_loss,
        checkpoint=tmp_path / "best.keras",
    )
    assert not model.compiled
    loaded = keras.models.load_model(tmp_path / "best.keras")
    assert not loaded.compiled
    np.testing.assert_array_equal(predict(loaded, Batches(valid)), predict(model, Batches(valid)))


@pytest.mark.slow
def test_tensorboard_has_its_log(tiny_index: Index, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is optional and not installed here")
    train, valid = parts(tiny_index)
    training.fit(
        tiny_model(),
        Batches(train),
        Batches(valid),
        epochs=1,
        learning_rate=0.1,
        tensorboard=tmp_path / "log",
    )
    assert list((tmp_path / "log").rglob("events.out.tfevents.*"))


# -- stopping ------------------------------------------------------------------------------


def test_training_stops_early_and_goes_back_to_the_best_epoch(
    tiny_index: Index,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Validated on wrong labels, a model that learns gets worse from epoch to epoch."""
    train, valid = parts(tiny_index)
    wrong = valid.assign(label=1 - valid["label"])
    model = tiny_model()
    history = training.fit(
        model,
        Batches(train, 8, shuffle=True),
        Batches(wrong),
        epochs=30,
        learning_rate=0.3,
        schedule="constant",
        patience=3,
    )
    best = int(history["val_loss"].to_numpy().argmin())
    assert len(history) == best + 1 + 3 < 30
    assert losses(model, wrong) == pytest.approx(history["val_loss"].min(), rel=1e-4)
    assert history["val_loss"].iloc[-1] > 1.1 * history["val_loss"].min()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(history)
    first = history.iloc[0]
    assert lines[0] == (
        f"epoch  1/30  train: loss {first['loss']:.3f}, accuracy {first['accuracy']:.3f}   "
        f"validation: loss {first['val_loss']:.3f}, accuracy {first['val_accuracy']:.3f}"
    )


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_an_infinite_loss_is_an_error_with_advice(tiny_index: Index, value: float) -> None:
    train, valid = parts(tiny_index)

    def broken(_: Any, predicted: Any) -> Any:
        return keras.ops.sum(predicted, axis=-1) * value

    with pytest.raises(RuntimeError, match=r"infinite in epoch 1. Lower learning_rate .*0\.3"):
        training.fit(
            tiny_model(), Batches(train), Batches(valid), epochs=5, learning_rate=0.3, loss=broken
        )


def test_settings_that_make_no_sense(tiny_index: Index) -> None:
    train, valid = parts(tiny_index)
    data = (tiny_model(), Batches(train), Batches(valid))
    with pytest.raises(ValueError, match="epochs=0: give 1 or more"):
        training.fit(*data, epochs=0, learning_rate=0.1)
    with pytest.raises(ValueError, match="'cosin': choose 'plateau', 'cosine' or 'constant'"):
        training.fit(*data, epochs=1, learning_rate=0.1, schedule="cosin")


@pytest.mark.parametrize(
    ("given", "epochs", "schedule", "expected"),
    [(7, 90, "plateau", 7), (None, 30, "plateau", 10), (None, 2, "plateau", 3),
     (None, 30, "constant", 10), (None, 30, "cosine", 30), (2, 30, "cosine", 2)],
)  # fmt: skip
def test_how_long_training_waits(
    given: int | None, epochs: int, schedule: str, expected: int
) -> None:
    assert training._patience(given, epochs, schedule) == expected


def wrong_labels(tiny_index: Index, **options: Any) -> tuple[keras.Model, pd.DataFrame]:
    """Return a model validated on wrong labels, which gets worse as it learns, and its history."""
    train, valid = parts(tiny_index)
    model = tiny_model()
    history = training.fit(
        model,
        Batches(train, 8, shuffle=True),
        Batches(valid.assign(label=1 - valid["label"])),
        learning_rate=0.3,
        **options,
    )
    return model, history


@pytest.mark.slow
def test_the_plateau_is_lowered_as_told_and_all_epochs_are_trained(tiny_index: Index) -> None:
    model, history = wrong_labels(
        tiny_index,
        epochs=9,
        early_stopping=False,
        plateau_patience=1,
        plateau_factor=0.5,
        least_rate=0.1,
    )
    assert len(history) == 9
    rates = history["learning_rate"].round(6).unique()
    assert list(rates) == pytest.approx([0.3, 0.15, 0.1])
    # the best weights are kept all the same
    valid = parts(tiny_index)[1]
    wrong = valid.assign(label=1 - valid["label"])
    assert losses(model, wrong) == pytest.approx(history["val_loss"].min(), rel=1e-4)
    assert history["val_loss"].iloc[-1] > 1.1 * history["val_loss"].min()


def test_accuracy_can_be_what_is_watched(tiny_index: Index) -> None:
    model, history = wrong_labels(
        tiny_index, epochs=12, monitor="val_accuracy", patience=2, schedule="constant"
    )
    best = int(history["val_accuracy"].to_numpy().argmax())
    assert len(history) == best + 1 + 2 < 12
    valid = parts(tiny_index)[1]
    found = predict(model, Batches(valid)).argmax(axis=1)
    assert np.mean(found == 1 - valid["label"]) == pytest.approx(history["val_accuracy"].max())
    assert history["val_accuracy"].max() > history["val_accuracy"].iloc[-1]


@pytest.mark.slow
def test_without_a_validation_part_the_last_weights_are_kept(
    tiny_index: Index, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, kept = tiny_model(), tmp_path / "last.keras"
    settings: dict[str, Any] = {"epochs": 3, "learning_rate": 0.3, "schedule": "cosine"}
    train = Batches(tiny_index, 8, shuffle=True)
    history = training.fit(model, train, None, checkpoint=kept, **settings)
    names = ["epoch", "loss", "accuracy", "learning_rate"]
    assert sorted(history.columns) == sorted(names)
    assert len(history) == 3
    last = history.iloc[-1]
    line = f"epoch  3/3  train: loss {last['loss']:.3f}, accuracy {last['accuracy']:.3f}"
    assert capsys.readouterr().out.splitlines()[-1] == line
    # nothing is looked at between the epochs, so with one it is the same as without
    watched = tiny_model()
    again = Batches(tiny_index, 8, shuffle=True)
    seen = training.fit(watched, again, Batches(tiny_index), early_stopping=False, **settings)
    np.testing.assert_allclose(seen["loss"], history["loss"], rtol=1e-5)
    for mine, stored in zip(
        model.get_weights(), keras.models.load_model(kept).get_weights(), strict=True
    ):
        np.testing.assert_allclose(mine, stored)
    with pytest.raises(ValueError, match="waits for the validation loss"):
        training.fit(model, train, None, epochs=1, learning_rate=0.1)


def test_what_an_optimiser_is() -> None:
    plain = training._optimiser("adam", 0.1, 0.0, None)
    assert type(plain) is keras.optimizers.Adam
    assert (plain.clipnorm, plain.weight_decay, plain.use_ema) == (None, None, False)
    ours = training._optimiser("adamw", 0.1, 0.02, None)
    assert (ours.clipnorm, ours.weight_decay, ours.use_ema) == (1.0, 0.02, False)
    averaged = training._optimiser("adam", 0.1, 0.0, 0.9)
    assert (averaged.use_ema, averaged.ema_momentum) == (True, 0.9)
    with pytest.raises(ValueError, match="'sgd': choose 'adamw' or 'adam'"):
        training._optimiser("sgd", 0.1, 0.0, None)
    with pytest.raises(ValueError, match="optimiser='adamw' only"):
        training._optimiser("adam", 0.1, 0.1, None)
    with pytest.raises(ValueError, match=r"moving_average=1.5: .* such as 0.99"):
        training._optimiser("adam", 0.1, 0.0, 1.5)


def test_an_unknown_monitor(tiny_index: Index) -> None:
    with pytest.raises(ValueError, match=r"'val_dice': choose 'val_loss' or 'val_accuracy'"):
        wrong_labels(tiny_index, epochs=1, monitor="val_dice")


# -- weights of classes --------------------------------------------------------------------


def test_a_class_counts_as_much_as_it_is_told(tiny_index: Index) -> None:
    """With a rate of almost nothing the loss is that of the first weights."""
    train, valid = parts(tiny_index)
    weights = {0: 3.0, 1: 0.5}
    model = tiny_model()
    found = predict(model, Batches(train))
    labels = train["label"].to_numpy()
    each = -np.log(found[np.arange(len(labels)), labels])
    history = training.fit(
        model,
        Batches(train, 50),
        Batches(valid),
        epochs=1,
        learning_rate=1e-9,
        class_weight=weights,
    )
    expected = np.mean(each * np.array([weights[label] for label in labels]))
    assert history["loss"][0] == pytest.approx(expected, rel=1e-4)
    assert abs(expected - each.mean()) > 0.01
    # the validation loss is comparable with that of any other training
    assert history["val_loss"][0] == pytest.approx(losses(model, valid), rel=1e-4)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({1: 2.0}, "no weight for label 0; it has 1"),
        ({0: 1.0, 1: -1.0}, "give weights of 0 or more"),
        ({0: 0.0, 1: 0.0}, "give weights of 0 or more"),
    ],
)
def test_weights_that_cannot_be_meant(
    tiny_index: Index, weights: dict[int, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        wrong_labels(tiny_index, epochs=1, class_weight=weights)


# -- averaged weights ----------------------------------------------------------------------


@pytest.mark.slow
def test_averaged_weights_are_validated_kept_and_saved(tiny_index: Index, tmp_path: Path) -> None:
    train, valid = parts(tiny_index)

    def once(**options: Any) -> tuple[keras.Model, pd.DataFrame]:
        model = tiny_model()
        return model, training.fit(
            model,
            Batches(train, 4, shuffle=True),
            Batches(valid),
            epochs=4,
            learning_rate=0.05,
            schedule="constant",
            **options,
        )

    _, plain = once()
    model, averaged = once(moving_average=0.9, checkpoint=tmp_path / "best.keras")
    # what is trained takes the same way …
    np.testing.assert_allclose(averaged["loss"], plain["loss"], rtol=1e-3)
    # … and what is validated lags behind it
    assert (averaged["val_loss"] > plain["val_loss"] * 1.01).all()
    assert losses(model, valid) == pytest.approx(averaged["val_loss"].min(), rel=1e-4)
    loaded = keras.models.load_model(tmp_path / "best.keras")
    np.testing.assert_allclose(
        predict(loaded, Batches(valid)), predict(model, Batches(valid)), atol=1e-6
    )


def test_the_average_is_that_of_the_weights_after_each_step(tiny_index: Index) -> None:
    train, valid = parts(tiny_index)
    seen: list[np.ndarray] = []

    class Follow(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            seen.append(keras.ops.convert_to_numpy(self.model.trainable_variables[0]).copy())

    model = tiny_model()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "OneLine", lambda *_: Follow())  # in the place of the printed line
        training.fit(model, Batches(train, 4), Batches(valid), epochs=2, learning_rate=0.05,
                     schedule="constant", moving_average=0.8)  # fmt: skip
    average = seen[0]
    for weights in seen[1:]:
        average = 0.8 * average + 0.2 * weights
    assert len(seen) == 12
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(model.trainable_variables[0]), average, atol=1e-5
    )


def test_early_stopping_goes_back_to_averaged_weights(tiny_index: Index) -> None:
    model, history = wrong_labels(
        tiny_index, epochs=30, patience=2, schedule="constant", moving_average=0.5
    )
    assert len(history) < 30
    valid = parts(tiny_index)[1]
    wrong = valid.assign(label=1 - valid["label"])
    assert losses(model, wrong) == pytest.approx(history["val_loss"].min(), rel=1e-4)


# -- segmentation --------------------------------------------------------------------------


def test_an_answer_and_its_mask_are_moved_alike(tiny_index: Index) -> None:
    """A network that answers with the first channel, and masks that are the first channel."""
    inputs = keras.Input((SIZE, SIZE, 3), name="pixels")
    first = layers.Conv2D(1, 1, use_bias=False, name="first")(inputs)
    model = keras.Model(inputs, first, name="first_channel")
    model.get_layer("first").set_weights([np.array([[[[1.0], [0], [0]]]])])
    augment = Augment(quarter_turns=True, flip_left_right=True, flip_up_down=True)
    trainee = with_augmentation(model, augment)
    images = Batches(tiny_index, 12)[0][0].astype(np.float32)
    for training_now in (True, False):
        both = np.asarray(trainee([images, images[..., :1]], training=training_now))
        np.testing.assert_allclose(both[..., 0], both[..., 1], atol=0.05)
        moved = np.abs(both[..., 1] - images[..., 0]).max()
        assert moved > 20 if training_now else moved == 0


def test_one_augmentation_serves_a_classifier_and_then_outlines() -> None:
    augment = Augment(rotate=5)
    inputs = keras.Input((SIZE, SIZE, 3), name="pixels")
    pooled = layers.GlobalAveragePooling2D(name="pooled")(inputs)
    _ = with_augmentation(keras.Model(inputs, pooled, name="classifier"), augment)
    assert with_augmentation(tiny_unet(), augment).output_shape == (None, SIZE, SIZE, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("augmented", "loss"), [(True, None), (False, None), (True, FocalTversky())]
)
def test_an_outline_is_learnt(
    tiny_index: Index,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    augmented: bool,
    loss: Any,
) -> None:
    train, valid = parts(tiny_index)
    model = tiny_unet()
    history = training.fit(
        model,
        MaskBatches(train, 6, shuffle=True),
        MaskBatches(valid),
        epochs=8,
        learning_rate=0.1,
        schedule="cosine",
        augment=Augment(quarter_turns=True, flip_left_right=True) if augmented else None,
        monitor="val_dice",
        checkpoint=tmp_path / "best.keras",
        loss=loss,
    )
    names = ["epoch", "loss", "dice", "val_loss", "val_dice", "learning_rate"]
    assert sorted(history.columns) == sorted(names)
    assert history["val_dice"].max() > 0.95
    assert history["dice"].iloc[-1] > 0.9
    last = history.iloc[-1]
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"epoch  8/8  train: loss {last['loss']:.3f}, dice {last['dice']:.3f}   "
        f"validation: loss {last['val_loss']:.3f}, dice {last['val_dice']:.3f}"
    )
    found = predict(model, Batches(valid, 5))
    assert found.shape == (12, SIZE, SIZE)
    assert found.dtype == np.float16
    truth = MaskBatches(valid)[0][1][..., 0]
    overlap = 2 * (truth * (found >= 0.5)).sum() / (truth.sum() + (found >= 0.5).sum())
    assert overlap == pytest.approx(history["val_dice"].max(), abs=2e-3)
    loaded = keras.models.load_model(tmp_path / "best.keras")
    np.testing.assert_array_equal(predict(loaded, Batches(valid, 5)), found)


@pytest.mark.parametrize("wrong", [{"class_weight": {0: 1, 1: 2}}, {"label_smoothing": 0.1}])
def test_what_makes_no_sense_for_masks(tiny_index: Index, wrong: dict[str, Any]) -> None:
    data = (tiny_unet(), MaskBatches(tiny_index), MaskBatches(tiny_index))
    with pytest.raises(ValueError, match=r"a segmentation has masks.*FocalTversky"):
        training.fit(*data, epochs=1, learning_rate=0.1, **wrong)
    with pytest.raises(ValueError, match="choose 'val_loss' or 'val_dice'"):
        training.fit(*data, epochs=1, learning_rate=0.1, monitor="val_accuracy")


# -- fine-tuning ---------------------------------------------------------------------------


@pytest.mark.slow
def test_a_whole_pretrained_network_is_tuned_along_a_cosine(tiny_index: Index) -> None:
    train, valid = parts(tiny_index)
    model = transfer(image_size=SIZE, trainable=True, dropout=0.2)
    before = model.get_layer("stem").get_weights()[0]
    history = training.fit(
        model,
        Batches(train, 8, shuffle=True),
        Batches(valid),
        epochs=4,
        learning_rate=1e-3,
        schedule="cosine",
        weight_decay=0.02,
        augment=Augment(quarter_turns=True),
    )
    assert len(history) == 4  # with the cosine, training does not stop early
    assert history["loss"].iloc[-1] < 0.5 * history["loss"].iloc[0]
    assert np.abs(model.get_layer("stem").get_weights()[0] - before).max() > 1e-5
    assert losses(model, valid) == pytest.approx(history["val_loss"].min(), rel=1e-3)


# -- schedule and repeatability ------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 7, 40])
def test_the_cosine_rises_shortly_and_ends_at_zero(steps: int) -> None:
    rate = training._rate("cosine", 0.01, steps)
    rates = np.array([float(rate(step)) for step in range(steps + 1)])
    peak = max(1, steps // 10)
    assert rates[0] == pytest.approx(0.0005)
    assert rates.argmax() == peak
    assert rates[peak] == pytest.approx(0.01)
    assert (np.diff(rates[: peak + 1]) > 0).all()
    assert (np.diff(rates[peak:]) <= 0).all()
    if steps > 1:
        assert rates[steps] == pytest.approx(0, abs=1e-6)
        # half of the way down it is at half: a cosine, not a line's shape by accident
        assert rates[(peak + steps) // 2] == pytest.approx(0.005, rel=0.2)


@pytest.mark.slow
def test_a_seed_fixes_a_training_whatever_the_global_state(tiny_index: Index) -> None:
    """Order of the images, augmentation and dropout all come from seeds that were given."""
    train, valid = parts(tiny_index)

    def once(state: int, seed: int = 0) -> pd.DataFrame:
        random.seed(state)
        np.random.seed(state)
        return training.fit(
            tiny_model(dropout=0.3),
            Batches(train, 4, shuffle=True, seed=seed),
            Batches(valid),
            epochs=2,
            learning_rate=0.1,
            schedule="cosine",
            augment=Augment(quarter_turns=True, brightness=40, seed=seed),
        )

    first = once(state=1)
    # the last digits may depend on how many processor cores add up a sum
    pd.testing.assert_frame_equal(first, once(state=2), rtol=1e-3)
    other = once(state=1, seed=1)
    assert np.abs(first["loss"] - other["loss"]).max() > 1e-3
    # the cosine ends near zero: at the end of 12 steps, one of which rises
    assert first["learning_rate"].iloc[-1] < 0.01 * 0.1
    assert first["learning_rate"].is_monotonic_decreasing


# -- prediction ----------------------------------------------------------------------------


def test_predictions_are_in_the_order_of_the_index(tiny_index: Index) -> None:
    model = tiny_model()
    shuffled = tiny_index.sample(frac=1, random_state=1)
    found = predict(model, Batches(shuffled, 10))
    assert found.shape == (36, 2)
    assert found.dtype == np.float32
    pixels = open_pixels(shuffled)
    for place, row in enumerate(shuffled["row"]):
        alone = np.asarray(model(pixels[row][None].astype(np.float32), training=False))[0]
        np.testing.assert_allclose(found[place], alone, atol=1e-5)
    np.testing.assert_allclose(predict(model, Batches(shuffled, 36)), found, atol=1e-6)


def test_shuffled_batches_cannot_be_predicted(tiny_index: Index) -> None:
    with pytest.raises(ValueError, match="shuffle=False"):
        predict(tiny_model(), Batches(tiny_index, shuffle=True))


# -- frozen features -----------------------------------------------------------------------


@pytest.fixture
def computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the number of images whenever features are computed."""
    monkeypatch.setenv("TUTORIALS_DATA", str(tmp_path / "home"))
    counts: list[int] = []
    original = training._outputs

    def counting(model: keras.Model, batches: Batches) -> Iterator[np.ndarray]:
        counts.append(len(batches.rows))
        return original(model, batches)

    monkeypatch.setattr(training, "_outputs", counting)
    return counts


def test_features_are_computed_once(tiny_index: Index, computed: list[int]) -> None:
    extractor = tiny_extractor()
    first = extract_features(extractor, tiny_index, batch_size=10)
    assert first.shape == (36, 5)
    assert first.dtype == np.float32
    assert computed == [36]
    np.testing.assert_array_equal(extract_features(extractor, tiny_index), first)
    np.testing.assert_array_equal(extract_features(tiny_extractor(), tiny_index), first)
    assert computed == [36]


def test_other_images_or_weights_are_other_features(
    tiny_index: Index,
    computed: list[int],
) -> None:
    whole = extract_features(tiny_extractor(), tiny_index)
    part = tiny_index.iloc[[30, 4, 17]]
    np.testing.assert_allclose(
        extract_features(tiny_extractor(), part), whole[[30, 4, 17]], atol=1e-6
    )
    backwards = extract_features(tiny_extractor(), tiny_index.iloc[::-1])
    np.testing.assert_allclose(backwards, whole[::-1], atol=1e-6)
    assert np.abs(extract_features(tiny_extractor(seed=1), tiny_index) - whole).max() > 1e-3
    assert computed == [36, 3, 36, 36]


def test_features_that_another_process_computes_are_waited_for(
    tiny_index: Index, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = training.turn

    @contextmanager
    def late(path: Path) -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(training, "turn", original)
            extract_features(tiny_extractor(), tiny_index)  # as another process does meanwhile
        with original(path):
            yield

    monkeypatch.setattr(training, "turn", late)
    assert extract_features(tiny_extractor(), tiny_index).shape == (36, 5)
    assert computed == [36]


def test_features_of_an_interrupted_run_leave_nothing(
    tiny_index: Index,
    computed: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np.lib.format, "write_array_header_1_0", full)
        with pytest.raises(OSError, match=r"the disk is full. Make room, or set .*TUTORIALS_DATA"):
            extract_features(tiny_extractor(), tiny_index)
    assert [path for path in (tmp_path / "home").rglob("*") if path.is_file()] == []
    assert len(extract_features(tiny_extractor(), tiny_index)) == 36
    assert computed == [36]


def test_features_are_mapped_not_loaded(tiny_index: Index, computed: list[int]) -> None:
    for _ in range(2):  # computed, and found on disk
        features = extract_features(tiny_extractor(), tiny_index)
        assert isinstance(features, np.memmap)
        assert not features.flags.writeable
        assert not isinstance(features[[0, 2]], np.memmap)


@pytest.mark.parametrize("damage", ["cut short", "empty", "no array", "another shape"])
def test_damaged_features_are_computed_anew(
    tiny_index: Index, computed: list[int], tmp_path: Path, damage: str
) -> None:
    first = np.array(extract_features(tiny_extractor(), tiny_index))  # not mapped from the file
    (file,) = (tmp_path / "home").rglob("*_features-*.npy")
    if damage == "another shape":
        np.save(file, first[:5])
    else:
        content = {"cut short": file.read_bytes()[:-50], "empty": b"", "no array": b"features"}
        file.write_bytes(content[damage])
    np.testing.assert_array_equal(extract_features(tiny_extractor(), tiny_index), first)
    assert computed == [36, 36]
    np.testing.assert_array_equal(np.load(file), first)


# -- heads on features ---------------------------------------------------------------------


def labelled(classes: int) -> tuple[np.ndarray, ...]:
    """Return features and labels of a training and a validation part."""
    rng = np.random.default_rng(classes)
    centres = rng.normal(size=(classes, 5))
    data: list[np.ndarray] = []
    for count in (60, 40):
        labels = np.arange(count) % classes
        data += [centres[labels] * 0.5 + rng.normal(size=(count, 5)) * [1, 2, 3, 4, 5], labels]
    return tuple(data)


def test_the_strength_is_chosen_on_the_validation_part() -> None:
    features, labels, valid_features, valid_labels = labelled(2)
    strengths = (0.0001, 0.01, 1.0, 100.0)
    head = fit_head(features, labels, valid_features, valid_labels, strengths)
    scaler = StandardScaler().fit(features)
    expected = {}
    for strength in strengths:
        regression = LogisticRegression(C=strength, max_iter=2_000)
        regression.fit(scaler.transform(features), labels)
        probabilities = regression.predict_proba(scaler.transform(valid_features))
        expected[strength] = log_loss(valid_labels, probabilities)
    assert head.losses == pytest.approx(expected)
    assert head.strength == min(expected, key=lambda strength: expected[strength])
    assert log_loss(valid_labels, head.predict(valid_features)) == pytest.approx(
        min(expected.values())
    )


def test_classes_are_weighed_in_training_and_in_the_choice() -> None:
    features, labels, valid_features, valid_labels = labelled(3)
    few = np.flatnonzero((labels > 0) | (np.arange(60) < 12))  # 4 of label 0, 20 of the others
    features, labels = features[few], labels[few]
    plain = fit_head(features, labels, valid_features, valid_labels)
    balanced = fit_head(features, labels, valid_features, valid_labels, class_weight="balanced")
    weights = {0: 44 / 3 / 4, 1: 44 / 3 / 20, 2: 44 / 3 / 20}
    told = fit_head(features, labels, valid_features, valid_labels, class_weight=weights)
    assert balanced.losses == pytest.approx(told.losses)
    rare = valid_labels == 0
    assert (
        balanced.predict(valid_features)[rare, 0].mean()
        > plain.predict(valid_features)[rare, 0].mean() + 0.05
    )
    found = balanced.predict(valid_features)
    each = -np.log(found[np.arange(len(valid_labels)), valid_labels])
    counts = np.array([weights[label] for label in valid_labels])
    assert balanced.losses[balanced.strength] == pytest.approx(np.average(each, weights=counts))


def test_a_class_without_images_is_an_error() -> None:
    features, labels, valid_features, valid_labels = labelled(3)
    for gone in (1, 2):
        kept = labels != gone
        with pytest.raises(ValueError, match=f"No image of label {gone} is in the training part"):
            fit_head(features[kept], labels[kept], valid_features, valid_labels)
    with pytest.raises(ValueError, match="no weight for label 2"):
        fit_head(features, labels, valid_features, valid_labels, class_weight={0: 1, 1: 1})


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_an_attached_head_gives_the_regression_s_probabilities(
    tiny_index: Index,
    classes: int,
) -> None:
    extractor = tiny_extractor()
    pixels = open_pixels(tiny_index)[tiny_index["row"].to_numpy()]
    features = np.asarray(extractor(pixels.astype(np.float32), training=False))
    labels = np.arange(36) % classes
    head = fit_head(features, labels, features, labels, strengths=(10.0,))
    expected = head.predict(features)
    assert expected.shape == (36, classes)
    assert expected.std() > 0.01
    model = attach_head(extractor, head)
    assert model.name == "tiny_classifier"
    assert [layer.name for layer in model.layers[-2:]] == ["logits", "probabilities"]
    np.testing.assert_allclose(predict(model, Batches(tiny_index)), expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("thaw", [False, True])
def test_only_what_is_thawed_moves_in_training(tiny_index: Index, thaw: bool) -> None:
    train, valid = parts(tiny_index)
    extractor = tiny_extractor()
    features = predict(extractor, Batches(train))
    labels = train["label"].to_numpy()
    model = attach_head(extractor, fit_head(features, labels, features, labels), trainable=thaw)
    trainable = {variable.path for variable in model.trainable_variables}
    expected = {"logits/kernel", "logits/bias"} | ({"convolution/kernel"} if thaw else set())
    assert trainable == expected
    before = {variable.path: keras.ops.convert_to_numpy(variable) for variable in model.weights}
    training.fit(
        model,
        Batches(train, 8, shuffle=True),
        Batches(valid),
        epochs=1,
        learning_rate=0.01,
        schedule="constant",
        weight_decay=0.01,
    )
    moved = {
        variable.path
        for variable in model.weights
        if not np.array_equal(keras.ops.convert_to_numpy(variable), before[variable.path])
    }
    # the stored means of batch normalisation stay: the head was fitted to them
    assert moved == expected


def test_fine_tuning_leaves_the_frozen_model_alone(tiny_index: Index) -> None:
    """Both come from one extractor; the tuned one has to work on a copy of it."""
    train, valid = parts(tiny_index)
    extractor = tiny_extractor()
    features, labels = predict(extractor, Batches(train)), train["label"].to_numpy()
    head = fit_head(features, labels, features, labels)
    frozen, tuned = attach_head(extractor, head), attach_head(extractor, head, trainable=True)
    before = predict(frozen, Batches(valid))
    np.testing.assert_allclose(predict(tuned, Batches(valid)), before, atol=1e-5)
    training.fit(tuned, Batches(train, 8), Batches(valid), epochs=1, learning_rate=0.01)
    assert np.abs(predict(tuned, Batches(valid)) - before).max() > 1e-4
    np.testing.assert_array_equal(predict(frozen, Batches(valid)), before)
