"""The name that somebody may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def nearest(name: str, names: Sequence[str]) -> str:
    """Return ``did you mean 'epochs'?``, or what to choose from where nothing is near."""
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else "choose one of these"
