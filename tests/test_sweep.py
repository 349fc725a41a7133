"""Many runs: the matrix, what is refused, and what happens when workers, disks or schedulers go."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import psutil
import pytest
from tiny_notebooks import PARAMETERS, SAVE, write_notebook

from helpers import claim, cluster, dispatch, kernels, report, results, runner, sweep
from helpers.__main__ import main

ROOT = Path(sweep.__file__).resolve().parent.parent
WITHOUT_FOLD = PARAMETERS.replace("fold: int | str | None = None\n", "fold_of_none: int = 0\n")
# Each fold and seed has its own test part, and each fold its own figure.
PART = (
    '"split_hash": f"{seed:08}{fold or 0:08}", "test_hash": f"{seed:08}{fold or 0:08}", '
    '"parts": {"train": {"images": 6, "patients": 3}, "test": {"images": 2, "patients": 1}}'
)
VARIED = SAVE.replace('"split_hash": "0123456789abcdef"', PART).replace('"n": 4', '"n": 1')
VARIED = VARIED.replace('"value": 0.9', '"value": 0.9 + (fold or 0) / 100')
NO_FOLD = "fold = None"
WHOLE = VARIED.replace('"tutorial": "good"', '"tutorial": "whole"')
# The kernel's parent is the runner's child, and that one's parent the worker.
WORKER = "import os, pathlib, psutil, time; worker = psutil.Process().parent().parent()\n"
KILLS_ITS_WORKER = (
    WORKER
    + """\
mark = pathlib.Path(data_dir, "killed")
if not mark.exists():
    _ = mark.write_text(f"{worker.pid} {os.getpid()}")
    worker.kill()
    time.sleep(300)
"""
)
FINDS_A_FULL_DISK = (
    WORKER
    + """\
mark = pathlib.Path(data_dir, "full")
if not mark.exists():
    _ = mark.write_text(str(worker.pid))
if mark.read_text() == str(worker.pid):
    with open("/dev/full", "w") as disk:
        _ = disk.write("pixels")
"""
)
WAITS = (
    WORKER
    + """\
_ = pathlib.Path(output_dir, "pids").write_text(f"{os.getpid()} {os.getppid()} {worker.pid}")
while not pathlib.Path(data_dir, "go").exists():
    time.sleep(0.1)
"""
)


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where the person stands; the notebooks and their data are elsewhere."""
    folder = tmp_path / "notebooks"
    write_notebook(folder / "01_good.ipynb", VARIED)
    write_notebook(folder / "02_whole.ipynb", NO_FOLD, WHOLE, parameters=WITHOUT_FOLD)
    (tmp_path / "data").mkdir()
    (tmp_path / "stand").mkdir()
    monkeypatch.chdir(tmp_path / "stand")
    monkeypatch.setenv(runner.NOTEBOOKS_VARIABLE, str(folder))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path / "stand"


# --- the plan: nothing is started ---------------------------------------------------------


def test_the_matrix_is_notebook_profile_fold_and_seed(stand: Path) -> None:
    """Each run once, in a folder whose name says which it is."""
    asked = sweep.plan(["all"], {"epochs": "3"}, profiles=["sample", "best"], folds=2, seeds=3)
    names = [job.name for job in asked.jobs]
    assert len(names) == len(set(names)) == 2 * 2 * 3 + 2 * 3
    assert names[:2] == ["good/sample/fold0-seed0", "good/sample/fold0-seed1"]
    assert names[-1] == "whole/best/seed2"
    (job,) = (job for job in asked.jobs if job.name == "good/best/fold1-seed2")
    assert job.folder == stand / "runs" / "sweep" / "good" / "best" / "fold1-seed2"
    assert job.given == {"profile": "best", "fold": 1, "seed": 2, "epochs": 3}
    assert (job.cell_limit, job.limit) == runner.LIMITS["best"]
    assert not list(stand.iterdir())


def test_a_notebook_without_folds_does_not_run_five_times(stand: Path) -> None:
    """Its parameters cell decides, and a line says so."""
    asked = sweep.plan(["all"], {}, folds=5)
    assert [job.name for job in asked.jobs].count("whole/sample/seed0") == 1
    assert len(asked.jobs) == 6
    assert asked.notes == ("whole has no parameter fold: it does not run for each of them.",)
    assert sweep.plan(["good"], {}, folds=5).notes == ()
    assert sweep.plan(["all"], {}, folds=1).notes == ()


def test_without_folds_the_notebook_has_its_own(stand: Path) -> None:
    """An official test part stays the one that is tested."""
    (job,) = sweep.plan(["good"], {}).jobs
    assert job.name == "good/sample/seed0"
    assert job.parameters["fold"] is None


def test_each_notebook_has_images_of_its_own(stand: Path) -> None:
    """Paths as one stands; what no notebook was named for is for all others."""
    for name in ("cells", "scans", "a=b"):
        (stand / name).mkdir()

    def data(*images: str) -> list[object]:
        asked = sweep.plan(["all"], {}, images=images)
        found = [job.parameters["data_dir"] for job in asked.jobs]
        assert list(asked.asked["images"].values()) == found
        return found

    cells, scans = str(stand / "cells"), str(stand / "scans")
    assert data() == [None, None]
    assert data("cells") == [cells, cells]
    assert data("2=scans", "cells") == [cells, scans]
    assert data("whole=scans") == [None, scans]
    assert data("a=b") == [str(stand / "a=b")] * 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("goood", "did you mean 'good'?"),
        ("good --profiles sample bets", "There is no profile 'bets'; did you mean 'best'?"),
        ("good --folds 6", "--folds takes 1 to 5, not 6"),
        ("good --folds 0", "1 or more"),
        ("good --seeds three", "takes a whole number"),
        ("good -p seed 3", "seed is what a sweep goes through: say --seeds instead"),
        ("good -p fold 3", "say --folds instead"),
        ("good -p profile best", "say --profiles instead"),
        ("good -p epoch 3", "did you mean 'epochs'?"),
        ("good --data-dir nowhere", "there is no"),
        ("good --data-dir godo=..", "did you mean 'good'?"),
        ("good --data-dir whole=..", "whole is not among the notebooks named"),
        ("good --data-dir .. --data-dir ../data", "given twice for all notebooks"),
        ("good --data-dir .. -p data_dir ..", "data_dir was given twice"),
        ("good --kernel fortran", "There is no Jupyter kernel 'fortran'"),
        ("good --workers 0", "1 or more"),
        ("good --workers 2 --dask tcp://x:1", "not allowed with"),
    ],
)
def test_a_wrong_call_is_one_line_and_starts_nothing(
    stand: Path, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    try:
        code = main(["sweep", *words.split()])
    except SystemExit as stop:
        code = int(str(stop.code))
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not list(stand.iterdir())


def test_dask_is_not_imported_to_answer(stand: Path) -> None:
    """Neither for help nor for a plan or a wrong call."""
    calls = ["sweep --help", "sweep good -p epoch 3", "sweep all --folds 5 --dry-run"]
    code = (
        "import sys\n"
        "from helpers.__main__ import main\n"
        f"for words in {calls!r}:\n"
        "    try:\n"
        "        main(words.split())\n"
        "    except SystemExit:\n"
        "        pass\n"
        "heavy = ('dask', 'distributed', 'tensorflow', 'keras', 'numpy', 'papermill')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], env=_environment(), capture_output=True,
                            text=True, check=True)  # fmt: skip
    assert answer.stdout.splitlines()[-1] == "[]"


def test_without_dask_the_command_that_installs_it_is_said(
    stand: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "is_installed", lambda module: module != cluster.PACKAGE)
    with pytest.raises(runner.WrongCall, match=r"  \S+ -m uv pip install distributed$"):
        sweep.run(sweep.plan(["good"], {}))
    assert not list(stand.iterdir())


@pytest.mark.parametrize(
    ("kernel", "chosen", "workers", "found"),
    [
        ("tutorials-gpu", None, None, ["0", "1"]),
        ("tutorials-gpu", None, 1, ["0"]),
        ("tutorials-gpu", "3, GPU-5,7", 2, ["3", "GPU-5"]),
        ("tutorials-gpu", "", 3, [None] * 3),
        ("tutorials-gpu", "-1", 3, [None] * 3),
        ("tutorials-gpu", "1,-1,0", None, ["1"]),
        ("TUTORIALS-CPU", "0", 2, [None] * 2),
        ("tutorials-cpu", None, 3, [None] * 3),
        ("tutorials-cpu", None, None, [None]),
        ("python3", None, None, ["0", "1"]),
    ],
)
def test_each_worker_gets_a_gpu_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
    kernel: str,
    chosen: str | None,
    workers: int | None,
    found: list[str | None],
) -> None:
    """Of those that somebody (a queue, perhaps) has left; none where notebooks use none."""
    monkeypatch.setattr(kernels, "gpus", lambda: ("NVIDIA H200", "NVIDIA H200"))
    monkeypatch.setattr(kernels, "is_cpu_build", lambda backend: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if chosen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    environments = cluster.environments_for(workers, kernel)
    assert [one.get("CUDA_VISIBLE_DEVICES") for one in environments] == found


def test_two_notebooks_do_not_share_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that cannot use one does not need one."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(kernels, "gpus", lambda: ("NVIDIA H200",))
    with pytest.raises(runner.WrongCall, match=r"there are 1 here\. Say --workers 1"):
        cluster.environments_for(2, "tutorials-gpu")
    monkeypatch.setattr(kernels, "is_cpu_build", lambda backend: True)
    assert cluster.environments_for(2, "python3") == [{}, {}]


# --- the folder ---------------------------------------------------------------------------


def _finish(job: runner.Job) -> None:
    """Leave in a job's folder what a finished run leaves."""
    job.folder.mkdir(parents=True)
    notebook = json.loads(job.notebook.read_text(encoding="utf-8"))
    notebook["metadata"]["papermill"] = {"parameters": job.given}
    job.copy.write_text(json.dumps(notebook), encoding="utf-8")
    (job.folder / runner.LOG).write_text(f"2026-01-01 00:00:00 run of {job.notebook.name}\n")
    values = {"fold": None, **job.parameters, "output_dir": str(job.folder)}
    exec(VARIED if "fold" in job.parameters else WHOLE, values)


@pytest.mark.slow
def test_what_has_finished_is_not_run_again(
    stand: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a worker, and without Dask, where nothing is left to do; the report is there."""
    asked = sweep.plan(["all"], {}, folds=3, seeds=2)
    for job in asked.jobs:
        _finish(job)
    sweep._write(asked)
    words = ["sweep", "all", "--folds", "3", "--seeds", "2"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert out.count("  finished  ") == 8
    assert "mean of 6 runs" in out
    assert "whole has no parameter fold" in err
    folder = stand / "runs" / "sweep"
    rows = list(csv.DictReader((folder / "pooled.csv").open(encoding="utf-8")))
    assert [(row["runs"], row["kind"]) for row in rows] == [("6", "interval"), ("2", "range")]
    assert not (folder / sweep.LOCK).exists()
    (asked.jobs[0].folder / "results.json").unlink()
    assert main([*words, "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "good/sample/fold0-seed0: would run"
    assert lines[1].endswith(": has finished")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"seeds": 2}, "seeds there: 1; now: 2"),
        ({"folds": 3}, "folds there: none; now: 3"),
        ({"profiles": ["sample", "best"]}, "profiles there: sample; now: sample, best"),
        ({"given": {"epochs": "3"}}, "parameters there: none; now: epochs 3"),
        ({"names": ["all"]}, "notebooks there: good 01_good.ipynb; now: "),
    ],
)
def test_another_sweep_is_refused(stand: Path, other: dict[str, object], message: str) -> None:
    """Two sweeps in one folder could not be told apart later."""
    first = sweep.plan(["good"], {}, output="out")
    first.folder.mkdir()
    sweep._write(first)
    assert [job.action for job in sweep.settled(first)] == ["run"]
    asked = {"names": ["good"], "given": {}} | other
    second = sweep.plan(**asked, output="out")  # type: ignore[arg-type]
    with pytest.raises(runner.WrongCall, match=message):
        sweep.run(second)
    assert [path.name for path in first.folder.iterdir()] == ["sweep.json"]


def test_a_folder_of_anything_else_is_not_touched(stand: Path) -> None:
    """A thesis, a broken sweep.json, one of a later version, or a file."""
    asked = sweep.plan(["good"], {}, output="out")
    asked.folder.mkdir()
    (asked.folder / "thesis.txt").touch()
    for text, message in ((None, r"holds files, and no sweep\.json"), ("{", "cannot be read"),
                          ('{"schema": 1, "asked": {}}', "another version")):  # fmt: skip
        if text is not None:
            (asked.folder / "sweep.json").write_text(text)
        with pytest.raises(runner.WrongCall, match=message):
            sweep.run(asked)
    with pytest.raises(runner.WrongCall, match="is a file"):
        sweep.run(sweep.plan(["good"], {}, output="out/thesis.txt"))


def test_the_second_of_two_calls_is_refused(stand: Path) -> None:
    """It would write into the same runs; the first one's claim says who it is."""
    asked = sweep.plan(["good"], {}, output="out")
    with (
        sweep._claimed(asked) as own,
        pytest.raises(runner.WrongCall, match=f"is being written by process {own.process};"),
    ):
        sweep.run(asked)
    assert [path.name for path in asked.folder.iterdir()] == ["sweep.json"]


@pytest.mark.slow
def test_a_run_that_died_on_another_machine_is_run_again(
    stand: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After time enough to notice that its sweep is over; one that lives here is waited for."""
    monkeypatch.setattr(sweep, "_PATIENCE", 0.5)
    asked = sweep.plan(["good"], {}, output="out")
    (job,) = asked.jobs
    job.folder.mkdir(parents=True)
    sweep._write(asked)
    claim.write(job.folder / runner.RUNNING, claim.Claim(1, "node7", "mark"))
    with sweep._claimed(asked):
        assert sweep.settled(asked)[0].action == "replace"
    claim.write(job.folder / runner.RUNNING, claim.Claim.new())
    with sweep._claimed(asked), pytest.raises(runner.WrongCall, match="is being written by"):
        sweep.settled(asked)


# --- with workers: whatever follows starts processes ----------------------------------------


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}


def _wait(condition: Callable[[], bool], seconds: float) -> None:
    """Return when a condition holds, fail when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def _gone(number: int) -> bool:
    """Return whether a process has ended (nobody may have collected it yet)."""
    try:
        return psutil.Process(number).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _numbers(path: Path) -> list[int]:
    """Return the process numbers that a notebook has written, when it has."""
    _wait(lambda: path.exists() and len(path.read_text().split()) == 3, 120)
    return [int(number) for number in path.read_text().split()]


@pytest.mark.slow
def test_a_backend_that_is_not_here_is_refused_before_anything_starts(
    stand: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As by `run`; on a cluster the workers' own environment decides."""
    monkeypatch.setattr(runner.helpers, "ENGINE_CHOSEN_HERE", False)
    monkeypatch.setenv("KERAS_BACKEND", "jx")
    assert main(["sweep", "good", "--dry-run"]) == 2
    assert "There is no backend 'jx'; did you mean 'jax'" in capsys.readouterr().err
    assert main(["sweep", "good", "--dry-run", "--dask", "tcp://127.0.0.1:1"]) == 0
    monkeypatch.delenv("KERAS_BACKEND")
    monkeypatch.setenv("TUTORIALS_DEVICES", "two")
    assert main(["sweep", "good", "--dry-run"]) == 2
    assert "TUTORIALS_DEVICES" in capsys.readouterr().err


def test_another_server_than_dasks_is_named(
    stand: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Dask takes a greeting for the length of a message, and would ask for all memory there is."""
    import distributed  # noqa: F401 - on a busy machine its import takes longer than the wait

    monkeypatch.setattr(cluster, "ANSWER", 3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"

        def greet() -> None:
            while True:
                try:
                    server.accept()[0].sendall(b"SSH-2.0-OpenSSH_9.6p1 Ubuntu-3ubuntu13\r\n")
                except OSError:
                    return

        threading.Thread(target=greet, daemon=True).start()
        assert main(["sweep", "good", "--dask", address]) == 2
    assert f"No Dask scheduler answers at {address}" in capsys.readouterr().err


def test_no_address_is_not_this_machine(stand: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As where a variable in a job script is not set."""
    assert main(["sweep", "good", "--dask", ""]) == 2
    assert "No Dask scheduler answers at" in capsys.readouterr().err


@pytest.mark.slow
def test_a_scheduler_that_does_not_answer_is_named_before_anything_starts(
    stand: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody there, somebody who is silent, and what is no address at all."""
    import distributed  # noqa: F401 - on a busy machine its import takes longer than the wait

    monkeypatch.setattr(cluster, "ANSWER", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        used = silent.getsockname()[1]
        for address in (f"tcp://127.0.0.1:{used}", "tcp://127.0.0.1:1", "tcp://127.0.0.1:soon"):
            start = time.monotonic()
            assert main(["sweep", "good", "--dask", address]) == 2
            assert time.monotonic() - start < 8  # one second, on a busy machine
            err = capsys.readouterr().err
            assert f"No Dask scheduler answers at {address}" in err
            assert err.count("\n") == 1
    assert not list(stand.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_sweep_outlives_a_dead_worker_a_full_disk_and_a_failing_notebook(
    stand: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two workers, one of which is killed; what can finish has finished, the rest is listed."""
    folder, data = stand.parent / "notebooks", stand.parent / "data"
    (folder / "02_whole.ipynb").unlink()
    stories = {"02_killed": KILLS_ITS_WORKER, "03_full": FINDS_A_FULL_DISK, "04_fails": "1 / 0"}
    for name, cell in stories.items():
        write_notebook(folder / f"{name}.ipynb", cell, NO_FOLD, VARIED, parameters=WITHOUT_FOLD)
    words = ["sweep", "all", "--folds", "3", "--workers", "2", "--data-dir", str(data)]
    assert main([*words, "--output", "out"]) == 1
    out, err = capsys.readouterr()
    done = {path.parent.parent.parent.name: path for path in Path("out").rglob("results.json")}
    assert set(done) == {"good", "killed", "full"}
    assert len(list(Path("out").rglob("results.json"))) == 5

    killed, kernel = map(int, (data / "killed").read_text().split())
    assert _gone(killed)
    assert _gone(kernel), "the notebook of the dead worker lives on"
    assert results.load(done["killed"])["figures"]["auc"]["value"] == 0.9
    assert not list(Path("out").rglob(".previous-*"))
    assert not list(Path("out").rglob(".running"))

    assert "[Errno 28] No space left on device; it is tried on another worker" in err
    assert err.count("good/sample/fold1-seed0: finished in ") == 1
    assert "6 of 6: " in err
    assert "has gone; a run that it had is tried again." in err
    assert "1 of 6 runs failed; the same command tries them again:" in out
    log = Path("out/fails/sample/seed0/log.txt").absolute()
    assert (
        f"fails/sample/seed0: cell 4 (In [3]): ZeroDivisionError: division by zero\n    {log}\n"
        in out
    )
    assert "mean of 3 runs" in out
    assert len(report.collect("out")) == 6


@pytest.fixture
def scheduler(stand: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A cluster as somebody would start it: a scheduler and one worker."""
    file = stand.parent / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    place = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file)]
    first = subprocess.Popen([*dask, "scheduler", "--port", "0", *place], cwd=stand.parent,
                             env=_environment(), **quiet)  # type: ignore[call-overload]  # fmt: skip
    options = ["--nthreads", "1", "--resources", f"{cluster.RESOURCE}=1"]
    worker = subprocess.Popen([*dask, "worker", *place, *options], cwd=stand.parent,
                              env=_environment(), **quiet)  # type: ignore[call-overload]  # fmt: skip
    try:
        _wait(file.exists, 60)
        yield json.loads(file.read_text())["address"], first
    finally:
        for process in (first, worker):
            process.kill()
            process.wait()


def _call(*words: str) -> subprocess.Popen[str]:
    """Return a command line that runs, the leader of its own group of processes."""
    command = [sys.executable, "-m", "helpers", "sweep", *words]
    return subprocess.Popen(command, env=_environment(), start_new_session=True, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


@pytest.mark.slow
def test_a_sweep_that_lost_its_scheduler_goes_on_with_the_same_call(
    stand: Path,
    scheduler: tuple[str, subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What has finished stays; what ran is stopped, and runs again."""
    address, process = scheduler
    data = stand.parent / "data"
    write_notebook(stand.parent / "notebooks" / "02_whole.ipynb", WAITS,
                   NO_FOLD, VARIED, parameters=WITHOUT_FOLD)  # fmt: skip
    words = ["all", "--data-dir", str(data), "--output", "out"]
    call = _call(*words, "--dask", address)
    numbers = _numbers(Path("out/whole/sample/seed0/pids"))

    assert main(["sweep", *words]) == 2  # while the first call is at work
    assert f"is being written by process {call.pid};" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr(cluster, "RESOURCE", "unheard of")
        with (
            pytest.raises(runner.WrongCall, match=r"None of the 1 workers .* offers the resource"),
            cluster.connected(address),
        ):
            pass
    with cluster.connected(address) as pool:
        assert list(pool.offered().values()) == [1]
        pool.require_sight([stand])
        with pytest.raises(runner.WrongCall, match=r"does not see .*elsewhere: notebooks, data"):
            pool.require_sight([stand, stand / "elsewhere"])
        assert pool.engine("python3") == os.environ["KERAS_BACKEND"]
        answers = {"tcp://a": "jax", "tcp://b": "tensorflow"}
        with monkeypatch.context() as patch:
            patch.setattr(cluster.Pool, "_asked", lambda *_: answers)
            with pytest.raises(runner.WrongCall, match="a jax, tcp://b tensorflow"):
                pool.engine("python3")

    process.kill()
    out, err = call.communicate(timeout=60)
    assert (call.returncode, out) == (1, "")
    # Before them there may be a line that no worker was there yet.
    ended, last = err.splitlines()[-2:]
    assert ended.startswith("1 of 2: good/sample/seed0: finished in ")
    assert last == (
        f"helpers: the scheduler at {address} has gone. 1 of 2 runs have finished and stay in "
        f"{stand}/out; the same command runs the others."
    )
    _wait(lambda: all(map(_gone, numbers[:2])), 20)  # kernel and runner; the worker may live

    (data / "go").touch()
    asked = sweep.plan(["all"], {"data_dir": str(data)}, output="out")
    assert [end.status for end in sweep.run(asked)] == ["kept", "finished"]


@pytest.mark.slow
def test_ctrl_c_leaves_no_process_and_says_how_to_go_on(stand: Path) -> None:
    """In a terminal it reaches every process of the group at once."""
    write_notebook(stand.parent / "notebooks" / "01_good.ipynb", WAITS, VARIED)
    call = _call("good", "--data-dir", str(stand.parent / "data"))
    numbers = _numbers(stand / "runs/sweep/good/sample/seed0/pids")
    os.killpg(call.pid, signal.SIGINT)
    out, err = call.communicate(timeout=60)
    assert call.returncode == 130
    assert out == (
        "Interrupted: nothing is left running. 0 of 1 runs have finished; the same command goes on "
        "from here.\n"
    )
    assert "Traceback" not in err
    assert all(map(_gone, numbers))
    assert not (stand / "runs" / "sweep" / sweep.LOCK).exists()


@pytest.mark.slow
def test_ctrl_c_while_workers_start_is_one_line(stand: Path) -> None:
    """Half a cluster cannot be ended in order: it is started, and then ended."""
    call = _call("good", "--workers", "2")
    program = psutil.Process(call.pid)
    _wait(lambda: len(program.children()) > 1, 60)  # Python's own, and the first worker
    for _ in range(3):  # as somebody does who sees nothing happen
        os.killpg(call.pid, signal.SIGINT)
        time.sleep(0.3)
    out, err = call.communicate(timeout=60)
    assert call.returncode == 130
    assert (out, err) == ("", "helpers: interrupted\n")
    assert not (stand / "runs" / "sweep" / sweep.LOCK).exists()


@pytest.mark.slow
def test_a_scheduler_that_hangs_can_be_left(
    stand: Path, scheduler: tuple[str, subprocess.Popen[bytes]]
) -> None:
    """It answers no question any more, and its connections stay open."""
    address, process = scheduler
    write_notebook(stand.parent / "notebooks" / "01_good.ipynb", WAITS, VARIED)
    call = _call("good", "--data-dir", str(stand.parent / "data"), "--dask", address)
    numbers = _numbers(stand / "runs/sweep/good/sample/seed0/pids")
    process.send_signal(signal.SIGSTOP)
    time.sleep(2)  # so that a question is on its way
    os.killpg(call.pid, signal.SIGINT)
    out, err = call.communicate(timeout=60)
    assert call.returncode == 130, err
    assert out.startswith("Interrupted: nothing is left running. 0 of 1 runs have finished;")
    assert "Traceback" not in err
    _wait(lambda: all(map(_gone, numbers[:2])), 20)


def test_a_scheduler_that_stays_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause is waited for: what was last heard of the workers holds meanwhile."""

    class Silent:
        """A scheduler that answers two questions and no third; it is its own question, too."""

        address = "tcp://10.0.0.1:8786"
        answers: ClassVar[list[dict[str, int]]] = [{"a": 1, "b": 1}, {"b": 1, "c": 0}]

        def question(self) -> Silent:
            return self

        def is_answered(self) -> bool:
            return bool(self.answers)

        def answer(self, patience: float) -> dict[str, int]:
            return self.answers.pop(0)

    class Screen(runner.Silence):
        said: ClassVar[list[str]] = []

        def say(self, text: str) -> None:
            self.said.append(text)

    monkeypatch.setattr(dispatch, "_LOOK", 0.0)
    offers = dispatch._Offers(Silent())  # type: ignore[arg-type]
    heard = [offers.now(Screen(), True) for _ in range(4)]  # asked, answered, asked, answered
    assert heard == [{}, {"a": 1, "b": 1}, {"a": 1, "b": 1}, {"b": 1}]
    assert Screen.said == ["The worker a has gone; a run that it had is tried again."]
    assert offers.fewer
    assert [offers.now(Screen(), True) for _ in range(3)] == [{"b": 1}] * 3
    monkeypatch.setattr(dispatch, "SILENCE", -1.0)
    with pytest.raises(cluster.SchedulerGoneError, match=Silent.address):
        offers.now(Screen(), True)


def test_another_backend_is_another_sweep(stand: Path) -> None:
    """Their runs would be averaged; a cluster that has not been asked is no other one."""
    first = sweep.plan(["good"], {}, output="out")
    first.folder.mkdir()
    unasked = sweep.plan(["good"], {}, output="out", local=False)
    assert unasked.asked["backend"] is None
    sweep._write(first)
    sweep._write(unasked)
    assert sweep.asked_in(first.folder / sweep.FILE_NAME) == first.asked
    assert first.asked["backend"] == os.environ["KERAS_BACKEND"]
    assert len(sweep.settled(unasked)) == 1
    other = replace(first, asked={**first.asked, "backend": "abacus"})
    with pytest.raises(runner.WrongCall, match=r"backend there: .*; now: abacus"):
        sweep.settled(other)


def test_a_worker_with_another_backend_gets_no_run(
    stand: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have come after the others were asked."""
    import distributed

    class Worker:
        address = "tcp://10.0.0.2:1"

    monkeypatch.setattr(distributed, "get_worker", Worker)
    (job,) = sweep.plan(["good"], {}).jobs
    own = claim.Claim.new()
    outcome, where, elsewhere = dispatch.run_one(job, stand / sweep.LOCK, own, "abacus")
    assert (outcome.status, where, elsewhere) == ("failed", Worker.address, True)
    here = os.environ["KERAS_BACKEND"]
    assert outcome.message == f"{where} computes with {here}, and this sweep with abacus"
    assert not job.folder.exists()


def test_a_run_that_died_with_its_worker_leaves_a_folder_in_order(stand: Path) -> None:
    """As any other run that failed: a reason in its log, nobody at work, no half results."""
    (job,) = sweep.plan(["good"], {}).jobs
    runner.settle_dead(job, "nothing there")  # and nothing happens
    assert not job.folder.exists()
    _finish(job)
    assert runner.settle_dead(job, "it died") == runner.Outcome(job, "finished")

    job.copy.unlink()  # so it has not finished, and left what it had
    claim.write(job.folder / runner.RUNNING, claim.Claim(1, "node7", "mark"))
    assert runner.settle_dead(job, "it died").status == "failed"
    assert (job.folder / "results.json").exists()  # somebody on node7 may be at work

    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    mine = claim.Claim.new()
    claim.write(job.folder / runner.RUNNING, replace(mine, process=dead.pid))
    aside = job.folder.with_name(f".previous-{job.folder.name}")
    aside.mkdir()
    runner.settle_dead(job, "every worker that ran it died")
    assert not aside.exists()
    assert sorted(path.name for path in job.folder.iterdir()) == ["log.txt", "results.partial.json"]
    entry = report.read(job.folder)
    assert (entry.status, entry.problem) == ("failed", "every worker that ran it died")

    aside.mkdir()
    (aside / "results.json").touch()
    outcome = runner.settle_dead(job, "it died")
    assert outcome.message == f"it died; the earlier results are kept in {aside}"


def test_a_report_says_how_far_a_sweep_has_come(
    stand: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = sweep.plan(["all"], {}, folds=3)
    first, second, *_ = asked.jobs
    _finish(first)
    _finish(second)
    (second.folder / "results.json").unlink()
    with (second.folder / runner.LOG).open("a") as log:
        log.write("2026-01-01 00:00:09 interrupted in cell 3 of 5 (In [2])\n")
    sweep._write(asked)
    assert main(["report", str(asked.folder)]) == 0
    out = capsys.readouterr().out
    assert "\n1 of 4 runs of this sweep have finished; the command that began it runs the" in out
    assert [entry.status for entry in report.collect(asked.folder)] == ["finished", "interrupted"]
    claim.write(asked.folder / sweep.LOCK, claim.Claim.new())
    assert sweep.standing(asked.folder).endswith("have finished; it is at work.")
    page = (asked.folder / "report.html").read_text(encoding="utf-8")
    assert "1 of 4 runs of this sweep have finished" in page
    assert 'class="badge interrupted"' in page
    assert sweep.standing(stand) == ""
