"""Activation checkpointing (Chen 2016, arXiv 1604.06174): parts of a network are computed again in the backward pass.

A part keeps its inputs alone until then, not what every layer in it would keep. The backward pass needs the inputs of
all parts, and what one of them keeps while it is computed again: few large parts or many small ones, whichever needs
less. That is found without computing anything, on torch's meta device. The step takes about a third longer.

* The same bits as without it: dropout draws the same numbers again, and batch norms gather their statistics once.
* Names and weights are untouched, and validation is what it was.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from raycxr.errors import ConfigurationError

# Of everything that a network keeps, what its parts keep at most each.
_SHARES = (1 / 2, 1 / 3, 1 / 4, 1 / 6, 1 / 8, 1 / 12)
# Some batch norms have nothing to measure on one.
_PROBED_FILMS = 2


def activation_bytes(model: nn.Module, in_channels: int, size: int) -> int:
    """Bytes that a network in float32 keeps per film for the backward pass; parameters as of `recompute_activations`.

    Computing in 16 bits keeps less.
    """
    return _kept_bytes(*_probe(model, in_channels, size))[""].count // _PROBED_FILMS


def recompute_activations(model: nn.Module, in_channels: int, size: int) -> int:
    """Let the larger parts of a network forget their activations in training, in place.

    Parameters
    ----------
    model : nn.Module
        On any device.
    in_channels, size : int
        Of the films: channels, and height and width in pixels.

    Returns
    -------
    int
        What `activation_bytes` comes to from now on.

    Raises
    ------
    ConfigurationError
        No part would save memory, as in networks that join their maps outside of any.
    """
    probe, films = _probe(model, in_channels, size)
    kept = _kept_bytes(copy.deepcopy(probe), films)
    best, fewest_bytes = set[str](), kept[""].count
    for share in _SHARES:
        parts = set(_parts("", probe, kept, share * kept[""].count))
        trial = copy.deepcopy(probe)
        _recompute(trial, parts)
        needed = _kept_bytes(trial, films)[""].count + max(
            (kept[part].count_beside_inputs for part in parts), default=0
        )
        if needed < fewest_bytes:
            best, fewest_bytes = parts, needed
    if not best:
        raise ConfigurationError(
            "train.checkpoint_activations: this network has no parts that would save memory",
            "set it to false, and lower the memory of a step with train.accumulate=auto",
        )
    _recompute(model, best)
    return fewest_bytes // _PROBED_FILMS


def _probe(model: nn.Module, in_channels: int, size: int) -> tuple[nn.Module, Tensor]:
    """Copy of a network, and films, that have shapes and nothing else."""
    films = torch.empty(_PROBED_FILMS, in_channels, size, size, device="meta")
    return copy.deepcopy(model).to("meta").train(), films


def _recompute(model: nn.Module, parts: Iterable[str]) -> None:
    for name in parts:
        part = model.get_submodule(name)
        # Bound to this module, and thus bound anew in a copy of the network.
        part.forward = MethodType(_forward_and_again, part)


@dataclass
class _Kept:
    """What the layers inside a module keep for the backward pass: bytes by storage, so that none counts twice."""

    storages: dict[int, int] = field(default_factory=dict)
    inputs: set[int] = field(default_factory=set)
    changes_inputs: bool = False

    @property
    def count(self) -> int:
        return sum(self.storages.values())

    @property
    def count_beside_inputs(self) -> int:
        return sum(count for storage, count in self.storages.items() if storage not in self.inputs)


def _kept_bytes(probe: nn.Module, films: Tensor) -> dict[str, _Kept]:
    """Name -> what each module that is called keeps, the whole network under the empty name."""
    kept = {name: _Kept() for name, _ in probe.named_modules()}
    open_modules: list[_Kept] = []
    versions: list[list[tuple[Tensor, int]]] = []
    # Weights and statistics are there anyway.
    alive = [tensor.untyped_storage() for tensor in probe.state_dict().values()]
    own_storages = {storage._cdata for storage in alive}

    def enter(own: _Kept, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        open_modules.append(own)
        tensors = list(_tensors([*inputs, *named.values()]))
        own.inputs.update(tensor.untyped_storage()._cdata for tensor in tensors)
        versions.append([(tensor, tensor._version) for tensor in tensors])

    def leave(own: _Kept) -> None:
        open_modules.pop()
        own.changes_inputs |= any(tensor._version != version for tensor, version in versions.pop())

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        alive.append(storage)  # or another one could get its number
        for own in open_modules if storage._cdata not in own_storages else ():
            own.storages[storage._cdata] = storage.nbytes()
        return tensor

    for name, module in probe.named_modules():
        own = kept[name]
        module.register_forward_pre_hook(lambda _, *inputs, own=own: enter(own, *inputs), with_kwargs=True)
        module.register_forward_hook(lambda _, __, ___, own=own: leave(own))
    with saved_tensors_hooks(note, lambda tensor: tensor), torch.enable_grad():
        probe(films)
    return kept


def _parts(name: str, module: nn.Module, kept: dict[str, _Kept], most: float) -> Iterator[str]:
    """Names of the modules to compute again inside one, or of itself where it cannot be divided."""
    own = kept[name]
    children = [(f"{name}.{child}".lstrip("."), inner) for child, inner in module.named_children()]
    if not children:
        return
    if 0 < own.count <= most and not own.changes_inputs:
        yield name
        return
    inner_parts = [part for child, inner in children for part in _parts(child, inner, kept, most)]
    if inner_parts or own.count == 0 or own.changes_inputs or not name:
        yield from inner_parts
    else:
        yield name


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)


def _forward_and_again(module: nn.Module, *inputs: Any, **named: Any) -> Any:
    """Forward pass of a part, whatever its inputs are."""
    forward: Callable[..., Any] = MethodType(type(module).forward, module)
    if not (module.training and torch.is_grad_enabled()):
        return forward(*inputs, **named)
    # Dense blocks go on to lengthen the list that they hand to their layers.
    inputs = tuple(list(value) if isinstance(value, list) else value for value in inputs)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _statistics_kept(module)

    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts, **named)


@contextmanager
def _statistics_kept(module: nn.Module) -> Iterator[None]:
    """Within the body, batch norms normalise by the batch, and leave their running statistics as they are."""
    norms = [inner for inner in module.modules() if isinstance(inner, _BatchNorm)]
    held = [(norm.running_mean, norm.running_var, norm.num_batches_tracked) for norm in norms]
    for norm, statistics in zip(norms, held, strict=True):
        norm.running_mean, norm.running_var, norm.num_batches_tracked = (
            None if value is None else value.clone() for value in statistics
        )
    try:
        yield
    finally:
        for norm, statistics in zip(norms, held, strict=True):
            norm.running_mean, norm.running_var, norm.num_batches_tracked = statistics
