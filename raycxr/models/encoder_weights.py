"""Encoder weights from a file: a state dict by URI, local or in S3, for clusters without internet.

* Safetensors, or a torch file read with ``weights_only=True``: nothing in it is ever executed.
* The file may hold the encoder alone (as smp, timm and torchvision publish it) or a whole smp network, whose
  encoder is taken.
* The first convolution is fitted to the number of input channels.
"""

from __future__ import annotations

import io
import pickle

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from raycxr.errors import ConfigurationError, DataError
from raycxr.storage.location import Location

_HEAD = "segmentation_head."
_ENCODER = "encoder."


def load_encoder_weights(encoder: nn.Module, uri: str, in_channels: int) -> None:
    """Load a state dict into an encoder in place.

    Parameters
    ----------
    encoder : nn.Module
        Encoder of a segmentation-models-pytorch network.
    uri : str
        ``.safetensors`` or torch file, a local path or ``s3://bucket/key``.
    in_channels : int
        Input channels of the encoder.

    Raises
    ------
    StorageError
        The file cannot be read.
    DataError
        The file is no state dict.
    ConfigurationError
        The weights belong to another architecture.
    """
    state = _of_encoder(read_state_dict(uri))
    own = encoder.state_dict()
    fitted = {name: _fit_channels(tensor, own.get(name), in_channels) for name, tensor in state.items()}
    try:
        encoder.load_state_dict(fitted)
    except RuntimeError as error:
        detail = _first_line(str(error).partition("\n")[2])  # behind torch's heading
        raise ConfigurationError(
            f"model.encoder_weights = {uri!r} do not fit model.encoder: {detail}",
            "name the encoder that the weights were trained with, or other weights",
        ) from error


def read_state_dict(uri: str) -> dict[str, Tensor]:
    """Return the tensors of a ``.safetensors`` or torch file by name, on the CPU."""
    location = Location(uri)
    data = location.read_bytes()
    try:
        if location.suffix == ".safetensors":
            tensors: dict[str, Tensor] = safetensors.torch.load(data)
            return tensors
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (safetensors.SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise DataError(
            f"{uri} is damaged, or no state dict that can be read without running code from it",
            "save it with safetensors, or with torch.save(model.state_dict(), ...)",
        ) from error
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise DataError(
            f"{uri} holds something else than names and tensors",
            "save it with torch.save(model.state_dict(), ...)",
        )
    return state


def _of_encoder(state: dict[str, Tensor]) -> dict[str, Tensor]:
    if not any(name.startswith(_HEAD) for name in state):
        return state
    return {name.removeprefix(_ENCODER): tensor for name, tensor in state.items() if name.startswith(_ENCODER)}


def _fit_channels(stored: Tensor, own: Tensor | None, in_channels: int) -> Tensor:
    """Spread the first convolution over `in_channels`, so that a grey film gives what it gave before."""
    if own is None or stored.shape == own.shape or stored.ndim != 4 or own.shape[1] != in_channels:
        return stored
    if (stored.shape[0], stored.shape[2:]) != (own.shape[0], own.shape[2:]):
        return stored
    return stored.sum(dim=1, keepdim=True).repeat(1, in_channels, 1, 1) / in_channels


def _first_line(message: str) -> str:
    line = message.strip().partition("\n")[0]
    return line if len(line) <= 160 else line[:157] + "..."
