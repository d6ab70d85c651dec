"""Pixels and masks of radiographs: decoding, intensities, sizes and phantoms."""
