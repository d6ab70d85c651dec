"""Learning rates: shapes of the schedules, agreement with torch's own, and plateau cuts."""

from __future__ import annotations

import warnings

import pytest
import torch

from raycxr.config.optimizer import OptimizerSection, ScheduleSection
from raycxr.training.optimizer import build_optimizer
from raycxr.training.schedule import Schedule, factor_at

EPOCHS, STEPS = 10, 7


def factors(**settings: object) -> list[float]:
    section = ScheduleSection.model_validate(settings)
    return [factor_at(section, step, STEPS, EPOCHS) for step in range(EPOCHS * STEPS)]


def test_cosine_rises_then_falls_to_its_end() -> None:
    values = factors(name="cosine", warmup_epochs=2, final_fraction=0.1)
    assert values[: 2 * STEPS] == sorted(values[: 2 * STEPS])
    assert values[0] > 0
    assert max(values) == pytest.approx(1.0)
    assert values[2 * STEPS :] == sorted(values[2 * STEPS :], reverse=True)
    assert values[-1] == pytest.approx(0.1)


def test_constant_stays() -> None:
    assert factors(name="constant", warmup_epochs=0) == [1.0] * (EPOCHS * STEPS)


def test_one_cycle_is_torchs() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    reference = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=EPOCHS * STEPS, pct_start=0.3)
    expected = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(EPOCHS * STEPS):
            expected.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            reference.step()
    values = factors(name="one-cycle", rise_fraction=0.3)
    # torch ends its rise one step earlier: the shapes agree to that step.
    assert values == pytest.approx(expected, abs=0.12)
    assert max(values) == pytest.approx(1.0, abs=0.01)
    assert values[-1] == pytest.approx(expected[-1], abs=1e-3)


def test_plateau_cuts_after_its_patience_and_survives_a_checkpoint() -> None:
    model = torch.nn.Linear(2, 2)
    optimizer = build_optimizer(OptimizerSection(lr=1.0), model)
    section = ScheduleSection(name="plateau", warmup_epochs=0, patience=2, factor=0.5)

    def rates(schedule: Schedule, values: list[float]) -> list[float]:
        seen = []
        for value in values:
            schedule.after_epoch(value)
            seen.append(schedule.before_step(0))
        return seen

    values = [0.5, 0.6, 0.6, 0.6, 0.6, 0.7, 0.6, float("nan")]
    whole = rates(Schedule(section, optimizer, STEPS, EPOCHS, "max"), values)
    assert whole == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25]
    first = Schedule(section, optimizer, STEPS, EPOCHS, "max")
    rates(first, values[:5])
    optimizer = build_optimizer(OptimizerSection(lr=1.0), model)
    second = Schedule(section, optimizer, STEPS, EPOCHS, "max")
    second.load_state_dict(first.state_dict())
    assert rates(second, values[5:]) == whole[5:]


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "adadelta"])
def test_optimizers_learn_and_leave_biases_undecayed(name: str) -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    section = OptimizerSection.model_validate({"name": name, "lr": 1.0 if name == "adadelta" else 0.05})
    optimizer = build_optimizer(section, model)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [section.weight_decay, 0.0]
    assert [parameter.ndim for parameter in optimizer.param_groups[1]["params"]] == [1]
    inputs = torch.randn(64, 3)
    targets = inputs @ torch.tensor([[1.0], [-2.0], [0.5]])
    losses = []
    for _ in range(60):
        loss = (model(inputs) - targets).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
