"""Masks of one film by an exported network, with onnxruntime alone: python scripts/run_onnx.py MODEL.onnx FILM.png OUT

Writes OUT_<class>.png at the size of the film. Components and holes of a rule, if it has them, are left to
`raycxr evaluate`.
"""

import json
import sys
from typing import Any

import cv2
import numpy as np
from onnxruntime import InferenceSession

model, film_file, out = sys.argv[1:]
session = InferenceSession(model, providers=["CPUExecutionProvider"])
about = json.loads(session.get_modelmeta().custom_metadata_map["raycxr"])
film: Any = cv2.imread(film_file, cv2.IMREAD_GRAYSCALE)
rule, size = about["intensity"], about["size"]
low, high = (0, 255) if rule["rule"] == "keep" else (rule["low"], rule["high"])
if rule["rule"] == "percentile":
    low, high = np.percentile(film, [low, high], method="inverted_cdf")
levels = np.rint(np.clip((film.astype(float) - low) / (high - low), 0, 1) * 255).astype(np.uint8)
height, width = (max(1, round(side * size / max(film.shape))) for side in film.shape)
top, left = (size - height) // 2, (size - width) // 2
square = np.zeros((1, size, size), np.float32)
square[0, top : top + height, left : left + width] = cv2.resize(levels, (width, height), interpolation=cv2.INTER_AREA)
probabilities, *of_image = (result[0] for result in session.run(None, {"films": square / 255}))
inside = probabilities[:, top : top + height, left : left + width]
maps = np.stack([cv2.resize(plane, film.shape[::-1], interpolation=cv2.INTER_LINEAR) for plane in inside])
for number, name in enumerate(about["classes"]):
    decide = about["rules"][name]
    if "threshold" in decide:
        mask = maps[number] > decide["threshold"]
    elif "top" in decide:
        mask = (maps[number] > decide["bottom"]) & ((maps[number] > decide["top"]).mean() >= decide["area"])
    else:
        mask = maps.argmax(axis=0) == number + 1
    mask &= not of_image or of_image[0][number] >= decide.get("image_threshold", 0)
    cv2.imwrite(f"{out}_{name}.png", mask * np.uint8(255))
