"""The HTTP interface: a film in, masks out; a page for people; health and metrics for those who run it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest

import raycxr
from raycxr.errors import DataError, RaycxrError, UsageError, first_line
from raycxr.serving.film_service import ANSWERS, FilmService
from raycxr.serving.page import page

# The largest DICOM films have 50 MB.
MOST_MEGABYTES = 100
_PNG, _JPEG, _GIF, _DICOM = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", (b"GIF87a", b"GIF89a"), b"DICM"


class RefusedError(RaycxrError):
    """A request that is answered with a status of its own."""

    kind = "request"

    def __init__(self, status: int, message: str, remedy: str) -> None:
        super().__init__(message, remedy)
        self.status = status


def build_app(service: FilmService, most_megabytes: float = MOST_MEGABYTES) -> FastAPI:
    """Return the application of one service.

    Parameters
    ----------
    most_megabytes : float
        Larger films are refused, before they are read to their end.
    """
    registry = CollectorRegistry()
    requests = Counter("raycxr_predictions", "Films asked about, by the status of the answer", ["status"],
                       registry=registry)  # fmt: skip
    seconds = Histogram("raycxr_prediction_seconds", "From the whole film to its answer", registry=registry)
    app = FastAPI(title="raycxr", version=raycxr.__version__, docs_url=None, redoc_url=None)

    @app.get("/", response_class=HTMLResponse)
    def show_page() -> str:
        return page(service.predictor.title, service.classes)

    @app.get("/favicon.ico", status_code=204)
    def icon() -> None:
        """There is none, which browsers ask for none the less."""

    @app.get("/health")
    def health() -> dict[str, object]:
        return {"status": "ok", "raycxr": raycxr.__version__, "classes": list(service.classes),
                "size": service.predictor.size, **service.predictor.description}  # fmt: skip

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    @app.post("/predict")
    async def predict(request: Request) -> Response:
        response = await _answered(lambda: _predict(request, service, most_megabytes, seconds))
        requests.labels(str(response.status_code)).inc()
        return response

    return app


async def _predict(request: Request, service: FilmService, most_megabytes: float, seconds: Histogram) -> Response:
    unknown = set(request.query_params) - {"format", "structure"}
    if unknown:
        raise UsageError(f"parameter {sorted(unknown)[0]!r} is unknown", "there are format and structure")
    asked = request.query_params.get("format", "json")
    structure = request.query_params.get("structure")
    service.check(asked, structure)
    film = await _film(request, most_megabytes)
    started = time.perf_counter()
    content = await run_in_threadpool(lambda: service.answer(service.find(film), asked, structure))
    seconds.observe(time.perf_counter() - started)
    return Response(content, media_type=ANSWERS[asked])


async def _film(request: Request, most_megabytes: float) -> bytes:
    """Body of a request, as far as it may be one."""
    most = int(most_megabytes * 1e6)
    if request.headers.get("content-type", "").startswith("multipart/"):
        raise RefusedError(415, "the film is sent as a form", "send the file itself as the body of the request")
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise RefusedError(413, f"the film has more than {most_megabytes:g} MB", "send a smaller one")
        parts.append(part)
    film = b"".join(parts)
    if not film:
        raise RefusedError(422, "the request has no body", "send the file itself as the body of the request")
    if not (film.startswith((_PNG, _JPEG, *_GIF)) or film[128:132] == _DICOM):
        raise RefusedError(415, "the film is neither DICOM, PNG, JPEG nor GIF", "convert it")
    return film


async def _answered(work: Callable[[], Awaitable[Response]]) -> Response:
    """Every failure as one JSON document, as `--json` of the command line has it."""
    try:
        return await work()
    except RefusedError as error:
        return _failure(error.status, error)
    except UsageError as error:
        return _failure(400, error)
    except DataError as error:
        return _failure(422, error)
    except Exception as error:  # the last line of defence: who asks gets one document, never a page of the server
        unexpected = RaycxrError(f"unexpected {type(error).__name__}: {first_line(error)}", "look at the server's log")
        return _failure(500, unexpected)


def _failure(status: int, error: RaycxrError) -> JSONResponse:
    told = {"kind": error.kind, "message": error.message, "remedy": error.remedy}
    return JSONResponse({"error": told}, status)
