"""Many runs: every notebook with every profile, fold and seed, each once, in one folder.

The folder says it all: ``sweep.json`` what was asked, and below it each run's own folder
whether that run has finished. So a sweep that was stopped, whatever stopped it, goes on
with the same command, and ``python -m helpers report`` needs nothing else.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from helpers import claim, cluster, dispatch, results, runner
from helpers.nearest import nearest
from helpers.paths import atomic_file
from helpers.runner import WrongCall

FILE_NAME = "sweep.json"
LOCK = ".sweep"  # who works on it just now
FOLDER = Path("runs") / "sweep"
FOLDS = 5  # how many the notebooks know
OWN = {"profile": "--profiles", "fold": "--folds", "seed": "--seeds"}
"""Parameters that a sweep sets itself, and the option that rules each."""

_SCHEMA = 2
_LOOK = 1.0  # seconds between two looks at whether there is a worker
_PATIENCE = 10.0  # seconds that runs of an earlier call may take to notice that it has ended


@dataclass(frozen=True)
class Sweep:
    """A matrix of runs, every one checked."""

    folder: Path
    jobs: tuple[runner.Job, ...]
    asked: dict[str, Any]  # what tells this sweep from another one; plain JSON
    notes: tuple[str, ...]  # what a person may not expect, a line each


def plan(
    names: Sequence[str],
    given: Mapping[str, str],
    *,
    images: Sequence[str] = (),
    profiles: Sequence[str] = (runner.PROFILES[0],),
    folds: int | None = None,
    seeds: int = 1,
    output: str | None = None,
    kernel: str = "python3",
    cell_limit: int | None = None,
    limit: int | None = None,
    notebooks: str | None = None,
    local: bool = True,
) -> Sweep:
    """Return the runs of a sweep; nothing is started or written.

    A notebook without a parameter ``fold`` or ``seed`` is not run several times for the same
    thing: its own parameters cell decides.

    Args:
        names: which notebooks, see :func:`helpers.runner.find_notebooks`.
        given: parameters as they were typed, by name, the same in every run.
        images: where images lie, as typed: ``malaria=folder`` for one notebook, ``folder`` for
            all others.
        profiles: one or more of ``sample``, ``best`` and ``source``.
        folds: so many folds, from 0 on; ``None`` leaves the fold to the notebook.
        seeds: so many seeds, from 0 on.
        output: the sweep's folder; ``None`` means ``runs/sweep`` below the current one.
        kernel: name of the Jupyter kernel.
        cell_limit: seconds for one cell; 0 = no limit, ``None`` = the profile's.
        limit: seconds for one notebook; 0 = no limit, ``None`` = the profile's.
        notebooks: where the notebooks are, see :func:`helpers.runner.notebook_folder`.
        local: the runs start on this machine, so that its backend can be asked for first.

    Raises:
        WrongCall: an unknown name, a value of the wrong type, a missing folder, or a kernel or
            backend that is not there.
    """
    for name, option in OWN.items():
        if name in given:
            raise WrongCall(f"{name} is what a sweep goes through: say {option} instead.")
    for profile in profiles:
        if profile not in runner.PROFILES:
            hint = nearest(profile, runner.PROFILES)
            known = ", ".join(runner.PROFILES)
            raise WrongCall(f"There is no profile {profile!r}; {hint} ({known}).")
    if folds is not None and not 1 <= folds <= FOLDS:
        raise WrongCall(f"--folds takes 1 to {FOLDS}, not {folds}: the notebooks know no more.")
    found = runner.find_notebooks(names, notebooks)
    runner.require_kernel(kernel)
    if local:
        runner.require_engine(kernel)
    places = _places(images, found, notebooks)
    folder = Path(output or FOLDER).expanduser().absolute()
    profiles = list(dict.fromkeys(profiles))
    jobs, notes = [], []
    for tutorial, notebook in found.items():
        declared = runner.read_parameters(notebook)
        axes = {
            "fold": range(folds) if folds is not None else (None,),
            "seed": range(seeds),
        }
        missing = [name for name in axes if name not in declared]
        if any(len(axes[name]) > 1 for name in missing):
            words = " and ".join(missing)
            notes.append(f"{tutorial} has no parameter {words}: it does not run for each of them.")
        where = {"data_dir": places[tutorial]} if tutorial in places else {}
        if where.keys() & given.keys():
            raise WrongCall("data_dir was given twice: say --data-dir alone.")
        for profile in profiles:
            for place, chosen in _points({k: v for k, v in axes.items() if k in declared}):
                jobs.append(
                    runner.make_job(
                        f"{tutorial}/{profile}/{place}",
                        notebook,
                        {**given, **where, **chosen, "profile": profile},
                        output=folder,
                        kernel=kernel,
                        cell_limit=cell_limit,
                        limit=limit,
                    )
                )
    notes += runner.drawn(jobs)
    common = {
        name: value
        for name, value in jobs[0].given.items()
        if name not in OWN and name != "data_dir"
    }
    # by tutorial, as the notebooks get it: relative paths mean the current folder
    data = {job.name.split("/")[0]: job.parameters.get("data_dir") for job in jobs}
    asked = {
        "notebooks": {name: path.name for name, path in found.items()},
        "profiles": profiles,
        "folds": folds,
        "seeds": seeds,
        "parameters": common,
        "images": data,
        "kernel": kernel,
        # on a cluster its workers say it, when they are asked
        "backend": runner.engine(kernel) if local else None,
    }
    return Sweep(folder, tuple(jobs), asked, tuple(notes))


def settled(sweep: Sweep) -> list[runner.Job]:
    """Return the sweep's jobs, each with what is still to be done; nothing is written.

    Raises:
        WrongCall: the folder holds another sweep, or files that are none of ours, or one of
            the runs is just being written.
    """
    _require_same(sweep)
    return [runner.settle(job, "resume") for job in sweep.jobs]


def run(
    sweep: Sweep, *, address: str | None = None, workers: int | None = None
) -> list[runner.Outcome]:
    """Return how each run of a sweep ended; those that had finished before are kept.

    Args:
        sweep: from :func:`plan`.
        address: of a Dask scheduler; ``None`` starts workers on this machine.
        workers: how many, see :func:`helpers.cluster.environments_for`.

    Raises:
        WrongCall: nothing was started: Dask is not installed, the scheduler does not answer,
            or the folder is another sweep's or at work.
        SchedulerGoneError: it went away; what had finished stays.
    """
    cluster.require_dask()
    _require_same(sweep)  # before a cluster is asked; and again when nobody else can write
    kernel = sweep.asked["kernel"]
    environments = [] if address is not None else cluster.environments_for(workers, kernel)
    with ExitStack() as stack:
        pool = None if address is None else stack.enter_context(cluster.connected(address))
        if pool is not None and finished(sweep) < len(sweep.jobs):
            sweep = replace(sweep, asked={**sweep.asked, "backend": _engine(pool, kernel)})
        own = stack.enter_context(_claimed(sweep))
        jobs = settled(sweep)
        todo = [job for job in jobs if job.action != "keep"]
        outcomes = {job.name: runner.Outcome(job, "kept") for job in jobs if job not in todo}
        if todo:
            if pool is None:
                pool = stack.enter_context(cluster.local(environments))
            lock = sweep.folder / LOCK
            images = [job.parameters.get("data_dir") for job in todo]
            seen = [
                lock,
                *(job.notebook for job in todo),
                *(Path(str(one)) for one in images if one),
            ]
            pool.require_sight(list(dict.fromkeys(seen)))
            backend = sweep.asked["backend"]
            ends = dispatch.run(todo, pool, lock, own, backend)
            outcomes |= {end.job.name: end for end in ends}
    return [outcomes[job.name] for job in jobs]


def standing(folder: Path) -> str:
    """Return in a sentence how far the sweep in a folder has come; ``""`` where there is none.

    Args:
        folder: with a ``sweep.json``.
    """
    try:
        runs = list(json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))["runs"])
        done = sum(_has_results(folder / name) for name in runs)
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    writer = claim.read(folder / LOCK)
    at_work = writer is not None and not writer.over
    more = "it is at work" if at_work else "the command that began it runs the others"
    return f"{done} of {len(runs)} runs of this sweep have finished" + (
        "." if done == len(runs) else f"; {more}."
    )


def _has_results(folder: Path) -> bool:
    """Return whether a run has left valid results."""
    try:
        return bool(results.load(folder))
    except (OSError, ValueError):
        return False


def finished(sweep: Sweep) -> int:
    """Return how many runs of a sweep have finished."""
    return sum(map(runner.is_finished, sweep.jobs))


def _engine(pool: cluster.Pool, kernel: str) -> str:
    """Return the backend of a cluster's workers, after there is one."""
    said = False
    while True:
        found = pool.engine(kernel)
        if found is not None:
            return found
        if not said:
            print(f"There is no worker at {pool.address}: the runs wait for one.", file=sys.stderr)
            said = True
        time.sleep(_LOOK)


def _places(
    images: Sequence[str], found: Mapping[str, Path], notebooks: str | None
) -> dict[str, str]:
    """Return where each notebook's images lie, as typed, by the notebook's name.

    Raises:
        WrongCall: a name that is no notebook of this sweep, or one that stands there twice.
    """
    named: dict[str | None, str] = {}
    for text in images:
        name, sign, place = text.partition("=")
        tutorial: str | None = None
        if sign and not Path(text).expanduser().exists():  # a folder's name may have the sign
            (tutorial,) = runner.find_notebooks([name], notebooks)
            if tutorial not in found:
                raise WrongCall(f"--data-dir {text}: {tutorial} is not among the notebooks named.")
            text = place
        if tutorial in named:
            raise WrongCall(f"--data-dir was given twice for {tutorial or 'all notebooks'}.")
        named[tutorial] = text
    places = {tutorial: named.get(tutorial, named.get(None)) for tutorial in found}
    return {tutorial: place for tutorial, place in places.items() if place is not None}


def _points(axes: Mapping[str, Sequence[int | None]]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield name and parameters of each fold and seed, ``None`` being no parameter at all."""
    for fold in axes.get("fold", (None,)):
        for seed in axes.get("seed", (None,)):
            chosen = {"fold": fold, "seed": seed}
            text = {name: str(value) for name, value in chosen.items() if value is not None}
            yield "-".join(f"{name}{value}" for name, value in text.items()) or "run", text


@contextmanager
def _claimed(sweep: Sweep) -> Iterator[claim.Claim]:
    """Yield the claim on a sweep's folder, which is this call's alone while the block runs."""
    made = not sweep.folder.exists()
    try:
        with ExitStack() as stack:
            try:
                sweep.folder.mkdir(parents=True, exist_ok=True)
                own = stack.enter_context(claim.alone(sweep.folder / LOCK))
                _require_same(sweep)
                _await_ends(sweep, forget=True)
                _write(sweep)
            except claim.ClaimedError as error:
                raise WrongCall(str(error)) from error
            except OSError as error:
                why = error.strerror or error
                raise WrongCall(f"{sweep.folder} cannot be written ({why}).") from error
            yield own
    finally:
        _await_ends(sweep)
        if made:
            with suppress(OSError):
                sweep.folder.rmdir()  # only where nothing has come into it


def _await_ends(sweep: Sweep, *, forget: bool = False) -> None:
    """Wait until nobody writes into a run's folder any more, at most ten seconds.

    A run on another machine looks once a second whether it is still wanted.

    Args:
        sweep: the sweep.
        forget: remove the claims of runs on other machines that have not ended by then: such a
            machine has died, or it sees the folder no more.
    """
    end = time.monotonic() + _PATIENCE
    places = [job.folder for job in sweep.jobs]
    while (places := [place for place in places if runner.owner(place)]) and (
        time.monotonic() < end
    ):
        time.sleep(0.2)
    for place in places if forget else ():
        left = runner.owner(place)
        if left is not None and not left.here:
            (place / runner.RUNNING).unlink(missing_ok=True)


def _require_same(sweep: Sweep) -> None:
    """Raise WrongCall where a folder holds anything but this very sweep, or nothing."""
    path = sweep.folder / FILE_NAME
    if not sweep.folder.exists():
        return
    if not sweep.folder.is_dir():
        raise WrongCall(f"{sweep.folder} is a file, where the folder of a sweep is to be made.")
    if not path.exists():
        if any(found.name != LOCK for found in sweep.folder.iterdir()):
            raise WrongCall(
                f"{sweep.folder} holds files, and no {FILE_NAME}: a sweep needs a folder of its "
                "own. Choose another --output, nothing there is touched."
            )
        return
    asked = asked_in(path)
    for name, now in sweep.asked.items():
        if name == "backend" and now is None:
            continue  # a cluster that has not been asked yet
        if asked.get(name) != now:
            raise WrongCall(
                f"{sweep.folder} holds another sweep ({name} there: {_in_words(asked.get(name))}; "
                f"now: {_in_words(now)}). Repeat that one, or choose another --output."
            )


def asked_in(path: Path) -> dict[str, Any]:
    """Return what a ``sweep.json`` says was asked.

    Raises:
        WrongCall: it cannot be read, or is of another version.
    """
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
        asked, schema = dict(there["asked"]), there["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WrongCall(f"{path} cannot be read ({error!r}): choose another --output.") from error
    if schema != _SCHEMA:
        raise WrongCall(
            f"{path} was written by another version of helpers (schema {schema}): go on with that "
            "one, or choose another --output."
        )
    return asked


def _in_words(value: object) -> str:
    """Return a part of what was asked, as short as it can be said."""
    if isinstance(value, Mapping):
        pairs = (f"{name} {item}" for name, item in value.items())
        return ", ".join(pairs) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "none" if value is None else str(value)


def _write(sweep: Sweep) -> None:
    """Write down what was asked, where it does not stand there already."""
    path = sweep.folder / FILE_NAME
    if path.exists() and (sweep.asked["backend"] is None or asked_in(path) == sweep.asked):
        return
    record = {
        "schema": _SCHEMA,
        "asked": sweep.asked,
        "runs": [job.name for job in sweep.jobs],
    }
    with atomic_file(path) as temporary:
        text = json.dumps(record, indent=1, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")
