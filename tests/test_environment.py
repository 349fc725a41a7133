"""The three lists of packages, and what else must agree between build files."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import helpers
from tools import set_up
from tools.notebook_rules import imported_modules

CHECKOUT = Path(__file__).resolve().parent.parent
PYPROJECT = CHECKOUT / "pyproject.toml"
CONDA = CHECKOUT / "environment.yml"
LOCK = CHECKOUT / "requirements.lock"
BACKENDS_LOCK = CHECKOUT / "requirements-backends.lock"
# Where a module is not called as its package is.
PACKAGES = {"PIL": "pillow", "skimage": "scikit-image", "sklearn": "scikit-learn", "yaml": "pyyaml"}
# What a reader may install besides: `backend` imports the engine that is there, and `downloads`
# asks Kaggle's own program for what only Kaggle has.
OPTIONAL = {"jax", "torch", "kagglehub"}


def declared() -> list[Requirement]:
    """Return what pyproject.toml asks for, the tests' packages included."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    lists = [project["dependencies"], project["optional-dependencies"]["test"]]
    return [Requirement(text) for one in lists for text in one]


def conda() -> list[Requirement]:
    """Return what environment.yml asks for but python, pip and the checkout itself."""
    entries = yaml.safe_load(CONDA.read_text(encoding="utf-8"))["dependencies"]
    texts = [entry for entry in entries if isinstance(entry, str)]
    texts += [text for entry in entries if isinstance(entry, dict) for text in entry["pip"]]
    wanted = [Requirement(text) for text in texts if text != "-e ."]
    return [one for one in wanted if one.name not in ("python", "pip")]


def locked(lock: Path = LOCK) -> list[Requirement]:
    """Return the pinned packages of requirements.lock, or of another such file."""
    text = lock.read_text(encoding="utf-8")
    return [
        Requirement(line.removesuffix("\\").strip())
        for line in text.splitlines()
        if re.match(r"[A-Za-z0-9]", line)
    ]


def as_set(requirements: list[Requirement]) -> set[str]:
    return {
        f"{canonicalize_name(one.name)}{one.specifier}; {one.marker or 'always'}"
        for one in requirements
    }


def test_conda_and_pip_ask_for_the_same() -> None:
    assert as_set(conda()) == as_set(declared())


@pytest.mark.parametrize("requirement", declared(), ids=str)
def test_the_lock_holds_what_is_declared(requirement: Requirement) -> None:
    name = canonicalize_name(requirement.name)
    pins = [one for one in locked() if canonicalize_name(one.name) == name]
    assert pins, f"{name} is not in requirements.lock: call  make lock"
    for pin in pins:
        (specifier,) = pin.specifier
        assert specifier.operator == "=="
        assert requirement.specifier.contains(specifier.version), f"{pin}: call  make lock"


@pytest.mark.parametrize("python", ["3.11.0", "3.12.0", "3.13.0"])
def test_every_python_gets_one_version_of_each(python: str) -> None:
    here = {
        "python_full_version": python,
        "python_version": python[:4],
        "sys_platform": "linux",
        "platform_machine": "x86_64",
        "platform_system": "Linux",
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    names = [
        canonicalize_name(one.name)
        for one in locked()
        if one.marker is None or one.marker.evaluate(here)
    ]
    assert len(names) == len(set(names))
    wanted = {
        canonicalize_name(one.name)
        for one in declared()
        if one.marker is None or one.marker.evaluate(here)
    }
    assert wanted <= set(names)
    assert "torch" not in names, "torch brings 4 GB of CUDA with it"


@pytest.mark.parametrize("lock", [LOCK, BACKENDS_LOCK], ids=lambda path: path.name)
def test_the_lock_has_hashes_and_no_address(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert not re.search(r"://|--(?:extra-)?index-url|--find-links|--trusted-host|@ ", text)
    for block in re.split(r"\n(?=[A-Za-z0-9])", text):
        assert "--hash=sha256:" in block, block.splitlines()[0]


@pytest.mark.parametrize("path", [PYPROJECT, CONDA], ids=lambda path: path.name)
def test_every_requirement_is_explained(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path == PYPROJECT:
        text = text[text.index("\ndependencies = [") : text.index("[tool.")]
    lines = text.splitlines()
    entry = re.compile(r'\s*(?:- )?"[A-Za-z][^"]*",?$|\s*- "-e \."$')
    found = [number for number, line in enumerate(lines) if entry.match(line)]
    assert len(found) >= len(declared())
    bare = [lines[number] for number in found if not lines[number - 1].strip().startswith("#")]
    assert not bare, "no comment above these"


def test_the_second_lock_adds_jax_and_changes_nothing() -> None:
    """Both are installed into one environment, one after the other."""
    pins, first = as_set(locked(BACKENDS_LOCK)), as_set(locked())
    added = {pin for pin in pins if not pin.startswith(("jax==", "jaxlib=="))}
    assert added and added <= first, "call  make lock"
    assert pins - added and not {pin for pin in first if pin.startswith("jax")}
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    (wanted,) = map(Requirement, project["optional-dependencies"]["jax"])
    versions = [next(iter(pin.specifier)).version for pin in locked(BACKENDS_LOCK)
                if pin.name == "jax"]  # fmt: skip
    assert versions and all(wanted.specifier.contains(version) for version in versions)


def test_conda_specs_are_quoted() -> None:
    # Unquoted, 3.10 would be the number 3.1, and > the start of a folded text.
    lines = CONDA.read_text(encoding="utf-8").splitlines()
    entries = [line.strip() for line in lines if re.match(r"\s*- ", line)]
    assert all(re.fullmatch(r'- ("[^"]+"|conda-forge|pip:)', line) for line in entries)


def test_python_versions_agree() -> None:
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    entries = yaml.safe_load(CONDA.read_text(encoding="utf-8"))["dependencies"]
    assert project["requires-python"] == ">=3.11,<3.14"
    assert "python>=3.11,<3.14" in entries
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    assert "(3, 11) <= v <= (3, 13)" in makefile
    workflow = yaml.safe_load((CHECKOUT / ".github/workflows/test.yml").read_text(encoding="utf-8"))
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]


def test_the_gpu_variant_is_explained() -> None:
    assert "tensorflow[and-cuda]" in CONDA.read_text(encoding="utf-8")


def test_one_version_of_the_package() -> None:
    version = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["version"]
    citation = yaml.safe_load((CHECKOUT / "CITATION.cff").read_text(encoding="utf-8"))
    assert helpers.__version__ == version == citation["version"]


def test_both_licences_are_there() -> None:
    text = (CHECKOUT / "LICENSE").read_text(encoding="utf-8")
    assert "Permission is hereby granted, free of charge" in text
    assert "https://creativecommons.org/licenses/by/4.0/" in text
    citation = yaml.safe_load((CHECKOUT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["license"] == ["MIT", "CC-BY-4.0"]


def test_a_sweep_asks_for_the_dask_that_is_tested() -> None:
    extras = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    assert set(extras["cluster"]) <= set(extras["test"])


def test_kaggles_program_is_optional() -> None:
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    assert project["optional-dependencies"]["kaggle"] == ["kagglehub>=1"]
    assert "kagglehub" not in {canonicalize_name(one.name) for one in [*declared(), *locked()]}


@pytest.mark.parametrize("folder", ["helpers", "tools", "tests", "benchmarks"])
def test_every_import_is_declared(folder: str) -> None:
    packages = {canonicalize_name(one.name) for one in declared()} | OPTIONAL | {"tensorflow"}
    own = {"helpers", "tools", "tests", "benchmarks"}
    # A script's folder is on its path: its neighbours are its own modules.
    own |= {path.stem for path in (CHECKOUT / folder).glob("*.py")}
    missing = {
        f"{path.name}: {name}"
        for path in sorted((CHECKOUT / folder).rglob("*.py"))
        for name in imported_modules(path.read_text(encoding="utf-8"))
        if name not in own | sys.stdlib_module_names
        and canonicalize_name(PACKAGES.get(name, name)) not in packages
    }
    assert not missing, "imported, but not in pyproject.toml"


def test_only_backend_imports_an_engine() -> None:
    engines = {"tensorflow", "jax", "torch"}
    found = {
        path.relative_to(CHECKOUT).as_posix()
        for path in (CHECKOUT / "helpers").rglob("*.py")
        if imported_modules(path.read_text(encoding="utf-8")) & engines
    }
    assert found <= {"helpers/backend.py"}


@pytest.mark.parametrize(
    "source",
    ["import torch.nn", "from jax import numpy", "importlib.import_module('tensorflow.keras')"],
)
def test_an_engine_is_seen_however_it_is_imported(source: str) -> None:
    assert imported_modules(source) & {"tensorflow", "jax", "torch"}


def test_set_up_needs_only_the_standard_library() -> None:
    names = imported_modules((CHECKOUT / "tools" / "set_up.py").read_text(encoding="utf-8"))
    assert names <= set(sys.stdlib_module_names)


def test_set_up_installs_lock_after_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[list[str]] = []

    def run(command: list[object], **_: object) -> subprocess.CompletedProcess[str]:
        calls.append([str(word) for word in command])
        if "venv" in calls[-1]:
            (tmp_path / ".venv-more" / "bin").mkdir(parents=True, exist_ok=True)
        return subprocess.CompletedProcess(calls[-1], int("second.lock" in calls[-1][-1]), "")

    monkeypatch.setattr(set_up, "CHECKOUT", tmp_path)
    monkeypatch.setattr(set_up.subprocess, "run", run)
    assert set_up.main([".venv-more", "first.lock"]) == 0
    assert (tmp_path / ".venv-more" / "ready").exists()
    python = str(tmp_path / ".venv-more" / "bin" / "python")
    assert {words[0] for words in calls[1:]} == {python}
    assert calls[-2][-1] == str(tmp_path / "first.lock") and calls[-1][-1] == str(tmp_path)
    assert set_up.main([".venv-more", "first.lock", "second.lock"]) == 1
    assert not (tmp_path / ".venv-more" / "ready").exists()
    assert "first.lock and second.lock could not be installed" in capsys.readouterr().err


def test_a_wrong_python_is_one_clear_line() -> None:
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    code = re.search(r'\$\(PYTHON\) -c "(.+)"$', makefile, re.MULTILINE)
    assert code is not None
    ast.parse(code[1])
    for version, allowed in (((2, 7), 1), ((3, 10), 1), ((3, 12), 0), ((3, 14), 1)):
        pretend = code[1].replace("sys.version_info[:2]", repr(version))
        run = subprocess.run([sys.executable, "-c", pretend], capture_output=True, text=True)
        assert run.returncode == allowed
        assert len(run.stderr.splitlines()) == allowed


def test_ci_calls_make_test() -> None:
    script = CHECKOUT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    lines = script.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert "set -euo pipefail" in lines
    assert lines[-1] == "make test"


def test_nbval_rules_can_be_read() -> None:
    from nbval.plugin import get_sanitize_patterns

    text = (CHECKOUT / "nbval.ini").read_text(encoding="ascii")
    rules = get_sanitize_patterns(text)
    assert len(rules) == text.count("regex:") == text.count("replace:")
    settled = "<Figure size 640x480 with 1 Axes> at 0x7f3b2c1d0e90, 12.5 s, keras 3.15.1"
    for pattern, replacement in rules:
        settled = re.sub(pattern, replacement, settled)
    assert settled == "FIGURE at ADDRESS, DURATION, keras VERSION"
    # A share, a shape or a count is what nbval is there to compare.
    for kept in ("0.923 (0.901–0.944)", "(64, 64, 3)", "23,827,330 parameters", "30 patients"):
        text = kept
        for pattern, replacement in rules:
            text = re.sub(pattern, replacement, text)
        assert text == kept
