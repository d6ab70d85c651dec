"""Ingest on Ray Data: one task per shard on any number of nodes."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import ray.data

from raycxr.dataset.convert import Rules
from raycxr.dataset.plan import ShardPlan
from raycxr.dataset.shard_task import write_shard
from raycxr.errors import RaycxrError
from raycxr.storage.location import Location


def run_on_ray(plans: Sequence[ShardPlan], rules: Rules, out: Location) -> Iterator[dict[str, Any]]:
    """Convert shards on the connected Ray cluster and yield their notes as they are finished.

    Raises
    ------
    RaycxrError
        The first failure of a task, as it was raised there.
    """

    def write(row: dict[str, Any]) -> dict[str, Any]:
        try:
            outcome: dict[str, Any] | RaycxrError = write_shard(pickle.loads(row["plan"]), rules, out)  # pickled below
        except RaycxrError as error:
            # As a result: Ray would wrap an exception in its own, and print a traceback of the worker.
            outcome = error
        return {"outcome": pickle.dumps(outcome)}

    context = ray.data.DataContext.get_current()
    # Our own progress counts films; Ray's would count shards and draw over it.
    context.enable_progress_bars = False
    context.verbose_stats_logs = False
    # Its log of the execution is for those who debug Ray Data, and is kept in the session's folder anyway.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    items = [{"plan": pickle.dumps(plan)} for plan in plans]
    for row in ray.data.from_items(items, override_num_blocks=len(items)).map(write).iter_rows():
        outcome = pickle.loads(row["outcome"])
        if isinstance(outcome, RaycxrError):
            raise outcome
        yield outcome
