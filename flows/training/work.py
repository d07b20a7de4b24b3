"""What the parts of a training share: workers, words for people, and Prefect tasks that run steps on workers."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from rich.console import Console

from flows.run.measuring import ClusterLostError
from flows.training.cohort import DrawnStudy
from flows.training.request import TrainRequest
from flows.training.start import Start
from flows.training.workers import TRIES_AGAIN, Workers, is_lost_worker
from models.training.trainer import Plan

LINE_EVERY_S = 30.0


@dataclass
class Work:
    """What the parts of the flow share."""

    request: TrainRequest
    plan: Plan
    workers: Workers
    console: Console
    run_id: str
    start: Start | None = None
    study: DrawnStudy | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def say(self, text: str) -> None:
        """One line for people."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextlib.contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Keep how long a part took."""
        begun = time.perf_counter()
        yield
        self.seconds[part] = time.perf_counter() - begun

    def stop_if_failed(self, future: Any) -> None:
        """End the drawing of a pool that nobody will read.

        Without waiting the state is the server's, which may not have heard yet that the training ended well.
        """
        future.wait()
        if not future.state.is_completed():
            self.workers.stopped.set()

    @property
    def device(self) -> tuple[bool, bool]:
        """Whether a GPU is wanted, and whether it is required."""
        return self.workers.has_gpu, self.request.run.gpu == "require"

    def task(self, name: str, **where: bool) -> Any:
        """A Prefect task that runs a step on a worker; tried again where its worker died."""
        from prefect import task
        from prefect.cache_policies import NO_CACHE

        def is_lost(_task: object, _run: object, state: Any) -> bool:
            is_one = is_lost_worker(state.result(raise_on_failure=False))
            if is_one:
                self.workers.renew()
            return is_one

        @task(
            name=name,
            cache_policy=NO_CACHE,
            persist_result=False,
            retries=TRIES_AGAIN,
            retry_condition_fn=cast(Any, is_lost),
        )
        def run(step: Any, arguments: tuple[Any, ...]) -> Any:
            return self.workers.run(step, *arguments, **where)

        return run

    def all_of(self, name: str, jobs: Sequence[tuple[Any, tuple[Any, ...]]], **where: bool) -> list[Any]:
        """Run jobs beside each other and wait for all; the first that failed raises."""
        from prefect.futures import wait

        run = self.task(name, **where)
        futures = [run.submit(step, arguments) for step, arguments in jobs]
        wait(futures)
        return [result_of(future, name) for future in futures]

    @contextlib.contextmanager
    def lines_of(self, out: Path) -> Iterator[None]:
        """Say now and then where the training is."""
        ended = threading.Event()

        def follow() -> None:
            said = 0.0
            while not ended.wait(LINE_EVERY_S):
                with contextlib.suppress(OSError, ValueError, IndexError):
                    row = json.loads((out / "log.jsonl").read_text("utf-8").splitlines()[-1])
                    if row["step"] != said:
                        said = row["step"]
                        values = ", ".join(f"{name} {value:.3g}" for name, value in row.items() if name != "step")
                        self.say(f"Step {row['step']} of {self.plan.n_steps}: {values}")

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def result_of(future: Any, name: str) -> Any:
    """What a task of Prefect came to; waits for it.

    Raises
    ------
    ClusterLostError
        Its worker died, and so did those that tried it again.
    """
    future.wait()
    if is_lost_worker(error := future.state.result(raise_on_failure=False)):
        raise ClusterLostError(
            f"a worker must live through {name}, {TRIES_AGAIN + 1} died: out of memory? Use fewer (--n-cpus)."
        ) from error
    return future.result()
