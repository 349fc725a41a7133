"""The runner: what it refuses, what it leaves, and that nothing keeps running."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from tiny_notebooks import SAVE, record, write_notebook

import helpers
from helpers import claim, downloads, kernels, report, results, runner
from helpers.command import command

ROOT = Path(runner.__file__).resolve().parent.parent


@pytest.fixture
def notebooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two notebooks and a template, with the current folder elsewhere."""
    folder = tmp_path / "notebooks"
    write_notebook(folder / "01_breast_cancer.ipynb", SAVE)
    write_notebook(folder / "03_malaria.ipynb", SAVE)
    write_notebook(folder / "template.ipynb", "1 / 0")
    (tmp_path / "stand").mkdir()
    monkeypatch.chdir(tmp_path / "stand")
    monkeypatch.setenv(runner.NOTEBOOKS_VARIABLE, str(folder))
    monkeypatch.setenv("TUTORIALS_DATA", str(tmp_path / "home"))  # nothing is downloaded there
    return folder


# --- names and parameters: no kernel starts ---------------------------------------------


@pytest.mark.parametrize("name", ["malaria", "03_malaria", "3", "03", "Malaria", "3_malaria.ipynb"])
def test_a_notebook_has_several_names(notebooks: Path, name: str) -> None:
    """Name, file name and number all mean the same notebook."""
    if name == "3_malaria.ipynb":
        name = "notebooks/03_malaria.ipynb"
    assert runner.find_notebooks([name]) == {"malaria": notebooks / "03_malaria.ipynb"}


def test_all_is_every_numbered_notebook(notebooks: Path) -> None:
    """The template is no tutorial; names given twice run once, in the order of numbers."""
    assert list(runner.find_notebooks(["all"])) == ["breast_cancer", "malaria"]
    assert list(runner.find_notebooks([])) == ["breast_cancer", "malaria"]
    assert list(runner.find_notebooks(["3", "malaria", "1"])) == ["breast_cancer", "malaria"]


def test_an_unknown_name_brings_the_nearest(notebooks: Path) -> None:
    """One line, with what was probably meant."""
    with pytest.raises(
        runner.WrongCall, match=r"^There is no notebook 'malria'; did you mean 'mala"
    ):
        runner.find_notebooks(["malria"])
    with pytest.raises(runner.WrongCall, match="choose one of these"):
        runner.find_notebooks(["7"])


def test_the_package_brings_its_notebooks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the variable the checkout's own folder is used."""
    monkeypatch.delenv(runner.NOTEBOOKS_VARIABLE, raising=False)
    assert runner.notebook_folder() == ROOT / "notebooks"


def test_an_installed_package_has_them_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After ``pip install .`` there is no checkout, and the notebooks lie in the package."""
    monkeypatch.delenv(runner.NOTEBOOKS_VARIABLE, raising=False)
    monkeypatch.setattr(helpers, "__file__", str(tmp_path / "helpers" / "__init__.py"))
    with pytest.raises(runner.WrongCall, match="install the package again"):
        runner.notebook_folder()
    (tmp_path / "helpers" / "notebooks").mkdir(parents=True)
    assert runner.notebook_folder() == tmp_path / "helpers" / "notebooks"


def test_parameters_are_read_with_type_and_default(notebooks: Path) -> None:
    """Annotations and defaults come from the cell tagged parameters."""
    found = runner.read_parameters(notebooks / "03_malaria.ipynb")
    assert list(found)[:3] == ["profile", "data_dir", "output_dir"]
    assert found["fold"] == runner.Parameter("fold", "int | str | None", None)
    assert found["fold"].types == ("int", "str", "None")
    assert found["rate"].default == 0.1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("a = b", "line 1 of the parameters cell is no literal"),
        ("a = 1\nb = [1]", "line 2 of the parameters cell is no literal"),
        ("print(1)", "no literal"),
        ("a: int", "no literal"),
        ("a = ", "not Python"),
        ("a: dict = 1", "type dict, not understood"),
    ],
)
def test_a_parameters_cell_holds_literals_only(tmp_path: Path, source: str, message: str) -> None:
    """A cell that cannot be checked is refused."""
    path = write_notebook(tmp_path / "01_odd.ipynb", parameters=source)
    with pytest.raises(runner.WrongCall, match=message):
        runner.read_parameters(path)


def test_a_notebook_without_parameters_is_refused(tmp_path: Path) -> None:
    """Neither a file that is none nor one without the tag can be run."""
    path = tmp_path / "01_odd.ipynb"
    path.write_text("no json")
    with pytest.raises(runner.WrongCall, match="cannot be read as a notebook"):
        runner.read_parameters(path)
    path.write_text(json.dumps({"cells": [{"cell_type": "code", "source": "a = 1"}]}))
    with pytest.raises(runner.WrongCall, match="no cell tagged 'parameters'"):
        runner.read_parameters(path)


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        ("int", "12", 12),
        ("int", "-1", -1),
        ("int | None", "none", None),
        ("int | None", "NONE", None),
        ("float", "1e-3", 0.001),
        ("float", "2", 2.0),
        ("bool", "true", True),
        ("bool", "False", False),
        ("str", "none", "none"),
        ("str", "12", "12"),
        ("str | None", "none", None),
        ("int | str | None", "3", 3),
        ("int | str | None", "all", "all"),
    ],
)
def test_texts_become_what_the_annotation_says(annotation: str, text: str, value: object) -> None:
    """The declared type decides, not the look of the text."""
    found = runner.parse(text, runner.Parameter("x", annotation, None))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("annotation", "text", "kinds"),
    [
        ("int", "1.5", "a whole number"),
        ("int", "none", "a whole number"),
        ("int | None", "ten", "a whole number or none"),
        ("float", "nan", "a number"),
        ("bool", "1", "true or false"),
    ],
)
def test_a_wrong_type_is_named(annotation: str, text: str, kinds: str) -> None:
    """The line says what the parameter takes and what was given."""
    with pytest.raises(runner.WrongCall, match=rf"^x takes {kinds} \(.*\), not '{text}'\.$"):
        runner.parse(text, runner.Parameter("x", annotation, None))


def test_an_unknown_precision_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a notebook has that parameter, a wrong word stops before a kernel starts."""
    monkeypatch.chdir(tmp_path)
    declared = 'precision: str = "auto"\noutput_dir: str | None = None\n'
    write_notebook(tmp_path / "notebooks" / "03_malaria.ipynb", SAVE, parameters=declared)
    folder = tmp_path / "notebooks"
    (job,) = runner.plan(["3"], {"precision": "mixed_float16"}, notebooks=folder)
    assert job.parameters == {"precision": "mixed_float16"}
    with pytest.raises(runner.WrongCall, match="'flaot32'; did you mean 'float32'"):
        runner.plan(["3"], {"precision": "flaot32"}, notebooks=folder)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epoch": "3"}, "no parameter 'epoch'; did you mean 'epochs'"),
        ({"zzzzzz": "3"}, "choose one of these"),
        ({"epochs": "x"}, "epochs takes a whole number or none"),
        ({"profile": "bets"}, "no profile 'bets'; did you mean 'best'"),
        ({"fold": "7"}, "fold takes 0 to 4, all or none"),
        ({"data_dir": "nowhere"}, "data_dir: there is no .*nowhere"),
        (
            {"data_dir": "malaria"},
            "has not been downloaded. Call  .* -m helpers data download",
        ),
        ({"weights": "mine/none.h5"}, "weights: there is no .*none.h5"),
        ({"output_dir": "x"}, "say --output"),
        ({"seed": "-1"}, "seed takes a whole number from 0 to 4294967295, not -1"),
        ({"seed": "4294967296"}, "not 4294967296"),
    ],
)
def test_a_wrong_parameter_is_one_line(
    notebooks: Path, given: dict[str, str], message: str
) -> None:
    """Each is refused before anything is written."""
    with pytest.raises(runner.WrongCall, match=message) as caught:
        runner.plan(["malaria"], given)
    assert "\n" not in str(caught.value)
    assert not list(Path.cwd().iterdir())


def test_a_notebook_needs_a_place_for_results(notebooks: Path) -> None:
    """Without output_dir among its parameters a notebook cannot be run."""
    write_notebook(notebooks / "02_odd.ipynb", parameters="seed: int = 0")
    with pytest.raises(runner.WrongCall, match="no parameter output_dir"):
        runner.plan(["odd"], {})


def test_paths_mean_the_folder_where_the_person_stands(notebooks: Path) -> None:
    """Relative paths become absolute; words that are no path stay words."""
    (Path.cwd() / "cells").mkdir()
    (Path.cwd() / "my.weights.h5").touch()
    given = {"data_dir": "cells", "weights": "my.weights.h5"}
    (job,) = runner.plan(["malaria"], given, output="out")
    assert job.given["data_dir"] == str(Path.cwd() / "cells")
    assert job.given["weights"] == str(Path.cwd() / "my.weights.h5")
    assert job.folder == Path.cwd() / "out" / "malaria"
    (job,) = runner.plan(["malaria"], {"weights": "imagenet", "data_dir": "none"})
    assert job.given == {"weights": "imagenet", "data_dir": None}


def test_a_downloaded_dataset_is_meant_by_its_name(
    notebooks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no folder of that name is; the kernel gets the path."""
    folder = Path.cwd() / "home" / "downloads" / "malaria"
    folder.mkdir(parents=True)
    monkeypatch.setattr(downloads, "status", lambda name: downloads.Status(folder, True, 0))
    (job,) = runner.plan(["malaria"], {"data_dir": "malaria"})
    assert job.given == {"data_dir": str(folder)}
    (Path.cwd() / "malaria").mkdir()
    (job,) = runner.plan(["malaria"], {"data_dir": "malaria"})
    assert job.given == {"data_dir": str(Path.cwd() / "malaria")}


def test_the_profile_names_folder_and_limits(notebooks: Path) -> None:
    """Runs of different profiles never share a folder, and big ones may take longer."""
    (sample,) = runner.plan(["malaria"], {})
    (best,) = runner.plan(["malaria"], {"profile": "best"}, limit=7, cell_limit=0)
    assert sample.folder == Path.cwd() / "runs" / "sample" / "malaria"
    assert (sample.cell_limit, sample.limit) == runner.LIMITS["sample"]
    assert best.folder == Path.cwd() / "runs" / "best" / "malaria"
    assert (best.cell_limit, best.limit) == (None, 7)


# --- folders that are not empty: no kernel starts -----------------------------------------


def test_a_folder_of_somebody_else_is_never_touched(notebooks: Path) -> None:
    """Not even with overwrite."""
    folder = Path("out/malaria")
    folder.mkdir(parents=True)
    assert runner.plan(["malaria"], {}, output="out")[0].action == "replace"  # empty is fine
    (folder / "thesis.txt").write_text("years of work")
    for mode in ("refuse", "resume", "overwrite"):
        with pytest.raises(runner.WrongCall, match="no run of ours"):
            runner.plan(["malaria"], {}, output="out", mode=mode)


def test_an_earlier_run_is_refused_or_replaced(notebooks: Path) -> None:
    """Without a word it is refused; overwrite replaces; resume runs what has no results."""
    folder = Path("out/malaria")
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("2026-01-01 00:00:00 run of 03_malaria.ipynb\n")
    with pytest.raises(runner.WrongCall, match=r"--resume .* --overwrite"):
        runner.plan(["malaria"], {}, output="out")
    assert runner.plan(["malaria"], {}, output="out", mode="overwrite")[0].action == "replace"
    assert runner.plan(["malaria"], {}, output="out", mode="resume")[0].action == "replace"
    (folder / "data").mkdir()
    with pytest.raises(runner.WrongCall, match="holds the data"):
        runner.plan(["malaria"], {"data_dir": "out/malaria/data"}, output="out", mode="overwrite")
    claim.write(folder / ".running", claim.Claim.new())
    with pytest.raises(runner.WrongCall, match=f"being written by process {os.getpid()};"):
        runner.plan(["malaria"], {}, output="out", mode="overwrite")
    claim.write(folder / ".running", claim.Claim(7, "node7", "mark"))
    with pytest.raises(runner.WrongCall, match=r"by process 7 on node7; .* long gone, remove "):
        runner.plan(["malaria"], {}, output="out", mode="overwrite")
    (folder / ".running").write_text("4")  # half a claim is none
    assert runner.plan(["malaria"], {}, output="out", mode="overwrite")[0].action == "replace"


def test_a_run_that_died_at_once_may_be_replaced(notebooks: Path) -> None:
    """Its folder holds a claim, and perhaps a log to which a full disk took no line."""
    folder = Path("out/malaria")
    folder.mkdir(parents=True)
    (folder / ".running").touch()
    (folder / "log.txt").touch()
    assert runner.plan(["malaria"], {}, output="out", mode="resume")[0].action == "replace"
    (folder / "log.txt").write_text("dear diary\n")
    with pytest.raises(runner.WrongCall, match="no run of ours"):
        runner.plan(["malaria"], {}, output="out", mode="resume")


@pytest.mark.parametrize(
    ("message", "full"),
    [
        ("cell 3: OSError: [Errno 28] No space left on device", True),
        ("OSError: [Errno 28] The image cache in /x needs 3 MB, and the disk is full", True),
        ("cell 9: OSError: [Errno 122] Disk quota exceeded: '/home/x'", True),
        ("cell 9: OSError: write failed, errno = 28, error message = '…'", True),
        ("ResourceExhaustedError: model.keras; No space left on device", True),
        ("cell 3: OSError: [Errno 2] No such file or directory: 'a28'", False),
        ("cell 3: ValueError: [Errno 285]", False),
    ],
)
def test_a_full_disk_is_told_from_other_failures(notebooks: Path, message: str, full: bool) -> None:
    """Elsewhere there may be room; another failure would be the same everywhere."""
    (job,) = runner.plan(["malaria"], {})
    assert runner.Outcome(job, "failed", message).disk_full is full
    assert not runner.Outcome(job, "finished", message).disk_full


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_log_on_a_full_disk_stops_nothing() -> None:
    """The run's own failure is what a person has to know, and nothing hangs."""
    log = runner._Log(Path("/dev/full"))
    log.write("lost")
    log.close()
    log.write("later")


# --- one call with everything that can happen to a notebook -------------------------------

SLEEP = "import time; time.sleep(300)"
STORIES = {
    "01_good": (
        "print('some', 'words')",
        "import os, sys; print(os.getcwd(), os.environ['TUTORIALS_UNATTENDED'], file=sys.stderr)",
        SAVE,
    ),
    "02_fails": ("a = 1", SAVE, "raise ValueError('all cells\\nare gone')", "b = 1"),
    "03_dies": ("a = 1", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"),
    "04_sleeps": ("a = 1", SLEEP),
    "05_stops_early": (
        "_ = open(output_dir + '/results.json', 'w').write('{')",
        "import sys; sys.exit(0)",
        SAVE,
    ),
}


slow = pytest.mark.slow  # whatever follows starts kernels


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, runner.Outcome]:
    """Return how the five stories ended, run two at a time with four seconds a cell."""
    top = tmp_path_factory.mktemp("a {brace} and ünïcode")
    for name, cells in STORIES.items():
        write_notebook(top / "notebooks" / f"{name}.ipynb", *cells)
    jobs = runner.plan(
        ["all"],
        {"seed": "7", "epochs": "none", "fold": "2", "loud": "true"},
        output=str(top / "out"),
        cell_limit=4,
        notebooks=top / "notebooks",
    )
    found = runner.run(jobs, parallel=2)
    assert [outcome.job for outcome in found] == jobs
    return {outcome.job.name: outcome for outcome in found}


@slow
def test_a_good_notebook_leaves_everything(outcomes: dict[str, runner.Outcome]) -> None:
    """Executed copy, log and results; parameters arrive with their types."""
    good = outcomes["good"]
    assert (good.status, good.message) == ("finished", "")
    assert good.record is not None
    assert (good.record["seed"], good.record["fold"]) == (7, 2)
    assert good.record["parameters"] == {"epochs": None, "rate": 0.1, "loud": True}
    assert sorted(path.name for path in good.job.folder.iterdir()) == [
        "01_good.ipynb",
        "log.txt",
        "results.json",
    ]
    copy = json.loads(good.job.copy.read_text(encoding="utf-8"))
    counts = [cell["execution_count"] for cell in copy["cells"] if cell["cell_type"] == "code"]
    assert counts == [1, 2, 3, 4, 5]


@slow
def test_the_log_holds_what_was_said_with_times(outcomes: dict[str, runner.Outcome]) -> None:
    """Kernel and papermill both write into it; the run's folder is the kernel's."""
    good = outcomes["good"]
    lines = (good.job.folder / "log.txt").read_text(encoding="utf-8").splitlines()
    assert all(line[:4].isdigit() and line[13] == ":" for line in lines)
    assert lines[0].endswith("run of 01_good.ipynb, kernel python3")
    assert any(line.endswith(" some words") for line in lines)
    assert any(line.endswith(f" {good.job.folder} 1") for line in lines)
    assert "finished in" in lines[-1]


@slow
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fails", "cell 6 (In [5]): ValueError: all cells are gone"),
        ("dies", "cell 5 of 5 (In [4]): the kernel died, probably out of memory."),
        ("sleeps", "cell 5 of 5 (In [4]) ran longer than the limit of 4 s a cell. Raise it with "),
        ("stops_early", "the notebook ran to its end but left no valid results: "),
    ],
)
def test_a_failure_says_where_and_why(
    outcomes: dict[str, runner.Outcome], name: str, message: str
) -> None:
    """The others have run all the same; the log ends with the line; the copy is there."""
    outcome = outcomes[name]
    assert outcome.status == "failed"
    assert outcome.message.startswith(message)
    assert "\n" not in outcome.message
    log = (outcome.job.folder / "log.txt").read_text(encoding="utf-8")
    assert log.splitlines()[-1].endswith(f"FAILED: {outcome.message}")
    assert json.loads(outcome.job.copy.read_text(encoding="utf-8"))["cells"]
    assert not (outcome.job.folder / "results.json").exists()


@pytest.mark.parametrize(
    ("text", "given", "told"),
    [
        (
            "ResourceExhaustedError: OOM when allocating tensor … device:GPU:0 by allocator GPU_0",
            {"batch_size": 16, "image_size": None},
            "The GPU's memory is full: lower batch_size (now 16), then image_size (now 64), ",
        ),
        (
            "XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8 bytes",
            {},
            "The GPU's memory is full: lower batch_size (now 32), then image_size (now 64), ",
        ),
        (
            "DeviceMemoryError: The GPU's memory is full: lower batch_size (now 4)",
            {},
            "DeviceMemoryError: The GPU's memory is full: lower batch_size (now 4)",
        ),
    ],
)
def test_full_memory_is_told_with_what_to_lower(
    tmp_path: Path, text: str, given: dict[str, runner.Value], told: str
) -> None:
    """Wherever in a notebook it happened; what the library has explained already stays."""
    parameters = {"profile": "sample", **given}
    job = runner.Job("malaria", tmp_path / "03_malaria.ipynb", tmp_path, {}, parameters)
    event = {"kind": "error", "cell": 12, "prompt": 7, "text": text}
    assert runner._explain(event, {}, job).startswith(f"cell 12 (In [7]): {told}")


def test_full_memory_of_an_unknown_tutorial_names_no_number(tmp_path: Path) -> None:
    """A notebook of one's own has no profile to look up."""
    job = runner.Job("mine", tmp_path / "01_mine.ipynb", tmp_path, {}, {"profile": "sample"})
    event = {"kind": "error", "cell": 2, "prompt": 1, "text": "OutOfMemoryError: CUDA out of …"}
    assert "lower batch_size, then image_size" in runner._explain(event, {}, job)


@slow
def test_results_before_a_failure_do_not_count(outcomes: dict[str, runner.Outcome]) -> None:
    """What a notebook saved before it failed is put aside under another name."""
    assert (outcomes["fails"].job.folder / "results.partial.json").exists()
    assert outcomes["fails"].record is None


@slow
def test_the_report_shows_them_all(outcomes: dict[str, runner.Outcome]) -> None:
    """Failures have their last line in table and page."""
    top = outcomes["good"].job.folder.parent
    entries = report.collect(top)
    assert [entry.status for entry in entries] == ["finished"] + ["failed"] * 4
    assert entries[1].problem == "cell 6 (In [5]): ValueError: all cells are gone"
    assert "all cells are gone" in report.as_html(entries, top)


@slow
def test_resume_keeps_what_is_equal(outcomes: dict[str, runner.Outcome], tmp_path: Path) -> None:
    """Finished, same parameters, same code: kept, and not a process is started."""
    good = outcomes["good"].job
    top = tmp_path / "out"
    shutil.copytree(good.folder.parent, top)
    given = {"seed": "7", "fold": "2", "loud": "true"}

    def action(given: dict[str, str], folder: Path = good.notebook.parent) -> str:
        jobs = runner.plan(["good"], given, output=str(top), mode="resume", notebooks=folder)
        return jobs[0].action

    assert action(given) == "keep"
    assert action(given | {"epochs": "none"}) == "keep"  # the notebook's own value
    assert action(given | {"epochs": "3"}) == "replace"
    assert action({}) == "replace"
    write_notebook(tmp_path / "01_good.ipynb", "changed = 1", SAVE)
    assert action(given, tmp_path) == "replace"

    jobs = runner.plan(
        ["good"], given, output=str(top), mode="resume", notebooks=good.notebook.parent
    )
    (kept,) = runner.run(jobs)
    assert kept.status == "kept"
    assert kept.record is not None
    (top / "good" / "results.json").write_text("{")
    assert action(given) == "replace"


@slow
def test_overwrite_replaces_the_whole_folder(
    outcomes: dict[str, runner.Outcome], tmp_path: Path
) -> None:
    """Nothing of the earlier run is left when the new one has finished."""
    good = outcomes["good"].job
    shutil.copytree(good.folder, tmp_path / "good")
    (tmp_path / "good" / "old.png").touch()
    folder = good.notebook.parent
    jobs = runner.plan(["good"], {}, output=str(tmp_path), mode="overwrite", notebooks=folder)
    (outcome,) = runner.run(jobs)
    assert outcome.record is not None
    assert outcome.record["seed"] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["good"]
    assert not (tmp_path / "good" / "old.png").exists()


@slow
def test_a_failed_replacement_keeps_the_earlier_results(
    notebooks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They stand aside, and the message says where; the job's own limit ends the new run."""
    write_notebook(notebooks / "03_malaria.ipynb", SLEEP)
    folder = Path.cwd() / "out" / "malaria"
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(record()))
    jobs = runner.plan(["malaria"], {}, output="out", mode="overwrite", limit=4)
    (outcome,) = runner.run(jobs)
    assert outcome.status == "failed"
    assert outcome.message.startswith("the notebook ran longer than the limit of 4 s")
    assert "--timeout 8" in outcome.message
    aside = folder.with_name(".previous-malaria")
    assert str(aside) in outcome.message
    assert results.load(aside)["tutorial"] == "malaria"
    assert len(report.collect("out")) == 1  # the report does not mix them
    assert "malaria: failed: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("backend", "message"),
    [("tensroflow", "did you mean 'tensorflow'"), ("jax", r"jax is not installed .* install jax$")],
)
def test_a_backend_that_cannot_be_is_refused_before_anything_starts(
    notebooks: Path, monkeypatch: pytest.MonkeyPatch, backend: str, message: str
) -> None:
    monkeypatch.setattr(runner.helpers, "ENGINE_CHOSEN_HERE", False)
    monkeypatch.setattr(kernels, "is_installed", lambda module: module != "jax")
    monkeypatch.setenv("KERAS_BACKEND", backend)
    with pytest.raises(runner.WrongCall, match=message):
        runner.plan(["malaria"], {})


@slow
def test_a_kernel_that_went_meanwhile_is_named(notebooks: Path) -> None:
    """The message says how to see which kernels there are."""
    (job,) = runner.plan(["malaria"], {})
    (outcome,) = runner.run([dataclasses.replace(job, kernel="fortran")])
    assert outcome.status == "failed"
    assert "no Jupyter kernel 'fortran'" in outcome.message
    assert f"{command('kernels')}  shows" in outcome.message


@slow
def test_a_kernel_of_ours_runs_a_notebook(notebooks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its own environment; the copy names the notebook's kernel and reads as any other."""
    prefix = Path.cwd() / "env"
    kernels.install("cpu", "tensorflow", kernels.kernels_folder(prefix))
    monkeypatch.setenv("JUPYTER_PATH", str(prefix / "share" / "jupyter"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    asked = "'TUTORIALS_DEVICE', 'KERAS_BACKEND', 'CUDA_VISIBLE_DEVICES', 'TUTORIALS_DEVICES'"
    write_notebook(notebooks / "03_malaria.ipynb", SAVE,
                   f"import os; print([os.environ[name] for name in ({asked})])")  # fmt: skip
    jobs = runner.plan(["malaria"], {}, kernel="tutorials-cpu", devices="auto")
    (outcome,) = runner.run(jobs)
    assert outcome.status == "finished", outcome.message
    assert (outcome.job.folder / "log.txt").read_text().splitlines()[0].endswith("tutorials-cpu")
    copy = json.loads(outcome.job.copy.read_text(encoding="utf-8"))
    assert copy["cells"][-1]["outputs"][0]["text"] == ["['cpu', 'tensorflow', '', 'auto']\n"]
    assert copy["metadata"]["kernelspec"]["name"] == "python3"


@slow
def test_a_run_that_another_process_has_taken_over_touches_nothing(notebooks: Path) -> None:
    """In a sweep its worker was held for dead; and what it was to replace is still there."""
    write_notebook(notebooks / "03_malaria.ipynb", SLEEP)
    folder = Path.cwd() / "out" / "malaria"
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(record()))
    (job,) = runner.plan(["malaria"], {}, output="out", mode="overwrite")
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        if asked == 2:
            folder.rename(folder.with_name("taken"))
            folder.mkdir()
            claim.write(folder / ".running", claim.Claim(1, "elsewhere", "mark"))
            (folder / ".temporary").touch()
        return asked == 2

    (outcome,) = runner.run([job], quiet=True, stop=stop)
    assert (outcome.status, outcome.message) == ("interrupted", "another process has taken over")
    assert sorted(path.name for path in folder.iterdir()) == [".running", ".temporary"]
    assert (folder.with_name(".previous-malaria") / "results.json").exists()
    # Whoever repeats it keeps the earlier results, not what the first attempt left.
    (outcome,) = runner.run([job], quiet=True, stop=lambda: True)
    assert outcome.message.endswith("the earlier results are back in place")
    assert results.load(folder)["tutorial"] == "malaria"


# --- stopping -----------------------------------------------------------------------------

SPAWN = """\
import os, pathlib, subprocess, time
helper = subprocess.Popen(["sleep", "300"], start_new_session=True)
_ = pathlib.Path(output_dir, "pids").write_text(f"{os.getpid()} {os.getppid()} {helper.pid}")
time.sleep(300)
"""


def _start(notebooks: Path) -> tuple[subprocess.Popen[bytes], list[psutil.Process]]:
    """Return a running command line, and kernel, papermill and the kernel's own child."""
    write_notebook(notebooks / "03_malaria.ipynb", SAVE, SPAWN)
    command = [sys.executable, "-m", "helpers", "run", "malaria", "--output", "out"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    pids = Path("out/malaria/pids")
    _wait(lambda: pids.exists() and len(pids.read_text().split()) == 3, 90)
    return process, [psutil.Process(int(pid)) for pid in pids.read_text().split()]


def _wait(condition: Callable[[], bool], seconds: float) -> None:
    """Return when a condition holds, fail when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def _gone(process: psutil.Process) -> bool:
    """Return whether a process has ended (nobody may have collected it yet)."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@slow
@pytest.mark.skipif(os.name != "posix", reason="signals of Unix")
def test_ctrl_c_leaves_no_process(notebooks: Path) -> None:
    """Everything ends at once, down to what the kernel had started itself."""
    process, family = _start(notebooks)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=15) == 130
    assert all(map(_gone, family))
    folder = Path("out/malaria")
    assert not (folder / "results.json").exists()
    assert (folder / "results.partial.json").exists()
    assert "interrupted in cell 5 of 5" in (folder / "log.txt").read_text().splitlines()[-1]
    assert json.loads((folder / "03_malaria.ipynb").read_text())["cells"]
    assert runner.plan(["malaria"], {}, output="out", mode="resume")[0].action == "replace"


@slow
@pytest.mark.skipif(os.name != "posix", reason="signals of Unix")
def test_nothing_outlives_a_killed_runner(notebooks: Path) -> None:
    """Where the runner itself is killed, its children notice and end themselves."""
    process, family = _start(notebooks)
    process.kill()
    process.wait()
    _wait(lambda: all(map(_gone, family)), 30)
