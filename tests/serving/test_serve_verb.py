"""`raycxr serve` with and without Ray Serve: it answers, it ends when it is asked to, and its page shows a film."""

from __future__ import annotations

import base64
import json
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from ray_head import free_port
from tiny_bundle import write_tiny_bundle

from raycxr.storage.location import Location
from raycxr.xray.phantom import draw_phantom
from raycxr.xray.picture import encode_png

pytestmark = pytest.mark.slow
COMMAND = [sys.executable, "-c", "from raycxr.cli.main import main; main()", "serve"]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Location:
    return write_tiny_bundle(tmp_path_factory.mktemp("network"), "lungs", name="inverted_net", channels=(8, 4))


@contextmanager
def serving(network: Location, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    port = free_port()
    command = [*COMMAND, network.uri, "--port", str(port), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if "ready" in line:
                break
        else:
            raise AssertionError("".join(said))
        try:
            yield f"http://127.0.0.1:{port}", process
        finally:
            process.kill()


def film() -> bytes:
    drawn = draw_phantom(np.random.default_rng(1), 96).image
    return encode_png(np.rint(drawn * 255).astype(np.uint8))


@pytest.mark.parametrize(
    ("options", "number"), [(["--local"], signal.SIGINT), (["--local"], signal.SIGTERM), ([], signal.SIGTERM)]
)
def test_it_answers_and_ends(network: Location, options: list[str], number: int) -> None:
    with serving(network, *options, "--json") as (url, process):
        with urllib.request.urlopen(f"{url}/predict", film(), timeout=60) as answer:
            assert list(json.load(answer)["structures"]) == ["lungs"]
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert json.loads(out)["address"] == url
        assert "Traceback" not in err


def test_a_port_that_is_taken(network: Location) -> None:
    with serving(network, "--local") as (url, _):
        port = url.rpartition(":")[2]
        done = subprocess.run([*COMMAND, network.uri, "--port", port], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert f"cannot listen at 127.0.0.1:{port}: Address already in use" in done.stderr


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_the_page_shows_a_film(network: Location, tmp_path: Path) -> None:
    """Chromium opens the page with a script that hands it a film, as a drop of a file does."""
    (tmp_path / "film.png").write_bytes(film())
    with serving(network, "--local") as (url, _):
        with urllib.request.urlopen(url, timeout=30) as answer:
            page = answer.read().decode()
        dropped = f"""<script>
fetch('data:image/png;base64,{base64.b64encode(film()).decode()}').then(answer => answer.blob())
  .then(blob => show(new File([blob], 'film.png')));</script></body>"""
        assert page.count("</body>") == 1
        (tmp_path / "page.html").write_text(page.replace("</body>", dropped).replace("'predict?", f"'{url}/predict?"))
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-web-security", "--dump-dom",
                   "--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}",
                   "--virtual-time-budget=20000", f"file://{tmp_path / 'page.html'}"]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "film.png, 96 x 96 pixels" in done.stdout
    assert '<div id="result">' in done.stdout
    assert "<td>lungs</td>" in done.stdout
