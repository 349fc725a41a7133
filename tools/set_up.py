"""Builds an environment from lock files, with nothing but the standard library.

    python3 tools/set_up.py .venv requirements.lock

The Makefile runs this with the machine's own Python, so it must not import anything
that is installed later.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
# Installs ten times faster than pip; a newer one may be pinned at any time.
UV = "uv==0.13.8"


def main(arguments: Sequence[str]) -> int:
    """Return 0 when the environment is ready and stamped, 1 when a step failed."""
    parser = argparse.ArgumentParser(prog="tools/set_up.py", description=__doc__)
    parser.add_argument("folder", help="of the environment, such as .venv")
    parser.add_argument("locks", nargs="+", help="files with the packages, installed in turn")
    given = parser.parse_args(arguments)
    folder, locks = CHECKOUT / given.folder, [CHECKOUT / lock for lock in given.locks]
    stamp = folder / "ready"
    stamp.unlink(missing_ok=True)
    try:
        python = _virtual_environment(folder)
        installers = _installers(python)
        print(f"Installing the pinned packages into {given.folder} (once; about 700 MB) …",
              flush=True)  # fmt: skip
        if not _install(installers, locks):
            return _fail(f"The packages of {' and '.join(given.locks)} could not be installed: "
                         "see above.")  # fmt: skip
    except subprocess.CalledProcessError as error:
        return _fail(f"This command failed with exit code {error.returncode}: {_shown(error.cmd)}")
    stamp.touch()
    print(f"The environment {given.folder} is ready.", flush=True)
    return 0


def _virtual_environment(folder: Path) -> Path:
    """Return the environment's Python, made where there is none of this version that works."""
    python = folder / "bin" / "python"
    version = "import sys; print(sys.version_info[:2], sys.prefix != sys.base_prefix)"
    expected = f"{sys.version_info[:2]} True"
    if python.exists():
        answer = subprocess.run(
            [python, "-c", version], capture_output=True, text=True, check=False
        )
        if answer.stdout.strip() == expected:
            return python
    print(f"Making the virtual environment {folder.name} …", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    return python


def _installers(python: Path) -> list[list[str | Path]]:
    """Return the commands to try, one after the other: uv where it can be had, then pip."""
    pip: list[str | Path] = [python, "-m", "pip", "install", "--disable-pip-version-check"]
    pip.append("-qq")  # errors only
    if subprocess.run([*pip, UV], check=False).returncode != 0:
        print("uv cannot be had here: pip does its work, more slowly.", flush=True)
        return [pip]
    uv: list[str | Path] = [python, "-m", "uv", "pip", "install", "--python", python]
    # In an empty environment uv knows no certificates but its own; those of the machine
    # are what a company's network needs.
    uv.append("--system-certs")
    if not sys.stderr.isatty():  # nobody watches its progress bars
        uv.append("--quiet")
    return [uv, pip]


def _install(installers: list[list[str | Path]], locks: list[Path]) -> bool:
    """Return whether one of the installers could install the locks and the package itself."""
    for installer in installers:
        # One lock after the other: pip refuses a package that stands in two of its files.
        steps = [[*installer, "--require-hashes", "-r", lock] for lock in locks]
        # The build backend is in the lock: nothing is downloaded for this step.
        steps.append([*installer, "--no-deps", "--no-build-isolation", "-e", CHECKOUT])
        if all(subprocess.run(step, check=False).returncode == 0 for step in steps):
            return True
        if installer is not installers[-1]:
            print("uv failed (see above): pip tries the same.", flush=True)
    return False


def _shown(command: list[str | Path]) -> str:
    """Return a command as one would type it."""
    return " ".join(str(part) for part in command)


def _fail(message: str) -> int:
    """Say what went wrong and return the exit code; a later call starts anew."""
    print(f"set-up: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
