"""Networks of bundles as ONNX files, which run without torch and without this package.

The file takes grey levels and gives probabilities: what training did before and after the network is part of the graph.
What stays outside (fitting a film into a square, grey levels, decision rules) is described in the file's metadata.
"""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import raycxr
from raycxr.errors import DataError, UsageError
from raycxr.models.choices import size_divisor, smallest_size
from raycxr.models.image_head import split_output
from raycxr.prediction.bundle import load_model
from raycxr.prediction.target import TargetKind, normalise
from raycxr.runs.bundle import Bundle
from raycxr.storage.location import Location

OPSET = 20
FILMS, PROBABILITIES, IMAGE_PROBABILITIES = "films", "probabilities", "image_probabilities"
# Largest difference of a probability between torch and onnxruntime, both in float32.
TOLERANCE = 1e-3
# Of the metadata.
KEY = "raycxr"


@dataclass(frozen=True)
class Export:
    """An ONNX file.

    Attributes
    ----------
    out : str
        Its URI.
    bytes : int
    sha256 : str
    opset : int
    inputs, outputs : dict
        Name -> shape; a letter is a size that may vary.
    sizes : str
        Heights and widths that it takes.
    largest_difference : float
        Of any probability from torch's, in the checks.
    bundle : str
        URI of the bundle.
    """

    out: str
    bytes: int
    sha256: str
    opset: int
    inputs: dict[str, list[int | str]]
    outputs: dict[str, list[int | str]]
    sizes: str
    largest_difference: float
    bundle: str


class Probabilities(nn.Module):
    """A network from grey levels to probabilities.

    Parameters
    ----------
    model : nn.Module
        Takes normalised films (B, 1, H, W).
    target : TargetKind
    """

    def __init__(self, model: nn.Module, target: TargetKind) -> None:
        super().__init__()
        self.model, self.target = model, target

    def forward(self, films: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Probabilities (B, channels, H, W), and of an image head (B, classes), of films (B, H, W) float32 in 0..1."""
        logits, image_logits = split_output(self.model(normalise(films)))
        probabilities = self.target.activate(logits)
        return probabilities if image_logits is None else (probabilities, image_logits.float().sigmoid())


def export_onnx(location: Location, out: Location, tell: Callable[[str], None]) -> Export:
    """Write the network of a bundle as one ONNX file, after comparing it with torch.

    Parameters
    ----------
    location : Location
        A bundle, or a checkpoint inside its run.
    tell : callable
        Says in one line what is going on.

    Raises
    ------
    UsageError
        onnx, onnxruntime or onnxscript is not installed.
    DataError
        The bundle is damaged or a classifier, or onnxruntime's probabilities are others than torch's.
    """
    _check_installed()
    model, target, bundle = load_model(location)
    network = Probabilities(model, target).eval()
    divisor, smallest = size_divisor(bundle.config.model), smallest_size(bundle.config.model)
    tell(f"exporting {bundle.config.model.title} of {location}")
    program, any_size, difference = _checked(network, bundle.size, divisor, smallest)
    sizes = f"multiples of {divisor} from {smallest} on" if any_size else f"{bundle.size} alone"
    if not any_size:
        tell(f"{bundle.config.model.name} can be written for films of {bundle.size} x {bundle.size} pixels alone")
    program.model.metadata_props[KEY] = json.dumps(describe(bundle, target, sizes), indent=1)
    data = program.model_proto.SerializeToString()
    out.write_bytes(data)
    tell(f"checked against torch: probabilities differ by {difference:.1e} at most")
    inputs: dict[str, list[int | str]] = {FILMS: ["B", *(("H", "W") if any_size else (bundle.size, bundle.size))]}
    outputs: dict[str, list[int | str]] = {PROBABILITIES: ["B", target.channels, *inputs[FILMS][1:]]}
    if bundle.config.model.image_head:
        outputs[IMAGE_PROBABILITIES] = ["B", len(target.classes)]
    sha256 = hashlib.sha256(data).hexdigest()
    return Export(out.uri, len(data), sha256, OPSET, inputs, outputs, sizes, difference, location.uri)


def describe(bundle: Bundle, target: TargetKind, sizes: str) -> dict[str, Any]:
    """What who runs the file has to know, for its metadata."""
    intensity = {name: value for name, value in bundle.intensity.items() if value is not None}
    return {
        "raycxr": raycxr.__version__,
        "classes": list(target.classes),
        "target": target.name,
        "size": bundle.size,
        "sizes": sizes,
        "input": "float32 (B, H, W), grey levels from 0 (black, air) to 1 (white, bone); normalised inside",
        "output": "float32 (B, channels, H, W), probabilities from 0 to 1: of each class, "
        + ("background before them, adding up to 1" if target.name == "multiclass" else "independently"),
        "preprocessing": [
            "bring the film to displayed grey levels: bone bright, air dark",
            f"intensity, see there: {_intensity_text(intensity)}",
            f"shrink it by pixel area (enlarge it linearly) so that the longer side has {bundle.size} pixels",
            "put it into the middle of a black square; an odd row or column of padding at the bottom or right",
        ],
        "postprocessing": [
            "cut off the padding and bring the probabilities back to the size of the film, linearly",
            "apply the rule of each class, see there: threshold, or top, area and bottom, or the most probable class",
            "areas are shares of the film's pixels; components and holes are connected by edges and corners",
        ],
        "intensity": intensity,
        "rules": {
            name: rule.model_dump(exclude_none=True) for name, rule in zip(target.classes, bundle.rules, strict=True)
        },
        "epoch": bundle.epoch,
        "metrics": bundle.metrics,
    }


def _intensity_text(intensity: dict[str, Any]) -> str:
    low, high = intensity.get("low"), intensity.get("high")
    return {
        "percentile": f"percentiles {low} and {high} of the film's stored values become 0 and 1",
        "window": f"stored values {low} and {high} become 0 and 1",
        "keep": f"stored values divided by {high if high is not None else 255}",
    }[intensity["rule"]]


def _check_installed() -> None:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UsageError(f"export needs {error.name}, which is not installed", "pip install 'raycxr[export]'") from None
    onnxruntime.set_default_logger_severity(4)  # what fails here is tried another way


def _checked(network: nn.Module, size: int, divisor: int, smallest: int) -> tuple[Any, bool, float]:
    """ONNX program for any size where the network allows it, else for its own; which it is; and its difference.

    Some networks pool to grids whose cells depend on the size: their graphs hold for one size, and what torch writes
    for others either fails or computes something else.
    """
    difference = float("nan")
    for any_size in (True, False):
        shapes = [(1, size, size), (3, size, size)]
        if any_size:
            shapes.append((2, max(smallest, size + divisor), max(smallest, size - divisor)))
        try:
            program = _trace(network, size, divisor, smallest, any_size)
            data = program.model_proto.SerializeToString()
            difference = max(_difference(network, data, shape) for shape in shapes)
        except Exception:  # torch and onnxruntime have a dozen kinds of errors for such graphs
            if not any_size:
                raise
            continue
        if difference <= TOLERANCE:
            return program, any_size, difference
    raise DataError(
        f"onnxruntime gives probabilities that differ from torch's by {difference:.2g}",
        "report it, with the configuration of the bundle",
    )


def _trace(network: nn.Module, size: int, divisor: int, smallest: int, any_size: bool) -> Any:
    films = torch.rand(2, size, size, generator=torch.Generator().manual_seed(0))
    axes = {0: torch.export.Dim("B", min=1)}
    if any_size:
        fewest = max(1, -(-smallest // divisor))
        axes |= {axis: divisor * torch.export.Dim(f"{name}_steps", min=fewest) for axis, name in ((1, "H"), (2, "W"))}
    with _quiet():
        return torch.onnx.export(
            network, (films,), dynamo=True, opset_version=OPSET, verbose=False, input_names=[FILMS],
            output_names=[PROBABILITIES, IMAGE_PROBABILITIES], dynamic_shapes=(axes,),
        )  # fmt: skip


def _difference(network: nn.Module, data: bytes, shape: tuple[int, int, int]) -> float:
    """Largest difference between onnxruntime's probabilities and torch's, over films (B, H, W) of noise on a slope."""
    from onnxruntime import InferenceSession

    rng = np.random.default_rng(sum(shape))
    slope = np.linspace(0, 1, shape[1], dtype=np.float32)[None, :, None]
    films: NDArray[np.float32] = np.clip(slope + rng.normal(0, 0.2, shape).astype(np.float32), 0, 1)
    session = InferenceSession(data, providers=["CPUExecutionProvider"])
    found = session.run(None, {FILMS: films})
    with torch.no_grad():
        expected = network(torch.from_numpy(films))
    expected = expected if isinstance(expected, tuple) else (expected,)
    return max(float(np.abs(one - other.numpy()).max()) for one, other in zip(found, expected, strict=True))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's talk about its own inside off the terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logger.setLevel(level)
