"""The HTTP interface: what comes out is what the predictor says, and what is wrong is told in one document."""

from __future__ import annotations

import io
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
import torch
import uvicorn
from tiny_bundle import SIZE, write_tiny_bundle

from raycxr.postprocess.rule import apply_rules
from raycxr.serving.app import build_app
from raycxr.serving.film_service import FilmService
from raycxr.sources.synth_siim import write_siim_dicom
from raycxr.storage.location import Location
from raycxr.xray.dicom import decode_dicom
from raycxr.xray.intensity import IntensityRule
from raycxr.xray.picture import encode_png
from raycxr.xray.resize import letterbox_image, undo_letterbox
from raycxr.xray.run_length import decode_run_lengths

CLASSES = ("lungs", "heart")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> FilmService:
    folder = tmp_path_factory.mktemp("network")
    return FilmService([write_tiny_bundle(folder, *CLASSES, name="inverted_net", channels=(8, 4)).uri])


@pytest.fixture(scope="module")
def url(service: FilmService) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(build_app(service, most_megabytes=0.2), port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("siim")
    write_siim_dicom(Location(folder), 1, 60, 0, lambda done, total: None)
    return next(folder.rglob("*.dcm")).read_bytes()


def ask(url: str, film: bytes | None, query: str = "", content_type: str = "application/octet-stream") -> Any:
    """Status, media type and body of a POST, or of a GET where there is no film."""
    request = urllib.request.Request(f"{url}{query}", film, {"Content-Type": content_type})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read()


def expected(service: FilmService, film: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    pixels = decode_dicom(film).pixels
    square = letterbox_image(np.asarray(IntensityRule().apply(pixels)[0], np.uint8), SIZE)
    maps = service.predictor.predict(torch.from_numpy(square)[None]).masks[0].numpy()
    return apply_rules(service.rules, undo_letterbox(maps, *pixels.shape))


def test_masks(service: FilmService, url: str, film: bytes) -> None:
    masks = expected(service, film)
    status, kind, body = ask(url, film, "/predict")
    assert (status, kind) == (200, "application/json")
    document = json.loads(body)
    assert (document["height"], document["width"]) == (60, 60)
    for name, mask in zip(CLASSES, masks, strict=True):
        told = document["structures"][name]
        assert told["pixels"] == mask.sum()
        assert np.array_equal(decode_run_lengths(told["run_lengths"], 60, 60), mask)
        status, kind, body = ask(url, film, f"/predict?format=png&structure={name}")
        assert (status, kind) == (200, "image/png")
        written = np.asarray(cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED))
        assert np.array_equal(written > 0, mask)
        status, _, body = ask(url, film, f"/predict?format=rle&structure={name}")
        assert body.decode() == told["run_lengths"]
    status, kind, body = ask(url, film, "/predict?format=dicom-seg")
    assert (status, kind) == (200, "application/dicom")
    assert pydicom.dcmread(io.BytesIO(body)).Modality == "SEG"
    assert ask(url, film, "/predict?format=overlay")[:2] == (200, "image/png")


def test_films_at_the_same_time(service: FilmService, url: str, film: bytes) -> None:
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.append(ask(url, film, "/predict"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    assert len({body for _, _, body in answers}) == 1


PNG = encode_png(np.arange(3600, dtype=np.uint16).reshape(60, 60))


@pytest.mark.parametrize(
    ("body", "query", "status", "said"),
    [
        (b"junk" * 100, "", 415, "neither DICOM, PNG, JPEG nor GIF"),
        (b"", "", 422, "no body"),
        (PNG[:300], "", 422, "truncated"),
        (encode_png(np.zeros((40, 40), np.uint8)), "", 422, "constant"),
        (PNG[:8] + bytes(300_000), "", 413, "more than 0.2 MB"),
        (PNG, "?format=jpeg", 400, "format 'jpeg' is unknown"),
        (PNG, "?format=png", 400, "is of one structure"),
        (PNG, "?format=png&structure=spleen", 400, "structure 'spleen' is unknown"),
        (PNG, "?from=png", 400, "parameter 'from' is unknown"),
        (PNG, "?format=dicom-seg", 400, "needs a DICOM file"),
    ],
)
def test_what_is_wrong(url: str, body: bytes, query: str, status: int, said: str) -> None:
    found, kind, text = ask(url, body, f"/predict{query}")
    assert (found, kind) == (status, "application/json")
    error = json.loads(text)["error"]
    assert said in error["message"]
    assert error["remedy"]


def test_a_form_is_told_what_to_send(url: str) -> None:
    status, _, text = ask(url, b"--x\r\n", "/predict", "multipart/form-data; boundary=x")
    assert status == 415
    assert "send the file itself" in json.loads(text)["error"]["remedy"]


def test_health_and_metrics(service: FilmService, url: str, film: bytes) -> None:
    health = json.loads(ask(url, None, "/health")[2])
    assert health["status"] == "ok"
    assert health["classes"] == list(CLASSES)
    before, after = (ask(url, None, "/metrics")[2].decode() for _ in (0, ask(url, film, "/predict")))
    counted = 'raycxr_predictions_total{status="200"} '
    assert counted in after
    assert "raycxr_prediction_seconds_bucket" in before


def test_the_page_has_everything_in_it(url: str) -> None:
    status, kind, text = ask(url, None, "/")
    assert (status, kind.split(";")[0]) == (200, "text/html")
    assert b"https://" not in text
    assert b"lungs, heart" in text
    assert ask(url, None, "/favicon.ico")[0] == 204


def test_unexpected_errors_are_documents(
    service: FilmService, url: str, film: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(data: bytes) -> None:
        raise ZeroDivisionError("somewhere")

    monkeypatch.setattr(service, "find", broken)
    status, _, text = ask(url, film, "/predict")
    assert status == 500
    assert json.loads(text)["error"]["message"] == "unexpected ZeroDivisionError: somewhere"


def test_a_bundle_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from raycxr.cli.main import run

    assert run(["serve", str(tmp_path), "--json"]) == 1
    assert "neither a bundle nor a run" in json.loads(capsys.readouterr().out)["error"]["message"]
