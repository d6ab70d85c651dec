"""Stops a run at the step whose loss is not finite, before that step reaches the weights.

* The loss is there long before its gradient: it is sent to the host between the forward and the backward pass, and
  read when the backward pass has been handed to the device. The host waits for the forward pass only, and the device
  has the backward pass to compute meanwhile: it never runs idle, and no step is guarded in vain.
* Only the loss must be finite. Gradients of float16 are infinite now and then, until the gradient scaler has found its
  scale; it leaves those steps out.
* All workers stop at the same step with the same words: they add up their flags. A worker that stopped alone would
  leave the others waiting for its gradients.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from raycxr.errors import TrainingError
from raycxr.training.session import Session

# Bytes of what a worker tells the others, and films that the error names.
_LONGEST_TEXT = 1 << 14
_MOST_FILMS = 32
_REMEDY = "look at these films, lower optimizer.lr, set optimizer.clip_norm, or set train.precision=fp32"


class FiniteLoss:
    """Watches the losses of one worker.

    Parameters
    ----------
    session : Session
        The worker, on whose device the losses are.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        on_gpu = session.device.type == "cuda"
        self.known = torch.zeros(1, pin_memory=on_gpu)
        self.sent = torch.cuda.Event() if on_gpu else None  # type: ignore[no-untyped-call]
        self.loss = torch.zeros(())

    def send(self, loss: Tensor) -> None:
        """Start telling the host, and the other workers, whether a scalar loss is finite; before `backward`."""
        self.loss = loss.detach()
        not_finite = self.session.add_up(torch.isfinite(self.loss).logical_not().float().reshape(1))
        self.known.copy_(not_finite, non_blocking=True)
        if self.sent is not None:
            self.sent.record()

    def check(self, epoch: int, step: int, ids: Sequence[str]) -> None:
        """Read what `send` sent; after `backward`, and before the optimizer's step.

        Parameters
        ----------
        epoch, step : int
            Counted from 1, steps within the epoch.
        ids : sequence of str
            Films of this worker's batch.

        Raises
        ------
        TrainingError
            The loss of any worker is not finite; on all workers, naming the films of those workers.
        """
        if self.sent is not None:
            self.sent.synchronize()
        if not self.known.item():
            return
        own = "" if torch.isfinite(self.loss) else "\n".join([str(self.loss.item()), *ids])
        told = [text.split("\n") for text in _texts_of_all(self.session, own) if text]
        films = [film for _, *batch in told for film in batch]
        more = f" and {len(films) - _MOST_FILMS} more" if len(films) > _MOST_FILMS else ""
        raise TrainingError(
            f"the loss became {told[0][0]} in step {step} of epoch {epoch}, on the films "
            f"{', '.join(films[:_MOST_FILMS])}{more}",
            _REMEDY,
        )


def _texts_of_all(session: Session, text: str) -> list[str]:
    """Texts of all workers, in the order of their ranks: each adds its own to the zeros of the others."""
    letters = torch.zeros(session.world_size, _LONGEST_TEXT, dtype=torch.int32, device=session.device)
    own = torch.tensor(list(text.encode()[:_LONGEST_TEXT]), dtype=torch.int32)
    letters[session.rank, : len(own)] = own.to(letters.device)
    return [bytes(row).rstrip(b"\0").decode(errors="ignore") for row in session.add_up(letters).tolist()]
