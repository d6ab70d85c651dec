"""Which trials end early."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from ray import tune
from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)

from raycxr.config.tune import ParameterSection, TuneSection
from raycxr.errors import ConfigurationError
from raycxr.runs.metric import Mode
from raycxr.tuning.queue import Order
from raycxr.tuning.space import Space

TIME, VALUE = "epoch", "value"
# Sections whose keys may change while a trial runs: none of them shapes the network.
CHANGEABLE = ("optimizer", "schedule", "loss", "loss_settings", "augment", "sampling")


def build_scheduler(section: TuneSection, space: Space, epochs: int, mode: Mode) -> TrialScheduler:
    """Scheduler of `tune.scheduler` for trials of at most so many epochs.

    Raises
    ------
    ConfigurationError
        Population-based training is to change what shapes the network, or what depends on another key.
    """
    if section.scheduler == "asha" and section.grace_epochs < epochs:
        return AsyncHyperBandScheduler(
            TIME, VALUE, mode, max_t=epochs, grace_period=section.grace_epochs,
            reduction_factor=section.reduction, stop_last_trials=False,
        )  # fmt: skip
    if section.scheduler == "median":
        return MedianStoppingRule(TIME, VALUE, mode, grace_period=section.grace_epochs)
    if section.scheduler == "pbt":
        return Population(
            TIME, VALUE, mode, perturbation_interval=section.grace_epochs, require_attrs=False, log_config=False,
            hyperparam_mutations={"parameters": {key: _mutation(key, space) for key in space.parameters}},
        )  # fmt: skip
    return FIFOScheduler()


class Population(PopulationBasedTraining):  # type: ignore[misc]
    """Population-based training in which a trial keeps its name, and takes only parameters over."""

    def _get_new_config(self, trial: Any, trial_to_clone: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        changed, operations = super()._get_new_config(trial, trial_to_clone)
        return {**trial.config, "parameters": changed["parameters"]}, operations


class FirstMembersScheduler(FIFOScheduler):  # type: ignore[misc]
    """Lets another scheduler judge only the first seed or fold of each candidate: the same one of all.

    It also brings the curves of a sweep's earlier part back, so that a trial that goes on is compared as if nothing had
    been interrupted.

    Parameters
    ----------
    inner : TrialScheduler
    ended : sequence of sequences
        Curves of first members that have ended: their value after each epoch.
    interrupted : mapping
        Curves of those that go on, by the name of the run.
    """

    def __init__(
        self, inner: TrialScheduler, ended: Sequence[Sequence[float]], interrupted: Mapping[str, Sequence[float]]
    ) -> None:
        super().__init__()
        self.inner, self.interrupted = inner, interrupted
        self._metric = inner.metric
        for number, curve in enumerate(ended):
            earlier = SimpleNamespace(trial_id=f"earlier-{number}", config={"member": 0})
            inner.on_trial_add(NO_CONTROLLER, earlier)
            self._replay(earlier, curve)

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Both were given to the inner scheduler."""
        return True

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Enter a trial, and what it has reported before."""
        if self._is_first(trial):
            # Population-based training refuses a searcher; here it only gives the population.
            self.inner.on_trial_add(NO_CONTROLLER, trial)
            self._replay(trial, self.interrupted.get(Order(**trial.config).name, ()))

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Forget a trial."""
        if self._is_first(trial):
            self.inner.on_trial_error(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Whether a trial goes on."""
        if not self._is_first(trial):
            return str(TrialScheduler.CONTINUE)
        # The median rule would have trials take turns until it has seen enough of them.
        controller = NO_CONTROLLER if isinstance(self.inner, MedianStoppingRule) else tune_controller
        return str(self.inner.on_trial_result(controller, trial, result))

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Enter that a trial has ended; the last result of some has no value."""
        if self._is_first(trial) and TIME in result and VALUE in result:
            self.inner.on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Forget a trial."""
        if self._is_first(trial):
            self.inner.on_trial_remove(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Which of the trials that wait is next."""
        return self.inner.choose_trial_to_run(tune_controller)

    def _is_first(self, trial: Any) -> bool:
        return bool(trial.config["member"] == 0)

    def _replay(self, trial: Any, curve: Sequence[float]) -> None:
        best: float | None = None
        for epoch, value in enumerate(curve, 1):
            if value == value:
                higher = getattr(self.inner, "_mode", "max") == "max"
                best = value if best is None else (max if higher else min)(best, value)
            if best is not None:
                self.inner.on_trial_result(NO_CONTROLLER, trial, {TIME: epoch, VALUE: best})


# Tells a scheduler that no trial is waiting to be run, and that nobody searches.
NO_CONTROLLER = SimpleNamespace(get_live_trials=list, search_alg=None)


def _mutation(key: str, space: Space) -> Any:
    """Values of a key as population-based training takes them."""
    parameter: ParameterSection = space.parameters[key]
    if key.partition(".")[0] not in CHANGEABLE:
        raise ConfigurationError(
            f"tune.scheduler pbt cannot change {key} while a trial runs",
            f"vary keys of {', '.join(CHANGEABLE)}, or choose asha",
        )
    if parameter.when:
        raise ConfigurationError(f"tune.scheduler pbt takes no condition, as of {key}", "leave 'when' out")
    if parameter.values is not None:
        return parameter.values
    if parameter.randint is not None:
        return tune.randint(parameter.randint[0], parameter.randint[1] + 1)
    return tune.loguniform(*parameter.loguniform) if parameter.loguniform else tune.uniform(*(parameter.uniform or ()))
