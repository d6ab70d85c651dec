"""How many trials a cluster has room for."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray

from raycxr.config.sections import Config
from raycxr.errors import InterruptionError, TrainingError
from raycxr.number_text import count

# CPUs of a worker beyond which more of them only help where the user says so.
MOST_CPUS = 8
# How often a running sweep looks at the nodes.
ROOM_SECONDS = 5.0


@dataclass(frozen=True)
class Share:
    """What one worker of a trial occupies, and how many workers a trial has."""

    workers: int
    cpus: int
    gpus: float

    def fits(self, nodes: list[dict[str, float]]) -> int:
        """Trials for which nodes have room; the workers of one trial may lie on several nodes."""
        places = [min(int(node.get("CPU", 0) // self.cpus), self._places_on_gpus(node.get("GPU", 0))) for node in nodes]
        return sum(places) // self.workers

    def _places_on_gpus(self, gpus: float) -> int:
        """Workers for which the GPUs of one node have room; a part of a GPU lies on one of them."""
        if self.gpus == 0:
            return MOST_PLACES
        return int(gpus // self.gpus) if self.gpus >= 1 else int(gpus) * int(1 / self.gpus + 1e-9)

    @property
    def bundle(self) -> dict[str, float]:
        """Resources of one worker as Ray names them."""
        return {"CPU": self.cpus} | ({"GPU": self.gpus} if self.gpus > 0 else {})

    def __str__(self) -> str:
        each = f"{count(self.cpus, 'CPU')}" + (
            f" and {self.gpus:g} GPU{'' if self.gpus == 1 else 's'}" if self.gpus > 0 else ""
        )
        return each if self.workers == 1 else f"{self.workers} workers of {each}"


MOST_PLACES = 1_000_000


def alive_nodes() -> list[dict[str, float]]:
    """Resources of the nodes of the connected cluster."""
    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def share_of(config: Config, nodes: list[dict[str, float]]) -> Share:
    """What a trial's worker occupies: as configured, else as many CPUs as leave room for all trials at once.

    Where it is not said how many these are, they are as many as the GPUs have room for, or one without GPUs.
    """
    resources = config.resources
    workers, gpus = resources.most_workers, resources.gpus_per_worker
    if resources.cpus_per_worker is not None:
        return Share(workers, resources.cpus_per_worker, gpus)
    least = Share(workers, 1, gpus)
    at_once = config.tune.at_once or (least.fits(nodes) if gpus > 0 else 1)
    shares = (Share(workers, cpus, gpus) for cpus in range(MOST_CPUS, 0, -1))
    return next((share for share in shares if share.fits(nodes) >= max(1, at_once)), least)


def wait_for_room(config: Config, tell: Callable[[str], None]) -> tuple[Share, int]:
    """What a trial's worker occupies, and how many trials fit at once, after waiting for a cluster that still grows.

    Raises
    ------
    TrainingError
        No node has as many GPUs as a worker asks for, or the cluster stays too small.
    """
    nodes = alive_nodes()
    share = share_of(config, nodes)
    if share.fits(nodes) > 0:
        return share, share.fits(nodes)
    remedy = "lower resources.workers, .cpus_per_worker or .gpus_per_worker, or add nodes"
    if config.resources.address is None and "RAY_ADDRESS" not in os.environ:
        raise TrainingError(f"a trial asks for {share}, {_largest(nodes)}", remedy)
    from ray.autoscaler.sdk import request_resources

    minutes = config.tune.wait_minutes
    tell(f"a trial asks for {share}, {_largest(nodes)}: waiting up to {minutes:g} min for nodes")
    request_resources(bundles=[share.bundle] * share.workers)
    until = time.monotonic() + 60 * minutes
    while share.fits(nodes) == 0 and time.monotonic() < until:
        time.sleep(1)
        nodes = alive_nodes()
    request_resources(bundles=[])
    if share.fits(nodes) == 0:
        raise TrainingError(f"a trial asks for {share}, and after {minutes:g} min {_largest(nodes)}", remedy)
    # Those that have come may leave more for each.
    share = share_of(config, nodes)
    return share, share.fits(nodes)


class Room:
    """Whether a cluster that shrinks while a sweep runs still has room for one trial.

    Parameters
    ----------
    share : Share
    minutes : float
        How long to wait for nodes to come back.
    tell : callable
        Says that it waits.
    """

    def __init__(self, share: Share, minutes: float, tell: Callable[[str], None]) -> None:
        self.share, self.minutes, self.tell = share, minutes, tell
        self.asked, self.lacking = time.monotonic(), 0.0

    def check(self) -> None:
        """Look at the nodes, every few seconds.

        Raises
        ------
        InterruptionError
            They have been too few for too long.
        """
        now = time.monotonic()
        passed = now - self.asked
        if passed < ROOM_SECONDS:
            return
        self.asked = now
        nodes = alive_nodes()
        if self.share.fits(nodes) > 0:
            self.lacking = 0.0
            return
        if self.lacking == 0:
            lack = f"a trial asks for {self.share}, {_largest(nodes)}"
            self.tell(f"{lack}: waiting up to {self.minutes:g} min for nodes")
        self.lacking += passed
        if self.lacking > 60 * self.minutes:
            raise InterruptionError(
                f"a trial asks for {self.share}, and for {self.minutes:g} min {_largest(nodes)}",
                "add nodes, and continue with --resume",
            )


def _largest(nodes: list[dict[str, Any]]) -> str:
    """What the cluster has, and its largest nodes."""
    cpus = [node.get("CPU", 0) for node in nodes]
    gpus = [node.get("GPU", 0) for node in nodes]
    both = f"{count(int(sum(cpus)), 'CPU')} and {count(int(sum(gpus)), 'GPU')}"
    return (
        f"the cluster has {count(len(nodes), 'node')} with {both}, "
        f"at most {max(cpus, default=0):g} and {max(gpus, default=0):g} on one"
    )
