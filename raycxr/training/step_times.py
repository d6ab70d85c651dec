"""Where the time of one pass over the training batches goes, as the training process sees it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext

import torch

from raycxr.dataset.films import Batch
from raycxr.training.gauges import Gauges
from raycxr.training.session import Session
from raycxr.training.step_profiler import StepProfiler

# Seconds between two figures within an epoch: as often as Ray passes metrics on.
GAUGE_SECONDS = 5.0
_NO_PHASE = nullcontext()


class StepTimes:
    """Measures one pass.

    Waiting is what the process spends on asking for the next batch. On a GPU, which computes meanwhile what it was
    given before, it is an upper bound of what the device waits.

    Parameters
    ----------
    gauges : Gauges or None
        Where speed, waiting and step time are shown every few seconds.
    profiler : StepProfiler or None
        What looks into the steps of this pass.
    """

    def __init__(self, gauges: Gauges | None = None, profiler: StepProfiler | None = None) -> None:
        self.gauges, self.profiler = gauges, profiler
        self.started = time.perf_counter()
        self.waited = 0.0
        # Since the figures were last shown.
        self.shown, self.waited_before, self.steps, self.images = self.started, 0.0, 0, 0

    def over(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield every batch, and add up the time until each is there."""
        following = iter(batches)
        while True:
            with self.phase("data"):
                asked = time.perf_counter()
                batch = next(following, None)
                self.waited += time.perf_counter() - asked
            if batch is None:
                break
            self.images += len(batch)
            yield batch
        if self.gauges is not None and self.steps:
            self._show(self.gauges, time.perf_counter())

    def phase(self, name: str) -> AbstractContextManager[object]:
        """Mark the body as a part of the step, for the profiler; without one it costs 0.1 microseconds."""
        return _NO_PHASE if self.profiler is None else self.profiler.phase(name)

    def step(self) -> None:
        """Count an optimizer step."""
        if self.profiler is not None:
            self.profiler.step()
        self.steps += 1
        now = time.perf_counter()
        if self.gauges is not None and now - self.shown >= GAUGE_SECONDS:
            self._show(self.gauges, now)

    def wait_share(self, session: Session) -> float:
        """Share 0..1 of the pass that was spent waiting for batches, of the worker that waited longest.

        The others wait for that one in turn, where they exchange gradients.
        """
        shares = torch.zeros(session.world_size, dtype=torch.float64, device=session.device)
        shares[session.rank] = self.waited / (time.perf_counter() - self.started)
        return session.add_up(shares).max().item()

    def _show(self, gauges: Gauges, now: float) -> None:
        seconds = now - self.shown
        gauges.show(
            {
                "images_per_second": self.images / seconds,
                "data_wait_share": (self.waited - self.waited_before) / seconds,
                "step_seconds": seconds / self.steps,
            }
        )
        self.shown, self.waited_before, self.steps, self.images = now, self.waited, 0, 0
