"""The command line: what it prints, its exit codes, and how little it imports."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_notebooks import PARAMETERS, SAVE, record, write_notebook

import helpers
from helpers import __main__, downloads, registry, runner
from helpers.command import command
from helpers.paths import atomic_folder

ROOT = Path(helpers.__file__).resolve().parent.parent
HEAVY = ("tensorflow", "keras", "pandas", "numpy", "sklearn", "matplotlib", "papermill", "nbformat",
         "PIL", "pooch", "requests")  # fmt: skip


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where the person stands; the notebooks are elsewhere."""
    folder = tmp_path / "notebooks"
    write_notebook(folder / "01_breast_cancer.ipynb", SAVE)
    write_notebook(folder / "03_malaria.ipynb", "raise MemoryError('too big')")
    monkeypatch.setenv(runner.NOTEBOOKS_VARIABLE, str(folder))
    stand = tmp_path / "stand"
    stand.mkdir()
    monkeypatch.chdir(stand)
    return stand


def _call(*words: str) -> int:
    """Return the exit code of a call in this process."""
    try:
        return __main__.main(words)
    except SystemExit as stop:
        assert isinstance(stop.code, int)
        return stop.code


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("run malria", "did you mean 'malaria'?"),
        ("run malaria -p epoch 3", "did you mean 'epochs'?"),
        ("run malaria -p epochs three", "epochs takes a whole number or none"),
        ("run malaria --seed x", "seed takes a whole number"),
        ("run malaria --seed -1 --dry-run", "seed takes a whole number from 0 to 4294967295"),
        ("run malaria --kernel pyhton3", "did you mean 'python3'?"),
        ("run malaria --kernel fortran --dry-run", "There is no Jupyter kernel 'fortran'"),
        ("run malaria --profile fast", "(sample, best, source)"),
        ("run malaria --fold 9", "fold takes 0 to 4"),
        ("run malaria --data-dir nowhere", "there is no"),
        ("run malaria --seed 1 -p seed 2", "seed was given twice"),
        ("run malaria --jobs 0", "1 or more"),
        ("run malaria --devices many", "a whole number, 1 or more, or auto, not 'many'"),
        ("run malaria --timeout soon", "takes a whole number"),
        ("run malaria --resume --overwrite", "not allowed with"),
        ("run malaria --prof best", "unrecognized arguments"),
        ("rum", "invalid choice: 'rum'"),
        ("", "required"),
        ("report nowhere", "There is no folder nowhere"),
        ("report .", "There is no results.json"),
        ("data sample malria", "Did you mean 'malaria'?"),
        ("data download malria", "Did you mean 'malaria'?"),
        ("data download", "required: NAME"),
        ("kernels instal", "invalid choice: 'instal'"),
        ("kernels install --device gup", "did you mean 'gpu'?"),
        ("kernels install --backend tensroflow", "did you mean 'tensorflow'?"),
        ("kernels install --user --sys-prefix", "not allowed with"),
        ("kernels remove", "required: NAME"),
        ("kernels remove tutorials-gup", "did you mean 'tutorials-gpu'?"),
        ("kernels remove tutorials-gpu --prefix nowhere", "There is no kernel 'tutorials-gpu' in"),
    ],
)
def test_a_wrong_call_is_one_line_and_two(
    stand: Path, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    """Exit code 2, one line on stderr, nothing on stdout, nothing written."""
    assert _call(*words.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert not list(stand.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        "run --help",
        "data list",
        "run malaria -p epoch 3",
        "run all --dry-run",
        "run malaria --kernel fortran --dry-run",
        "kernels",
        "kernels install --help",
        "kernels install --prefix env",
        "kernels remove fortran",
    ],
)
def test_nothing_heavy_is_imported_to_answer(stand: Path, words: str) -> None:
    """An answer within a second: that is so because of what is not imported."""
    code = (
        "import sys\n"
        "from helpers import __main__\n"
        "try:\n"
        f"    __main__.main({words.split()!r})\n"
        "except SystemExit:\n"
        "    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "[]"


def test_help_tells_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """They are documented where one looks for them."""
    for words in (["--help"], ["run", "--help"]):
        assert _call(*words) == 0
        text = capsys.readouterr().out
        assert "exit codes:" in text
        assert "130  interrupted" in text


def test_version_is_the_projects(capsys: pytest.CaptureFixture[str]) -> None:
    """One version, in the package as in pyproject.toml."""
    assert f'\nversion = "{helpers.__version__}"\n' in (ROOT / "pyproject.toml").read_text()
    assert _call("--version") == 0
    assert helpers.__version__ in capsys.readouterr().out


def test_a_dry_run_starts_nothing(stand: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints what would run, options before or after the name, and writes nothing."""
    assert _call("run", "--profile", "best", "malaria", "-p", "rate", "0.5", "--dry-run") == 0
    out = capsys.readouterr().out
    assert f"malaria: 03_malaria.ipynb would run into {stand}/runs/best/malaria\n" in out
    assert "    profile = 'best'\n" in out
    assert "    rate = 0.5\n" in out
    assert "    epochs = None  (the notebook's own)\n" in out
    assert _call("run", "--dry-run") == 0
    assert "breast_cancer: 01_breast_cancer.ipynb would" in capsys.readouterr().out
    assert not list(stand.iterdir())


def test_a_dry_run_refuses_an_unknown_backbone(
    stand: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tiny notebooks have no backbone; the real ones do."""
    write_notebook(stand.parent / "notebooks" / "04_oct.ipynb", SAVE,
                   parameters=f"{PARAMETERS}backbone: str | None = None\n")  # fmt: skip
    assert _call("run", "oct", "-p", "backbone", "resnet50v3", "--dry-run") == 2
    assert "no backbone 'resnet50v3'; did you mean 'resnet50v2'?" in capsys.readouterr().err
    for known in ("efficientnet_lite0", "vgg16", "none"):
        assert _call("run", "oct", "-p", "backbone", known, "--dry-run") == 0


def test_kernels_are_installed_listed_and_removed(
    stand: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Into a folder where Jupyter looks first; what is odd is a warning, and the code stays 0."""
    monkeypatch.setattr(__main__.kernels, "gpus", lambda: ())
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    monkeypatch.setenv("JUPYTER_PATH", str(stand / "env" / "share" / "jupyter"))
    folder = stand / "env" / "share" / "jupyter" / "kernels"
    assert _call("kernels", "install", "--prefix", "env") == 0
    out, err = capsys.readouterr()
    assert f"tutorials-cpu  Medical image tutorials (CPU), tensorflow: {folder}" in out
    assert "helpers run all --kernel tutorials-cpu\n" in out
    assert err == ""
    assert _call("kernels", "install", "--device", "gpu", "--prefix", "env") == 0
    assert "warning: this machine shows no NVIDIA card" in capsys.readouterr().err
    assert _call("kernels") == 0
    out = capsys.readouterr().out
    assert "tutorials-cpu  Medical image tutorials (CPU)\n    device:  CPU\n" in out
    assert f"    backend: tensorflow\n    python:  {sys.executable}\n    folder:  " in out
    assert re.search(r"^Other Jupyter kernels: .*python3", out, re.MULTILINE)
    assert out.endswith("GPUs here: none\n")
    assert _call("run", "malaria", "--kernel", "tutorials-gpu", "--dry-run") == 0
    assert "    kernel tutorials-gpu; limit" in capsys.readouterr().out
    (folder / "tutorials-gpu" / "kernel.json").write_text("{")
    assert _call("run", "malaria", "--kernel", "tutorials-gpu", "--dry-run") == 2
    assert "'tutorials-gpu' cannot start: " in capsys.readouterr().err
    assert _call("kernels", "list") == 0
    assert "    BROKEN:  " in capsys.readouterr().out
    assert _call("kernels", "remove", "tutorials-gpu") == 0
    assert _call("kernels", "remove", "tutorials-cpu", "--prefix", "env") == 0
    assert f"Removed: {folder / 'tutorials-cpu'}\n" in capsys.readouterr().out
    assert not list(folder.iterdir())


@pytest.mark.slow
def test_a_call_from_end_to_end(stand: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One notebook works, one fails: table, report, code 1; then resume and refusal."""
    assert _call("run", "all", "--jobs", "2", "--output", "out") == 1
    out, err = capsys.readouterr()
    assert "AUC 0.900 (0.800\N{EN DASH}1.000)" in out
    assert "malaria: cell 4 (In [3]): MemoryError: too big. The machine's memory is full:" in out
    assert out.splitlines()[-1] == f"Report: {stand}/out/report.html"
    assert sorted(path.name for path in (stand / "out").iterdir()) == [
        "breast_cancer",
        "malaria",
        "report.html",
        "results.csv",
        "results.md",
    ]
    assert "breast_cancer: finished in" in err

    assert _call("run", "breast_cancer", "--output", "out") == 2
    assert "Say --resume" in capsys.readouterr().err
    assert _call("run", "breast_cancer", "--output", "out", "--resume") == 0
    assert "AUC 0.900" in capsys.readouterr().out


def test_report_is_rebuilt(stand: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Code 0 where all can be read, 1 where a results.json cannot."""
    folder = stand / "out" / "malaria"
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(record()))
    assert _call("report", "out") == 0
    assert f"Report: {stand}/out/report.html" in capsys.readouterr().out
    (stand / "out" / "oct").mkdir()
    (stand / "out" / "oct" / "results.json").write_text("{")
    assert _call("report", "out") == 1
    out = capsys.readouterr().out
    assert "oct" in out
    assert "is no valid JSON" in out


@pytest.mark.parametrize("words", ["data list", "run all --dry-run"])
def test_a_reader_that_hangs_up_is_no_error(words: str) -> None:
    """`… | head` closes the pipe before all is written."""
    call = [sys.executable, "-m", "helpers", *words.split()]
    with subprocess.Popen(call, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        run.stdout.close()
        assert run.stderr.read() == b""
    assert run.returncode == 141


def test_data_list_names_every_dataset(
    stand: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Name, task, images, patients, size, licence; and that nothing is here."""
    monkeypatch.setenv("TUTORIALS_DATA", "home")
    assert _call("data", "list") == 0
    out = capsys.readouterr().out
    assert not list(stand.iterdir())
    blocks = {block.split("  (")[0]: block for block in re.split(r"\n(?=\S)", out)}
    for name in (*registry.names(), "oct_v3", "octmnist", "pneumoniamnist"):
        for fact in (" images, ", "\n    task:    ", "\n    licence: ", "here: "):
            assert fact in blocks[name], (name, fact)
    assert "27,558 images, 200 patients" in out
    assert "    size:    353 MB\n    here:    no\n" in out
    assert "    64 px:   pneumoniamnist_64, at most 24 MB; here: no\n" in out
    assert f"Fetch one with  {command('data download NAME')}\n" in out
    assert max(map(len, out.splitlines())) <= 100


def test_data_list_says_what_is_here(
    stand: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Complete, half of it, or nothing."""
    states = {
        "malaria": downloads.Status(stand / "malaria", True, 0),
        "pneumonia": downloads.Status(stand / "pneumonia", False, 120_000_000),
        "brain_mri": downloads.Status(stand / "brain_mri", False, 0, "63 of 3,929 images"),
    }
    nothing = downloads.Status(stand, False, 0)
    monkeypatch.setattr(downloads, "status", lambda name: states.get(name, nothing))
    assert _call("data", "list") == 0
    out = capsys.readouterr().out
    assert out.count("here:    no\n") == len(registry.names()) - 3 + 1  # and oct_v3
    assert "here:    no, 120 MB of it fetched\n" in out
    assert f"yes, complete in {stand / 'malaria'}" in " ".join(out.split())
    assert "here:    NOT COMPLETE: 63 of 3,929 images, in" in out


def test_what_is_not_complete_can_be_verified(
    stand: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its name: the check says what is missing."""
    state = downloads.Status(stand / "malaria", False, 0, "63 of 27,558 images")
    state.folder.mkdir()
    monkeypatch.setattr(downloads, "status", lambda _: state)
    assert _call("data", "verify", "malaria") == 1
    assert str(state.folder) in capsys.readouterr().err


def test_data_download_says_where_it_lies(
    stand: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And how to run the notebook on it."""

    def fetch(name: str, *, keep_archive: bool) -> Path:
        return stand / f"{name}-{keep_archive}"

    monkeypatch.setattr(downloads, "download", fetch)
    assert _call("data", "download", "oct_v3") == 0
    out = capsys.readouterr().out
    assert f"oct_v3 lies in {stand}/oct_v3-False\n" in out
    assert "helpers run oct --profile best --data-dir oct_v3" in out
    assert _call("data", "download", "oct", "--keep-archive") == 0
    assert "oct-True" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (downloads.DownloadError("gone\n  1. Open"), 1, "helpers: gone\n  1. Open\n"),
        (KeyboardInterrupt(), 130, "the same call goes on from there.\n"),
    ],
)
def test_a_download_that_does_not_end_well(
    stand: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    message: str,
) -> None:
    """Code 1 with the recipe, 130 after Ctrl-C; on stderr."""

    def fetch(name: str, *, keep_archive: bool) -> Path:
        raise error

    monkeypatch.setattr(downloads, "download", fetch)
    assert _call("data", "download", "malaria") == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith(message)


def test_a_sample_that_cannot_be_written_is_one_sentence(
    stand: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not a traceback, and no word of the folder that the notebooks use."""
    (stand / "file").touch()
    assert _call("data", "sample", "malaria", "--output", "file/sample/deep") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"helpers: The synthetic sample in {stand}/file/sample/deep cannot be written (Not a "
        "directory). Allow writing there, or name another folder. Nothing half-written was left. "
        "(--output FOLDER)\n"
    )


def test_data_sample_draws_into_a_folder(
    stand: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whole or not at all; a folder with something in it is refused."""
    from helpers import samples

    def draw(name: str, folder: Path, seed: int) -> None:
        with atomic_folder(folder) as temporary:
            (temporary / "cell.txt").write_text(f"{name} {seed}")

    monkeypatch.setattr(samples, "draw", draw)
    assert _call("data", "sample", "malaria", "--seed", "3") == 0
    made = stand / "malaria-sample-seed3"
    assert (made / "cell.txt").read_text() == "malaria 3"
    assert str(made) in capsys.readouterr().out
    assert _call("data", "sample", "malaria", "--seed", "3") == 2
    assert "exists and is not empty" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "dataset"), [("octmnist", "oct"), ("oct_v3", "oct")])
def test_data_sample_of_another_release_names_the_dataset(
    capsys: pytest.CaptureFixture[str], name: str, dataset: str
) -> None:
    assert _call("data", "sample", name) == 2
    err = capsys.readouterr().err
    assert f"data sample {name}: samples are drawn of the 5 datasets only" in err
    assert err.endswith(f"python -m helpers data sample {dataset}\n")
