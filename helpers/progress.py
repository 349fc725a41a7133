"""Progress bars for a person who watches, silence for everybody else."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def progress(
    iterable: Iterable[Item], description: str, total: int | None = None
) -> Iterator[Item]:
    """Yield the items of an iterable, with a progress bar while a person watches.

    The bar vanishes when the work is done, so that no notebook stores one.

    Args:
        iterable: what is worked through.
        description: what is being done, in two or three words, shown before the bar.
        total: how many items there are, where ``len(iterable)`` does not tell.
    """
    if unattended():
        yield from iterable
        return
    from tqdm.auto import tqdm

    yield from tqdm(iterable, desc=description, total=total, leave=False)


def progress_in_bytes(
    chunks: Iterable[bytes], description: str, total: int | None = None, done: int = 0
) -> Iterator[bytes]:
    """Yield chunks of a file, with a progress bar in megabytes while a person watches.

    Args:
        chunks: what comes, piece by piece.
        description: the file's name, shown before the bar.
        total: bytes of the whole file, where known.
        done: bytes that had come before.
    """
    if unattended():
        yield from chunks
        return
    from tqdm.auto import tqdm

    with tqdm(desc=description, total=total, initial=done, unit="B", unit_scale=True,
              leave=False) as bar:  # fmt: skip
        for chunk in chunks:
            yield chunk
            bar.update(len(chunk))


def unattended() -> bool:
    """Return whether nobody watches: a batch run, a test, or output that goes into a file."""
    if os.environ.get("TUTORIALS_UNATTENDED", "0") not in ("", "0"):
        return True
    if "PYTEST_CURRENT_TEST" in os.environ:
        return True
    # A notebook's kernel has no terminal and yet a person in front of it.
    return "ipykernel" not in sys.modules and not sys.stderr.isatty()
