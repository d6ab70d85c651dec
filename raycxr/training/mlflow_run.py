"""The copy of a run on an MLflow server: parameters, tags, figures of each epoch, overlays, and the best bundle.

The run's folder is what holds: its record and its history tell what should be on the server, and the server is asked
what it has. So nothing is lost while the server is away, nothing is written twice, and a run that is resumed goes on
in the same run of MLflow, whose id lies in the folder.
"""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from raycxr.config.tracking import TrackingSection
from raycxr.errors import first_line
from raycxr.runs.record import BEST, OVERLAYS, read_history, read_record
from raycxr.storage.location import Location

# In the run's folder: the server, the experiment and the run's id there.
NOTE = "mlflow.json"
# Read by the client when it is imported. Nothing calls home, and standard output is for the answers of verbs.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
# Where the user has not set them. A server that does not answer is asked again with the next epoch.
DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
}
STATUSES = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED", "stopped": "KILLED"}
# Servers before MLflow 2.8 refuse longer ones.
LONGEST_VALUE = 500
LONGEST_NAME = 250
# Every epoch has it: its steps tell which epochs the server has.
ALWAYS = "validation/loss"
# Tag with the name of the newest picture that the server has.
LAST_OVERLAY = "last_overlay"
_NOT_IN_NAMES = re.compile(r"[^\w/. :-]")
_GONE = "RESOURCE_DOES_NOT_EXIST"


class MlflowRun:
    """One run on one server. Whatever the client raises goes through.

    Parameters
    ----------
    run : Location
        Folder of the run, with its record.
    section : TrackingSection
        With the URI of a server.
    """

    def __init__(self, run: Location, section: TrackingSection) -> None:
        self.run, self.uri, self.experiment = run, section.mlflow, section.experiment
        self.client: Any = None
        self.id: str | None = None
        self.epochs: set[int] = set()
        self.last_overlay = ""

    def send(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Send every epoch and every overlay that the server does not have."""
        if self.id is None:
            self.id = self._open()
        for entry in history:
            if entry["epoch"] not in self.epochs:
                self.client.log_batch(self.id, metrics=_metrics(entry))
                self.epochs.add(entry["epoch"])
        folder = self.run / OVERLAYS
        for picture in folder.list() if folder.is_dir() else []:
            # Their names are in the order of the epochs.
            if picture.name > self.last_overlay:
                self._send_file(picture, OVERLAYS)
                self.client.set_tag(self.id, LAST_OVERLAY, picture.name)
                self.last_overlay = picture.name

    def end(self, status: str, reason: str | None) -> None:
        """Send what is missing, the bundle of a run that has finished, and how the run ended, as its record has it."""
        self.send(read_history(self.run))
        if status == "finished":
            for file in (self.run / BEST).walk():
                self._send_file(file, BEST)
        self.client.set_tag(self.id, "status", status)
        self.client.set_tag(self.id, "reason", _shortened(reason or ""))
        self.client.set_terminated(self.id, STATUSES[status])

    def _open(self) -> str:
        """Find the run on the server, or create it; return its id."""
        self.client = _connect(self.uri)
        record = read_record(self.run)
        tags = _tags(self.run, record)
        there = self._noted() or self._create(record, tags)
        run_id: str = there.info.run_id
        from mlflow.entities import Param, RunTag

        # A parameter never changes; one that a resumed run has otherwise is told by the record.
        missing = {name: value for name, value in _parameters(record["config"]) if name not in there.data.params}
        self.client.log_batch(
            run_id,
            params=[Param(name, value) for name, value in missing.items()],
            tags=[RunTag(name, value) for name, value in tags.items()],
        )
        self.client.update_run(run_id, status="RUNNING")
        self.epochs = {metric.step for metric in self.client.get_metric_history(run_id, ALWAYS)}
        self.last_overlay = there.data.tags.get(LAST_OVERLAY, "")
        return run_id

    def _noted(self) -> Any:
        """Run that the folder names, if this server has it."""
        from mlflow.exceptions import MlflowException

        if not (self.run / NOTE).is_file():
            return None
        note = json.loads((self.run / NOTE).read_text())
        if (note["uri"], note["experiment"]) != (self.uri, self.experiment):
            return None
        try:
            return self.client.get_run(note["run_id"])
        except MlflowException as error:
            if error.error_code == _GONE:
                return None
            raise

    def _create(self, record: Mapping[str, Any], tags: dict[str, str]) -> Any:
        experiment = self.client.get_experiment_by_name(self.experiment)
        place = self.client.create_experiment(self.experiment) if experiment is None else experiment.experiment_id
        name = self.run.name if "trial" not in record else f"{self.run.parent.name}/{self.run.name}"
        run = self.client.create_run(place, start_time=_milliseconds(record["created"]), tags=tags, run_name=name)
        note = {"uri": self.uri, "experiment": self.experiment, "run_id": run.info.run_id}
        (self.run / NOTE).write_text(json.dumps(note))
        return run

    def _send_file(self, file: Location, folder: str) -> None:
        if file.is_local:
            self.client.log_artifact(self.id, str(file.local_path), folder)
            return
        with tempfile.TemporaryDirectory(prefix="raycxr-mlflow-") as here:
            file.continue_to(Path(here) / file.name)
            self.client.log_artifact(self.id, str(Path(here) / file.name), folder)


def end_mlflow_run(
    run: Location, section: TrackingSection, tell: Callable[[str], None], status: str, reason: str | None = None
) -> bool:
    """Bring a run that has ended to its end on the server, too, where there is one.

    Parameters
    ----------
    tell : callable
        Is told in one line why that failed, which is no failure of the run.
    status, reason : str, str or None
        As `finish_record` takes them.

    Returns
    -------
    bool
        Whether nothing is missing there.
    """
    if section.mlflow is None:
        return True
    try:
        MlflowRun(run, section).end(status, reason)
    except Exception as error:  # whatever it is, the run itself has ended and is safe
        tell(f"MLflow at {section.mlflow} has not got all of run {run.name}: {reason_of(error)}")
        return False
    return True


def reason_of(error: BaseException) -> str:
    """Why a server could not be written to: what lies at the bottom of the layers of clients, in one line."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return f"{type(error).__name__}: {first_line(error)}"[:300]


def _connect(uri: str | None) -> Any:
    os.environ.update(ENVIRONMENT)
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def _tags(run: Location, record: Mapping[str, Any]) -> dict[str, str]:
    tags = {
        "run": run.uri,
        "raycxr": record["raycxr"],
        "git": record["git"],
        "dataset.id": record["dataset"]["id"],
        "dataset.uri": record["dataset"]["uri"],
        "world_size": record.get("resumed_world_size", record["world_size"]),
        **{f"version.{name}": version for name, version in record["versions"].items()},
    }
    if "trial" in record:
        trial = record["trial"]
        tags |= {"sweep": run.parent.name, "candidate": trial["candidate"], "member": trial["member"]}
    return {name: _shortened(str(value)) for name, value in tags.items() if value is not None}


def _parameters(config: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys of a configuration with their values; what is null is left out."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _parameters(value, f"{where}{key}.")
        elif value is not None:
            text = value if isinstance(value, str) else json.dumps(value)
            yield _name(f"{where}{key}"), _shortened(text)


def _metrics(entry: Mapping[str, Any]) -> list[Any]:
    from mlflow.entities import Metric

    time = _milliseconds(entry["time"])
    return [Metric(name, value, time, entry["epoch"]) for name, value in _figures(entry) if math.isfinite(value)]


def _figures(values: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, float]]:
    """Every number of an entry of the history, such as `validation/dice/mean`."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _figures(value, f"{where}{key}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and key != "epoch":
            yield _name(f"{where}{key}"), float(value)


def _name(text: str) -> str:
    return _NOT_IN_NAMES.sub("_", text)[:LONGEST_NAME]


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def _milliseconds(time: str) -> int:
    return int(datetime.fromisoformat(time).timestamp() * 1000)
