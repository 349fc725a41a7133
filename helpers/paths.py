"""Where the series keeps its data, and how a file or folder comes to be all at once.

Nothing half-made may stay behind: whatever is written goes to a temporary name
in the same folder first and is renamed when it is complete, so that a reader
(or a second notebook that builds the same thing) sees all of it or nothing.
"""

import errno
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from platformdirs import user_cache_path

DATA_VARIABLE = "TUTORIALS_DATA"
APPLICATION = "medical-image-tutorials"
# a quota that is used up is a full disk for whoever meets it; Windows knows no quotas
DISK_FULL = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})

_LOOK = 0.2  # seconds between two looks at whether another process has finished


def data_home() -> Path:
    """Return the folder that holds `samples/`, `cache/` ; it may not exist yet.

    The first of these that applies:

    1. the folder named by the environment variable `TUTORIALS_DATA`
       (a relative one is taken from the current folder, `~` is the user's home);
    2. `data/` of the checkout, when the package runs from one and it can be written;
    3. the user's cache folder.

    Returns:
        An absolute path.
    """
    named = os.environ.get(DATA_VARIABLE, "").strip()
    if named:
        return Path(named).expanduser().absolute()
    checkout = _checkout()
    if checkout is not None and os.access(checkout / "data", os.W_OK):
        return checkout / "data"
    return user_cache_path(APPLICATION, appauthor=False).absolute()


@contextmanager
def atomic_file(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path to write to, which becomes `target` when the block ends well.

    An existing `target` is replaced; after an exception it is left as it was and
    the temporary file is gone. Missing parent folders are made. The temporary
    name ends as `target` does, for writers that choose a format by the suffix.

    Args:
        target: the file that shall exist afterwards.

    Yields:
        Path of an empty file in the folder of `target`.

    Raises:
        FileNotFoundError: the block removed the temporary file.
        OSError: the folder cannot be written, or `target` is a folder.
    """
    final = Path(target).absolute()
    final.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{final.stem[:40]}-", suffix=final.suffix,
                                    dir=final.parent)  # fmt: skip
    os.close(handle)
    temporary = Path(name)
    try:
        temporary.chmod(0o666 & ~_umask())  # mkstemp gives 0600: others could not read it
        yield temporary
        temporary.replace(final)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


@contextmanager
def atomic_folder(
    target: str | os.PathLike[str], *, overwrite: bool = False, keep_existing: bool = False
) -> Iterator[Path]:
    """Yield a temporary folder to fill, which becomes `target` when the block ends well.

    An empty `target` counts as none. After an exception `target` is as it was and
    the temporary folder is gone. Missing parent folders are made.

    Args:
        target: the folder that shall exist afterwards.
        overwrite: replace a `target` that has something in it.
        keep_existing: where `target` has come to be filled meanwhile (two processes
            drew the same sample at once), keep that one and drop ours silently.

    Yields:
        Path of an empty folder beside `target`.

    Raises:
        FileExistsError: `target` is a file, or has something in it and `overwrite`
            was not asked for.
        OSError: the parent folder cannot be written.
    """
    final = Path(target).absolute()
    _refuse_filled(final, overwrite)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{final.name[:40]}-", dir=final.parent))
    try:
        temporary.chmod(0o777 & ~_umask())  # mkdtemp gives 0700
        yield temporary
        if not keep_existing:
            _refuse_filled(final, overwrite)
        _rename_folder(temporary, final, overwrite=overwrite, keep_existing=keep_existing)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def require_space(folder: Path, needed: int) -> None:
    """Raise the error of a full disk before anything was written, where it is certain.

    Args:
        folder: where it will be written; made if need be.
        needed: bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, "too little space")


def explained(
    error: OSError, what: str, needed: int | None = None, *, below_home: bool = True
) -> OSError:
    """Return an error of writing with what a person can do about it.

    Args:
        error: as the system gave it.
        what: could not be written, and where, as the beginning of a sentence.
        needed: bytes, where they are known.
        below_home: whether the place follows from `data_home`, and not from what a person said.
    """
    if error.errno in DISK_FULL:
        full = "the disk is full" if error.errno == errno.ENOSPC else "your disk quota is used up"
        needs = f"needs {needed / 1e6:,.0f} MB, and" if needed else "cannot be written:"
        advice = f"{needs} {full}. Make room"
    else:
        lines = (error.strerror or str(error)).splitlines() or [type(error).__name__]
        advice = f"cannot be written ({lines[0][:120]}). Allow writing there"
    other = f"set the environment variable {DATA_VARIABLE} to a folder on another disk"
    if not below_home:
        other = "name another folder"
    return OSError(error.errno, f"{what} {advice}, or {other}. Nothing half-written was left.")


def lock(file: IO[Any]) -> bool | None:
    """Return whether an open file is now this process's alone, until it is closed.

    The system lifts the lock when the process ends, however it ends.

    Returns:
        False where another process has it; None where there are no locks (on Windows, and on
        some network drives), so that one has to do without.
    """
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return None
    return True


def open_locked(path: Path) -> tuple[IO[str], bool | None]:
    """Return the file at a path, opened for appending, and what locking it gave.

    Raises:
        OSError: the file cannot be written.
    """
    while True:
        file = path.open("a", encoding="utf-8")
        locked = lock(file)
        with suppress(FileNotFoundError):
            # Whoever was there before may just have removed the very file that was opened.
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file, locked
        file.close()


@contextmanager
def turn(target: str | os.PathLike[str]) -> Iterator[None]:
    """Run the block when no other process is in the block of the same target.

    Several runs that start at once want the same cache; the first one makes it while the others
    wait, and they should look for it again when their turn comes. Where there are no locks (see
    `lock`), or none can be written, nobody waits, and each makes it for itself.

    Args:
        target: the file that the block makes; beside it a lock lies meanwhile.
    """
    path = Path(target).absolute()
    path = path.with_name(f".{path.name}.lock")
    file, said = None, False
    while file is None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file, locked = open_locked(path)
        except OSError:  # whoever writes the target will hear of it, and say so
            break
        if locked is False:
            file.close()
            file = None
            if not said:  # in a batch run this goes into its log
                print(f"Another process makes {target}: this one waits for it.", file=sys.stderr)
                said = True
            time.sleep(_LOOK)
    try:
        yield
    finally:
        if file is not None:
            with suppress(OSError):
                path.unlink()  # while it is still ours: see `open_locked`
            file.close()


def _rename_folder(temporary: Path, final: Path, *, overwrite: bool, keep_existing: bool) -> None:
    """Rename `temporary` to `final`; a folder that is in the way moves aside first."""
    if final.is_dir() and not any(final.iterdir()):
        with suppress(OSError):
            final.rmdir()
    aside: Path | None = None
    if overwrite and final.is_dir():
        aside = Path(tempfile.mkdtemp(prefix=f".{final.name[:40]}-old-", dir=final.parent))
        final.rename(aside / "old")
    try:
        temporary.rename(final)
    except OSError:
        if aside is not None:
            (aside / "old").rename(final)
        elif keep_existing and final.is_dir():
            return
        raise
    finally:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)


def _refuse_filled(final: Path, overwrite: bool) -> None:
    """Raise FileExistsError where `final` is a file, or a folder that must not be replaced."""
    if final.is_dir():
        if overwrite or not any(final.iterdir()):
            return
        raise FileExistsError(
            f"{final} exists and is not empty. Remove it, choose another folder, "
            "or ask for it to be overwritten."
        )
    if final.exists():
        raise FileExistsError(f"{final} is a file; a folder of that name is to be written. "
                              "Move the file away or choose another folder.")  # fmt: skip


def _checkout() -> Path | None:
    """Return the root of the checkout this package runs from, None when it is installed."""
    root = Path(__file__).resolve().parent.parent
    is_checkout = (root / "pyproject.toml").is_file() and (root / "data").is_dir()
    return root if is_checkout else None


def _umask() -> int:
    """Return the process's file mode mask (it can only be read by setting it)."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
