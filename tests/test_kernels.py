"""Our Jupyter kernels: what is written, listed, refused and removed, and that one really starts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import kernels

ROOT = Path(kernels.__file__).resolve().parent.parent
SMI = """\
#!/bin/sh
case "$1" in
-L) echo "GPU 0: NVIDIA H200 (UUID: GPU-1234)"
    echo "  MIG 1g.18gb     Device  0: (UUID: MIG-5678)"
    echo "GPU 1: Tesla T4 (UUID: GPU-9012)";;
*)  echo "NVIDIA H200, 143771"
    echo "Tesla T4, [N/A]";;
esac
"""


@pytest.fixture(autouse=True)
def jupyter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Jupyter of our own, in which nothing is installed; the place of its kernels."""
    for variable in ("JUPYTER_PATH", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    for paths in ("ENV_JUPYTER_PATH", "SYSTEM_JUPYTER_PATH"):
        monkeypatch.setattr(f"jupyter_core.paths.{paths}", [])
    return tmp_path / "JUPYTER_DATA_DIR" / "kernels"


@pytest.fixture(autouse=True)
def no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a card, whatever this one has."""
    monkeypatch.setattr(kernels, "_DEVICE_FILES", tmp_path / "dev")
    monkeypatch.setattr(kernels, "_DRIVER", tmp_path / "driver")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


@pytest.fixture
def two_gpus(tmp_path: Path) -> None:
    """A machine with two cards, and the driver's program."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(SMI)
    program.chmod(0o755)


def _environment(folder: Path) -> dict[str, str]:
    """Return the environment in a kernel's kernel.json."""
    found = json.loads((folder / "kernel.json").read_text("utf-8"))
    return dict(found["env"])


# --- what the machine has ----------------------------------------------------------------


def test_no_card_is_found_without_driver_and_device_files() -> None:
    assert kernels.gpus() == ()
    assert kernels.gpu_memory("NVIDIA H200") is None


@pytest.mark.usefixtures("two_gpus")
def test_the_drivers_program_names_the_cards() -> None:
    """Parts of a card are no cards, and a memory that it does not tell is unknown."""
    assert kernels.gpus() == ("NVIDIA H200", "Tesla T4")
    assert kernels.gpu_memory("NVIDIA H200") == pytest.approx(140.4, abs=0.05)
    assert kernels.gpu_memory("Tesla T4") is None
    assert kernels.gpu_memory("H200") is None


def test_device_files_count_where_the_program_is_missing_or_fails(tmp_path: Path) -> None:
    """The driver's own description gives names; alone it proves nothing, as in a container."""
    (tmp_path / "driver" / "0000:00:04.0").mkdir(parents=True)
    (tmp_path / "driver" / "0000:00:04.0" / "information").write_text("Model: \t\t Tesla T4\n")
    assert kernels.gpus() == ()
    (tmp_path / "dev").mkdir()
    for name in ("nvidia0", "nvidiactl", "nvidia-uvm"):
        (tmp_path / "dev" / name).touch()
    assert kernels.gpus() == ("Tesla T4",)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nvidia-smi").write_text("#!/bin/sh\necho no driver; exit 9\n")
    (tmp_path / "bin" / "nvidia-smi").chmod(0o755)
    assert kernels.gpus() == ("Tesla T4",)
    (tmp_path / "dev" / "nvidia1").touch()  # one more than is described
    assert kernels.gpus() == ("NVIDIA GPU", "NVIDIA GPU")


@pytest.mark.usefixtures("two_gpus")
def test_auto_means_what_the_machine_has(tmp_path: Path) -> None:
    assert kernels.resolve("auto", "tensorflow") == (["cpu", "gpu"], "tensorflow")
    (tmp_path / "bin" / "nvidia-smi").unlink()
    assert kernels.resolve("auto", "tensorflow") == (["cpu"], "tensorflow")
    assert kernels.resolve("gpu", "tensorflow") == (["gpu"], "tensorflow")


def test_the_backend_is_the_one_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "is_installed", lambda module: True)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert kernels.resolve("cpu", None) == (["cpu"], "jax")
    assert kernels.resolve("cpu", "torch") == (["cpu"], "torch")
    monkeypatch.delenv("KERAS_BACKEND")
    assert kernels.resolve("cpu", None) == (["cpu"], "tensorflow")


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        (
            "tensroflow",
            "KERAS_BACKEND: There is no backend 'tensroflow'; did you mean 'tensorflow'",
        ),
        ("torch", r"KERAS_BACKEND: .*torch is not installed in .*Install it:  .* install torch$"),
    ],
)
def test_a_notebook_says_it_before_keras_does(backend: str, message: str) -> None:
    if kernels.is_installed(backend):
        pytest.skip(f"{backend} is installed here")
    in_a_kernel = "import sys; sys.modules['ipykernel'] = sys; import helpers"
    run = subprocess.run(
        [sys.executable, "-c", in_a_kernel], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "KERAS_BACKEND": backend}, check=False,
    )  # fmt: skip
    assert re.search(message, run.stderr.strip().splitlines()[-1])


@pytest.mark.parametrize(
    ("device", "backend", "message"),
    [
        ("gup", None, r"no device 'gup'; did you mean 'gpu'\? \(cpu, gpu, auto\)\.$"),
        ("cpu", "tensroflow", "no backend 'tensroflow'; did you mean 'tensorflow'"),
        ("cpu", "Torch", "did you mean 'torch'"),
        ("cpu", "xyz", "choose one of these"),
        ("cpu", "jax", r"jax is not installed in .*\. Install it:  .* -m (uv )?pip install jax$"),
        ("gpu", "jax", r'install "jax\[cuda12\]"$'),
    ],
)
def test_an_unknown_or_missing_choice_is_one_line(
    monkeypatch: pytest.MonkeyPatch, device: str, backend: str | None, message: str
) -> None:
    monkeypatch.setattr(kernels, "is_installed", lambda module: module != "jax")
    with pytest.raises(kernels.KernelError, match=message) as caught:
        kernels.resolve(device, backend)
    assert "\n" not in str(caught.value)


def test_a_folder_here_is_no_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``python -m`` looks into the current folder first, and any folder is a package to it."""
    (tmp_path / "engine_that_is_none").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not kernels.is_installed("engine_that_is_none")
    assert kernels.is_installed("json")


def test_the_commands_are_the_readmes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU build makes way for the GPU build, of the version that the project asks for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv" / "bin" / "python"))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(kernels.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(kernels, "is_installed", lambda module: True)
    monkeypatch.setattr(kernels, "_distribution", lambda name: "2.21.0")
    readme = (ROOT / "README.md").read_text("utf-8")
    commands = kernels.install_command("tensorflow", "gpu").split(" && ")
    assert len(commands) == 2
    assert all(f"`{command}`" in readme for command in commands)

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    version = kernels.TENSORFLOW.removesuffix(".*")
    following = f"2.{int(version.partition('.')[2]) + 1}"
    wanted = f"tensorflow-cpu>={version},<{following}; "
    assert any(line.startswith(wanted) for line in project["dependencies"])

    monkeypatch.setattr(
        kernels, "is_installed", lambda module: False
    )  # conda has no uv in its Python
    assert kernels.install_command("tensorflow", "cpu") == (
        '.venv/bin/python -m pip install "tensorflow-cpu==2.21.*"'
    )
    assert "-m pip uninstall -y tensorflow-cpu && " in kernels.install_command("tensorflow", "gpu")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert kernels.install_command("torch", "cpu").endswith("pip install torch")
    assert '"tensorflow==2.21.*"' in kernels.install_command("tensorflow", "cpu")


@pytest.mark.parametrize(
    ("backend", "packages", "cpu"),
    [
        ("tensorflow", {"tensorflow-cpu": "2.21.0"}, True),
        ("tensorflow", {"tensorflow": "2.21.0"}, False),
        ("jax", {"jax": "0.9"}, True),
        ("jax", {"jax": "0.9", "jax-cuda12-plugin": "0.9"}, False),
        ("torch", {"torch": "2.9.0+cpu"}, True),
        ("torch", {"torch": "2.9.0"}, False),
    ],
)
def test_a_cpu_build_is_told_by_its_package(
    monkeypatch: pytest.MonkeyPatch, backend: str, packages: dict[str, str], cpu: bool
) -> None:
    monkeypatch.setattr(kernels, "_distribution", lambda name: packages.get(name, ""))
    assert kernels.is_cpu_build(backend) is cpu
    gives_way = cpu and backend != "jax"  # JAX gets a plugin besides
    assert ("uninstall" in kernels.install_command(backend, "gpu")) is gives_way


# --- writing, listing, removing ----------------------------------------------------------


def test_a_kernel_is_written_for_the_user(jupyter: Path) -> None:
    """Name, interpreter, environment and pictures, and nothing that was only temporary."""
    folder = kernels.install("cpu", "tensorflow", kernels.kernels_folder())
    assert folder == jupyter / "tutorials-cpu"
    assert sorted(path.name for path in folder.iterdir()) == [
        "kernel.json",
        "logo-32x32.png",
        "logo-64x64.png",
        "logo-svg.svg",
    ]
    found = json.loads((folder / "kernel.json").read_text("utf-8"))
    assert found["display_name"] == "Medical image tutorials (CPU)"
    assert found["language"] == "python"
    assert found["argv"] == [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    assert found["env"] == {
        "KERAS_BACKEND": "tensorflow",
        "TUTORIALS_DEVICE": "cpu",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "CUDA_VISIBLE_DEVICES": "",
        "JAX_PLATFORMS": "cpu",
        "KERAS_TORCH_DEVICE": "cpu",
    }


def test_the_gpu_kernel_hides_no_card(tmp_path: Path) -> None:
    place = kernels.kernels_folder(tmp_path / "env")
    folder = kernels.install("gpu", "jax", place)
    assert folder == tmp_path / "env" / "share" / "jupyter" / "kernels" / "tutorials-gpu"
    found = _environment(folder)
    assert (found["KERAS_BACKEND"], found["TUTORIALS_DEVICE"]) == ("jax", "gpu")
    assert not {"CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS", "KERAS_TORCH_DEVICE"} & set(found)


def test_a_relative_prefix_means_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert kernels.kernels_folder("env") == tmp_path / "env" / "share" / "jupyter" / "kernels"


def test_installing_again_replaces(jupyter: Path) -> None:
    kernels.install("gpu", "jax", jupyter)
    folder = kernels.install("gpu", "torch", jupyter)
    assert _environment(folder)["KERAS_BACKEND"] == "torch"
    assert [path.name for path in jupyter.iterdir()] == ["tutorials-gpu"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_is_interrupted_leaves_the_earlier_kernel_or_nothing(
    jupyter: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """Jupyter never sees half a kernel."""
    folder = kernels.install("cpu", "tensorflow", jupyter)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fail(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(kernels.json, "dumps", fail)
    kind = kernels.KernelError if isinstance(error, OSError) else type(error)
    for device in ("cpu", "gpu"):
        with pytest.raises(kind):
            kernels.install(device, "jax", jupyter)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in jupyter.iterdir()] == ["tutorials-cpu"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(kernels.KernelError, match=r"tutorials-cpu cannot be written .*--prefix"):
        kernels.install("cpu", "tensorflow", tmp_path / "file")


def test_installed_kernels_are_listed_with_backend_device_and_interpreter(jupyter: Path) -> None:
    """Ours first; Jupyter's own is always there."""
    for device in ("gpu", "cpu"):
        kernels.install(device, "torch", jupyter)
    (jupyter / "a folder that is no kernel").mkdir()
    found = kernels.installed()
    assert [kernel.name for kernel in found] == ["tutorials-cpu", "tutorials-gpu", "python3"]
    assert found[1] == kernels.Kernel(
        name="tutorials-gpu",
        folder=jupyter / "tutorials-gpu",
        display_name="Medical image tutorials (GPU)",
        interpreter=sys.executable,
        backend="torch",
        device="gpu",
    )
    assert (found[2].backend, found[2].device, found[2].problem) == ("", "", "")


@pytest.mark.parametrize(
    "text", ["{", "[1]", "{}", '{"argv": []}', '{"argv": 3}', "\N{LATIN SMALL LETTER E WITH ACUTE}"]
)
def test_a_broken_kernel_is_listed_with_what_is_wrong(jupyter: Path, text: str) -> None:
    """It hides no other, is refused before a run, and can be removed or installed again."""
    kernels.install("cpu", "tensorflow", jupyter)
    folder = kernels.install("gpu", "tensorflow", jupyter)
    (folder / "kernel.json").write_text(text, encoding="latin-1")
    found = {kernel.name: kernel.problem for kernel in kernels.installed()}
    assert found["tutorials-cpu"] == ""
    assert f"{folder / 'kernel.json'} cannot be read" in found["tutorials-gpu"]
    with pytest.raises(kernels.KernelError, match=r"kernels install --device gpu$") as caught:
        kernels.require("tutorials-gpu")
    assert "\n" not in str(caught.value)
    kernels.require("tutorials-cpu")
    kernels.install("gpu", "tensorflow", jupyter)
    kernels.require("tutorials-gpu")
    (folder / "kernel.json").write_text(text, encoding="latin-1")
    assert kernels.remove("tutorials-gpu") == folder
    assert not folder.exists()


def test_an_interpreter_that_is_gone_is_told(jupyter: Path, tmp_path: Path) -> None:
    """The environment was made anew elsewhere; a bare name is Jupyter's business."""
    folder = kernels.install("cpu", "tensorflow", jupyter)
    contents = json.loads((folder / "kernel.json").read_text("utf-8"))
    contents["argv"][0] = str(tmp_path / "old" / "python")
    (folder / "kernel.json").write_text(json.dumps(contents))
    message = r"cannot start: its interpreter .*old/python is gone\. Install it again:  .* kernels "
    with pytest.raises(kernels.KernelError, match=message):
        kernels.require("tutorials-cpu")
    contents["argv"][0] = "python"
    (folder / "kernel.json").write_text(json.dumps(contents))
    kernels.require("tutorials-cpu")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "tutorials-cup",
            r"no Jupyter kernel 'tutorials-cup'; did you mean 'tutorials-cpu'\? \(tut",
        ),
        ("tutorials-gpu", r"not installed here\. Install it:  .* kernels install --device gpu$"),
        ("pyhton3", "did you mean 'python3'"),
        ("fortran", r"choose one of these \(tutorials-cpu, python3\)\."),
        ("", "choose one of these"),
    ],
)
def test_a_kernel_that_is_not_there_is_refused(jupyter: Path, name: str, message: str) -> None:
    kernels.install("cpu", "tensorflow", jupyter)
    with pytest.raises(kernels.KernelError, match=message) as caught:
        kernels.require(name)
    assert "\n" not in str(caught.value)


def test_jupyters_own_kernel_is_taken_for_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner's default costs no look."""
    look: Callable[[], list[kernels.Kernel]] = lambda: pytest.fail("looked")  # noqa: E731
    monkeypatch.setattr(kernels, "installed", look)
    kernels.require("python3")


def test_only_our_own_kernels_are_removed(jupyter: Path, tmp_path: Path) -> None:
    """Where Jupyter finds them, or where one says; a link goes, not what it points to."""
    elsewhere = kernels.kernels_folder(tmp_path / "env")
    kernels.install("cpu", "tensorflow", jupyter)
    kernels.install("cpu", "tensorflow", elsewhere)
    assert kernels.remove("tutorials-cpu", elsewhere) == elsewhere / "tutorials-cpu"
    assert kernels.remove("tutorials-cpu") == jupyter / "tutorials-cpu"
    assert not list(jupyter.iterdir())
    for place in (None, elsewhere):
        with pytest.raises(kernels.KernelError, match="There is no kernel 'tutorials-cpu' "):
            kernels.remove("tutorials-cpu", place)
    with pytest.raises(kernels.KernelError, match=r"none of ours.*kernelspec remove python3$"):
        kernels.remove("python3")
    with pytest.raises(kernels.KernelError, match="did you mean 'tutorials-gpu'"):
        kernels.remove("tutorials-gup")
    target = kernels.install("gpu", "tensorflow", elsewhere)
    (jupyter / "tutorials-gpu").symlink_to(target)
    kernels.remove("tutorials-gpu")
    assert not list(jupyter.iterdir())
    assert (target / "kernel.json").is_file()


def test_a_kernel_that_jupyter_does_not_take_is_told(
    jupyter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = kernels.install("cpu", "tensorflow", kernels.kernels_folder(tmp_path / "env"))
    path = tmp_path / "env" / "share" / "jupyter"
    assert kernels.hidden_by(elsewhere).endswith(f"; set JUPYTER_PATH={path} where it runs.")
    users = kernels.install("cpu", "tensorflow", jupyter)
    assert kernels.hidden_by(users) == ""
    monkeypatch.setenv("JUPYTER_PATH", str(path))
    assert kernels.hidden_by(elsewhere) == ""
    assert f"of the same name in {elsewhere} instead" in kernels.hidden_by(users)


# --- a real kernel -----------------------------------------------------------------------

LOOK = """\
import json, os, sys
print(json.dumps({"python": sys.executable, "environment": dict(os.environ)}))
"""
SET_UP = """\
from helpers import backend
try:
    print(backend.describe())
except RuntimeError as error:
    print(error)
"""


@pytest.mark.slow
def test_the_gpu_kernel_starts_and_says_that_there_is_no_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through Jupyter itself: its interpreter, its environment, and the set-up cell's sentence."""
    from jupyter_client.manager import start_new_kernel

    place = kernels.kernels_folder(tmp_path / "env")
    folder = kernels.install("gpu", "tensorflow", place)
    monkeypatch.setenv("JUPYTER_PATH", str(place.parent))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("KERAS_BACKEND", "jax")  # the kernel's own choice counts
    manager, client = start_new_kernel(startup_timeout=300, kernel_name="tutorials-gpu")
    try:
        printed: list[str] = []

        def listen(message: dict[str, dict[str, str]]) -> None:
            if message["content"].get("name") == "stdout":
                printed.append(message["content"]["text"])

        for code in (LOOK, SET_UP):
            answer = client.execute_interactive(code, timeout=600, output_hook=listen)
            assert answer["content"]["status"] == "ok"
            printed.append("\f")
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    found, said, _ = "".join(printed).split("\f")
    assert json.loads(found)["python"] == sys.executable
    environment = json.loads(found)["environment"]
    for name, value in _environment(folder).items():
        assert environment[name] == value
    if "computing on the GPU" in said:
        pytest.skip("this machine has a GPU that TensorFlow can use")
    assert re.fullmatch(
        r"This kernel is for a GPU, and tensorflow finds none"
        r"( \(this machine shows no NVIDIA card\))?"
        r": choose the kernel tutorials-cpu, or, on a machine with a card, install the GPU build "
        r'with  .* -m (uv )?pip install "tensorflow\[and-cuda\]==2\.21\.\*"\n',
        said,
    ), said
