"""An augmentation told in words."""

from __future__ import annotations

from collections.abc import Sequence

from raycxr.config.augment import AugmentSection


def augmentation_words(section: AugmentSection) -> str:
    """Every change that a configuration makes, with its strength and how often it is made."""
    told = [*_flips(section), *_position(section), *_distortions(section), *_exposure(section), *_grain(section)]
    return "; ".join(told) if told else "nothing changes"


def _flips(section: AugmentSection) -> list[str]:
    flips = (("left and right swapped", section.horizontal_flip), ("upside down", section.vertical_flip))
    return [_often([what], probability) for what, probability in flips if probability]


def _position(section: AugmentSection) -> list[str]:
    changes = (
        (section.rotate_degrees, f"turned by up to {section.rotate_degrees:g}°"),
        (section.scale, f"zoomed by up to {_percent(section.scale)}"),
        (section.shift, f"shifted by up to {_percent(section.shift)}"),
        (section.shear_degrees, f"sheared by up to {section.shear_degrees:g}°"),
    )
    told = [what for strength, what in changes if strength]
    return [_often(told, section.affine_probability)] if told and section.affine_probability else []


def _distortions(section: AugmentSection) -> list[str]:
    changes = (
        (section.elastic, section.elastic_probability, f"elastic distortion by {section.elastic:g} % of the width"),
        (section.grid_distortion, section.grid_probability, f"grid distortion by {_percent(section.grid_distortion)}"),
        (section.optical_distortion, section.optical_probability, f"lens distortion {section.optical_distortion:g}"),
    )
    told = [_often([what], probability) for strength, probability, what in changes if strength and probability]
    return [f"one of {_listed(told)}"] if len(told) > 1 else told


def _exposure(section: AugmentSection) -> list[str]:
    changes = (
        (section.brightness, f"brightness by up to {_percent(section.brightness)}"),
        (section.contrast, f"contrast by up to {_percent(section.contrast)}"),
        (section.gamma, f"gamma {1 - section.gamma:g} to {1 + section.gamma:g}"),
    )
    probability = section.exposure_probability
    told = [what for strength, what in changes if strength and probability]
    if section.exposure_one_of and len(told) > 1:
        return [_often([f"one of {_listed(told)}"], probability)]
    gamma = told[-1:] if section.gamma else []
    both = told[: len(told) - len(gamma)]
    return [_often(parts, probability) for parts in (both, gamma) if parts]


def _grain(section: AugmentSection) -> list[str]:
    changes = (
        (section.blur, section.blur_probability, f"blur of up to {section.blur:g} % of the width"),
        (section.noise, section.noise_probability, f"noise of up to {_percent(section.noise)} of full scale"),
    )
    return [_often([what], probability) for strength, probability, what in changes if strength and probability]


def _often(told: Sequence[str], probability: float) -> str:
    return _listed(told) + (" (always)" if probability == 1 else f" ({_percent(probability)} of draws)")


def _listed(told: Sequence[str]) -> str:
    return " and ".join([", ".join(told[:-1]), told[-1]]) if len(told) > 1 else told[0]


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"
