"""Prediction on Ray Data: a pool of processes that each hold the networks, on any number of nodes."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import ray
import ray.data

from raycxr.errors import RaycxrError
from raycxr.prediction.batch_job import JobSettings, Part

# CPUs of a process that predicts on them; more of them help one network little.
MOST_CPUS = 8


def run_on_ray(parts: Sequence[Part], settings: JobSettings) -> Iterator[list[dict[str, Any]]]:
    """Predict parts on the connected cluster, one process per GPU, or per 8 CPUs where there is none.

    Raises
    ------
    RaycxrError
        The first failure of a part, as it was raised there.
    """
    total = ray.cluster_resources()
    gpus, cpus = int(total.get("GPU", 0)), int(total.get("CPU", 1))
    threads = min(MOST_CPUS, cpus) if not gpus else max(1, min(MOST_CPUS, cpus // gpus))
    processes = min(len(parts), gpus or max(1, cpus // threads))
    context = ray.data.DataContext.get_current()
    # Our own progress counts films; Ray's would count parts and draw over it.
    context.enable_progress_bars = False
    context.verbose_stats_logs = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    items = [{"part": pickle.dumps(part)} for part in parts]
    rows = ray.data.from_items(items, override_num_blocks=len(items)).map(
        _Process,
        fn_constructor_args=(pickle.dumps(settings), threads),
        compute=ray.data.ActorPoolStrategy(size=processes),
        # A pool that reserves every CPU leaves none for the tasks that feed it, and hangs.
        num_cpus=max(0.5, threads - 1),
        num_gpus=1 if gpus else 0,
    )
    for row in rows.iter_rows():
        outcome = pickle.loads(row["outcome"])
        if isinstance(outcome, RaycxrError):
            raise outcome
        yield outcome


class _Process:
    """Holds the networks of one process of the pool."""

    def __init__(self, settings: bytes, threads: int) -> None:
        self.settings, self.threads = settings, threads
        self.predictor: Any = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            outcome: list[dict[str, Any]] | RaycxrError = self._load().predict(pickle.loads(row["part"]))
        except RaycxrError as error:
            # As a result: Ray would wrap an exception in its own, and print a traceback of the process.
            outcome = error
        return {"outcome": pickle.dumps(outcome)}

    def _load(self) -> Any:
        if self.predictor is None:
            import torch

            from raycxr.prediction.part_predictor import PartPredictor

            torch.set_num_threads(self.threads)
            self.predictor = PartPredictor(pickle.loads(self.settings))
        return self.predictor
