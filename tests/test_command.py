"""The commands that are printed: they can be copied into the shell that one has."""

import subprocess
import sys
from pathlib import Path

import pytest

from helpers import cluster
from helpers.command import command, python


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for a checkout with an environment in it; no other program is on the path."""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    own = tmp_path / ".venv" / "bin" / "python"
    own.symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(own))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_python_on_the_path_the_interpreter_is_named_from_here(shell: Path) -> None:
    assert command("data list") == ".venv/bin/python -m helpers data list"
    assert command() == ".venv/bin/python -m helpers"


def test_python_is_python_in_an_activated_environment(
    shell: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{shell / '.venv' / 'bin'}:/usr/bin:/bin")
    assert command("data list") == "python -m helpers data list"


def test_the_python_below_an_environment_is_another_one(shell: Path) -> None:
    (shell / "bin").mkdir()
    (shell / "bin" / "python").symlink_to(Path(sys.executable).resolve())
    assert python() == ".venv/bin/python"


def test_elsewhere_the_whole_path_is_named_as_a_shell_takes_it(
    shell: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "my notebooks")
    assert python() == str(shell / ".venv" / "bin" / "python")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "my notebooks" / "bin" / "python"))
    monkeypatch.chdir(tmp_path)
    assert python() == "'my notebooks/bin/python'"


def test_a_worker_is_started_by_the_same_interpreter(shell: Path) -> None:
    assert cluster.worker("ADDRESS") == (
        '.venv/bin/python -m dask worker ADDRESS --nthreads 1 --resources "notebook=1"'
    )


def test_what_is_printed_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parent.parent)
    run = subprocess.run(command("--version"), shell=True, capture_output=True, text=True)
    assert run.stdout.startswith("helpers ")
