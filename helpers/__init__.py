"""The plumbing shared by the notebooks: what a student would otherwise copy and paste.

Importing this package is cheap: it loads neither Keras nor its engine. It only settles,
where nobody has done so before, which engine Keras will use and how loud it may be;
both have to be known before Keras is imported for the first time.
"""

from __future__ import annotations

import importlib.util
import os
import sys

__version__ = "0.1.0"

ENGINES = ("tensorflow", "jax", "torch")
# What the parameter ``precision`` of a notebook takes; ``helpers.backend`` says what each means.
PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")


def _installed_engine() -> str:
    """Return the first engine for Keras that is installed here, TensorFlow before the others."""
    found = (engine for engine in ENGINES if importlib.util.find_spec(engine) is not None)
    return next(found, ENGINES[0])


# Told apart for the runner: a kernel of another environment makes a choice of its own.
ENGINE_CHOSEN_HERE = "KERAS_BACKEND" not in os.environ
if ENGINE_CHOSEN_HERE:
    os.environ["KERAS_BACKEND"] = _installed_engine()
# TensorFlow's C++ side tells of every processor feature it found; only errors concern a reader.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Both engines would otherwise take a whole GPU at once, and a second notebook would find none.
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def _require_backend() -> None:
    """Stop a notebook whose backend is unknown or not installed: Keras would, far inside.

    The command line says it by itself, where it needs one.
    """
    from helpers import kernels

    try:
        kernels.resolve("cpu", None)
    except kernels.KernelError as error:
        raise kernels.KernelError(f"The environment variable KERAS_BACKEND: {error}") from None


if not ENGINE_CHOSEN_HERE and "ipykernel" in sys.modules:
    _require_backend()
