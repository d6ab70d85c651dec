"""The service in this process, without Ray."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress

import uvicorn
from fastapi import FastAPI


def serve_here(app: FastAPI, host: str, port: int, ready: Callable[[], None]) -> None:
    """Serve until a signal asks for the end; requests that are under way are answered.

    Parameters
    ----------
    ready : callable
        Called when it listens.
    """
    # Raised once more when all is closed; there is no other end.
    with suppress(KeyboardInterrupt):
        _Server(uvicorn.Config(app, host, port, log_level="warning"), ready).run()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self.ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.ready()
