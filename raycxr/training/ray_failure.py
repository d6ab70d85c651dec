"""What Ray Train says of a run that failed, told in one line."""

from __future__ import annotations

from ray.exceptions import OutOfMemoryError, RayActorError

from raycxr.errors import RaycxrError, TrainingError, first_line

# Where Ray keeps what it wraps.
LAYERS = ("controller_failure", "health_check_failure", "_base_exc", "cause")


def run_failure(error: BaseException, name: str) -> RaycxrError:
    """Say why a run failed.

    Parameters
    ----------
    error : BaseException
        What Ray Train raised.
    name : str
        Of the run.
    """
    cause = original(error)
    if isinstance(cause, RaycxrError):
        return cause
    resume = f"continue with --resume {name}"
    told = str(cause)
    if isinstance(cause, OutOfMemoryError) or "low on memory" in told:
        return TrainingError(
            "a worker was ended because its node ran out of memory",
            f"lower train.batch_size or train.loader_workers, or take nodes with more memory, and {resume}",
        )
    if isinstance(cause, RayActorError):
        return TrainingError(
            "a worker was lost more often than resources.max_failures allows: killed, perhaps by the system because "
            "memory ran out, or its node is gone",
            f"look at the memory and the events of the nodes, and {resume}",
        )
    return TrainingError(
        f"training failed: {type(cause).__name__}: {first_line(cause)}",
        f"mend the cause and {resume}; --debug shows the traceback",
    )


def original(error: BaseException) -> BaseException:
    """The exception that the loop raised, out of the layers in which Ray Train hands it over."""
    while True:
        failures = getattr(error, "worker_failures", None)
        inner = failures[min(failures)] if failures else None
        for layer in LAYERS:
            inner = inner or getattr(error, layer, None)
        if not isinstance(inner, BaseException):
            return error
        error = inner
