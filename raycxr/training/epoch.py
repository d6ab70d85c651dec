"""One pass over the training films, and one over the validation films."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from raycxr.dataset.films import Batch
from raycxr.losses.weighted_sum import WeightedSum
from raycxr.models.image_head import NetworkOutput, split_output
from raycxr.prediction.compute import Compute
from raycxr.prediction.target import TargetKind, normalise
from raycxr.training.distributed import exchange
from raycxr.training.finite import FiniteLoss
from raycxr.training.mid_epoch import MidEpoch
from raycxr.training.overlays import Overlays
from raycxr.training.session import Session
from raycxr.training.state import TrainingState
from raycxr.training.step_times import StepTimes
from raycxr.training.validation_sums import ValidationSums


def train_epoch(
    state: TrainingState,
    wrapped: nn.Module,
    batches: Iterable[Batch],
    loss: WeightedSum,
    target: TargetKind,
    compute: Compute,
    session: Session,
    first_step: int,
    parts: int,
    clip_norm: float | None,
    mid_epoch: MidEpoch,
    times: StepTimes | None = None,
) -> dict[str, Any]:
    """Train on every batch, and report checkpoints between them where that is asked for.

    Parameters
    ----------
    wrapped : nn.Module
        `state.model`, with gradients averaged over the workers.
    batches : iterable of Batch
        `parts` of them make one optimizer step.
    first_step : int
        Optimizer steps of the run before this epoch.
    mid_epoch : MidEpoch
        Where the epoch begins: `batches` are those from there on.
    times : StepTimes or None
        What measures this pass, for whoever wants to know.

    Returns
    -------
    dict
        `loss`, `loss_parts` (name -> mean before weighting), `lr` and `images` (films with masks), over all
        workers.

    Raises
    ------
    TrainingError
        The loss is not finite any more; the step at which that happens is not taken.
    """
    wrapped.train()
    names = list(loss.weights)
    sums = torch.zeros(1 + len(names), dtype=torch.float64, device=compute.device)
    rate = 0.0
    finite_loss = FiniteLoss(session)
    times = times or StepTimes()
    begun = mid_epoch.begin(sums)
    for number, batch in enumerate(times.over(batches), begun * parts):
        step, part = divmod(number, parts)
        if part == 0:
            mid_epoch.before_step(state, step)
            rate = state.schedule.before_step(first_step + step)
            state.optimizer.zero_grad(set_to_none=True)
        with times.phase("host-to-device"):
            images = _network_input(batch, compute)
            fields = batch.fields.to(compute.device, non_blocking=True)
        with exchange(wrapped, last=part == parts - 1):
            with times.phase("forward"), compute.autocast():
                output = wrapped(images)
            with times.phase("loss"):
                logits, image_logits, fields = _annotated(batch, output, fields)
                values = loss.parts(logits.float(), target.targets(fields), image_logits)
                total = loss.total(values)
                finite_loss.send(total)
            with times.phase("backward"):
                scaled: Tensor = state.scaler.scale(total / parts)
                scaled.backward()  # type: ignore[no-untyped-call]
        finite_loss.check(state.progress.epoch + 1, step + 1, batch.ids)
        sums[0] += len(logits)
        sums[1:] += torch.stack([values[name].detach() for name in names]).double() * len(logits)
        if part == parts - 1:
            with times.phase("optimizer"):
                _step(state, clip_norm)
            session.progress.step()
            times.step()
            mid_epoch.after_step(state, step + 1, sums)
    sums = session.add_up(sums)
    images_seen, *totals = sums.tolist()
    means = {name: value / images_seen for name, value in zip(names, totals, strict=True)}
    weighted = sum(loss.weights[name] * value for name, value in means.items())
    return {"loss": weighted, "loss_parts": means, "lr": rate, "images": int(images_seen)}


@torch.no_grad()
def validate(
    model: nn.Module,
    batches: Iterable[Batch],
    loss: WeightedSum,
    target: TargetKind,
    compute: Compute,
    session: Session,
    overlays: Overlays | None = None,
) -> dict[str, Any]:
    """Loss and metrics on every film exactly once, over all workers.

    Parameters
    ----------
    overlays : Overlays or None
        What keeps some of the films and predictions to be drawn.

    Returns
    -------
    dict
        `loss`, `dice`, `iou`, ... (class -> value over films, and `mean`; see `OverlapSums` and `presence.py`),
        `calibration_error` and `images`. What the films leave undefined, such as `auc` where all have the
        structure, is not in it.
    """
    model.eval()
    sums = ValidationSums(target, compute.device)
    for batch in batches:
        fields = batch.fields.to(compute.device, non_blocking=True)
        with compute.autocast():
            output = model(_network_input(batch, compute))
        if overlays is not None:
            overlays.keep(batch, split_output(output)[0])
        logits, image_logits, fields = _annotated(batch, output, fields)
        of_images = None if image_logits is None else image_logits.float().sigmoid()
        sums.update(loss(logits.float(), target.targets(fields), image_logits), logits, fields, of_images)
    return sums.result(session)


def _annotated(batch: Batch, output: NetworkOutput, fields: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
    """Mask logits, image logits and bit fields of the films that have masks; the zeros of the others tell nothing."""
    logits, image_logits = split_output(output)
    if bool(batch.annotated.all()):
        return logits, image_logits, fields
    kept = batch.annotated.nonzero()[:, 0].to(logits.device)
    return logits[kept], None if image_logits is None else image_logits[kept], fields[kept]


def _network_input(batch: Batch, compute: Compute) -> Tensor:
    images = normalise(batch.images.to(compute.device, non_blocking=True))
    return compute.arrange(images)


def _step(state: TrainingState, clip_norm: float | None) -> None:
    if clip_norm is not None:
        state.scaler.unscale_(state.optimizer)
        torch.nn.utils.clip_grad_norm_(state.model.parameters(), clip_norm)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    if state.average is not None:
        state.average.update(state.model)
