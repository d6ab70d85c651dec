"""Connecting to Ray: a cluster that is running, or one embedded in this process."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from importlib import import_module

from raycxr.cluster.head_watch import watched_head
from raycxr.errors import ClusterLostError, RaycxrError, first_line
from raycxr.signals import kept_handler

# Read by Ray when it is imported. Measured on two cores: they save processes and seconds at start, and noise.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # How often a report of training is collected: the default of two seconds would be added to every epoch.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
}
EMBEDDED_ENVIRONMENT = {
    # The default as well, but saying so spares the user a warning at every start.
    "RAY_AUTH_MODE": "token",
    # Nothing preempts the machine of a cluster that lives and dies with this process.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # Ray's workers would otherwise give way to every other program, at the lowest priority but four.
    "RAY_worker_niceness": "0",
    # Ray Train's processes all have an environment of their own and never use prestarted ones.
    "RAY_prestart_worker_first_driver": "0",
}

CONNECT_SECONDS = 10


class ClusterError(RaycxrError):
    """A Ray cluster cannot be reached or started."""

    kind = "cluster"


@contextmanager
def connected(address: str | None, imports: tuple[str, ...] = ()) -> Iterator[None]:
    """Connect to Ray for the length of a `with` block.

    Parameters
    ----------
    address : str or None
        Of a running cluster; None for $RAY_ADDRESS, or where that is not set, a cluster embedded in this process.
    imports : tuple of str
        Modules to import while Ray starts its processes, which this process otherwise only waits for.

    Raises
    ------
    ClusterError
        Nobody answers at the address.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    for name, value in (ENVIRONMENT | ({} if address else EMBEDDED_ENVIRONMENT)).items():
        os.environ.setdefault(name, value)
    if address:
        check_reachable(
            address, "check resources.address and $RAY_ADDRESS, or leave them out to start one in this process"
        )
    import ray

    importing = threading.Thread(target=_import_all, args=(imports,), daemon=True)
    importing.start()
    try:
        # Ray's own handler of SIGTERM ends the process without a word.
        with kept_handler(signal.SIGTERM):
            if address:
                ray.init(address=address, logging_level="ERROR", log_to_driver=False)
            else:
                ray.init(address="local", include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    except SystemExit:
        raise KeyboardInterrupt from None
    except (ConnectionError, RuntimeError, ValueError) as error:
        first = first_line(error)
        where = f"the Ray cluster at {address}" if address else "a Ray cluster in this process"
        raise ClusterError(f"cannot use {where}: {first}", "check resources.address and $RAY_ADDRESS") from None
    importing.join()
    try:
        # Ray says on standard output which of its processes have died; that stream is kept for the answer.
        # Who comes through Ray's client does not see the head itself.
        through_client = address is not None and address.startswith("ray://")
        watch = nullcontext() if through_client else watched_head(ray.get_runtime_context().gcs_address)
        with redirect_stdout(sys.stderr), watch:
            yield
    except ClusterLostError:
        # To take leave of a head that is gone Ray would wait for it, and crash this process in the end.
        atexit.register(_leave)
        raise
    except BaseException:  # whatever it was, it goes on
        ray.shutdown()
        raise
    ray.shutdown()


def _leave() -> None:
    """End this process, which has said all, before the libraries in it do something more."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(ClusterLostError.exit_code)


def check_reachable(address: str, remedy: str) -> None:
    """Fail within seconds where nobody listens: Ray itself would go on trying for many minutes."""
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not separator or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise ClusterError(f"no Ray cluster answers at {address}: {error.strerror or error}", remedy) from None


def _import_all(modules: tuple[str, ...]) -> None:
    for module in modules:
        import_module(module)
