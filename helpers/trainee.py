"""What Keras is given to train: the model behind its augmentation, and who watches it.

A model must not keep what only its training needs. So it is never compiled itself: another
model is put around it that augments, shares its weights, and is thrown away afterwards.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from helpers.loading import Batches
from helpers.losses import DiceScore


def with_augmentation(model: keras.Model, augment: keras.layers.Layer | None) -> keras.Model:
    """Return a model that augments its input in training and shares all weights.

    Of a model that answers with a map, it takes images and masks, and returns answers and
    moved masks as two channels. In both cases it is another model than the one given, which
    so never holds an optimiser.
    """
    inputs = keras.Input(model.input_shape[1:], name="pixels")
    name = f"{model.name}_in_training"
    if augment is None:
        return keras.Model(inputs, model(inputs), name=name)
    if len(model.output_shape) != 4:
        return keras.Model(inputs, model(augment(inputs)), name=name)
    masks = keras.Input(model.output_shape[1:], name="masks")
    # a copy: Keras loses its way in a layer that took images elsewhere, and takes pairs here
    own = type(augment).from_config(augment.get_config())
    images, moved = own(inputs, masks)
    joined = keras.layers.Concatenate(dtype="float32", name="answer_and_mask")
    both = joined([model(images), moved])
    return keras.Model([inputs, masks], both, name=name)


def moved_with(
    train: Batches, valid: Batches | None, loss: Any
) -> tuple[
    keras.utils.PyDataset, keras.utils.PyDataset | None, keras.losses.Loss, keras.metrics.Metric
]:
    """Return batches, loss and Dice as a segmentation behind its augmentation needs them.

    Keras hands the batch's mask to the loss as it was before the augmentation. So the mask goes
    into the model beside its image, and comes out beside the answer, moved alike: loss and Dice
    compare these two.
    """
    validated = None if valid is None else _WithMasks(valid)
    return _WithMasks(train), validated, _MovedLoss(loss), _MovedDice()


class OneLine(keras.callbacks.Callback):
    """Prints one line an epoch, without times: they would differ in every run."""

    def __init__(self, epochs: int, score: str) -> None:
        """Know how many epochs there will be, and whether accuracy or Dice is shown."""
        super().__init__()
        self.epochs, self.score = epochs, score

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Print the epoch's numbers, and add the learning rate to the history."""
        found = {} if logs is None else logs
        # Keras does so for the plateau schedule only
        rate = keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
        found["learning_rate"] = float(rate)
        line = f"epoch {epoch + 1:2}/{self.epochs}"
        for part, prefix in (("train", ""), ("validation", "val_")):
            if f"{prefix}loss" in found:
                line += (
                    f"  {part}: loss {found[f'{prefix}loss']:.3f}, "
                    f"{self.score} {found[f'{prefix}{self.score}']:.3f} "
                )
        print(line.rstrip())


class BestModel(keras.callbacks.ModelCheckpoint):
    """Saves the model itself, not the augmentation that was put in front of it to train."""

    def __init__(
        self, bare: keras.Model, path: Path, *, monitor: str, mode: str, best_only: bool
    ) -> None:
        """Save a model at a path whenever what is monitored is at its best so far, or always."""
        super().__init__(str(path), monitor=monitor, mode=mode, save_best_only=best_only)
        self.bare = bare

    def set_model(self, model: keras.Model) -> None:
        """Watch the bare model whatever Keras trains."""
        super().set_model(self.bare)


class _WithMasks(keras.utils.PyDataset):
    """Batches whose masks go into the model beside the images, to be moved with them."""

    def __init__(self, batches: Batches) -> None:
        super().__init__(
            workers=batches.workers, use_multiprocessing=False,
            max_queue_size=batches.max_queue_size,
        )  # fmt: skip
        self.batches = batches

    @property
    def num_batches(self) -> int:
        return self.batches.num_batches

    def __getitem__(self, number: int) -> tuple[tuple[Any, Any], Any]:
        images, masks = self.batches[number]
        return (images, masks), masks

    def on_epoch_begin(self) -> None:
        self.batches.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self.batches.on_epoch_end()


class _MovedLoss(keras.losses.Loss):
    """A loss between the answer and the mask that augmentation moved, both in one output.

    The mask of the batch is left aside: it still lies where it lay before the augmentation.
    """

    def __init__(self, loss: Any) -> None:
        super().__init__(name="moved")
        self.loss = loss

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss."""
        return self.loss(y_pred[..., 1:], y_pred[..., :1])


class _MovedDice(DiceScore):
    """Dice of the answer and the mask that augmentation moved, both in one output."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add the pixels of a batch."""
        super().update_state(y_pred[..., 1:], y_pred[..., :1])
