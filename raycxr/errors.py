"""The errors that a user sees: what happened in one line, and how to mend it."""

from __future__ import annotations


class RaycxrError(Exception):
    """A failure that can be told in one line, without a traceback.

    Parameters
    ----------
    message : str
        What went wrong, naming the file, key or value.
    remedy : str
        What the user can do about it; an empty string where nothing sensible can be said.
    """

    kind = "failure"
    exit_code = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[RaycxrError], tuple[str, str]]:
        # Ray carries exceptions between processes by pickling them.
        return type(self), (self.message, self.remedy)

    def __str__(self) -> str:
        return f"{self.message} - {self.remedy}" if self.remedy else self.message


class ConfigurationError(RaycxrError):
    """A configuration file or an override is wrong; names key, value and choices."""

    kind = "configuration"
    exit_code = 2


class UsageError(RaycxrError):
    """A command line that asks for something impossible."""

    kind = "usage"
    exit_code = 2


class DataError(RaycxrError):
    """Input data (a film, a mask, a shard, a manifest) is missing, damaged or inconsistent."""

    kind = "data"


class RefusedFilmError(DataError):
    """A whole file that is no film, or none that the data set is made of; `reason` is its word in the rejects."""

    def __init__(self, reason: str, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.reason = reason

    def __reduce__(self) -> tuple[type[RefusedFilmError], tuple[str, str, str]]:  # type: ignore[override]
        return type(self), (self.reason, self.message, self.remedy)


class StorageError(RaycxrError):
    """A local path or S3 location cannot be read or written."""

    kind = "storage"


class ClusterLostError(RaycxrError):
    """The Ray cluster went away while it was used; nothing can be asked of it any more, nor told to it."""

    kind = "cluster"


class InterruptionError(RaycxrError):
    """Ctrl-C, or the signal by which a cluster ends a job, stopped a verb; tells how to go on."""

    kind = "interrupted"


class TrainingError(RaycxrError):
    """A run could not be started, resumed or finished."""

    kind = "training"


def first_line(error: BaseException) -> str:
    """Return the first line of what an exception of another library says."""
    return next(iter(str(error).strip().splitlines()), "")
