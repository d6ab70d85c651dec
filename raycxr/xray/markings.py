"""What else a radiograph shows: the letter of the side, leads and lines on the patient, edges that no ray reached."""

from __future__ import annotations

import cv2
import numpy as np

from raycxr.xray.canvas import Shadow, stroke
from raycxr.xray.curve import open_curve

_LETTERS = {"L": (0.84, 0.90), "R": (0.03, 0.10)}  # where they begin, as a share of the width
_WORDS = ("", "", "PORTABLE", "SUPINE", "AP", "PA")


def add_markings(rng: np.random.Generator, image: Shadow) -> None:
    """Draw markings into an image (H, W) of grey levels 0 to 1. None tells whether there is anything to find."""
    if rng.random() < 0.75:
        _add_letter(rng, image)
    if rng.random() < 0.2:
        _add_leads(rng, image)
    if rng.random() < 0.25:
        _add_edges(rng, image)


def _add_letter(rng: np.random.Generator, image: Shadow) -> None:
    height, width = image.shape
    letter = "L" if rng.random() < 0.7 else "R"
    left, top = rng.uniform(*_LETTERS[letter]), rng.uniform(0.01, 0.08)
    # OpenCV writes on 8-bit layers only: the part of the image that the writing fills.
    box = image[int(top * height) : int((top + 0.08) * height), int(left * width) : int((left + 0.14) * width)]
    layer = np.zeros(box.shape, np.uint8)
    scale, thickness = rng.uniform(0.0014, 0.0020) * width, max(1, round(width / 200))
    cv2.putText(layer, letter, (0, int(0.045 * height)), cv2.FONT_HERSHEY_DUPLEX, scale, 255, thickness)
    word, place = _WORDS[int(rng.integers(len(_WORDS)))], (0, int(0.07 * height))
    cv2.putText(layer, word, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4 * scale, 255, max(1, thickness // 2))
    np.maximum(box, layer * np.float32(rng.uniform(0.85, 1.0) / 255), out=box)


def _add_leads(rng: np.random.Generator, image: Shadow) -> None:
    """Draw one to three wires that come in from the edge and end somewhere on the chest in an electrode."""
    layer = np.zeros(image.shape, np.uint8)
    height, width = image.shape
    # Curves are drawn on squares.
    side = min(height, width)
    thickness = max(1, round(side / 350))
    for _ in range(rng.integers(1, 4)):
        begin = rng.uniform(0, 1), rng.choice((-0.02, 1.02))
        end = rng.uniform(0.2, 0.8, 2)
        bends = np.linspace(begin, end, 5)[1:-1] + rng.normal(0, 0.05, (3, 2))
        stroke(
            layer[:side, :side], open_curve(np.array([begin, *bends, end]))[None], thickness, int(rng.integers(30, 90))
        )
        if rng.random() < 0.6:
            cv2.circle(layer, (int(end[0] * side), int(end[1] * side)), 3 * thickness, 110, -1)
    image += cv2.GaussianBlur(layer, (0, 0), max(side / 1500, 0.3)) * np.float32(1 / 255)


def _add_edges(rng: np.random.Generator, image: Shadow) -> None:
    """Blacken strips along the edges: the field was smaller than the detector, and a little askew."""
    height, width = image.shape
    for _ in range(rng.integers(1, 3)):
        near, far = rng.uniform(0, 0.03, 2)
        corners = [(0, 0), (width, 0), (width, int(far * height)), (0, int(near * height))]
        if rng.random() < 0.5:
            corners = [(x, height - y) for x, y in corners]
        if rng.random() < 0.5:
            corners = [(y * width // height, x * height // width) for x, y in corners]
        cv2.fillPoly(image, [np.array(corners, np.int32)], 0.0)
