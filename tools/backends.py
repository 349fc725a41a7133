"""Runs the tests and the notebooks on each backend, and says whether the backends agree.

    python -m tools.backends                                    (what `make test-backends` calls)
    python -m tools.backends --no-tests --backends tensorflow jax --notebooks malaria
    python -m tools.backends --no-tests --folds 5 --notebooks brain_mri     (means of five folds)
    python -m tools.backends --record "two processor cores"     (afterwards: into docs/backends.md)

One run on each backend differs by the random numbers of its training, too, of which its interval
over patients knows nothing: where both have run several folds, the differences of the folds are
looked at instead. Each run has a data home of its own, so that none takes what another has
computed. A backend that is not installed is left out, and it is said how to install it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from helpers import ENGINES, kernels, pooling, registry, results, runner, sweep
from tools.real_data import to_text, write

CHECKOUT = Path(__file__).resolve().parent.parent
WORK = CHECKOUT / "artifacts" / "backends"
RECORDS = CHECKOUT / "docs" / "backends"
FOLDS = RECORDS / "folds"  # of runs on all folds
PAGE = CHECKOUT / "docs" / "backends.md"
REMARKS = RECORDS / "remarks.md"  # written by hand: what the table means
FIRST = ENGINES[0]  # what the others are compared with
# Weights: float32 drawn alike, a sine's last digits aside. Features: sums of thousands of them.
WEIGHTS_APART, FEATURES_APART = 1e-6, 1e-3
LIMIT = str(4 * 3600)  # seconds for a notebook: JAX on a processor takes its time

Record = dict[str, Any]


def main(arguments: Sequence[str]) -> int:
    """Return 0 where everything ran and agrees, 1 where not, 2 where the call was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tools.backends", description=__doc__)
    parser.add_argument("--backends", nargs="+", default=list(ENGINES), help="default: all")
    parser.add_argument("--notebooks", nargs="+", default=["all"], help="default: all")
    parser.add_argument("--no-tests", action="store_true", help="notebooks only")
    parser.add_argument("--no-notebooks", action="store_true", help="tests only")
    parser.add_argument("--folds", type=int, choices=range(pooling.FEWEST, sweep.FOLDS + 1),
                        help="run each notebook on so many folds, instead of once")  # fmt: skip
    parser.add_argument("--record", metavar="MACHINE", help="run nothing: put what was run into "
                        "docs/backends, and say on which machine, in words")  # fmt: skip
    given = parser.parse_args(arguments)
    if given.record:
        return _record(given.record)
    skipped, engines = {}, []
    try:
        notebooks = runner.find_notebooks(given.notebooks)
        for engine in given.backends:
            reason = _missing(engine)
            if reason:
                skipped[engine] = reason
            else:
                engines.append(engine)
    except ValueError as error:
        print(f"tools.backends: {error}", file=sys.stderr)
        return 2
    failed = []
    for engine in engines:
        if not given.no_tests and not _tested(engine):
            failed.append(f"{engine}: tests failed, see {WORK / engine / 'tests.log'}")
        for tutorial in [] if given.no_notebooks else notebooks:
            if not (
                _swept(engine, tutorial, given.folds) if given.folds else _ran(engine, tutorial)
            ):
                failed.append(f"{engine}: {tutorial} failed, see {WORK / engine / tutorial}")
    records, means = _runs(""), _sweeps("")
    problems = disagreements(records, means)
    print("\n" + "\n\n".join(filter(None, (table(records), table_of_means(means)))))
    for engine, reason in skipped.items():
        print(f"skipped: {engine}: {reason}")
    for line in (*failed, *problems):
        print(f"PROBLEM: {line}")
    return 1 if failed or problems else 0


def essence(folder: Path, engine: str, tutorial: str, machine: str) -> Record:
    """Return what of a run is recorded, the first backend's run of the notebook beside it.

    Args:
        folder: of all runs: ``<engine>/<tutorial>/`` with ``run``, ``data`` and ``weights.npz``.
        engine: the backend.
        tutorial: the notebook.
        machine: what it ran on, in words.

    Raises:
        FileNotFoundError: there is no such run.
    """
    here, there = folder / engine / tutorial, folder / FIRST / tutorial
    record = results.load(here / "run" / tutorial)
    found: Record = {key: record[key] for key in ("tutorial", "backend", "device", "seed", "main")}
    found |= {
        "version": record["versions"].get(record["backend"]),
        "keras": record["versions"]["keras"],
        "split_hash": record["data"]["split_hash"],
        "figures": record["figures"],
        "seconds": round(record["seconds"]),
        "machine": machine,
    }
    if engine != FIRST and (there / "weights.npz").exists():
        with np.load(here / "weights.npz") as ours, np.load(there / "weights.npz") as theirs:
            found["weights_apart"] = largest_difference(dict(ours), dict(theirs))
        found["features_apart"] = largest_difference(_features(here), _features(there))
    return found


def essence_of_folds(folder: Path, engine: str, tutorial: str, machine: str) -> Record:
    """Return what of the runs on several folds is recorded.

    Args:
        folder: of all runs: ``<engine>/<tutorial>/folds`` is that of a sweep.
        engine: the backend.
        tutorial: the notebook.
        machine: what it ran on, in words.

    Raises:
        ValueError: a run does not say how many patients it tested.
    """
    found = sorted((folder / engine / tutorial / "folds").rglob(results.FILE_NAME))
    runs = {str(run["fold"]): run for run in (results.load(path.parent) for path in found)}
    first = next(iter(runs.values()))
    shares = [pooling.share_tested(run) for run in runs.values()]
    if None in shares:
        raise ValueError(f"{tutorial} on {engine}: a run does not say how many were tested.")
    names = [
        name
        for name in first["figures"]
        if any(name == main or name.startswith(f"{main}_") for main in first["main"])
        and all(name in run["figures"] for run in runs.values())
    ]
    means = {name: pooling.mean(list(runs.values()), name) for name in names}
    return {
        **{key: first[key] for key in ("tutorial", "backend", "device", "seed", "main")},
        "version": first["versions"].get(first["backend"]),
        "keras": first["versions"]["keras"],
        "machine": machine,
        "share_tested": sum(share or 0.0 for share in shares) / len(shares),
        "splits": {fold: run["data"]["split_hash"] for fold, run in runs.items()},
        "means": {
            name: {"value": one.value, "low": one.low, "high": one.high, "kind": one.kind}
            for name, one in means.items()
        },
        "values": {
            name: {fold: run["figures"][name]["value"] for fold, run in runs.items()}
            for name in names
        },
        "seconds": {fold: round(run["seconds"]) for fold, run in runs.items()},
    }


def largest_difference(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    """Return the largest difference of arrays of the same names; infinity where names differ."""
    if not one or {name: array.shape for name, array in one.items()} != {
        name: array.shape for name, array in other.items()
    }:
        return float("inf")
    return max(float(np.abs(one[name] - other[name]).max(initial=0)) for name in one)


def disagreements(records: Sequence[Record], means: Sequence[Record] = ()) -> list[str]:
    """Return a line for each thing in which a backend differs more than it may.

    Args:
        records: of single runs.
        means: of runs on several folds; what these have on both backends is compared there.
    """
    found = _disagreements_of_means(means)
    averaged = {
        (record["tutorial"], record["backend"], name)
        for record, known in _pairs(means)
        for name in differences(record, known)
    }
    for record, known in _pairs(records):
        what = f"{record['tutorial']} on {record['backend']}"
        if record["split_hash"] != known["split_hash"]:
            found.append(f"{what}: another split than on {FIRST}")
        for name, most in (("weights", WEIGHTS_APART), ("features", FEATURES_APART)):
            apart = record.get(f"{name}_apart")
            if apart is None:
                found.append(f"{what}: {name} were not compared")
            elif not apart <= most:  # NaN is no agreement
                found.append(f"{what}: {name} differ by {apart:.1e}, more than {most:g}")
        alike = same_choice(record, known)
        for name, figure in record["figures"].items():
            named = any(name.startswith(f"{main}_") for main in record["main"])
            compared = name in known["figures"] and (named or (alike and name in record["main"]))
            compared = compared and (record["tutorial"], record["backend"], name) not in averaged
            if compared and not within(figure, known["figures"][name]):
                found.append(f"{what}: {results.label(name)} is {results.with_interval(figure)}, "
                             f"and {results.with_interval(known['figures'][name])} on "
                             f"{FIRST}")  # fmt: skip
    return found


def _pairs(records: Sequence[Record]) -> list[tuple[Record, Record]]:
    """Return each record of another backend with that of the first one, where there is one."""
    first = {record["tutorial"]: record for record in records if record["backend"] == FIRST}
    return [
        (record, first[record["tutorial"]])
        for record in records
        if record["backend"] != FIRST and record["tutorial"] in first
    ]


def differences(record: Record, known: Record) -> dict[str, Record]:
    """Return how far two backends' figures are apart on the folds that both have run.

    Returns:
        By figure the mean of the folds' differences, each of two runs tested on the same
        patients, with the interval of ``pooling.over_tests``.
    """
    found = {}
    for name in record["values"]:
        ours, theirs = record["values"][name], known["values"].get(name, {})
        apart = [ours[fold] - theirs[fold] for fold in ours if fold in theirs]
        if len(apart) >= pooling.FEWEST:
            middle, low, high = pooling.over_tests(apart, record["share_tested"])
            found[name] = {"value": middle, "low": low, "high": high}
    return found


def _disagreements_of_means(means: Sequence[Record]) -> list[str]:
    """Return a line for each difference that is not by chance, and for folds that are others."""
    found = []
    for record, known in _pairs(means):
        what = f"{record['tutorial']} on {record['backend']}"
        if record["splits"] != known["splits"]:
            found.append(f"{what}: other folds or splits than on {FIRST}")
        for name, apart in differences(record, known).items():
            if not apart["low"] <= 0 <= apart["high"]:
                found.append(f"{what}: {results.label(name)} differs from that on {FIRST} by "
                             f"{results.with_interval(apart)}, mean of the folds")  # fmt: skip
    return found


def within(one: Record, other: Record) -> bool:
    """Return whether one of two figures lies within the other's interval."""
    return bool(
        other["low"] <= one["value"] <= other["high"] or one["low"] <= other["value"] <= one["high"]
    )


def same_choice(one: Record, other: Record) -> bool:
    """Return whether two runs chose the same network on their validation patients.

    The figures of the network chosen stand there twice: as ``auc``, and as ``auc_small_network``.
    A run that compares no networks chose none.
    """
    chosen = [
        {
            name.removeprefix(f"{main}_")
            for main in record["main"]
            for name, figure in record["figures"].items()
            if name.startswith(f"{main}_") and figure == record["figures"][main]
        }
        for record in (one, other)
    ]
    return bool(chosen[0] & chosen[1]) or chosen == [set(), set()]


def table(records: Sequence[Record]) -> str:
    """Return a Markdown table, a row for each notebook and backend."""
    lines = ["| tutorial | backend | same split | initial weights | features | main figure "
             "(95 % interval) | seconds |", "|---|---|---|---|---|---|---|"]  # fmt: skip
    order = {dataset.name: dataset.number for dataset in registry.in_order()}
    first = {record["tutorial"]: record for record in records if record["backend"] == FIRST}
    for record in sorted(records, key=lambda one: (order.get(one["tutorial"], 99),
                                                   ENGINES.index(one["backend"]))):  # fmt: skip
        known = first.get(record["tutorial"])
        split = "—" if record is known or known is None else (
            "yes" if record["split_hash"] == known["split_hash"] else "**no**")  # fmt: skip
        apart = [f"{record[key]:.1e}" if key in record else "—"
                 for key in ("weights_apart", "features_apart")]  # fmt: skip
        name = record["main"][0]
        figure = f"{results.label(name)} {results.with_interval(record['figures'][name])}"
        if known is not None and not same_choice(record, known):
            figure += "; another network was chosen"
        lines.append(f"| {record['tutorial']} | {record['backend']} {record['version']} | {split} "
                     f"| {' | '.join(apart)} | {figure} | {record['seconds']} |")  # fmt: skip
    return "\n".join(lines)


def table_of_means(means: Sequence[Record]) -> str:
    """Return a Markdown table of means over folds, a row for each figure; ``""`` without any."""
    lines = []
    for record, known in _pairs(means):
        for name, apart in differences(record, known).items():
            lines.append(f"| {record['tutorial']} | {results.label(name)} "
                         f"| {results.with_interval(known['means'][name])} "
                         f"| {record['backend']} {results.with_interval(record['means'][name])} "
                         f"| {results.with_interval(apart)} |")  # fmt: skip
    if not lines:
        return ""
    return "\n".join(
        [f"| tutorial | figure, mean of the folds | {FIRST} | other backend | difference |",
         "|---|---|---|---|---|", *lines]
    )  # fmt: skip


def page(records: Sequence[Record] | None = None, means: Sequence[Record] | None = None) -> str:
    """Return the page on the backends, from the records in docs/backends."""
    stored = records is None
    if records is None:
        records = [json.loads(path.read_text("utf-8")) for path in sorted(RECORDS.glob("*.json"))]
        means = [json.loads(path.read_text("utf-8")) for path in sorted(FOLDS.glob("*.json"))]
    means = means or []
    machines = sorted({record["machine"] for record in (*records, *means)})
    wrong = disagreements(records, means)
    parts = [
        "# The same notebooks on other backends",
        "<!-- Written by `make docs` from docs/backends: change tools/backends.py. -->",
        "Keras runs on TensorFlow, JAX or PyTorch. The variable `KERAS_BACKEND` says on which. "
        "`make test-backends` runs all tests (but those that run whole notebooks in many ways) and "
        "all notebooks, with their samples, on each that "
        "is installed, in an environment of its own (`.venv-backends`), and compares: JAX is in "
        "it, PyTorch only if you put it there, as it brings 4 GB along.",
        "They must agree: the same split; the same initial weights (to "
        f"{WEIGHTS_APART:g}; of large arrays {2**16:,} numbers or more are compared); features of "
        f"the frozen backbone to {FEATURES_APART:g}; and of each network's figures, one within "
        "the other's interval. Trained networks are not equal, for augmentation and dropout draw "
        "other random numbers on each; so validation may choose another network, and then the "
        "main figures are those of another network. An interval over patients knows nothing of "
        "another training, and may be too narrow to hold it: where a tutorial was run on several "
        "folds on both, the differences of the folds are looked at instead, and 0 must lie in the "
        f"interval of their mean. Differences are those from {FIRST}.",
    ]
    if records:
        parts += [table(records), f"Measured on: {'; '.join(machines)}. The samples are synthetic: "
                  "no figure here says anything about patients."]  # fmt: skip
        if _pairs(means):
            parts += [table_of_means(means), "Means of folds have the corrected interval of "
                      "[results.md](results.md). So has the difference: the mean of what lies "
                      "between two runs on one fold, tested on the same patients."]  # fmt: skip
        parts.append("They agree." if not wrong else "They do not agree:\n\n"
                     + "\n".join(f"- {line}" for line in wrong))  # fmt: skip
        if stored and REMARKS.exists():
            parts.append(REMARKS.read_text(encoding="utf-8").strip())
    else:
        parts.append("No run is recorded yet.")
    return "\n\n".join(parts) + "\n"


def _missing(engine: str) -> str:
    """Return why a backend cannot be run here; an unknown one is an error."""
    try:
        kernels.resolve("cpu", engine)
    except kernels.KernelError as error:
        if engine not in ENGINES:
            raise
        return str(error)
    return ""


def _tested(engine: str) -> bool:
    """Return whether all tests pass on a backend; what they print is kept."""
    folder = WORK / engine
    folder.mkdir(parents=True, exist_ok=True)
    # What runs notebooks is left out: they are run below.
    left_out = [f"--ignore=tests/test_{name}.py" for name in ("sample_run", "end_to_end")]
    report = f"--junitxml={folder / 'tests.xml'}"
    command = [sys.executable, "-m", "pytest", *left_out, report]
    print(f"{engine}: tests …", flush=True)
    with (folder / "tests.log").open("wb") as log:
        code = subprocess.run(command, cwd=CHECKOUT, env=_environment(engine, "tests"),
                              stdout=log, stderr=log, check=False).returncode  # fmt: skip
    last = (folder / "tests.log").read_text("utf-8", errors="replace").splitlines()[-1:]
    print(f"{engine}: {''.join(last).strip('= ')}", flush=True)
    return code == 0


def _ran(engine: str, tutorial: str) -> bool:
    """Return whether a notebook ran on a backend, and its networks were built."""
    folder = WORK / engine / tutorial
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    run = [sys.executable, "-m", "helpers", "run", tutorial, "--output", str(folder / "run"),
           "--cell-timeout", LIMIT, "--timeout", LIMIT]  # fmt: skip
    build = [sys.executable, "-m", "tools.networks", tutorial, str(folder / "weights.npz")]
    print(f"{engine}: {tutorial} …", flush=True)
    environment = _environment(engine, tutorial)
    codes = [subprocess.run(command, cwd=CHECKOUT, env=environment, check=False).returncode
             for command in (build, run)]  # fmt: skip
    return not any(codes)


def _swept(engine: str, tutorial: str, folds: int) -> bool:
    """Return whether a notebook ran on all folds on a backend."""
    folder = WORK / engine / tutorial / "folds"
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "helpers", "sweep", tutorial, "--folds", str(folds),
               "--output", str(folder), "--cell-timeout", LIMIT, "--timeout", LIMIT]  # fmt: skip
    print(f"{engine}: {tutorial}, {folds} folds …", flush=True)
    environment = _environment(engine, tutorial)
    return subprocess.run(command, cwd=CHECKOUT, env=environment, check=False).returncode == 0


def _environment(engine: str, purpose: str) -> dict[str, str]:
    """Return the environment of a run: its backend, and a data home of its own."""
    return os.environ | {
        "KERAS_BACKEND": engine,
        "TUTORIALS_DATA": str(WORK / engine / purpose / "data"),
        "TUTORIALS_UNATTENDED": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def _runs(machine: str) -> list[Record]:
    """Return the records of all runs that have finished, those of the first backend first."""
    return [
        essence(WORK, engine, path.parent.name, machine)
        for engine in ENGINES
        for path in sorted((WORK / engine).glob("*/run"))
        if (path / path.parent.name / results.FILE_NAME).exists()
    ]


def _sweeps(machine: str) -> list[Record]:
    """Return the records of all tutorials that were run on several folds."""
    return [
        essence_of_folds(WORK, engine, path.parent.name, machine)
        for engine in ENGINES
        for path in sorted((WORK / engine).glob("*/folds"))
        if any(path.rglob(results.FILE_NAME))
    ]


def _record(machine: str) -> int:
    """Put what was run into docs/backends, and write the page."""
    records, means = _runs(machine), _sweeps(machine)
    if not records and not means:
        print(f"tools.backends: no run in {WORK}: call  make test-backends", file=sys.stderr)
        return 2
    texts = {
        folder / f"{one['tutorial']}-{one['backend']}.json": to_text(one)
        for folder, found in ((RECORDS, records), (FOLDS, means))
        for one in found
    }
    for path, text in texts.items():
        write(path, text)
    write(PAGE, page())
    return 0


def _features(folder: Path) -> dict[str, np.ndarray]:
    """Return the features that a run has computed, by a name that is the same on each backend."""
    found = {}
    paths = sorted((folder / "data" / "cache").glob("*_features-*.npy"))
    for path in paths:
        # <dataset>-<size>px-<key of the files>-<network>-<hash of the weights and rows>
        words = path.stem.split("-")
        found["-".join([*words[:2], *words[3:-1]])] = np.load(path)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
