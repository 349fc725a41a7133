"""Builds .venv from requirements.lock, with nothing but the standard library.

The Makefile runs this with the machine's own Python, so it must not import anything
that is installed later.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
VENV = CHECKOUT / ".venv"
PYTHON = VENV / "bin" / "python"
LOCK = CHECKOUT / "requirements.lock"
STAMP = VENV / "ready"
# Installs ten times faster than pip; a newer one may be pinned at any time.
UV = "uv==0.13.8"


def main() -> int:
    """Return 0 when the environment is ready and stamped, 1 when a step failed."""
    STAMP.unlink(missing_ok=True)
    try:
        _virtual_environment()
        installer = _installer()
        print("Installing the pinned packages into .venv (once; about 700 MB) …", flush=True)
        if not _install(installer):
            return _fail("The packages of requirements.lock could not be installed: see above.")
    except subprocess.CalledProcessError as error:
        return _fail(f"This command failed with exit code {error.returncode}: {_shown(error.cmd)}")
    STAMP.touch()
    print("The environment .venv is ready.", flush=True)
    return 0


def _virtual_environment() -> None:
    """Make .venv where there is none for this very Python that works."""
    version = "import sys; print(sys.version_info[:2], sys.prefix != sys.base_prefix)"
    expected = f"{sys.version_info[:2]} True"
    if PYTHON.exists():
        answer = subprocess.run(
            [PYTHON, "-c", version], capture_output=True, text=True, check=False
        )
        if answer.stdout.strip() == expected:
            return
    print("Making the virtual environment .venv …", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)


def _installer() -> list[list[str | Path]]:
    """Return the commands to try, one after the other: uv where it can be had, then pip."""
    pip: list[str | Path] = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check"]
    pip.append("-qq")  # errors only
    if subprocess.run([*pip, UV], check=False).returncode != 0:
        print("uv cannot be had here: pip does its work, more slowly.", flush=True)
        return [pip]
    uv: list[str | Path] = [PYTHON, "-m", "uv", "pip", "install", "--python", PYTHON]
    # In an empty environment uv knows no certificates but its own; those of the machine
    # are what a company's network needs.
    uv.append("--system-certs")
    if not sys.stderr.isatty():  # nobody watches its progress bars
        uv.append("--quiet")
    return [uv, pip]


def _install(installers: list[list[str | Path]]) -> bool:
    """Return whether one of the installers could install the lock and the package itself."""
    for installer in installers:
        locked = [*installer, "--require-hashes", "-r", LOCK]
        # The build backend is in the lock: nothing is downloaded for this step.
        package = [*installer, "--no-deps", "--no-build-isolation", "-e", CHECKOUT]
        if all(subprocess.run(step, check=False).returncode == 0 for step in (locked, package)):
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
    sys.exit(main())
