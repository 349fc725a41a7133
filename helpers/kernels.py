"""The series' own Jupyter kernels, one for the processor and one for the GPU.

A kernel is a folder with a file ``kernel.json``: a name for JupyterLab's launcher, the
interpreter that it starts, and the environment that this one gets. Ours settle there which
backend computes and on what, so that JupyterLab, papermill and our own runner agree.
Nothing here imports a backend: looking for a GPU must not take ten seconds, nor seize it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers import ENGINES
from helpers.command import command, python
from helpers.nearest import nearest
from helpers.paths import APPLICATION, atomic_file

# Tells the set-up cell which device the kernel was made for, "cpu" or "gpu".
DEVICE_VARIABLE = "TUTORIALS_DEVICE"
# Tells how many devices train together: a number, or "auto" for all that there are.
COUNT_VARIABLE = "TUTORIALS_DEVICES"
DEVICES = {"cpu": "Medical image tutorials (CPU)", "gpu": "Medical image tutorials (GPU)"}
NAMES = {f"tutorials-{device}": device for device in DEVICES}
# The TensorFlow that pyproject.toml asks for; a test keeps them in step.
TENSORFLOW = "2.21.*"

_FILE = "kernel.json"
_MARK = APPLICATION  # our entry in a kernel's metadata
_NATIVE = "python3"  # Jupyter's own; ipykernel brings it, so it is always there
_DEVICE_FILES = Path("/dev")
_DRIVER = Path("/proc/driver/nvidia/gpus")


class KernelError(ValueError):
    """A call about kernels that cannot be carried out; its text is one line for its maker."""


@dataclass(frozen=True)
class Kernel:
    """A kernel that Jupyter finds, as its ``kernel.json`` describes it."""

    name: str  # "tutorials-gpu"
    folder: Path
    display_name: str = ""
    interpreter: str = ""  # as it stands there; "python" means that of the Jupyter that starts it
    backend: str = ""  # "tensorflow", "jax" or "torch"; "" where the kernel leaves it open
    device: str = ""  # "cpu" or "gpu"; "" for kernels that are not ours
    problem: str = ""  # why it cannot start, and what to do; "" where nothing speaks against it


def device_count(text: str) -> int | None:
    """Return how many devices are asked for, ``None`` for all that there are (``"auto"``).

    Raises:
        ValueError: the text is neither a whole number of 1 or more nor ``"auto"``.
    """
    word = text.strip().lower()
    if word == "auto":
        return None
    if word.isdecimal() and int(word) > 0:
        return int(word)
    raise ValueError(
        f"The number of devices (--devices, {COUNT_VARIABLE}) is a whole number, 1 or more, or "
        f"auto, not {text!r}."
    )


def gpus() -> tuple[str, ...]:
    """Return the names of the NVIDIA cards that this machine shows, without a backend.

    ``nvidia-smi -L`` is asked first: it comes with the driver and names what a program can
    use, in a container too. Where it is missing or fails, the device files ``/dev/nvidia0``,
    … count: a process needs them, while ``/proc/driver/nvidia`` also shows in a container that
    was given no card. Their names are read there, if they can be.
    """
    listed = _nvidia_smi("-L")
    if listed:  # "GPU 0: NVIDIA H200 (UUID: GPU-…)", and indented lines for parts of a card
        cards = [line for line in listed if line.startswith("GPU ")]
        return tuple(line.partition(": ")[2].partition(" (UUID")[0] for line in cards)
    files = [path for path in _DEVICE_FILES.glob("nvidia[0-9]*") if path.name[6:].isdigit()]
    described = sorted(_DRIVER.glob("*/information"))
    names = [_model(path) for path in described] if len(described) == len(files) else []
    return tuple(names or ["NVIDIA GPU"] * len(files))


def gpu_memory(name: str) -> float | None:
    """Return the whole memory of a card in GiB, ``None`` where the driver does not tell.

    Args:
        name: as a backend or :func:`gpus` calls the card. Cards are told apart by name only,
            for a backend may number them in another order than the driver.
    """
    for line in _nvidia_smi("--query-gpu=name,memory.total", "--format=csv,noheader,nounits"):
        card, _, mebibytes = line.rpartition(", ")
        if card == name and mebibytes.isdecimal():
            return int(mebibytes) / 1024
    return None


def install_command(backend: str, device: str) -> str:
    """Return the shell command that installs a backend here, for ``"cpu"`` or ``"gpu"``."""
    linux = sys.platform == "linux"
    slim = linux and platform.machine() == "x86_64"  # the only ones with a CPU build of its own
    wanted = {
        ("tensorflow", "cpu"): f'"tensorflow{"-cpu" if slim else ""}=={TENSORFLOW}"',
        ("tensorflow", "gpu"): f'"tensorflow[and-cuda]=={TENSORFLOW}"',
        ("jax", "cpu"): "jax",
        ("jax", "gpu"): '"jax[cuda12]"',
        # on Linux this brings 4 GB of CUDA along
        ("torch", "cpu"): "torch",
        ("torch", "gpu"): "torch",
    }
    installer = pip()
    uninstall = f"{installer} uninstall {'' if installer.endswith('uv pip') else '-y '}"
    first = ""
    if device == "gpu" and _distribution("tensorflow-cpu") and backend == "tensorflow":
        first = f"{uninstall}tensorflow-cpu && "
    elif device == "gpu" and backend == "torch" and is_cpu_build(backend):
        first = f"{uninstall}torch && "
    return f"{first}{installer} install {wanted[backend, device]}"


def pip() -> str:
    """Return how to call what installs packages here, in a shell."""
    # uv is in the environment that `make` sets up, not in one of conda's
    return f"{python()} -m {'uv pip' if is_installed('uv') else 'pip'}"


def is_installed(module: str) -> bool:
    """Return whether a module is installed; a mere folder of that name here does not count."""
    found = importlib.util.find_spec(module)
    return found is not None and found.origin is not None


def is_cpu_build(backend: str) -> bool:
    """Return whether the backend that is installed here cannot use a GPU, as far as one can tell.

    Told by the names and versions of the packages: importing them would take seconds.
    """
    if backend == "tensorflow":
        return bool(_distribution("tensorflow-cpu"))
    if backend == "torch":
        return _distribution("torch").endswith("+cpu")
    plugins = (f"jax-cuda{version}-plugin" for version in (12, 13))
    return not any(map(_distribution, plugins))


def missing_gpu(backend: str) -> str:
    """Return what to say where a kernel for the GPU finds none, and what to do about it."""
    here = "" if gpus() else " (this machine shows no NVIDIA card)"
    return (
        f"This kernel is for a GPU, and {backend} finds none{here}: choose the kernel "
        "tutorials-cpu, or, on a machine with a card, install the GPU build with  "
        f"{install_command(backend, 'gpu')}"
    )


def resolve(device: str, backend: str | None) -> tuple[list[str], str]:
    """Return the devices that get a kernel, and the backend in it, both checked.

    Args:
        device: ``"cpu"``, ``"gpu"``, or ``"auto"`` for both where there is a GPU.
        backend: ``None`` takes what is set (``$KERAS_BACKEND``), else TensorFlow.

    Raises:
        KernelError: unknown, with the nearest name; or the backend is not installed, with
            the command that installs it.
    """
    if device not in (*DEVICES, "auto"):
        raise KernelError(_unknown("device", device, (*DEVICES, "auto")))
    # importing helpers has set it where nobody had
    backend = backend or os.environ.get("KERAS_BACKEND", ENGINES[0])
    if backend not in ENGINES:
        raise KernelError(_unknown("backend", backend, ENGINES))
    devices = [device] if device != "auto" else ["cpu", "gpu"] if gpus() else ["cpu"]
    if not is_installed(backend):
        command = install_command(backend, devices[-1])
        raise KernelError(
            f"The backend {backend} is not installed in {sys.prefix}. Install it:  {command}"
        )
    return devices, backend


def kernel_json(device: str, backend: str) -> dict[str, Any]:
    """Return the contents of ``kernel.json`` for a device and a backend."""
    from ipykernel.kernelspec import get_kernel_dict

    environment = {
        "KERAS_BACKEND": backend,
        DEVICE_VARIABLE: device,
        # Both would otherwise take the whole card at once, and a second notebook find none.
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        # Errors only: that there is no card, or no driver for it, is one.
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    if device == "cpu":  # also where there is a GPU, so that the kernel does what it says
        environment |= {
            "CUDA_VISIBLE_DEVICES": "",
            "JAX_PLATFORMS": "cpu",
            "KERAS_TORCH_DEVICE": "cpu",  # else a Mac's GPU, which CUDA knows nothing of
        }
    found: dict[str, Any] = get_kernel_dict()  # type: ignore[no-untyped-call, unused-ignore]
    metadata = found.get("metadata", {}) | {_MARK: {"device": device, "backend": backend}}
    return found | {
        "display_name": DEVICES[device],
        "env": environment,
        "metadata": metadata,
    }


def kernels_folder(prefix: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of kernels of an environment, ``None``: of the user, for all of theirs."""
    if prefix is None:
        return Path(_manager().user_kernel_dir)
    return Path(prefix).expanduser().absolute() / "share" / "jupyter" / "kernels"


def install(device: str, backend: str, place: Path) -> Path:
    """Return the folder of a kernel that was written, instead of an earlier one of its name.

    Jupyter takes a folder for a kernel by its ``kernel.json``. This is written last and
    renamed, so that whoever looks meanwhile finds the earlier kernel or the new one.

    Args:
        device: ``"cpu"`` or ``"gpu"``.
        backend: checked by :func:`resolve`.
        place: the folder of kernels, from :func:`kernels_folder`.

    Raises:
        KernelError: the folder cannot be written.
    """
    from ipykernel.kernelspec import RESOURCES

    folder = place / f"tutorials-{device}"
    fresh = not folder.exists()
    try:
        for logo in sorted(Path(RESOURCES).glob("logo-*")):  # for the launcher
            with atomic_file(folder / logo.name) as temporary:
                shutil.copyfile(logo, temporary)
        with atomic_file(folder / _FILE) as temporary:
            text = json.dumps(kernel_json(device, backend), indent=1)
            temporary.write_text(text + "\n", encoding="utf-8")
    except BaseException as error:
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise KernelError(
                f"{folder} cannot be written ({error.strerror or error}). Say where else, with "
                "--user, --sys-prefix or --prefix FOLDER."
            ) from error
        raise
    return folder


def installed() -> list[Kernel]:
    """Return the kernels that Jupyter finds here, ours first; broken ones with what is wrong."""
    manager = _manager()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about folders whose name no kernel can have
        folders = manager.find_kernel_specs()
    order = sorted(folders, key=lambda name: (name not in NAMES, name))
    return [_read(manager, name, Path(folders[name])) for name in order]


def require(name: str) -> None:
    """Raise where notebooks cannot be run with a kernel; takes half a second at most.

    Args:
        name: of a Jupyter kernel, ours or any other.

    Raises:
        KernelError: there is none of that name (with the nearest that there is), or it
            cannot start.
    """
    if name == _NATIVE:
        return
    found = {kernel.name: kernel for kernel in installed()}
    if name.lower() in found:
        kernel = found[name.lower()]
        if kernel.problem:
            raise KernelError(f"The kernel {name!r} cannot start: {kernel.problem}")
        return
    if name.lower() in NAMES:
        raise KernelError(
            f"The kernel {name!r} is not installed here. Install it:  {_recipe(name.lower())}"
        )
    hint = _unknown("Jupyter kernel", name, [*found, *NAMES], shown=list(found))
    raise KernelError(f"{hint} {command('kernels install')}  registers ours.")


def remove(name: str, place: Path | None = None) -> Path:
    """Return the folder of a kernel of ours that was removed.

    Args:
        name: ``"tutorials-cpu"`` or ``"tutorials-gpu"``.
        place: the folder of kernels; ``None`` takes the kernel that Jupyter finds first.

    Raises:
        KernelError: there is none of that name, it is none of ours, or its folder cannot
            be removed.
    """
    if name not in NAMES:
        if any(kernel.name == name for kernel in installed()):
            raise KernelError(f"{name!r} is none of ours. Jupyter removes it:  "
                              f"jupyter kernelspec remove {shlex.quote(name)}")  # fmt: skip
        raise KernelError(_unknown("kernel of ours", name, list(NAMES)))
    if place is not None:
        folder: Path | None = place / name
    else:
        folder = next((kernel.folder for kernel in installed() if kernel.name == name), None)
    if folder is None or not folder.is_dir():
        where = f"in {place}" if place else "where Jupyter looks"
        raise KernelError(
            f"There is no kernel {name!r} {where}. What there is:  {command('kernels')}"
        )
    try:
        if folder.is_symlink():
            folder.unlink()
        else:
            shutil.rmtree(folder)
    except OSError as error:
        why = error.strerror or error
        raise KernelError(f"{folder} cannot be removed ({why}).") from error
    return folder


def hidden_by(folder: Path) -> str:
    """Return why Jupyter does not take a kernel that lies in a folder; ``""`` where it does."""
    taken = {kernel.name: kernel.folder for kernel in installed()}.get(folder.name)
    if taken is None:
        path = folder.parent.parent
        return f"Jupyter does not look into {folder.parent}; set JUPYTER_PATH={path} where it runs."
    if not taken.exists() or not folder.exists() or not taken.samefile(folder):
        return f"Jupyter takes the kernel of the same name in {taken} instead; remove that one."
    return ""


def _read(manager: Any, name: str, folder: Path) -> Kernel:
    """Return what a kernel's ``kernel.json`` says, or what is wrong with it."""
    again = f"Install it again:  {_recipe(name)}" if name in NAMES else "Install it again."
    try:
        spec = manager.get_kernel_spec(name)
        interpreter = str(spec.argv[0])
    except Exception as error:  # whatever a file may hold: no JSON, another shape, no command
        why = " ".join(f"{type(error).__name__}: {error}".split())[:100]
        return Kernel(name, folder, problem=f"{folder / _FILE} cannot be read ({why}). {again}")
    problem = ""
    # A bare "python" is replaced by Jupyter; only a path can have gone.
    if Path(interpreter).is_absolute() and not Path(interpreter).exists():
        problem = f"its interpreter {interpreter} is gone. {again}"
    return Kernel(
        name=name,
        folder=folder,
        display_name=spec.display_name,
        interpreter=interpreter,
        backend=str(spec.env.get("KERAS_BACKEND", "")),
        device=str(spec.env.get(DEVICE_VARIABLE, "")),
        problem=problem,
    )


def _manager() -> Any:
    """Return what finds Jupyter's kernels (importing it takes a third of a second)."""
    from jupyter_client.kernelspec import KernelSpecManager

    return KernelSpecManager()


def _recipe(name: str) -> str:
    """Return the command that installs one of our kernels."""
    return command(f"kernels install --device {NAMES[name]}")


def _unknown(what: str, name: str, names: Sequence[str], shown: Sequence[str] = ()) -> str:
    """Return that a name is unknown, the nearest one, and which there are."""
    return f"There is no {what} {name!r}; {nearest(name, names)} ({', '.join(shown or names)})."


def _distribution(name: str) -> str:
    """Return the version of a package that is installed, ``""`` where it is not."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _nvidia_smi(*words: str) -> list[str]:
    """Return the lines that NVIDIA's own program answers; none where it is missing or fails."""
    try:
        answer = subprocess.run(
            ["nvidia-smi", *words],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=30,  # a card that sleeps takes seconds to wake up
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in answer.stdout.splitlines()]


def _model(path: Path) -> str:
    """Return a card's name from the driver's description of it."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]
    return models[0] if models else "NVIDIA GPU"
