"""Runs notebooks unattended: checks the call, then one process a notebook, each in its folder.

The parent process imports nothing heavy. It reads the notebooks' own parameters cells
with ``json`` and ``ast``, refuses a wrong call before any kernel starts, and then watches
one child process a notebook. The child (this module run as ``python -m helpers.runner``)
executes the notebook with papermill and tells its progress over a pipe, one JSON object
a line. Whatever happens to a child, its kernel and everything the kernel started go with it.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import math
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import helpers
from helpers import PRECISIONS, claim, downloads, kernels, memory, registry, results
from helpers.command import command
from helpers.nearest import nearest
from helpers.paths import DISK_FULL, atomic_file

PROFILES = ("sample", "best", "source")
NOTEBOOKS_VARIABLE = "TUTORIALS_NOTEBOOKS"
LOG = "log.txt"
RUNNING = ".running"  # in a run's folder while it is written: the claim of who does so
# Seconds that one cell and one notebook may take where the caller does not say; the
# source's recipes take hours on a processor, and a sample that takes minutes hangs.
LIMITS = {"sample": (600, 1_200), "best": (6 * 3600, 12 * 3600), "source": (48 * 3600, 96 * 3600)}

Value = str | int | float | bool | None


class WrongCall(ValueError):  # noqa: N818 - it is the caller's error, not ours
    """A call that cannot be carried out; its text is one line for the person who made it."""


@dataclass(frozen=True)
class Parameter:
    """One line of a notebook's parameters cell."""

    name: str
    annotation: str  # as it stands there, for instance "int | None"
    default: Value

    @property
    def types(self) -> tuple[str, ...]:
        """Names of the types that the annotation allows."""
        return tuple(part.strip() for part in self.annotation.split("|"))


@dataclass(frozen=True)
class Job:
    """One notebook that is to be run (or kept), completely settled."""

    name: str  # "malaria", in a sweep "malaria/best/fold0-seed1": its place below the output
    notebook: Path  # …/03_malaria.ipynb
    folder: Path  # where its results go
    given: dict[str, Value]  # the parameters that differ from the notebook's own
    parameters: dict[str, Value]  # all of them, without output_dir
    action: str = "run"  # "run", "replace" or "keep"
    kernel: str = "python3"
    cell_limit: int | None = None  # seconds
    limit: int | None = None  # seconds
    devices: str | None = None  # how many train together; None leaves it to the environment

    @property
    def copy(self) -> Path:
        """Path of the executed notebook."""
        return self.folder / self.notebook.name


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    job: Job
    status: str  # "finished", "kept", "failed" or "interrupted"
    message: str = ""
    seconds: float = 0.0

    @property
    def record(self) -> results.Record | None:
        """Contents of ``results.json``, ``None`` where the job did not finish."""
        return results.load(self.job.folder) if self.status in ("finished", "kept") else None

    @property
    def disk_full(self) -> bool:
        """True where it failed for want of disk space (or quota): elsewhere there may be some."""
        return self.status == "failed" and bool(_FULL.search(self.message))


def notebook_folder(folder: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder with the numbered notebooks: of the checkout, or inside the package.

    Args:
        folder: another one; ``None`` looks at ``$TUTORIALS_NOTEBOOKS`` first.

    Raises:
        WrongCall: there is none.
    """
    package = Path(helpers.__file__).resolve().parent
    named = folder or os.environ.get(NOTEBOOKS_VARIABLE)
    if named:
        found = Path(named).absolute()
    elif _checkout() is not None:
        found = package.parent / "notebooks"
    else:
        found = package / "notebooks"
    if not found.is_dir():
        raise WrongCall(f"There is no folder {found} with notebooks: install the package again.")
    return found


def find_notebooks(
    names: Sequence[str], folder: str | os.PathLike[str] | None = None
) -> dict[str, Path]:
    """Return the notebooks that are meant, by tutorial name, in the order of their numbers.

    Args:
        names: ``malaria``, ``03_malaria``, ``3`` or ``all``; nothing means all.
        folder: where the notebooks are, see :func:`notebook_folder`.

    Raises:
        WrongCall: no notebook has such a name; the nearest one is named.
    """
    place = notebook_folder(folder)
    known = {}
    for path in sorted(place.glob("[0-9][0-9]_*.ipynb")):
        known[path.stem[3:]] = path
    if not known:
        raise WrongCall(f"There are no numbered notebooks in {place}.")
    if not names or "all" in names:
        names = tuple(known)
    wanted = {_known_name(name, known) for name in names}
    return {name: path for name, path in known.items() if name in wanted}


def read_parameters(notebook: Path) -> dict[str, Parameter]:
    """Return the parameters that a notebook's own parameters cell declares, by name.

    Raises:
        WrongCall: the notebook cannot be read, has no cell tagged ``parameters``, or the
            cell holds anything else than literals under names.
    """
    for cell in _cells(notebook):
        if "parameters" in cell.get("metadata", {}).get("tags", ()):
            return _declared("".join(cell.get("source", "")), notebook.name)
    raise WrongCall(f"{notebook.name} has no cell tagged 'parameters'.")


def parse(text: str, parameter: Parameter) -> Value:
    """Return the value that a text from the command line has by the parameter's type.

    Args:
        text: what was typed; ``none`` is ``None`` where the type allows it.
        parameter: from :func:`read_parameters`.

    Raises:
        WrongCall: the text is no value of that type.
    """
    allowed = parameter.types
    word = text.strip().lower()
    if "None" in allowed and word == "none":
        return None
    if "bool" in allowed and word in ("true", "false"):
        return word == "true"
    if "int" in allowed and re.fullmatch(r"[+-]?\d+", word):
        return int(word)
    if "float" in allowed:
        with suppress(ValueError):
            if math.isfinite(float(word)):
                return float(word)
    if "str" in allowed:
        return text
    kinds = " or ".join(_TYPES[kind] for kind in allowed)
    raise WrongCall(f"{parameter.name} takes {kinds} ({parameter.annotation}), not {text!r}.")


def plan(
    names: Sequence[str],
    given: Mapping[str, str],
    *,
    output: str | None = None,
    mode: str = "refuse",
    kernel: str = "python3",
    cell_limit: int | None = None,
    limit: int | None = None,
    devices: str | None = None,
    notebooks: str | os.PathLike[str] | None = None,
) -> list[Job]:
    """Return the jobs of a call, every one checked; nothing is started or written.

    Args:
        names: which notebooks, see :func:`find_notebooks`.
        given: parameters as they were typed, by name; relative paths mean the current folder.
        output: folder below which each notebook has its own; ``None`` means
            ``runs/<profile>`` below the current folder.
        mode: what to do with results that are there: ``"refuse"``, ``"resume"`` (keep those
            of the same notebook with the same parameters) or ``"overwrite"``.
        kernel: name of the Jupyter kernel.
        cell_limit: seconds for one cell; 0 = no limit, ``None`` = the profile's.
        limit: seconds for one notebook; 0 = no limit, ``None`` = the profile's.
        devices: how many train together, a number or ``"auto"``; ``None`` = what
            ``$TUTORIALS_DEVICES`` says, else one.
        notebooks: where the notebooks are, see :func:`notebook_folder`.

    Raises:
        WrongCall: an unknown name, a value of the wrong type, a missing folder, a kernel or a
            backend that is not there or cannot start, or results that are there already.
    """
    found = find_notebooks(names, notebooks)
    require_kernel(kernel)
    require_engine(kernel, devices)
    limits = {"cell_limit": cell_limit, "limit": limit}
    jobs = [
        make_job(name, notebook, given, output=output, kernel=kernel, **limits)
        for name, notebook in found.items()
    ]
    return [settle(replace(job, devices=devices), mode) for job in jobs]


def require_engine(kernel: str, devices: str | None = None) -> None:
    """Refuse a backend that is not there, or a number of devices that is none.

    Args:
        kernel: name of the Jupyter kernel; ours say by themselves which backend they have.
        devices: a number or ``"auto"``; ``None`` = what ``$TUTORIALS_DEVICES`` says, else one.

    Raises:
        WrongCall: says what there is.
    """
    try:
        if kernel == "python3" and not helpers.ENGINE_CHOSEN_HERE:
            kernels.resolve("cpu", None)  # what KERAS_BACKEND says
        kernels.device_count(devices or os.environ.get(kernels.COUNT_VARIABLE) or "1")
    except ValueError as error:
        raise WrongCall(str(error)) from error


def engine(kernel: str) -> str:
    """Return the backend that notebooks compute with here: as the kernel says, else ours.

    Args:
        kernel: name of the Jupyter kernel.
    """
    ours = os.environ.get("KERAS_BACKEND", helpers.ENGINES[0])
    if kernel.lower() == "python3":
        return ours
    return next((one.backend for one in kernels.installed() if one.name == kernel.lower()), "") or (
        ours
    )


def drawn(jobs: Sequence[Job]) -> list[str]:
    """Return a line about runs whose recipe is for real images and that have none, if any."""
    names = dict.fromkeys(
        job.name.partition("/")[0]
        for job in jobs
        if job.parameters.get("profile") in PROFILES[1:] and job.parameters.get("data_dir") is None
    )
    line = (
        f"{', '.join(names)}: no --data-dir, so these runs train on drawn images, and their "
        "figures say nothing about patients."
    )
    return [line] if names else []


def require_kernel(name: str) -> None:
    """Raise WrongCall where there is no Jupyter kernel of that name, or it cannot start."""
    try:
        kernels.require(name)
    except kernels.KernelError as error:
        raise WrongCall(str(error)) from error


def make_job(
    name: str,
    notebook: Path,
    given: Mapping[str, str],
    *,
    output: str | os.PathLike[str] | None = None,
    kernel: str = "python3",
    cell_limit: int | None = None,
    limit: int | None = None,
) -> Job:
    """Return the job of one notebook, its parameters checked; its folder is not looked at.

    Args:
        name: what it is called, and its folder's place below ``output``.
        notebook: its file.
        given: parameters as they were typed, by name.
        output: folder below which the job has its own, see :func:`plan`.
        kernel: name of the Jupyter kernel.
        cell_limit: seconds for one cell, see :func:`plan`.
        limit: seconds for one notebook, see :func:`plan`.

    Raises:
        WrongCall: an unknown parameter, a value of the wrong type, or a missing folder.
    """
    declared = read_parameters(notebook)
    if "output_dir" not in declared:
        raise WrongCall(f"{notebook.name} has no parameter output_dir to put results into.")
    values = _values(given, declared, notebook.name)
    parameters = {key: declared[key].default for key in declared} | values
    del parameters["output_dir"]
    profile = str(parameters.get("profile", PROFILES[0]))
    parent = Path(output).expanduser() if output else Path("runs") / profile
    defaults = LIMITS.get(profile, LIMITS["best"])
    return Job(
        name=name,
        notebook=notebook,
        folder=parent.absolute() / name,
        given=values,
        parameters=parameters,
        kernel=kernel,
        cell_limit=(defaults[0] if cell_limit is None else cell_limit) or None,
        limit=(defaults[1] if limit is None else limit) or None,
    )


def settle(job: Job, mode: str) -> Job:
    """Return a job with what is to be done with its folder, see ``mode`` of :func:`plan`.

    Raises:
        WrongCall: there are results (or something that is none of ours) in it.
    """
    return replace(job, action=_action(job, mode))


def owner(folder: Path) -> claim.Claim | None:
    """Return who writes into a run's folder just now, if anybody may do so."""
    found = claim.read(folder / RUNNING)
    return None if found is None or found.over else found


def settle_dead(job: Job, message: str) -> Outcome:
    """Return how a run ended that died with everything that could have said so.

    Its folder is brought in order as after any run that failed: the log says why, and an earlier
    run's results are kept. Where somebody may still be at work in it, it is left alone.

    Args:
        job: what ran.
        message: why it did not finish, if it did not.
    """
    folder = job.folder
    if is_finished(job):  # and died before it could say so
        return Outcome(job, "finished")
    if not folder.is_dir() or owner(folder) is not None:
        return Outcome(job, "failed", message)
    with suppress(OSError):
        _tidy(folder, finished=False)
        previous = _aside(folder)
        if (previous / results.FILE_NAME).exists():
            message += f"; the earlier results are kept in {previous}"
        else:
            shutil.rmtree(previous, ignore_errors=True)
        with (folder / LOG).open("a", encoding="utf-8") as log:
            log.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} FAILED: {message}\n")
    return Outcome(job, "failed", message)


def is_finished(job: Job) -> bool:
    """Return whether a job's folder holds the finished run of just its notebook and parameters."""
    try:
        results.load(job.folder)
        before = _cells(job.copy)
        notebook = json.loads(job.copy.read_text(encoding="utf-8"))
        injected = dict(notebook["metadata"]["papermill"]["parameters"])
        own = {name: item.default for name, item in read_parameters(job.copy).items()}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    parameters = own | injected
    parameters.pop("output_dir", None)
    return parameters == job.parameters and _code(before) == _code(_cells(job.notebook))


def run(
    jobs: Sequence[Job],
    *,
    parallel: int = 1,
    quiet: bool = False,
    stop: Callable[[], bool] | None = None,
) -> list[Outcome]:
    """Return how each job ended, in the order of the jobs; no process of theirs is left.

    A failing notebook leaves its executed copy and its log, and the others still run.
    After Ctrl-C (or a polite kill) everything stops at once; what had not finished counts
    as ``"interrupted"``.

    Args:
        jobs: from :func:`plan`.
        parallel: how many notebooks run at the same time.
        quiet: show nothing meanwhile.
        stop: asked five times a second; where it says True, that is Ctrl-C. In a thread that
            is not the main one, no signal arrives, and this alone can stop the runs.
    """
    outcomes = {job.name: Outcome(job, "kept") for job in jobs if job.action == "keep"}
    waiting = deque(job for job in jobs if job.action != "keep")
    running: dict[str, _Run] = {}
    events: Events = queue.SimpleQueue()  # may be filled by a signal handler
    total = len(waiting)
    shown = nullcontext(Silence()) if quiet else display(total)
    with signals_into(events), shown as screen:
        try:
            while waiting or running:
                while waiting and len(running) < parallel:
                    job = waiting.popleft()
                    screen.started(job)
                    try:
                        running[job.name] = _Run(job, events)
                    except OSError as error:
                        outcomes[job.name] = Outcome(job, "failed", f"{job.folder}: {error}")
                        screen.ended(outcomes[job.name])
                if stop is not None and stop():
                    break
                with suppress(queue.Empty):
                    name, event = events.get(timeout=0.2)
                    if event["event"] == "interrupt":
                        break
                    if name in running:
                        running[name].take(event)
                        screen.moved(name, event)
                for name, active in list(running.items()):
                    if active.over():
                        outcomes[name] = active.close()
                        screen.ended(outcomes[name])
                        del running[name]
        finally:
            for name, active in running.items():
                outcomes[name] = active.interrupt()
    for job in jobs:
        outcomes.setdefault(job.name, Outcome(job, "interrupted", "not started"))
    return [outcomes[job.name] for job in jobs]


@contextmanager
def signals_into(events: Events) -> Iterator[None]:
    """Turn Ctrl-C, a polite kill and a closed terminal into an event while the block runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)  # nohup ignores it, and so do we then

    def tell(*_: object) -> None:
        events.put(("", {"event": "interrupt"}))

    before = {number: signal.signal(number, tell) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def display(total: int, unit: str = "notebooks") -> Iterator[Silence]:
    """Yield what shows progress: bars on a terminal, lines elsewhere.

    Args:
        total: how many jobs there are to wait for.
        unit: what they are called in the plural.
    """
    watched = sys.stdout.isatty() and sys.stderr.isatty() and total > 0
    screen: Silence = _Bars(total, unit) if watched else _Lines(total)
    try:
        yield screen
    finally:
        screen.close()


# The job's name ("" for all), and what happened.
Events = queue.SimpleQueue[tuple[str, dict[str, Any]]]

_PARTIAL = "results.partial.json"  # of a run that did not finish
_TOKEN = "TUTORIALS_RUN"  # marks every process of one run, down to those the kernel starts
_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "None": "none",
}
_FULL = re.compile(
    rf"errno\W+({'|'.join(map(str, DISK_FULL))})\b|no space left on device|disk quota exceeded",
    re.IGNORECASE,
)
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


# --- names, parameters, folders -----------------------------------------------------------


def _checkout() -> Path | None:
    """Return the root of the checkout that this package runs from, ``None`` if installed."""
    root = Path(helpers.__file__).resolve().parent.parent
    return root if (root / "pyproject.toml").is_file() else None


def _known_name(name: str, known: Mapping[str, Path]) -> str:
    """Return the tutorial's name that a person meant."""
    asked = Path(name).name.lower().removesuffix(".ipynb").replace("-", "_")
    for own, path in known.items():
        if asked in (own, path.stem) or (asked.isdigit() and int(asked) == int(path.stem[:2])):
            return own
    raise WrongCall(
        f"There is no notebook {name!r}; {nearest(asked, [*known, 'all'])} ({', '.join(known)})."
    )


def _cells(notebook: Path) -> list[dict[str, Any]]:
    """Return a notebook's cells."""
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WrongCall(f"{notebook} cannot be read as a notebook: {error!r}.") from error
    return list(cells)


def _declared(source: str, notebook: str) -> dict[str, Parameter]:
    """Return the parameters in the source of a parameters cell."""
    try:
        lines = ast.parse(source).body
    except SyntaxError as error:
        raise WrongCall(
            f"{notebook}: the parameters cell is not Python: {error.msg}, line {error.lineno}."
        ) from error
    found = {}
    for line in lines:
        target: ast.expr | None = None
        annotation = ""
        if isinstance(line, ast.AnnAssign):
            target, annotation = line.target, ast.unparse(line.annotation)
        elif isinstance(line, ast.Assign):
            target = line.targets[0]
        value = getattr(line, "value", None)
        try:
            default = ast.literal_eval(value) if value is not None else ...
        except (ValueError, TypeError):
            default = ...
        if not isinstance(target, ast.Name) or not isinstance(default, Value):
            raise WrongCall(
                f"{notebook}: line {line.lineno} of the parameters cell is no literal under a name."
            )
        annotation = annotation or ("None" if default is None else type(default).__name__)
        parameter = Parameter(target.id, annotation, default)
        if not set(parameter.types) <= set(_TYPES):
            raise WrongCall(f"{notebook}: {target.id} has the type {annotation}, not understood.")
        found[target.id] = parameter
    return found


def _values(
    given: Mapping[str, str], declared: Mapping[str, Parameter], notebook: str
) -> dict[str, Value]:
    """Return the given parameters with their types, paths made absolute."""
    values = {}
    for name, text in given.items():
        if name == "output_dir":
            raise WrongCall("output_dir is the runner's own: say --output FOLDER.")
        if name not in declared:
            names = [own for own in declared if own != "output_dir"]
            raise WrongCall(
                f"{notebook} has no parameter {name!r}; {nearest(name, names)} "
                f"({', '.join(names)})."
            )
        value = parse(text, declared[name])
        if name == "profile" and value not in PROFILES:
            raise WrongCall(
                f"There is no profile {value!r}; {nearest(str(value), PROFILES)} "
                f"({', '.join(PROFILES)})."
            )
        if name == "fold" and value not in (None, 0, 1, 2, 3, 4, "all"):
            raise WrongCall(f"fold takes 0 to 4, all or none, not {text!r}.")
        if name == "seed" and isinstance(value, int) and not 0 <= value < 2**32:
            raise WrongCall(f"seed takes a whole number from 0 to {2**32 - 1}, not {value}.")
        if name == "precision" and value not in PRECISIONS:
            raise WrongCall(
                f"There is no precision {value!r}; {nearest(str(value), PRECISIONS)} "
                f"({', '.join(PRECISIONS)})."
            )
        known = _known_backbones() if name == "backbone" and value is not None else ()
        if known and value not in known:
            raise WrongCall(
                f"There is no backbone {value!r}; {nearest(str(value), known)} "
                f"(efficientnet_lite0, and those of keras.applications)."
            )
        values[name] = _absolute(name, value)
    return values


def _known_backbones() -> tuple[str, ...]:
    """Return the names that ``helpers.backbones`` takes, without the ten seconds of an import.

    They stand in Keras' own list of its networks. Where that cannot be read (another Keras),
    nothing is returned, and the notebook itself refuses a wrong name.
    """
    package = importlib.util.find_spec("keras")
    if package is None or package.origin is None:
        return ()
    try:
        source = (Path(package.origin).parent / "applications" / "__init__.py").read_text("utf-8")
        lines = ast.parse(source).body
    except (OSError, ValueError, SyntaxError):
        return ()
    imports = [line for line in lines if isinstance(line, ast.ImportFrom)]
    names = [alias.name for line in imports for alias in line.names]
    networks = [name.lower() for name in names if name[:1].isupper()]  # modules are lower case
    return ("efficientnet_lite0", *sorted(networks)) if networks else ()


def _absolute(name: str, value: Value) -> Value:
    """Return a path as seen from the current folder, anything else as it is.

    Raises:
        WrongCall: the path does not exist, or the dataset was not downloaded.
    """
    if not isinstance(value, str):
        return value
    try:  # the data may also be meant by the name of a downloaded dataset
        path = downloads.find(value) if name == "data_dir" else Path(value).expanduser().absolute()
    except FileNotFoundError as error:
        raise WrongCall(str(error)) from error
    folder = name.endswith("_dir")
    looks_like_path = folder or name.endswith(("_path", "_file")) or (
        name in ("weights", "image") and (os.sep in value or "/" in value or "." in value)
    )  # fmt: skip
    if looks_like_path and not path.exists():
        raise WrongCall(f"{name}: there is no {path}. Check the spelling, or where you stand.")
    return str(path) if looks_like_path else value


def _action(job: Job, mode: str) -> str:
    """Return what to do with a job's folder: ``"run"``, ``"replace"`` or ``"keep"``.

    Raises:
        WrongCall: there are results (or something that is none of ours) in it.
    """
    folder = job.folder
    if not folder.exists():
        return "run"
    if not folder.is_dir():
        raise WrongCall(f"{folder} is a file, where a folder with results is to be made.")
    if not any(folder.iterdir()):
        return "replace"
    if not _is_run_folder(folder):
        raise WrongCall(
            f"{folder} holds files that are no run of ours; choose another --output, nothing there "
            "is touched."
        )
    writer = owner(folder)
    if writer is not None:
        aside = "" if writer.here else f" If it is long gone, remove {folder / RUNNING}."
        raise WrongCall(f"{folder} is being written by {writer}; wait, or stop that one.{aside}")
    data = job.parameters.get("data_dir")
    if isinstance(data, str) and Path(data).is_relative_to(folder):
        raise WrongCall(f"{folder} holds the data ({data}); choose another --output.")
    if mode == "resume":
        return "keep" if is_finished(job) else "replace"
    if mode == "overwrite":
        return "replace"
    raise WrongCall(
        f"{folder} holds an earlier run. Say --resume to keep what has finished, --overwrite to "
        "replace it, or choose another --output."
    )


def _is_run_folder(folder: Path) -> bool:
    """Return whether a folder holds a run and nothing else, so that it may be replaced."""
    with suppress(OSError, ValueError):
        results.load(folder)  # a notebook that was run by hand has no log
        return True
    with suppress(OSError, UnicodeDecodeError), (folder / LOG).open(encoding="utf-8") as log:
        if " run of " in log.readline():
            return True
    # or one that was begun and died at once, perhaps of a full disk
    return all(path.name == RUNNING or (path.name == LOG and path.stat().st_size == 0)
               for path in folder.iterdir())  # fmt: skip


def _code(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the code of a notebook without the cell that papermill puts in."""
    return [
        "".join(cell["source"])
        for cell in cells
        if cell["cell_type"] == "code"
        and "injected-parameters" not in cell.get("metadata", {}).get("tags", ())
    ]


# --- one running notebook -----------------------------------------------------------------


class _Log:
    """``log.txt``: every line with its time, from two threads."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")
        self._lock = threading.Lock()

    def write(self, text: str) -> None:
        """Add a line; of a progress bar that overwrites itself, the last state.

        On a full disk it is lost: the run's own failure is what a person has to know.
        """
        line = _COLOURS.sub("", text.rstrip()).rpartition("\r")[2]
        with self._lock, suppress(OSError):
            if not self._file.closed:
                self._file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {line}\n")
                self._file.flush()

    def close(self) -> None:
        """Take no more lines."""
        with self._lock, suppress(OSError):
            self._file.close()


@dataclass
class _Run:
    """A child process with its notebook, log and limits; made means started."""

    job: Job
    events: Events
    ended: bool = False
    message: str = ""  # why it failed
    done: bool = False  # the notebook's last cell has run
    where: dict[str, Any] = field(default_factory=dict)  # the cell that runs now

    def __post_init__(self) -> None:
        """Make the folder and start the process."""
        self.started = time.monotonic()
        self.claim = claim.Claim.new()
        self.previous = _set_aside(self.job.folder)
        try:
            self.job.folder.mkdir(parents=True)
            claim.write(self.job.folder / RUNNING, self.claim)
            self.log = _Log(self.job.folder / LOG)
            self.log.write(f"run of {self.job.notebook.name}, kernel {self.job.kernel}")
            self.log.write(f"parameters: {json.dumps(self.job.parameters, ensure_ascii=False)}")
            self.token = uuid.uuid4().hex
            self.process = subprocess.Popen(
                [sys.executable, "-m", "helpers.runner"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self.job.folder,
                env=_environment(self.token, self.job),
                start_new_session=True,  # a Ctrl-C in the terminal reaches us alone
            )
        except OSError:
            self._leave()
            raise
        self.threads = [
            threading.Thread(target=self._read_events, daemon=True),
            threading.Thread(target=self._read_log, daemon=True),
        ]
        for thread in self.threads:
            thread.start()
        order = {
            "notebook": str(self.job.notebook),
            "copy": str(self.job.copy),
            "parameters": self.job.given | {"output_dir": str(self.job.folder)},
            "kernel": self.job.kernel,
            "cell_limit": self.job.cell_limit,
        }
        stdin = _pipe(self.process.stdin)
        with suppress(OSError):  # the child is gone already: its end will be noticed
            stdin.write(json.dumps(order).encode() + b"\n")
            stdin.flush()  # and left open: when it closes, the child knows that we are gone

    def take(self, event: dict[str, Any]) -> None:
        """Take note of what the child told."""
        if event["event"] == "cell":
            self.where = event
        elif event["event"] == "done":
            self.done = True
        elif event["event"] == "failed":
            self.message = _explain(event, self.where, self.job)
        elif event["event"] == "ended":
            self.ended = True

    def over(self) -> bool:
        """Return whether the child has ended or has to be ended by its limit."""
        limit = self.job.limit
        if not self.ended and limit is not None and time.monotonic() - self.started > limit:
            place = f"; it was in {_place(self.where)}" if self.where else ""
            self.message = (
                f"the notebook ran longer than the limit of {limit:g} s{place}. Raise it with "
                f"--timeout {2 * limit:g} (0 = none)"
            )
            return True
        return self.ended

    def close(self) -> Outcome:
        """Return the outcome, with nothing of the run left running."""
        code = self._stop()
        if not self.message and not self.done:
            self.message = (
                f"the process that ran the notebook ended with code {code}: probably out of memory"
            )
        if not self.message:
            try:
                results.load(self.job.folder)
            except (OSError, ValueError) as error:
                self.message = f"the notebook ran to its end but left no valid results: {error}"
        return self._settle("failed" if self.message else "finished")

    def interrupt(self) -> Outcome:
        """Return the outcome of a run that was stopped from outside."""
        self._stop()
        self.message = "interrupted" + (f" in {_place(self.where)}" if self.where else "")
        return self._settle("interrupted")

    def _stop(self) -> int:
        """Return the child's exit code, after it and all its descendants are gone."""
        _kill_family(self.token, self.process)
        code = self.process.wait()
        _pipe(self.process.stdin).close()
        for thread in self.threads:
            thread.join(timeout=5)
        return code

    def _settle(self, status: str) -> Outcome:
        """Return the outcome, after the folder was brought into the state that it tells."""
        folder = self.job.folder
        seconds = round(time.monotonic() - self.started, 1)
        if not self.owns_folder():
            self.log.close()
            return Outcome(self.job, "interrupted", "another process has taken over", seconds)
        _tidy(folder, finished=status == "finished")
        words = {"finished": f"finished in {seconds} s", "failed": f"FAILED: {self.message}"}
        self.log.write(words.get(status, self.message))
        self.log.close()
        if self.previous is not None:
            had_results = (self.previous / results.FILE_NAME).exists()
            if status == "finished" or not had_results:
                shutil.rmtree(self.previous, ignore_errors=True)
            elif status == "interrupted":
                self._leave()
                self.message += "; the earlier results are back in place"
            else:
                self.message += f"; the earlier results are kept in {self.previous}"
        return Outcome(self.job, status, self.message, seconds)

    def owns_folder(self) -> bool:
        """Return whether the folder is still ours.

        In a sweep, whoever holds this process for dead has the run begun again elsewhere.
        """
        return claim.read(self.job.folder / RUNNING) in (self.claim, None)

    def _leave(self) -> None:
        """Undo: an earlier run's folder stands where it stood, and of ours there is nothing."""
        if not self.owns_folder():
            return
        shutil.rmtree(self.job.folder, ignore_errors=True)
        if self.previous is not None:
            self.previous.rename(self.job.folder)

    def _read_events(self) -> None:
        """Pass the child's messages on, and tell when there will be no more."""
        for line in _pipe(self.process.stdout):
            with suppress(ValueError):
                self.events.put((self.job.name, json.loads(line)))
        self.events.put((self.job.name, {"event": "ended"}))

    def _read_log(self) -> None:
        """Write into the log what the child and its kernel say."""
        for line in _pipe(self.process.stderr):
            self.log.write(line.decode("utf-8", errors="replace"))


def _set_aside(folder: Path) -> Path | None:
    """Return where an earlier run's folder was moved to, so that the new one starts empty."""
    if not folder.exists():
        return None
    aside = _aside(folder)
    if (aside / results.FILE_NAME).exists() and not (folder / results.FILE_NAME).exists():
        shutil.rmtree(folder)  # a run that did not finish: what it was to replace is worth more
        return aside
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    return aside


def _tidy(folder: Path, *, finished: bool) -> None:
    """Remove what was being written when a kernel ended; only a finished run keeps its results."""
    for leftover in folder.glob(".*"):
        if leftover.is_file():
            leftover.unlink(missing_ok=True)
    if not finished and (folder / results.FILE_NAME).exists():
        (folder / results.FILE_NAME).replace(folder / _PARTIAL)


def _aside(folder: Path) -> Path:
    """Return where a run's folder lies while another run is to take its place."""
    return folder.with_name(f".previous-{folder.name}")


def _environment(token: str, job: Job) -> dict[str, str]:
    """Return the environment of a child: marked, unattended, with our own kernels first."""
    environment = dict(os.environ)
    environment[_TOKEN] = token
    environment["TUTORIALS_UNATTENDED"] = "1"
    environment["JUPYTER_PREFER_ENV_PATH"] = "1"
    environment["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # silences a hint about the debugger
    environment.pop("MPLBACKEND", None)  # the kernel shows figures inline, whatever we use
    if helpers.ENGINE_CHOSEN_HERE:
        environment.pop("KERAS_BACKEND", None)
    if job.devices is not None:
        environment[kernels.COUNT_VARIABLE] = job.devices
    if "TUTORIALS_DATA" in environment:  # relative to where the person stands, not to the run
        environment["TUTORIALS_DATA"] = str(
            Path(environment["TUTORIALS_DATA"]).expanduser().absolute()
        )
    root = _checkout()
    if root is not None:
        known = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join([str(root), *([known] if known else [])])
    return environment


def _kill_family(token: str, process: subprocess.Popen[bytes] | None = None) -> None:
    """End every process of a run. They are found by the mark in their environment.

    A kernel is a session of its own, so killing the child's group would leave it alive.
    """
    import psutil

    if process is not None and process.poll() is None and hasattr(os, "killpg"):
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
    for _ in range(100):  # until a look finds none: one may start another meanwhile
        alive = []
        for found in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if found.pid != os.getpid() and found.environ().get(_TOKEN) == token:
                    alive.append(found)
        if not alive:
            return
        for found in alive:
            with suppress(psutil.Error):
                found.kill()
        time.sleep(0.02)


def _explain(event: Mapping[str, Any], where: Mapping[str, Any], job: Job) -> str:
    """Return in one line why a notebook failed, and what to do."""
    place = _place(where) if where else "before its first cell"
    kind = event["kind"]
    if kind == "dead":
        return (
            f"{place}: the kernel died, probably out of memory. Try a smaller batch_size or "
            "image_size, or fewer --jobs"
        )
    if kind == "cell_limit":
        limit = job.cell_limit or 0
        return (
            f"{place} ran longer than the limit of {limit:g} s a cell. Raise it with "
            f"--cell-timeout {2 * limit:g} (0 = none)"
        )
    if kind == "kernel":
        return (
            f"there is no Jupyter kernel {job.kernel!r} here any more; {command('kernels')}  shows "
            "which there are"
        )
    if event.get("prompt"):
        place = f"cell {event['cell']} (In [{event['prompt']}])"
    if memory.is_full(event["text"]) and "DeviceMemoryError" not in event["text"]:
        sizes = (_setting(job, name) for name in ("batch_size", "image_size"))
        return f"{place}: {memory.advice(*sizes, on_gpu=memory.is_on_gpu(event['text']))}"
    if memory.is_of_an_array(event["text"]):
        told = memory.advice_for_arrays(_setting(job, "image_size"))
        return f"{place}: {_one_line(event['text']).rstrip('.')}. {told}"
    return f"{place}: {_one_line(event['text'])}"


def _setting(job: Job, name: str) -> object:
    """Return what a run takes for a parameter: as given, else its profile's; None if unknown."""
    value = job.parameters.get(name)
    with suppress(ValueError):
        tutorial = job.name.partition("/")[0]  # in a sweep its profile, fold and seed follow
        profile = registry.get(tutorial).profiles.get(str(job.parameters.get("profile")))
        value = getattr(profile, name, None) if value is None else value
    return value


def _place(where: Mapping[str, Any]) -> str:
    """Return which cell is meant, by its place in the file and by its number in the margin."""
    return f"cell {where['cell']} of {where['cells']} (In [{where['prompt']}])"


def _one_line(text: str) -> str:
    """Return a text without line breaks and colours, cut where nobody reads on."""
    line = " ".join(_COLOURS.sub("", text).split())
    return line if len(line) <= 500 else line[:497] + " …"


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    """Return a pipe that is known to be there."""
    assert pipe is not None
    return pipe


# --- what a person sees meanwhile ---------------------------------------------------------


class Silence:
    """Shows nothing; those below show more."""

    def started(self, job: Job) -> None:
        """A notebook starts."""

    def moved(self, name: str, event: Mapping[str, Any]) -> None:
        """A cell of a notebook starts."""

    def ended(self, outcome: Outcome) -> None:
        """A notebook has ended."""

    def say(self, text: str) -> None:
        """Something else is to be told in a line."""

    def close(self) -> None:
        """Nothing comes after this."""


class _Lines(Silence):
    """A line when a notebook starts and one when it ends, which says how many have."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._ended = 0

    def started(self, job: Job) -> None:
        """Say that a notebook starts."""
        self.say(f"{job.name}: runs into {job.folder}")

    def ended(self, outcome: Outcome) -> None:
        """Say how a notebook ended."""
        self._ended += 1
        count = f"{self._ended} of {self._total}: " if self._total > 1 else ""
        self.say(count + _ending(outcome))

    def say(self, text: str) -> None:
        """Print a line."""
        print(text, file=sys.stderr, flush=True)


class _Bars(Silence):
    """A bar over the notebooks, and one over the cells of each that runs."""

    def __init__(self, total: int, unit: str) -> None:
        from tqdm import tqdm

        self._make: Callable[..., Any] = tqdm
        shape = "{desc:<24}|{bar}| {n_fmt}/{total_fmt} {unit} {elapsed}"
        self._style: dict[str, Any] = {"leave": False, "file": sys.stderr, "bar_format": shape}
        self._all = tqdm(total=total, desc=unit, unit=unit, **self._style)
        self._cells: dict[str, Any] = {}

    def started(self, job: Job) -> None:
        """Show a bar for a notebook's cells."""
        self._cells[job.name] = self._make(desc=job.name, unit="cells", total=0, **self._style)

    def moved(self, name: str, event: Mapping[str, Any]) -> None:
        """Move a notebook's bar."""
        bar = self._cells[name]
        if event["event"] == "cell":
            bar.total, bar.n = event["cells"], event["cell"] - 1
            bar.refresh()

    def ended(self, outcome: Outcome) -> None:
        """Replace a notebook's bar by a line."""
        if outcome.job.name in self._cells:
            self._cells.pop(outcome.job.name).close()
        self.say(_ending(outcome))
        self._all.update()

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self._all.write(text, file=sys.stderr)

    def close(self) -> None:
        """Take all bars away."""
        for bar in self._cells.values():
            bar.close()
        self._all.close()


def _ending(outcome: Outcome) -> str:
    """Return a line about a notebook that ended."""
    if outcome.status == "finished":
        return f"{outcome.job.name}: finished in {outcome.seconds:g} s"
    return f"{outcome.job.name}: {outcome.status}: {outcome.message}"


# --- the child ----------------------------------------------------------------------------


def _child() -> None:
    """Execute one notebook with papermill; never returns.

    Reads the order from stdin as one line of JSON. Stdout becomes the pipe to the parent,
    stderr the log, for us and for the kernel.
    """
    # A copy of the pipe that the kernel does not inherit; it writes into the log instead.
    pipe = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if helpers.ENGINE_CHOSEN_HERE:
        os.environ.pop("KERAS_BACKEND", None)  # the kernel's environment may hold another engine

    def tell(**event: object) -> None:
        pipe.write(json.dumps(event) + "\n")
        pipe.flush()

    code = 1
    try:
        _execute(order, tell)
        tell(event="done")
        code = 0
    except BaseException as error:
        tell(event="failed", **_reason(error))
    sys.stderr.flush()
    # Not sys.exit: a thread of papermill's or the kernel's client may hang after the work.
    os._exit(code)


def _end_with_parent() -> None:
    """Wait until the parent is gone, however it went, and take the kernel along."""
    sys.stdin.read()
    _kill_family(os.environ.get(_TOKEN, ""))
    os._exit(1)


def _execute(order: Mapping[str, Any], tell: Callable[..., None]) -> None:
    """Execute the notebook; each state of the executed copy is written all at once."""
    import logging

    # papermill checks notebooks with jsonschema, which for one kind of web address that no
    # notebook has compiles a whole grammar: two seconds a run. It does without where it is missing.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    import papermill
    from papermill.engines import NBClientEngine, papermill_engines
    from papermill.iorw import LocalHandler, papermill_io

    class AtomicFiles(LocalHandler):
        """Writes to a temporary name and renames."""

        def write(self, buf: str, path: str) -> None:
            """Write a text into a file."""
            with atomic_file(path) as temporary:
                temporary.write_text(buf, encoding="utf-8")

    class TellingEngine(NBClientEngine):
        """Tells the parent which cell starts."""

        @classmethod
        def execute_managed_notebook(
            cls,
            nb_man: Any,
            kernel_name: str,
            **settings: Any,
        ) -> None:
            """Execute the notebook's cells."""
            start = nb_man.cell_start
            prompts = 0

            def cell_start(cell: Any, cell_index: int = 0, **rest: Any) -> None:
                nonlocal prompts
                prompts += cell.cell_type == "code" and bool(cell.source.strip())
                cells = len(nb_man.nb.cells)
                tell(event="cell", cell=cell_index + 1, cells=cells, prompt=prompts)
                start(cell, cell_index, **rest)

            nb_man.cell_start = cell_start
            super().execute_managed_notebook(nb_man, kernel_name, **settings)

    # papermill takes `int | None` for no annotation and calls such a parameter unknown: it was
    # checked long ago.
    log = logging.StreamHandler(sys.stderr)
    log.addFilter(lambda line: "unknown parameter" not in line.getMessage())
    logging.basicConfig(handlers=[log], level=logging.INFO, format="%(message)s")
    papermill_io.register(str(Path(order["copy"]).parent), AtomicFiles())
    papermill_engines.register("telling", TellingEngine)
    papermill.execute_notebook(
        *(order[path].replace("{", "{{").replace("}", "}}") for path in ("notebook", "copy")),
        parameters=order["parameters"],
        engine_name="telling",
        kernel_name=order["kernel"],
        progress_bar=False,
        log_output=True,
        execution_timeout=order["cell_limit"],
    )


def _reason(error: BaseException) -> dict[str, object]:
    """Return what the parent has to know of an exception."""
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    if isinstance(error, PapermillExecutionError):
        text = f"{error.ename}: {error.evalue}"
        cell = error.cell_index + 1
        return {"kind": "error", "cell": cell, "prompt": error.exec_count, "text": text}
    kinds = {DeadKernelError: "dead", CellTimeoutError: "cell_limit", NoSuchKernel: "kernel"}
    kind = next((name for sort, name in kinds.items() if isinstance(error, sort)), "other")
    if kind == "other":
        import traceback

        traceback.print_exception(error)
    return {"kind": kind, "text": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    _child()
