"""Named settings of augmentation: what a preset does not name is off."""

from __future__ import annotations

from collections.abc import Mapping

PRESETS: Mapping[str, Mapping[str, float]] = {
    "none": {},
    # Small changes of position and of exposure; sides stay where they are.
    "standard": {
        "rotate_degrees": 10.0,
        "scale": 0.1,
        "shift": 0.05,
        "brightness": 0.2,
        "contrast": 0.2,
        "gamma": 0.2,
    },
    # DD2424 project: Keras' ImageDataGenerator with zoom_range 0.01, rotation_range 10 and both flips.
    "keras_dd2424": {
        "rotate_degrees": 10.0,
        "scale": 0.01,
        "horizontal_flip": 0.5,
        "vertical_flip": 0.5,
    },
    # ResUNet project: beside each film a copy in each of two contrasts and a noisy one, so of four films two differ in
    # contrast and one is noisy. Its README tells no strengths: these are ours.
    "contrast_noise": {
        "contrast": 0.3,
        "gamma": 0.3,
        "exposure_one_of": True,
        "exposure_probability": 0.5,
        "noise": 0.1,
        "noise_probability": 0.25,
    },
    # First place of SIIM-ACR 2019 (sneddy/pneumothorax-segmentation): horizontal flip; with probability .3 one of
    # contrast, gamma and brightness, each by 20 %; with .3 one of elastic (alpha 120, sigma 6 at 1024 pixels: a
    # deviation of .32 % of the width), grid distortion of 5 steps by 30 % and optical distortion; with .5 a shift by
    # 6.25 %, a zoom by 10 % and a rotation by 45 degrees. Ours differs in three points: the elastic change is
    # smoother, the frame is filled with black where theirs mirrors the film, and the optical distortion, theirs up to
    # 2, stops where a chest is still one.
    "siim": {
        "rotate_degrees": 45.0,
        "scale": 0.1,
        "shift": 0.0625,
        "affine_probability": 0.5,
        "brightness": 0.2,
        "contrast": 0.2,
        "gamma": 0.2,
        "exposure_one_of": True,
        "exposure_probability": 0.3,
        "elastic": 0.32,
        "elastic_probability": 0.1,
        "grid_distortion": 0.3,
        "grid_probability": 0.1,
        "optical_distortion": 0.5,
        "optical_probability": 0.1,
        "horizontal_flip": 0.5,
    },
    # Everything but flips, for few films or for films of another hospital.
    "strong": {
        "rotate_degrees": 20.0,
        "scale": 0.2,
        "shift": 0.08,
        "shear_degrees": 5.0,
        "brightness": 0.2,
        "contrast": 0.3,
        "gamma": 0.3,
        "elastic": 1.0,
        "elastic_probability": 0.4,
        "grid_distortion": 0.2,
        "grid_probability": 0.2,
        "optical_distortion": 0.3,
        "optical_probability": 0.2,
        "noise": 0.06,
        "blur": 0.3,
        "blur_probability": 0.3,
    },
}
