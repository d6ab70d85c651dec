"""Figures of a worker as metrics of Ray, which Prometheus reads from every node."""

from __future__ import annotations

from collections.abc import Mapping

from ray.util.metrics import Gauge

from raycxr.training.gauges import FIGURES

PREFIX = "raycxr_"


class RayGauges:
    """Metrics `ray_raycxr_...` with the tags `run` and `rank`.

    Parameters
    ----------
    run : str
        Name of the run.
    rank : int
        Of the worker.
    """

    def __init__(self, run: str, rank: int) -> None:
        self.gauges = {name: Gauge(PREFIX + name, text, tag_keys=("run", "rank")) for name, text in FIGURES.items()}
        self.tags = {"run": run, "rank": str(rank)}

    def show(self, figures: Mapping[str, float]) -> None:
        """Replace the figures of these names."""
        for name, value in figures.items():
            self.gauges[name].set(value, self.tags)

    def rest(self) -> None:
        """Say that nothing is trained any more, where the process lives on; a metric cannot be taken back."""
        self.show(dict.fromkeys(("images_per_second", "data_wait_share", "step_seconds"), 0.0))
