"""What Ray wraps around a failure is taken off, and what a user can do is said."""

from __future__ import annotations

import pytest
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.train import TrainingFailedError
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback, WorkerHealthCheckFailedError
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

from raycxr.errors import StorageError
from raycxr.training.ray_failure import run_failure


def of_worker(failure: Exception) -> TrainingFailedError:
    return WorkerGroupError("told", {1: failure})


def sick(failure: Exception) -> WorkerHealthCheckFailedError:
    return WorkerHealthCheckFailedError("A worker health check failed.", failure)


@pytest.mark.parametrize(
    ("error", "message", "remedy"),
    [
        (of_worker(StorageError("no room", "free some")), "no room", "free some"),
        (of_worker(UserExceptionWithTraceback(ValueError("wrong\nin two lines"), "...")),
         "training failed: ValueError: wrong", "continue with --resume one"),
        (of_worker(sick(OutOfMemoryError("Task was killed"))),
         "its node ran out of memory", "lower train.batch_size"),
        (of_worker(sick(RayActorError(error_msg="killed due to the node running low on memory"))),
         "its node ran out of memory", "continue with --resume one"),
        (of_worker(sick(RayActorError(error_msg="it died\nunexpectedly"))),
         "because memory ran out, or its node is gone", "continue with --resume one"),
        (ControllerError(OSError(28, "No space left on device")), "No space left on device", "--resume one"),
    ],
)  # fmt: skip
def test_a_failure_is_one_line(error: TrainingFailedError, message: str, remedy: str) -> None:
    told = run_failure(error, "one")
    assert message in told.message
    assert remedy in told.remedy
    assert "\n" not in str(told)
