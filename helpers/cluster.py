"""Where many runs are computed: Dask workers, of this machine or of a cluster.

Dask notices when a worker dies, and gives its run to another one. What runs there is the
runner's own child process, which ends with its worker. Importing this module does not import
Dask.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import takewhile
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import helpers
from helpers import kernels, runner
from helpers.command import python

# What a worker has to offer: so many notebooks may run in it at a time.
RESOURCE = "notebook"
ANSWER = 10  # seconds that a scheduler may take to answer
PACKAGE = "distributed"

_GPUS = "CUDA_VISIBLE_DEVICES"


class SchedulerGoneError(RuntimeError):
    """The scheduler does not answer any more; what has finished stays."""


@dataclass(frozen=True)
class Pool:
    """The workers behind a scheduler."""

    client: Any  # a dask.distributed.Client
    address: str  # of the scheduler

    def question(self) -> Question:
        """Ask how many notebooks each worker runs at a time; the answer may be waited for.

        Raises:
            SchedulerGoneError: the connection is lost.
        """
        if self.client.status != "running":
            raise SchedulerGoneError(self.address)
        # Not client.scheduler_info(): Dask refreshes what that returns every two seconds, without
        # the workers, and a look at the wrong moment would find none.
        asked = self.client.scheduler.identity(n_workers=-1)
        loop = self.client.loop.asyncio_loop
        return Question(self, asyncio.run_coroutine_threadsafe(asked, loop))

    def offered(self) -> dict[str, int]:
        """Return how many notebooks each worker runs at a time, by the worker's address.

        Raises:
            SchedulerGoneError: nobody answers.
        """
        return self.question().answer(ANSWER)

    def engine(self, kernel: str) -> str | None:
        """Return the backend that notebooks compute with on the workers; ``None`` without any.

        A worker that comes later is asked when it gets a run (``dispatch.run_one``).

        Args:
            kernel: name of the Jupyter kernel.

        Raises:
            WrongCall: the workers have different ones, so that runs could not be compared.
        """
        found = self._asked(runner.engine, kernel)
        if len(set(found.values())) > 1:
            told = ", ".join(f"{where} {one}" for where, one in sorted(found.items()))
            raise runner.WrongCall(
                f"The workers compute with different backends ({told}): start them all with the "
                "same KERAS_BACKEND."
            )
        return next(iter(found.values()), None)

    def require_sight(self, paths: Sequence[Path]) -> None:
        """Raise WrongCall where a worker does not see one of these files, or has no helpers."""
        for where, missing in self._asked(unseen, [str(path) for path in paths]).items():
            if missing:
                raise runner.WrongCall(
                    f"The worker {where} does not see {missing}: notebooks, data and --output must "
                    "lie in a folder that all workers share, under the same path."
                )

    def _asked(self, question: Callable[..., Any], *words: object) -> dict[str, Any]:
        """Return what each worker that takes notebooks answers, by the worker's address."""
        ours = [where for where, number in self.offered().items() if number]
        with self.answering():
            answers = self.client.run(question, *words, workers=ours, on_error="return")
        for where, answer in answers.items():
            if isinstance(answer, BaseException):
                raise runner.WrongCall(
                    f"The worker {where} cannot run helpers ({in_a_line(answer)}): install the "
                    "same version there, in the environment that starts the worker."
                )
        return dict(answers)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Turn what Dask raises of a lost connection into a SchedulerGoneError."""
        try:
            yield
        except SchedulerGoneError:
            raise
        except (OSError, RuntimeError, CancelledError, asyncio.CancelledError) as error:
            raise SchedulerGoneError(self.address) from error


@dataclass(frozen=True)
class Question:
    """A question to the scheduler that is under way, so that nobody has to wait for its answer."""

    pool: Pool
    future: Future[Any]

    def is_answered(self) -> bool:
        """Return whether ``answer`` will not wait."""
        return self.future.done()

    def answer(self, patience: float) -> dict[str, int]:
        """Return how many notebooks each worker runs at a time, by the worker's address.

        Args:
            patience: seconds to wait at most.

        Raises:
            SchedulerGoneError: the connection is lost, or there is no answer in that time.
        """
        with self.pool.answering():  # a TimeoutError is an OSError
            workers = self.future.result(timeout=patience)["workers"]
        return {where: int(one["resources"].get(RESOURCE, 0)) for where, one in workers.items()}


def worker(address: str) -> str:
    """Return the command that starts a worker which takes our runs, in a shell like this one."""
    return f'{python()} -m dask worker {address} --nthreads 1 --resources "{RESOURCE}=1"'


def require_dask() -> None:
    """Raise WrongCall with the command that installs Dask, where it is missing."""
    if not kernels.is_installed(PACKAGE):
        raise runner.WrongCall(
            f"A sweep needs the package {PACKAGE} (Dask), which is not installed here. Install it: "
            f" {kernels.pip()} install {PACKAGE}"
        )


@contextmanager
def connected(address: str) -> Iterator[Pool]:
    """Yield the workers of a cluster that somebody has started.

    Args:
        address: of its scheduler, for instance ``tcp://10.0.0.1:8786``.

    Raises:
        WrongCall: nobody answers there, or no worker takes notebooks.
    """
    from distributed import Client

    _quieten()
    try:
        asyncio.run(asyncio.wait_for(_greet(address), ANSWER))
        client = Client(address, timeout=ANSWER, set_as_default=False)
    except (OSError, ValueError, RuntimeError, MemoryError) as error:  # TimeoutError: an OSError
        why = f" ({error})" if isinstance(error, ValueError) else f" within {ANSWER} s"
        if isinstance(error, MemoryError):  # another server's greeting, taken for a length
            why = " (something else does)"
        raise runner.WrongCall(
            f"No Dask scheduler answers at {address}{why}: check the address, and that  dask "
            "scheduler  runs there."
        ) from error
    try:
        pool = Pool(client, address)
        offered = pool.offered()
        if offered and not any(offered.values()):
            raise runner.WrongCall(
                f"None of the {len(offered)} workers at {address} offers the resource {RESOURCE}. "
                f"Start them with  {worker(address)}"
            )
        yield pool
    finally:
        with suppress(Exception):  # a lost connection cannot be closed, either
            client.close(timeout=5)


@contextmanager
def local(environments: Sequence[Mapping[str, str]]) -> Iterator[Pool]:
    """Yield workers of this machine, a process each; they end with the block, and with us.

    Args:
        environments: what to set for each worker, from :func:`environments_for`.
    """
    import dask
    from distributed import Client, Nanny, Scheduler, SpecCluster

    _quieten()
    place = {"host": "127.0.0.1", "protocol": "tcp://", "dashboard": False}
    options = place | {
        "nthreads": 1,
        "resources": {RESOURCE: 1},
        "memory_limit": 0,  # Dask would look at the worker alone, not at the notebook it runs
        "silence_logs": logging.CRITICAL,
        "preload": [__name__],  # Dask calls dask_setup, below
    }
    workers = {
        number: {"cls": Nanny, "options": options | {"env": dict(variables)}}
        for number, variables in enumerate(environments)
    }
    settings = {
        # Dask allows its workers one thread; a notebook shall find what `helpers run` gives it.
        "distributed.nanny.pre-spawn-environ": {},
        # On a busy machine a worker that died takes more than the usual 15 s to start again, and
        # would be given up for good.
        "distributed.deploy.lost-worker-timeout": "1 hour",
    }
    scheduler = {"cls": Scheduler, "options": place | {"port": 0, "dashboard_address": ":0"}}
    stack = ExitStack()
    try:
        stack.enter_context(dask.config.set(settings))
        with _interrupted_later():
            with _engine_left_open():
                cluster = stack.enter_context(SpecCluster(workers=workers, scheduler=scheduler))
            client = stack.enter_context(Client(cluster, timeout=60, set_as_default=False))
        yield Pool(client, cluster.scheduler_address)
    finally:
        with runner.signals_into(queue.SimpleQueue()):  # another Ctrl-C would leave half of it
            stack.close()


def environments_for(workers: int | None, kernel: str) -> list[dict[str, str]]:
    """Return what to set in the environment of each worker of this machine.

    Where notebooks compute on GPUs, each worker gets one of its own.

    Args:
        workers: how many; ``None`` takes one for each GPU, without a GPU one.
        kernel: the notebooks' Jupyter kernel.

    Raises:
        WrongCall: there are fewer GPUs than workers.
    """
    cards = _gpus(kernel)
    if not cards:
        return [{}] * (workers or 1)
    if workers is not None and workers > len(cards):
        raise runner.WrongCall(
            f"--workers {workers}: notebooks have a GPU of their own each, and there are "
            f"{len(cards)} here. Say --workers {len(cards)}, or --kernel tutorials-cpu."
        )
    return [{_GPUS: card} for card in cards[:workers]]


def dask_setup(_: object) -> None:
    """Leave Ctrl-C to the process that started the workers of this machine.

    A terminal sends it to all of them; that one ends them in order.
    """
    # A function and not SIG_IGN, which the notebooks' own processes would inherit.
    signal.signal(signal.SIGINT, lambda *_: None)
    if hasattr(signal, "pthread_sigmask"):  # what came while this process started, see below
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def unseen(paths: Sequence[str]) -> str:
    """Return the first path that does not exist here, ``""`` where all do."""
    return next((path for path in paths if not Path(path).exists()), "")


# --- details ------------------------------------------------------------------------------


async def _greet(address: str) -> None:
    """Return when a scheduler has answered (Dask's own client would wait for a silent one)."""
    from distributed import Security
    from distributed.comm import connect

    arguments = Security().get_connection_args("client")
    comm = await connect(address, timeout=ANSWER, **arguments)
    await comm.close()


def _gpus(kernel: str) -> list[str]:
    """Return what each GPU that notebooks may use is called in ``CUDA_VISIBLE_DEVICES``."""
    backend = os.environ.get("KERAS_BACKEND", helpers.ENGINES[0])
    is_default = kernel.lower() == "python3"
    if kernel.lower() == "tutorials-cpu" or (is_default and kernels.is_cpu_build(backend)):
        return []
    if _GPUS in os.environ:  # somebody has chosen among them, perhaps a queue
        cards = [card.strip() for card in os.environ[_GPUS].split(",")]
        return list(takewhile(lambda card: card not in ("", "-1"), cards))  # as CUDA reads it
    return [str(number) for number in range(len(kernels.gpus()))]


@contextmanager
def _interrupted_later() -> Iterator[None]:
    """Put Ctrl-C off until the end of the block, for us and for the processes started in it.

    Half a cluster cannot be ended in order, and a process that is still importing Dask would
    fill the screen with its traceback.
    """
    events: runner.Events = queue.SimpleQueue()
    blocks = hasattr(signal, "pthread_sigmask")
    if blocks:
        # Starting it opens the mask again, so it has to be running before.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    with runner.signals_into(events):
        try:
            yield
        finally:
            if blocks:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if not events.empty():
        raise KeyboardInterrupt


@contextmanager
def _engine_left_open() -> Iterator[None]:
    """Start processes without our choice of an engine: in them, it is made again.

    It would otherwise look like a person's, and the runner has to tell the two apart.
    """
    chosen = os.environ.pop("KERAS_BACKEND", None) if helpers.ENGINE_CHOSEN_HERE else None
    try:
        yield
    finally:
        if chosen is not None:
            os.environ["KERAS_BACKEND"] = chosen


def _quieten() -> None:
    """Silence what Dask logs here: what a person has to know is said in our own words."""
    for name in list(logging.root.manager.loggerDict):
        if name.split(".")[0] in (PACKAGE, "tornado", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def in_a_line(error: BaseException | None) -> str:
    """Return an exception without line breaks."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
