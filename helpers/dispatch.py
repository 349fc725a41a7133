"""Gives the runs of a sweep to Dask's workers, one run to one worker, until all have ended.

No more runs are handed over than workers are free: Dask would blame a dying worker on every
run that waits for it, and a run that waits here can still go anywhere.
"""

from __future__ import annotations

import queue
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from helpers import claim, runner
from helpers.cluster import RESOURCE, Pool, Question, SchedulerGoneError, in_a_line, unseen

ATTEMPTS = 3  # workers on which a run is tried that finds no room on the disk

_RESTART = 60.0  # seconds in which a worker that died has been started again, if ever
_LOOK = 1.0  # seconds between two looks at what changes slowly: workers, claims
_GLANCE = 2.0  # seconds that fetching an outcome may hold up a Ctrl-C
SILENCE = 60.0  # seconds after which a scheduler that does not answer is given up


def run(
    jobs: Sequence[runner.Job],
    pool: Pool,
    lock: Path,
    own: claim.Claim,
    backend: str | None = None,
) -> list[runner.Outcome]:
    """Return how each job ended, in the order of the jobs.

    A failing notebook leaves the others alone. A run whose worker dies is given to another
    one by Dask; one that finds no room on a disk is tried on a worker that has not run it.
    After Ctrl-C what had not finished counts as ``"interrupted"``.

    Args:
        jobs: what is to run; their folders are nobody else's.
        pool: the workers.
        lock: file with the claim on all these folders.
        own: that claim. Runs stop where it is taken back or somebody else's.
        backend: what all of them are to compute with; None: whatever a worker has.

    Raises:
        SchedulerGoneError: the scheduler does not answer any more.
    """
    outcomes: dict[str, runner.Outcome] = {}
    waiting = deque(_Turn(job) for job in jobs)
    running: dict[str, _Turn] = {}
    events: runner.Events = queue.SimpleQueue()
    offers = _Offers(pool)
    with runner.signals_into(events), runner.display(len(jobs), "runs") as screen:
        try:
            while (waiting or running) and events.empty():
                offered = offers.now(screen, bool(running))
                for _ in range(len(waiting)):
                    if len(running) >= sum(offered.values()):
                        break
                    turn = waiting.popleft()
                    if turn.submit(pool, list(offered), lock, own, backend):
                        running[turn.job.name] = turn
                    elif not running and turn.is_hopeless(offers.fewer):
                        _end(turn.last, outcomes, screen)
                    else:
                        waiting.append(turn)
                time.sleep(0.1)
                for name, turn in list(running.items()):
                    if not turn.over(pool, offered):
                        continue
                    del running[name]
                    if turn.elsewhere:
                        screen.say(f"{name}: {turn.last.message}; it is tried on another worker")
                        waiting.append(turn)
                    else:
                        if turn.dead:
                            turn.last = runner.settle_dead(turn.job, turn.last.message)
                        _end(turn.last, outcomes, screen)
        finally:
            with suppress(Exception):  # of a scheduler that has gone
                pool.client.cancel([turn.future for turn in running.values()])
    return [
        outcomes.get(job.name) or runner.Outcome(job, "interrupted", "not finished") for job in jobs
    ]


def run_one(
    job: runner.Job, lock: Path, own: claim.Claim, backend: str | None = None
) -> tuple[runner.Outcome, str, bool]:
    """Return how a job ended here, which worker this is, and whether to try another one.

    Args:
        job: what to run.
        lock: file with the claim of those who want the run.
        own: that claim.
        backend: what it is to compute with; None: what there is here.
    """
    from distributed import get_worker

    worker = get_worker()
    missing = unseen([str(lock.parent), str(job.notebook)])
    if missing:
        outcome = runner.Outcome(job, "failed", f"{worker.address} does not see {missing}")
        return outcome, worker.address, True
    here = runner.engine(job.kernel)
    if backend not in (None, here):
        why = f"{worker.address} computes with {here}, and this sweep with {backend}"
        return runner.Outcome(job, "failed", why), worker.address, True
    if runner.is_finished(job):  # by a worker that died before it could say so
        return runner.Outcome(job, "finished"), worker.address, False
    stop = _stop_when(lambda: _is_closing(worker) or claim.read(lock) != own)
    (outcome,) = runner.run([job], quiet=True, stop=stop)
    if outcome.status == "interrupted":  # those who want it will hear so only of a worker that ends
        outcome = replace(outcome, status="failed", message=f"the worker ended ({outcome.message})")
        return outcome, worker.address, True
    return outcome, worker.address, outcome.disk_full


def _end(
    outcome: runner.Outcome, outcomes: dict[str, runner.Outcome], screen: runner.Silence
) -> None:
    """Take note of how a run ended."""
    outcomes[outcome.job.name] = outcome
    screen.ended(outcome)


class _Offers:
    """What the workers offer, looked up once in a while; says where nobody offers anything."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._asked = -_LOOK
        self._question: Question | None = None
        self._offered: dict[str, int] = {}
        self._said = False
        self._most = 0

    @property
    def fewer(self) -> bool:
        """True while there are fewer workers than there have been: one may be starting again."""
        return len(self._offered) < self._most

    def now(self, screen: runner.Silence, running: bool) -> dict[str, int]:
        """Return how many notebooks each worker runs at a time, as far as one has heard.

        A scheduler that takes its time holds nobody up: what was last heard holds meanwhile.

        Args:
            screen: is told of workers that have gone, or that there is none.
            running: whether any run is under way, which such a worker may have had.

        Raises:
            SchedulerGoneError: the scheduler has gone, or has been silent for long.
        """
        since = time.monotonic() - self._asked
        if self._question is None and since >= _LOOK:
            self._question, self._asked = self._pool.question(), time.monotonic()
        elif self._question is not None and self._question.is_answered():
            self._take(self._question.answer(_GLANCE), screen, running)
            self._question = None
        elif self._question is not None and since > SILENCE:
            raise SchedulerGoneError(self._pool.address)
        return self._offered

    def _take(self, found: dict[str, int], screen: runner.Silence, running: bool) -> None:
        """Take note of an answer."""
        for where in self._offered.keys() - found.keys() if running else ():
            screen.say(f"The worker {where} has gone; a run that it had is tried again.")
        self._offered = {where: number for where, number in found.items() if number}
        self._most = max(self._most, len(self._offered))
        if not self._offered and not self._said:
            screen.say(f"There is no worker at {self._pool.address}: the runs wait for one.")
        self._said = not self._offered


class _Turn:
    """A job on its way through the workers."""

    def __init__(self, job: runner.Job) -> None:
        self.job = job
        self.last = runner.Outcome(job, "failed", "no worker could run it")
        self.elsewhere = False  # another worker may fare better
        self.dead = False  # the workers that ran it have died, and nobody has tidied its folder
        self.future: Any = None
        self._tried: set[str] = set()  # workers that have no room for it
        self._ended = 0.0  # when the last attempt did
        self._allowed: list[str] | None = None  # None: all of them

    def submit(
        self,
        pool: Pool,
        workers: Sequence[str],
        lock: Path,
        own: claim.Claim,
        backend: str | None,
    ) -> bool:
        """Return whether there was a worker to give the job to: one that has not tried it."""
        if self._tried:
            self._allowed = [where for where in workers if where not in self._tried]
            if not self._allowed or len(self._tried) >= ATTEMPTS:
                return False
        with pool.answering():
            self.future = pool.client.submit(
                run_one,
                self.job,
                lock,
                own,
                backend,
                key=f"{self.job.name}-{uuid.uuid4().hex[:8]}",
                resources={RESOURCE: 1},
                workers=self._allowed,
                pure=False,
            )
        return True

    def is_hopeless(self, fewer: bool) -> bool:
        """Return whether no worker is left to try, nor will come back.

        Args:
            fewer: whether there are fewer workers than there have been.
        """
        waited = time.monotonic() - self._ended
        return len(self._tried) >= ATTEMPTS or not fewer or waited > _RESTART

    def over(self, pool: Pool, workers: Mapping[str, int]) -> bool:
        """Return whether the attempt has ended; ``last`` and ``elsewhere`` tell how.

        Raises:
            SchedulerGoneError: nobody knows of it any more.
        """
        self.elsewhere = False
        status = self.future.status
        if status == "pending":
            if self._allowed is None or any(where in workers for where in self._allowed):
                return False
            self.future.cancel()  # those it was to be tried on have gone themselves
            self.elsewhere = True
        elif status == "finished":
            with pool.answering(), suppress(TimeoutError):
                self.last, where, self.elsewhere = self.future.result(timeout=_GLANCE)
                self._tried.add(where)
                self._ended = time.monotonic()
                return True
            return False  # the worker died with the answer; Dask repeats the run
        elif status == "error":
            error = self.future.exception()
            self.last = runner.Outcome(self.job, "failed", _explain(error))
            self.dead = _has_killed(error)
        else:
            raise SchedulerGoneError(pool.address)
        return True


def _stop_when(condition: Callable[[], bool]) -> Callable[[], bool]:
    """Return a question that is answered by a condition, looked at once in a while."""
    looked, answer = time.monotonic(), False

    def stop() -> bool:
        nonlocal looked, answer
        if not answer and time.monotonic() - looked >= _LOOK:
            looked, answer = time.monotonic(), condition()
        return answer

    return stop


def _is_closing(worker: Any) -> bool:
    """Return whether a worker is about to end, as after its scheduler has gone."""
    return worker.status.name in ("closing", "closed", "stopping", "stopped", "failed")


def _explain(error: BaseException | None) -> str:
    """Return in one line why Dask could not run a job."""
    if _has_killed(error):
        return (
            "every worker that ran it died, probably out of memory. Try a smaller batch_size or "
            "image_size, or fewer workers"
        )
    return f"the worker could not run it: {in_a_line(error)}"


def _has_killed(error: BaseException | None) -> bool:
    """Return whether Dask has given a job up because its workers died."""
    from distributed import KilledWorker

    return isinstance(error, KilledWorker)
