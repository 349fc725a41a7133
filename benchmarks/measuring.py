"""What the benchmarks share: the machine in words, epochs on a clock, a table's place in a file."""

from __future__ import annotations

import argparse
import math
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from helpers.paths import DATA_VARIABLE, atomic_file

CHECKOUT = Path(__file__).resolve().parent.parent


def write_block(file: Path, text: str | None, mark: str) -> bool:
    """Return whether a block of a Markdown file had to be changed.

    Args:
        file: is replaced as a whole, or not at all.
        text: what shall stand between ``<!-- mark -->`` and ``<!-- /mark -->``; None only looks
            for these two.
        mark: the block's name.

    Raises:
        ValueError: the file has no such block.
    """
    begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    block = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    before = file.read_text(encoding="utf-8")
    if not block.search(before):
        raise ValueError(f"{file} has no '{begin}' and '{end}': say where the table belongs.")
    if text is None:
        return False
    after = block.sub(lambda _: f"{begin}\n{text.strip()}\n{end}", before, count=1)
    if after == before:
        return False
    with atomic_file(file) as temporary:
        temporary.write_text(after, encoding="utf-8")
    return True


@contextmanager
def data_home(folder: Path) -> Iterator[None]:
    """Let ``helpers`` keep its caches in a folder of ours, not in the user's."""
    before = os.environ.get(DATA_VARIABLE)
    os.environ[DATA_VARIABLE] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[DATA_VARIABLE]
        else:
            os.environ[DATA_VARIABLE] = before


def trainee_of(model: Any, batches: Any, augment: Any = None) -> tuple[Any, Any]:
    """Return a model compiled as ``training.fit`` compiles it, and the batches as it takes them.

    Args:
        model: a Keras model from pixels to probabilities, or to a map of them.
        batches: ``loading.Batches``, of a map with masks.
        augment: a layer, or None.
    """
    import keras

    from helpers import backend
    from helpers.losses import DiceCrossEntropy, DiceScore
    from helpers.trainee import moved_with, with_augmentation

    trainee = with_augmentation(model, augment)
    loss: Any = keras.losses.CategoricalCrossentropy()
    metric: Any = keras.metrics.CategoricalAccuracy()
    if len(model.output_shape) == 4:
        loss, metric = DiceCrossEntropy(), DiceScore()
        if augment is not None:
            batches, _, loss, metric = moved_with(batches, None, loss)
    optimiser = keras.optimizers.AdamW(1e-4, clipnorm=1.0)
    trainee.compile(optimiser, loss=loss, metrics=[metric], jit_compile=backend.jit_compile())
    trainee.optimizer.build(trainee.trainable_variables)
    return trainee, batches


def epoch_seconds(trainee: Any, data: Any, callbacks: Sequence[Any] = ()) -> float:
    """Return the seconds of the second of two epochs; in the first the step may be compiled.

    It is counted from the end of the first, so with what lies between two epochs.

    Args:
        trainee: a compiled model.
        data: what ``fit`` takes.
        callbacks: those that come with the data.
    """
    import keras

    ends: list[float] = []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: ends.append(time.perf_counter()))
    trainee.fit(data, epochs=2, verbose=0, shuffle=False, callbacks=[*callbacks, watch])
    return ends[1] - ends[0]


def machine(remark: str | None = None) -> str:
    """Return cores, processor and Python of this machine, in words; a person's remark behind."""
    told = f" ({remark})" if remark else ""
    return f"{_cores()} cores, {_processor()}; Python {platform.python_version()}{told}"


def engine(name: str) -> str:
    """Return the package of a backend and its version, such as ``tensorflow-cpu 2.21.0``."""
    for package in (f"{name}-cpu", name):
        try:
            return f"{package} {metadata.version(package)}"
        except metadata.PackageNotFoundError:
            continue
    return f"no {name}"


def rate(value: float) -> str:
    """Return images a second to three digits: more would be noise."""
    digits = 2 - math.floor(math.log10(value)) if value > 0 else 0
    return f"{round(value, min(digits, 0)):,.0f}"


def spread(values: Sequence[float], show: Callable[[float], str]) -> str:
    """Return median and range, in words of ``show``; a dash where nothing was measured."""
    if not values:
        return "—"
    middle = show(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({show(min(values))} – {show(max(values))})"


def percent(value: float) -> str:
    """Return a share as per cent."""
    return f"{100 * value:.1f} %"


def positive(text: str) -> int:
    """Return a whole number of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number of 1 or more")
    return int(text)


def _cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    """Return the processor's name, as far as the system tells it."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()
