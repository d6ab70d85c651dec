"""The plain loop that `raycxr predict` is measured against: pydicom, the network in float32, one film after the other.

python scripts/plain_predict.py BUNDLE FOLDER OUT
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pydicom
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import load_file


def main() -> None:
    bundle, folder, out = map(Path, sys.argv[1:])
    model = smp.Unet("resnet18", encoder_weights=None, in_channels=1, classes=1)
    model.load_state_dict(load_file(bundle / "model.safetensors"))
    model.eval()
    out.mkdir()
    for path in sorted(folder.rglob("*.dcm")):
        pixels = pydicom.dcmread(path).pixel_array
        low, high = np.percentile(pixels, [0.5, 99.5])
        levels = np.clip((pixels - low) / (high - low), 0, 1)
        square = cv2.resize(levels.astype(np.float32), (256, 256), interpolation=cv2.INTER_AREA)
        with torch.no_grad():
            logits = model((torch.from_numpy(square)[None, None] - 0.5) / 0.25)
        probability = cv2.resize(logits.sigmoid()[0, 0].numpy(), pixels.shape[::-1], interpolation=cv2.INTER_LINEAR)
        cv2.imwrite(str(out / f"{path.stem}.png"), (probability > 0.5).astype(np.uint8) * 255)


if __name__ == "__main__":
    main()
