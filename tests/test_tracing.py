"""A compiled step is traced no more often than it must be: seconds each time for a deep network."""

from __future__ import annotations

from collections import Counter
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
from tiny_images import SIZE, small_index

from helpers import backend, models, training
from helpers.augment import Augment
from helpers.loading import Batches

# JAX compiles for one shape; a smaller last batch is another one.
TRAINED = 2 if backend.name() == "jax" else 1


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Return the index of 36 cells."""
    return small_index(tmp_path_factory.mktemp("tracing"))


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count how often Python runs each step: once a trace, never for a step that is compiled."""
    if backend.name() == "torch":
        pytest.skip("PyTorch runs every step in Python")
    counted: Counter[str] = Counter()
    for step in ("train_step", "test_step", "predict_step"):
        original = getattr(keras.Model, step)

        def counting(
            self: keras.Model, *arguments: Any, _step: str = step, _run: Any = original
        ) -> Any:
            counted[_step] += 1
            return _run(self, *arguments)

        monkeypatch.setattr(keras.Model, step, counting)
    return counted


def test_a_smaller_last_batch_and_more_epochs_are_not_traced(
    cells: pd.DataFrame, traces: Counter[str]
) -> None:
    # 36 cells in batches of 8: the last has 4; 10 cells to validate with: 8 and 2
    training.fit(
        models.small_cnn(image_size=SIZE, filters=(2,)),
        Batches(cells, 8, shuffle=True),
        Batches(cells[:10], 8),
        epochs=3,
        learning_rate=0.01,
        augment=Augment(rotate=10),
    )
    assert traces == {"train_step": TRAINED, "test_step": TRAINED}


def test_predictions_of_any_number_of_images_are_traced_once(
    cells: pd.DataFrame, traces: Counter[str]
) -> None:
    model = models.small_cnn(image_size=SIZE, filters=(2,))
    whole = training.predict(model, Batches(cells, 8))
    for number in (1, 3, 8, 9, 21):
        part = training.predict(model, Batches(cells[:number], 8))
        np.testing.assert_allclose(part, whole[:number], atol=1e-6)
    assert traces == {"predict_step": 1}


def test_another_batch_size_is_traced_on_jax_only(
    cells: pd.DataFrame, traces: Counter[str]
) -> None:
    model = models.small_cnn(image_size=SIZE, filters=(2,))
    for batch_size in (32, 4, 64):
        training.predict(model, Batches(cells, batch_size))
    assert traces == {"predict_step": 3 if backend.name() == "jax" else 1}
