"""Ports of this machine."""

from __future__ import annotations

import socket

from raycxr.errors import UsageError


def check_free(host: str, port: int) -> None:
    """Make sure that one can listen at a port.

    Raises
    ------
    UsageError
        Another program does, or this user may not.
    """
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise UsageError(
            f"cannot listen at {host}:{port}: {error.strerror}", "choose another --port or --host"
        ) from None
