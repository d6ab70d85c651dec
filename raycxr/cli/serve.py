"""`raycxr serve`: a network that answers over HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from raycxr.cli.answer import answer, tell
from raycxr.cli.options import Also, Debug, Json, Network, RayAddress, TestTime, parse_views


def serve(
    run: Network,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    host: Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 for all the world.")] = "127.0.0.1",
    also: Also = None,
    test_time: TestTime = None,
    most_megabytes: Annotated[float, typer.Option(help="Larger films are refused.")] = 100,
    replicas: Annotated[int, typer.Option(min=1, help="Processes that hold the network.")] = 1,
    gpus_per_replica: Annotated[float, typer.Option(min=0)] = 0,
    address: RayAddress = None,
    local: Annotated[bool, typer.Option("--local", help="Serve from this process, without Ray.")] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Answer over HTTP until it is ended: a film in, masks out; a page, health and metrics."""
    from raycxr.cluster.port import check_free
    from raycxr.runs.bundle import find_bundle
    from raycxr.storage.patience import first_contact

    views = parse_views(test_time)
    with first_contact():
        networks = [find_bundle(uri).uri for uri in (run, *(also or ()))]
    check_free(host, port)
    url = f"http://{host}:{port}"

    def ready() -> None:
        tell(f"{url}: ready; Ctrl-C ends it")

    if local:
        from raycxr.serving.app import build_app
        from raycxr.serving.film_service import FilmService
        from raycxr.serving.local_server import serve_here

        serve_here(build_app(FilmService(networks, views), most_megabytes), host, port, ready)
    else:
        from raycxr.cluster.connection import connected

        arguments = {
            "bundle": networks[0],
            "also": networks[1:],
            "test_time": None if views is None else list(views),
            "most_megabytes": most_megabytes,
            "replicas": replicas,
            "gpus_per_replica": gpus_per_replica,
        }
        with connected(address):
            from raycxr.serving.deployment import serve_on_ray

            serve_on_ray(arguments, host, port, ready)
    answer({"address": url, "bundles": networks}, f"{url} is closed", json)
