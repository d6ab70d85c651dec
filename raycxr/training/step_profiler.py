"""A look into a few training steps with torch's profiler: a trace to open, and a table of what takes the time.

The rows of the table are ranges that the loop marks:

* `data`: until the next batch is there. `host-to-device`: its way to the device, normalisation included. `forward`,
  `loss`, `backward`, `optimizer`: as they are called.
* `all-reduce` is no part of its own: DistributedDataParallel exchanges the gradients of the last layers while those of
  the first ones are still being computed, so nearly all of it lies within `backward`. The row tells how long exchanges
  were under way, `backward` contains what of them was not hidden, and the shares add up to 1 without it.
* `other` is what lies between the ranges. On a GPU that is mostly the host's waiting for the loss, see `finite.py`.

On a GPU the host runs ahead of the device. The column `host` then tells how long each range kept the process busy, and
`device` what passed on the device's stream from the begin of the range to its end, by events recorded in it.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from raycxr.number_text import count, percent
from raycxr.storage.location import Location
from raycxr.text_table import aligned

FOLDER, TRACE, TABLE = "profile", "trace.json.gz", "table.txt"
PHASES = ("data", "host-to-device", "forward", "loss", "backward", "optimizer")
# Steps that are recorded, at most: a trace of more is slow to open and shows nothing new.
STEPS = 5
# Steps before them: the first ones choose kernels and fill memory pools.
_SKIPPED = 3
_MS_PER_US = 1e-3


class StepProfiler:
    """Profiles some steps of one epoch, as the context in which that epoch is trained.

    The files are written when it is left. Training computes the same bits with and without it.

    Parameters
    ----------
    run : Location
        Folder of the run; the files go into `profile/` in it.
    steps : int
        Optimizer steps of the epoch.
    device : torch.device
        Where they are computed.
    tell : callable
        Is given the table.
    """

    def __init__(self, run: Location, steps: int, device: torch.device, tell: Callable[[str], None]) -> None:
        self.folder, self.tell = run / FOLDER, tell
        self.on_gpu = device.type == "cuda"
        warmup = min(1, steps - 1)
        skipped = max(0, min(_SKIPPED, steps - warmup - STEPS))
        self.before = skipped + warmup
        self.recorded = min(STEPS, steps - self.before)
        self.done = 0
        self.marks: list[tuple[str, Any, Any]] = []
        # Its library otherwise tells on standard error when it starts and stops.
        os.environ.setdefault("KINETO_LOG_LEVEL", "6")
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self.on_gpu else [])]
        with warnings.catch_warnings():
            # An epoch of one step leaves none for warming up.
            warnings.simplefilter("ignore")
            plan = schedule(wait=skipped, warmup=warmup, active=self.recorded, repeat=1)
        self.profile = profile(activities=activities, schedule=plan)

    def __enter__(self) -> StepProfiler:
        self.profile.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.profile.stop()
        if error is None:
            self._write()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Mark a range of the step."""
        with record_function(name):
            begin = self._mark()
            yield
            if begin is not None:
                self.marks.append((name, begin, self._mark()))

    def step(self) -> None:
        """End a step."""
        if self.done < self.before + self.recorded:
            self.done += 1
            self.profile.step()

    def _mark(self) -> Any:
        """Event on the device's stream, while steps are recorded there."""
        if not self.on_gpu or not self.before <= self.done < self.before + self.recorded:
            return None
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def _write(self) -> None:
        if self.done < self.before + self.recorded:
            self.tell(f"nothing was profiled: the epoch ended after {count(self.done, 'step')}")
            return
        lines = self._table()
        with tempfile.TemporaryDirectory(prefix="raycxr-profile-") as folder:
            trace = Path(folder) / TRACE
            self.profile.export_chrome_trace(str(trace))
            (self.folder / TRACE).copy_from(trace)
        (self.folder / TABLE).write_text("\n".join(lines) + "\n")
        self.tell("\n".join([*lines, f"trace: {self.folder / TRACE} (chrome://tracing, ui.perfetto.dev)"]))

    def _table(self) -> list[str]:
        host, device = self._host_times(), self._device_times()
        total = host["step"]
        others = sum(host[name] for name in PHASES)
        host["other"] = max(0.0, total - others)
        rows = [["", "host ms", "share", *(["device ms"] if self.on_gpu else [])]]
        for name in (*PHASES[:-1], "all-reduce", PHASES[-1], "other", "step"):
            times = [f"{host[name]:.2f}", percent(host[name] / total)]
            rows.append([name, *times, *([f"{device[name]:.2f}" if name in device else ""] if self.on_gpu else [])])
        return [f"mean of {count(self.recorded, 'step')}, after {self.before} of warming up", *aligned(rows)]

    def _events(self) -> Sequence[Any]:
        events: Sequence[Any] = self.profile.events()  # type: ignore[no-untyped-call]
        return events

    def _host_times(self) -> dict[str, float]:
        """Milliseconds a step on the host; for exchanges those of gloo, which are made there."""
        found = dict.fromkeys((*PHASES, "all-reduce", "step"), 0.0)
        names = {name: name for name in PHASES} | {"gloo:all_reduce": "all-reduce"}
        for event in self._events():
            if event.device_type != DeviceType.CPU:
                continue
            name = "step" if event.name.startswith("ProfilerStep") else names.get(event.name)
            if name is not None:
                found[name] += event.time_range.elapsed_us() * _MS_PER_US / self.recorded
        return found

    def _device_times(self) -> dict[str, float]:
        """Milliseconds a step on the device: of ranges between their events, of exchanges by their kernels."""
        if not self.on_gpu:
            return {}
        torch.cuda.synchronize()
        found = dict.fromkeys((*PHASES, "all-reduce"), 0.0)
        for name, begin, end in self.marks:
            found[name] += begin.elapsed_time(end) / self.recorded
        for event in self._events():
            if event.device_type == DeviceType.CUDA and event.name.startswith("ncclDevKernel_AllReduce"):
                found["all-reduce"] += event.time_range.elapsed_us() * _MS_PER_US / self.recorded
        return found


def profile_files(run: Location) -> dict[str, str]:
    """URIs of the `trace` and the `table` of a run, as far as they were written."""
    places = {"trace": run / FOLDER / TRACE, "table": run / FOLDER / TABLE}
    return {name: place.uri for name, place in places.items() if place.is_file()}
