"""How our own command is called on this machine: what is printed for copying has to work there."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path


def command(words: str = "") -> str:
    """Return the call of our command line with so many words, as it works in a shell here.

    Args:
        words: such as ``"data download malaria"``.
    """
    return f"{python()} -m helpers {words}".rstrip()


def python() -> str:
    """Return how to call this interpreter in a shell.

    ``python`` where that is this very one (an environment that is activated), else its path:
    from the current folder, where it lies below it, as ``.venv/bin/python`` does in the
    checkout. Debian has no ``python`` at all.
    """
    own = Path(sys.executable)
    found = shutil.which("python")
    # Links are not followed: that of an environment leads to the system's, which lacks packages.
    if found and Path(found).absolute().parent == own.parent:
        return "python"
    brief = own.relative_to(Path.cwd()) if own.is_relative_to(Path.cwd()) else own
    return shlex.quote(str(brief))
