"""What validation measures: sums over the films of each worker, added up over all of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from raycxr.metrics.auc import auc
from raycxr.metrics.calibration import BINS, calibration_error, calibration_sums
from raycxr.metrics.counts import OverlapSums
from raycxr.metrics.film_score import film_scores
from raycxr.metrics.presence import with_mean
from raycxr.prediction.target import TargetKind
from raycxr.training.session import Session


class ValidationSums:
    """Loss, overlap, calibration and scores of the films that this worker saw.

    Every figure of `result` is exact for any number of workers: what they exchange are sums over films, whole
    numbers, and the score of every film.

    Parameters
    ----------
    target : TargetKind
    device : torch.device
        Where the sums are kept; on a GPU nothing is copied from there before the end.
    """

    def __init__(self, target: TargetKind, device: torch.device) -> None:
        self.target = target
        classes = len(target.classes)
        self.loss = torch.zeros(1, dtype=torch.float64, device=device)
        self.overlap = OverlapSums(classes, device)
        self.calibration = torch.zeros(classes, 3, BINS, dtype=torch.int64, device=device)
        self.scores = [torch.zeros(0, classes, 2, dtype=torch.float64, device=device)]

    def update(self, loss: Tensor, logits: Tensor, fields: Tensor, image_probabilities: Tensor | None = None) -> None:
        """Add a batch.

        Parameters
        ----------
        loss : Tensor
            Its mean over the films.
        logits : Tensor
            (B, channels, H, W).
        fields : Tensor
            Bit fields (B, H, W).
        image_probabilities : Tensor or None
            (B, C) of the structures being there, where the network has a head for them.
        """
        if not len(logits):
            return
        probabilities, truth = self.target.activate(logits), self.target.split(fields)
        self.loss += loss.double() * len(logits)
        self.overlap.update(self.target.predict(probabilities), truth)
        of_structures = probabilities[:, -len(self.target.classes) :]
        self.calibration += calibration_sums(of_structures, truth)
        scores = film_scores(of_structures) if image_probabilities is None else image_probabilities
        self.scores.append(torch.stack([scores.double(), truth.flatten(2).any(dim=2).double()], dim=2))

    def result(self, session: Session) -> dict[str, Any]:
        """Return `loss`, metric -> class (and `mean`) -> value, and `images`, over all workers."""
        sums = [self.loss, self.overlap.totals, self.calibration.flatten().double()]
        scores = torch.cat(self.scores)
        seen = torch.zeros(session.world_size, dtype=torch.float64, device=scores.device)
        seen[session.rank] = len(scores)
        added = session.add_up(torch.cat([*sums, seen]))
        loss, overlap, calibration, films = torch.split(added, [*map(len, sums), len(seen)])
        classes = self.target.classes
        metrics: dict[str, Any] = {"loss": loss.item() / overlap[0].item()}
        metrics |= OverlapSums.result(overlap, classes)
        errors = calibration_error(calibration.reshape(-1, 3, BINS).cpu().numpy())
        metrics["calibration_error"] = with_mean(dict(zip(classes, errors.tolist(), strict=True)))
        return metrics | self._of_scores(_all_scores(scores, films, session)) | {"images": int(overlap[0].item())}

    def _of_scores(self, scores: Tensor) -> dict[str, dict[str, float]]:
        """AUC and calibration of scores and truths (N, C, 2), for the classes that some film does not have."""
        found: dict[str, dict[str, float]] = {"auc": {}, "image_calibration_error": {}}
        for name, of_class in zip(self.target.classes, scores.cpu().unbind(dim=1), strict=True):
            score, positive = of_class[:, 0], of_class[:, 1] > 0
            if bool(positive.all()):
                continue
            found["auc"][name] = auc(score.numpy(), positive.numpy())
            sums = calibration_sums(score[:, None, None, None], positive[:, None, None, None])
            found["image_calibration_error"][name] = float(calibration_error(sums.numpy())[0])
        complete = {metric: with_mean(values) for metric, values in found.items()}
        return {metric: values for metric, values in complete.items() if values}


def _all_scores(scores: Tensor, films: Tensor, session: Session) -> Tensor:
    """Scores of all workers, the films of each at a place of their own in one vector that is then added up."""
    ends = films.long().cumsum(dim=0).tolist()
    everyone = scores.new_zeros(ends[-1], *scores.shape[1:])
    everyone[ends[session.rank] - len(scores) : ends[session.rank]] = scores
    return session.add_up(everyone)
