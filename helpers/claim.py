"""Who is at work in a folder just now: a small file with process, machine and a mark of its own.

A folder may be shared by several machines, so a process number alone says nothing.
"""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from helpers.paths import open_locked

SAME_START = 2.0
"""Seconds: the system's clock may be set while a process runs, and shifts what it says of it."""


class ClaimedError(RuntimeError):
    """Somebody else is at work; the text says who, and what can be done."""


@dataclass(frozen=True)
class Claim:
    """One process's word that it works in a folder."""

    process: int
    machine: str
    mark: str  # tells two claims of one process apart
    started: float = 0.0  # when the process did, in seconds since 1970; 0: not known

    @classmethod
    def new(cls) -> Claim:
        """Return a claim of this process that no other equals."""
        import psutil

        started = round(psutil.Process().create_time(), 2)
        return cls(os.getpid(), _machine(), uuid.uuid4().hex, started)

    @property
    def here(self) -> bool:
        """True where it was made on this machine, so that one can look for the process."""
        return self.machine == _machine()

    @property
    def over(self) -> bool:
        """True where the process is known to have ended; one elsewhere may still live."""
        import psutil

        if not self.here:
            return False
        try:
            started = psutil.Process(self.process).create_time()
        except psutil.NoSuchProcess:
            return True
        # Numbers are given out again, after a reboot or in a container soon.
        return self.started > 0 and abs(started - self.started) > SAME_START

    def __str__(self) -> str:
        """Return who it is, in words."""
        return f"process {self.process}" + ("" if self.here else f" on {self.machine}")


def read(path: Path) -> Claim | None:
    """Return the claim that a file holds, ``None`` where there is none that can be read."""
    with suppress(OSError, ValueError):
        words = path.read_text(encoding="utf-8").split()
        if len(words) == 4:
            return Claim(int(words[0]), words[1], words[2], float(words[3]))
    return None


def write(path: Path, claim: Claim) -> None:
    """Write a claim into a file, instead of what stands there.

    Raises:
        OSError: the file cannot be written.
    """
    text = f"{claim.process} {claim.machine} {claim.mark} {claim.started}\n"
    path.write_text(text, encoding="utf-8")


@contextmanager
def alone(path: Path) -> Iterator[Claim]:
    """Yield a claim that stands in a file while the block runs, and that nobody else can make.

    The file is locked, too: the system lifts that lock when a process ends, however it ends,
    so what a dead process has left here is taken over.

    Args:
        path: of the file; removed at the end.

    Raises:
        ClaimedError: another process holds it, or one on another machine has not taken its
            claim back.
        OSError: the file cannot be written.
    """
    file, locked = open_locked(path)
    with file:
        _require_free(path, locked)
        claim = Claim.new()
        try:
            write(path, claim)
            yield claim
        finally:
            if read(path) in (claim, None):  # None: a full disk took the write
                path.unlink(missing_ok=True)


def _machine() -> str:
    """Return this machine's name in its network."""
    return platform.node() or "this-machine"


def _require_free(path: Path, locked: bool | None) -> None:
    """Raise where somebody else holds a file, or may hold it."""
    before = read(path)
    if locked is False:
        who = str(before) if before else "another process"
        raise ClaimedError(f"{path.parent} is being written by {who}; wait, or stop that one.")
    # The lock proves that no process of this machine is there; of others there is no proof.
    if before is None or before.over or (before.here and locked):
        return
    raise ClaimedError(
        f"{path.parent} is being written by {before}, which has not taken its claim back; wait, or "
        f"stop that one. If it is long gone, remove {path}."
    )
