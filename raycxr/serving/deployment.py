"""The service on Ray Serve: replicas on any number of nodes, behind one address.

A RayService of KubeRay names `raycxr.serving.deployment:build`, with `bundle` among its arguments.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from ray import serve
from ray.serve import Application

from raycxr.errors import ConfigurationError
from raycxr.runs.bundle import find_bundle
from raycxr.serving.app import MOST_MEGABYTES, build_app
from raycxr.serving.film_service import FilmService

NAME = "raycxr"
ARGUMENTS = ("bundle", "also", "test_time", "most_megabytes", "replicas", "gpus_per_replica")


class Replica:
    """Networks that are loaded once, and the application around them.

    Parameters
    ----------
    networks : list of str
    test_time : list of str or None
    most_megabytes : float
    """

    def __init__(self, networks: list[str], test_time: list[str] | None, most_megabytes: float) -> None:
        self.service = FilmService(networks, None if test_time is None else tuple(test_time))
        self.most_megabytes = most_megabytes

    def __serve_build_asgi_app__(self) -> Any:
        """Return the application, after the networks are loaded."""
        return build_app(self.service, self.most_megabytes)


# Requests that a replica takes while it answers one: their films are received and decoded meanwhile.
_DEPLOYMENT = serve.deployment(name=NAME, max_ongoing_requests=4)(serve.ingress()(Replica))


def build(arguments: Mapping[str, Any]) -> Application:
    """Return the application of Ray Serve.

    Parameters
    ----------
    arguments : mapping
        `bundle`: URI of a bundle or a run, ``${NAME}`` in it being a variable of the environment. Optional: `also`
        (list of further ones), `test_time` (list), `most_megabytes`, `replicas`, `gpus_per_replica`.

    Raises
    ------
    DataError
        There is no such bundle.
    ConfigurationError
        An argument is unknown or missing.
    """
    unknown = sorted(set(arguments) - set(ARGUMENTS))
    if unknown or not arguments.get("bundle"):
        wrong = f"argument {unknown[0]!r} is unknown" if unknown else "the argument 'bundle' is missing"
        raise ConfigurationError(wrong, f"there are {', '.join(ARGUMENTS)}")
    named = [arguments["bundle"], *arguments.get("also", ())]
    networks = [find_bundle(os.path.expandvars(uri)).uri for uri in named]
    deployment = _DEPLOYMENT.options(
        num_replicas=arguments.get("replicas", 1),
        ray_actor_options={"num_cpus": 1, "num_gpus": arguments.get("gpus_per_replica", 0)},
    )
    application: Application = deployment.bind(
        networks, arguments.get("test_time"), float(arguments.get("most_megabytes", MOST_MEGABYTES))
    )
    return application


def serve_on_ray(arguments: Mapping[str, Any], host: str, port: int, ready: Callable[[], None]) -> None:
    """Serve on the connected cluster until Ctrl-C.

    Parameters
    ----------
    arguments : mapping
        As in `build`.
    ready : callable
        Called when it listens.
    """
    # It tells of its own controller and of each request.
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    serve.start(http_options={"host": host, "port": port})
    try:
        serve.run(build(arguments), name=NAME)
        ready()
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        # There is no other end.
        pass
    finally:
        # Of this name alone: other applications of the cluster go on.
        serve.delete(NAME)
