"""What rank 0 keeps of a run beside the checkpoints: history, overlays, TensorBoard, MLflow and the best bundle.

Written in the background from a snapshot, so that the next epoch does not wait for storage. The background threads
write and hash, but never compute with torch: a second thread with workers of its own makes OpenMP put waiting threads
to sleep in place of letting them spin, and each training step on the CPU then takes 1.4 times as long (measured).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from raycxr.config.sections import Config
from raycxr.dataset.films import SplitIndex
from raycxr.postprocess.rule import DecisionRule
from raycxr.prediction.checkpoint import list_checkpoints, read_snapshot
from raycxr.prediction.snapshot import MID_EPOCH, TAKEN_FROM, Weights, plain_weights
from raycxr.prediction.target import TargetKind
from raycxr.runs.bundle import MARKER
from raycxr.runs.record import BEST, OVERLAYS, write_history
from raycxr.storage.location import Location
from raycxr.training.bundle import save_bundle
from raycxr.training.curves import Curves
from raycxr.training.mlflow_run import MlflowRun
from raycxr.training.mlflow_sender import MlflowSender
from raycxr.training.overlays import OverlayFilm, draw_sheet, encode_png, overlay_name
from raycxr.training.state import Progress


class Saver:
    """Keeps a run's folder up to date.

    Parameters
    ----------
    run : Location
        Folder of the run.
    config : Config
    target : TargetKind
    splits : SplitIndex
        What is trained on, for the model card.
    rules : sequence of DecisionRule
        Those of the configuration, one per class.
    tell : callable
        Says in one line what is going on.
    """

    def __init__(
        self,
        run: Location,
        config: Config,
        target: TargetKind,
        splits: SplitIndex,
        rules: Sequence[DecisionRule],
        tell: Callable[[str], None],
    ) -> None:
        self.rules = rules
        self.run, self.config, self.target, self.splits = run, config, target, splits
        tracking = config.tracking
        self.curves = Curves(run, config) if tracking.tensorboard else None
        self.sender = None if tracking.mlflow is None else MlflowSender(MlflowRun(run, tracking), tell)
        self.writer = ThreadPoolExecutor(1)
        self.pending: Future[None] | None = None

    def resume(self, progress: Progress, snapshot: Mapping[str, Any]) -> None:
        """Make the folder agree with the checkpoint that the run continues from.

        The run may have been killed after that checkpoint and before its bundle, or after later epochs that are now
        trained again.
        """
        write_history(self.run, progress.history)
        newest_is_best = progress.best_epoch is not None and progress.best_epoch == progress.epoch
        if newest_is_best and MID_EPOCH in snapshot:
            self._restore_best(progress.epoch)
        elif newest_is_best and TAKEN_FROM not in snapshot:
            self._bundle(snapshot, plain_weights(snapshot))
        elif progress.best_epoch is not None and not (self.run / BEST / MARKER).exists():
            # Killed while the bundle was replaced by one with the decision rules found at the end.
            self._restore_best(progress.best_epoch)

    def save(self, entry: Mapping[str, Any], snapshot: Mapping[str, Any], films: Sequence[OverlayFilm]) -> None:
        """Start writing an epoch, after the one before is done; with the films to be drawn, if there are any."""
        self._wait()
        weights = plain_weights(snapshot) if entry["best"] else None
        self.pending = self.writer.submit(self._write, entry, snapshot, weights, films)

    def close(self) -> None:
        """Wait for everything."""
        self._wait()
        self.writer.shutdown()
        if self.curves is not None:
            self.curves.close()
        if self.sender is not None:
            self.sender.close()

    def _wait(self) -> None:
        # Forgotten first: what went wrong is told once.
        pending, self.pending = self.pending, None
        if pending is not None:
            pending.result()

    def _write(
        self,
        entry: Mapping[str, Any],
        snapshot: Mapping[str, Any],
        weights: Weights | None,
        films: Sequence[OverlayFilm],
    ) -> None:
        if weights is not None:
            self._bundle(snapshot, weights)
        write_history(self.run, snapshot["history"])
        sheet = draw_sheet(films) if films else None
        if sheet is not None and self.sender is not None:
            # Sent from there, also by a later attempt.
            (self.run / OVERLAYS / overlay_name(entry["epoch"])).write_bytes(encode_png(sheet))
        if self.curves is not None:
            self.curves.add(entry, sheet)
        if self.sender is not None:
            self.sender.send(snapshot["history"])

    def _restore_best(self, epoch: int) -> None:
        """Write the bundle of an epoch from its checkpoint, if that was kept."""
        for folder in list_checkpoints(self.run):
            snapshot = read_snapshot(folder)
            if snapshot["epoch"] == epoch and TAKEN_FROM not in snapshot:
                self._bundle(snapshot, plain_weights(snapshot))

    def _bundle(self, snapshot: Mapping[str, Any], weights: Weights) -> None:
        metrics = {
            "epoch": snapshot["best_epoch"],
            "split": "validation",
            "metrics": snapshot["best_metrics"],
        }
        # A bundle is written where the last entry is the best one.
        if "swa_epochs" in snapshot["history"][-1]:
            metrics["swa_epochs"] = snapshot["history"][-1]["swa_epochs"]
        save_bundle(self.run / BEST, weights, metrics, self.config, self.target, self.splits, self.rules)
