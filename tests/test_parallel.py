"""Several devices in one run: the same training as on one, or it is said what differs."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from recorder import Recorder
from tiny_images import SIZE, small_index

from helpers import backend, models, parallel, training
from helpers.loading import Batches

Found = dict[str, np.ndarray]
# Sums of the same numbers in another order, in float32: 1e-6 of weights below 1 after six steps.
# A step is a hundred times as long as this; a lost share or a wrong factor changes every step.
ROUNDING = 1e-4


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Found]:
    """Return a function from a backend to what tests/train_here.py found; skips without it.

    Four devices need a process of their own, which `make test` saves: it has two.
    """
    folder = tmp_path_factory.mktemp("trained")
    script = Path(__file__).with_name("train_here.py")

    everything = importlib.util.find_spec("jax") is not None  # in `make test-backends`

    def find(engine: str) -> Found:
        if importlib.util.find_spec(engine) is None:
            pytest.skip(f"{engine} is not installed here; `make test-backends` has it")
        found: Found = {}
        for counts in (["1", "2"], ["4"]) if everything else (["1", "2"],):
            path = folder / f"{engine}{counts[-1]}.npz"
            if not path.exists():
                run = subprocess.run(
                    [sys.executable, script, path, *counts], capture_output=True, text=True,
                    env={**os.environ, "KERAS_BACKEND": engine}, check=False,
                )  # fmt: skip
                assert run.returncode == 0, run.stderr[-3_000:]
            with np.load(path) as arrays:
                found |= dict(arrays)
        return found

    return find


def apart(found: Found, name: str, one: int = 1, other: int = 2) -> float:
    """Return the largest difference between the weights on so many devices."""
    return float(np.abs(found[f"{name}/{one}"] - found[f"{name}/{other}"]).max())


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["tensorflow", "jax"])
@pytest.mark.parametrize(
    ("name", "devices"), [("gradient descent", 2), ("gradient descent", 4), ("outlines", 2)]
)
def test_more_devices_train_as_one_does(
    trained: Callable[[str], Found], engine: str, name: str, devices: int
) -> None:
    found = trained(engine)
    if f"{name}/{devices}" not in found:
        pytest.skip(f"`make test-backends` tries {devices} devices; here it would take too long")
    assert apart(found, name, 1, devices) < ROUNDING
    np.testing.assert_allclose(
        found[f"{name}/{devices}/loss"], found[f"{name}/1/loss"], rtol=ROUNDING
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["batch normalisation", "augmentation"])
def test_on_tensorflow_each_device_knows_its_share_only(
    trained: Callable[[str], Found], name: str
) -> None:
    """Means of a share, and random numbers of its own: said in helpers.parallel and the README."""
    assert apart(trained("tensorflow"), name) > 10 * ROUNDING


@pytest.mark.slow
@pytest.mark.parametrize("name", ["batch normalisation", "augmentation"])
def test_on_jax_they_are_those_of_the_whole_batch(
    trained: Callable[[str], Found], name: str
) -> None:
    assert apart(trained("jax"), name) < ROUNDING


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gradient descent", "outlines", "batch normalisation"])
def test_backends_train_alike(trained: Callable[[str], Found], name: str) -> None:
    """From the same weights, on the same batches in the same order; chance is not asked for."""
    jax, tensorflow = trained("jax"), trained("tensorflow")
    assert np.abs(jax[f"{name}/1"] - tensorflow[f"{name}/1"]).max() < ROUNDING


def several(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    devices = [f"CPU:{number}" for number in range(count)]
    monkeypatch.setattr(backend, "training_devices", lambda: devices)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> object:
    return small_index(tmp_path_factory.mktemp("tiny"))


def test_one_device_changes_nothing(index: object) -> None:
    batches, model = Batches(index, 7), models.small_cnn(image_size=SIZE, filters=(2,))
    assert parallel.even(batches) is batches
    with parallel.spread(model, None) as (trained_one, augment):
        assert trained_one is model and augment is None


@pytest.mark.parametrize(("devices", "sizes"), [(2, [8, 8, 8, 8, 4]), (3, [9, 9, 9, 9])])
def test_the_last_batch_is_cut_to_what_can_be_shared(
    monkeypatch: pytest.MonkeyPatch, index: object, devices: int, sizes: list[int]
) -> None:
    several(monkeypatch, devices)
    batches = Batches(index, sizes[0], shuffle=True, seed=1)
    batches.order = batches.order[:-1]  # 35 images
    monkeypatch.setattr(batches, "on_epoch_end", lambda: None)
    if devices == 2:
        sizes[-1] = 2  # 35 = 4 · 8 + 3
    else:
        sizes[-1] = 6  # 35 = 3 · 9 + 8
    even = parallel.even(batches)
    assert [len(even[number][0]) for number in range(even.num_batches)] == sizes
    assert all(len(array) == sizes[-1] for array in even[even.num_batches - 1])


def test_a_last_batch_smaller_than_the_devices_is_left_out(
    monkeypatch: pytest.MonkeyPatch, index: object
) -> None:
    several(monkeypatch, 8)
    recorder = Recorder()
    recorder.compile(run_eagerly=True)
    data, callbacks = backend.prefetched(parallel.even(Batches(index, 16, shuffle=True)))
    recorder.fit(data, epochs=2, shuffle=False, verbose=0, callbacks=callbacks)
    assert [len(images) for images in recorder.seen] == [16, 16] * 2  # of 36 images
    assert not np.array_equal(recorder.seen[0], recorder.seen[2])


def test_a_batch_that_cannot_be_shared_is_refused(
    monkeypatch: pytest.MonkeyPatch, index: object
) -> None:
    several(monkeypatch, 4)
    with pytest.raises(ValueError, match=r"batch_size=30 .* 4 devices: .* multiple of 4, .* 32\."):
        training.fit(
            models.small_cnn(image_size=SIZE, filters=(2,)), Batches(index, 30), None,
            epochs=1, learning_rate=0.1, schedule="constant",
        )  # fmt: skip
    with pytest.raises(ValueError, match="3 images cannot be dealt to 4 devices"):
        parallel.even(Batches(index[:3], 4))


def test_more_devices_than_there_are_is_one_clear_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TUTORIALS_DEVICES", "99")
    for ask in (backend.training_devices, backend.describe):
        with pytest.raises(
            RuntimeError, match=r"=99: \w+ finds \d+ here \(.*\)\. Ask for"
        ) as caught:
            ask()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "number"), [("", 1), ("1", 1), (" auto ", None)])
def test_how_many_devices_are_meant(
    monkeypatch: pytest.MonkeyPatch, text: str, number: int | None
) -> None:
    monkeypatch.setenv("TUTORIALS_DEVICES", text)
    found = backend.training_devices()
    assert len(found) == number if number else len(found) >= 1


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5"])
def test_what_is_no_number_of_devices(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("TUTORIALS_DEVICES", text)
    with pytest.raises(ValueError, match=rf"a whole number, 1 or more, or auto, not '{text}'"):
        backend.training_devices()


def test_torch_trains_on_one_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "name", lambda: "torch")
    monkeypatch.setattr(backend, "device", lambda: "GPU")
    monkeypatch.setenv("TUTORIALS_DEVICES", "auto")
    assert backend.training_devices() == ["GPU"]
    monkeypatch.setenv("TUTORIALS_DEVICES", "2")
    with pytest.raises(RuntimeError, match=r"torch trains on one device only.*tensorflow or jax"):
        backend.training_devices()


def test_several_devices_are_told_in_the_set_up_line(monkeypatch: pytest.MonkeyPatch) -> None:
    several(monkeypatch, 2)
    assert backend.describe().split("\n")[0].endswith(" (2 of them in training)")


def test_an_optimiser_on_one_device_is_left_alone() -> None:
    optimiser = keras.optimizers.AdamW(clipnorm=1.0)
    backend.clip_together(optimiser)
    assert optimiser.clipnorm == 1.0 and "apply" not in vars(optimiser)
