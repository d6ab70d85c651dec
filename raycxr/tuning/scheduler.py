"""Which trials end early, or exchange their weights, while they are trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler, MedianStoppingRule, PopulationBasedTraining, TrialScheduler

from raycxr.config.tune import ParameterSection, TuneSection
from raycxr.errors import ConfigurationError
from raycxr.runs.metric import Mode
from raycxr.tuning.queue import Order
from raycxr.tuning.space import Parameters, Space, bounds

# What a result has: the best value so far, and that of the last epoch, whose weights a population exchanges.
TIME, VALUE, LATEST = "epoch", "value", "latest"
# Sections whose keys may change while a trial runs: none of them shapes the network.
CHANGEABLE = ("optimizer", "schedule", "loss", "loss_settings", "augment", "sampling")


def build_scheduler(section: TuneSection, space: Space, mode: Mode) -> TrialScheduler:
    """Scheduler of `tune.scheduler`; that of `asha` stops nothing, as trials rest at rungs by themselves.

    Raises
    ------
    ConfigurationError
        Population-based training is to change what shapes the network, or what depends on another key.
    """
    if section.scheduler == "median":
        return MedianStoppingRule(TIME, VALUE, mode, grace_period=section.grace_epochs)
    if section.scheduler == "pbt":
        return Population(
            TIME, LATEST, mode, perturbation_interval=section.grace_epochs, require_attrs=False, log_config=False,
            hyperparam_mutations={"parameters": {key: _mutation(key, space) for key in space.parameters}},
            custom_explore_fn=lambda config: {**config, "parameters": _within_bounds(config["parameters"], space)},
        )  # fmt: skip
    return FIFOScheduler()


class Population(PopulationBasedTraining):  # type: ignore[misc]
    """Population-based training in which a trial keeps its name, and takes only parameters over."""

    def _get_new_config(self, trial: Any, trial_to_clone: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        changed, operations = super()._get_new_config(trial, trial_to_clone)
        return {**trial.config, "parameters": changed["parameters"]}, operations


@dataclass(eq=False)
class EarlierTrial:
    """A trial of a sweep's earlier part, as far as schedulers ask for it."""

    trial_id: str


class FirstMembersScheduler(FIFOScheduler):  # type: ignore[misc]
    """Lets another scheduler judge only the first seed or fold of each candidate: the same one of all.

    It also brings the curves of a sweep's earlier part back, so that a trial is compared as if nothing had been
    interrupted. A trial that has trained its last epoch is not stopped any more: it has finished.

    Parameters
    ----------
    inner : TrialScheduler
    earlier : mapping
        Curves of the first members that were begun before, by the name of the run: their value after each epoch.
    """

    def __init__(self, inner: TrialScheduler, earlier: Mapping[str, Sequence[float]]) -> None:
        super().__init__()
        self.inner, self._metric = inner, inner.metric
        self.earlier: dict[str, EarlierTrial] = {}
        # A population has no memory: whoever is in it now exchanges.
        if not isinstance(inner, Population):
            for name, curve in earlier.items():
                self.earlier[name] = EarlierTrial(name)
                inner.on_trial_add(NO_CONTROLLER, self.earlier[name])
                self._replay(self.earlier[name], curve)

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Both were given to the inner scheduler."""
        return True

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Enter a trial, unless it goes on and is known."""
        if self._is_first(trial) and self._known(trial) is trial:
            # Population-based training refuses a searcher; here it only gives the population.
            self.inner.on_trial_add(NO_CONTROLLER, trial)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Forget a trial."""
        if self._is_first(trial):
            self.inner.on_trial_error(tune_controller, self._known(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Whether a trial goes on."""
        if not self._is_first(trial):
            return str(TrialScheduler.CONTINUE)
        # The median rule would have trials take turns until it has seen enough of them.
        controller = NO_CONTROLLER if isinstance(self.inner, MedianStoppingRule) else tune_controller
        decision = str(self.inner.on_trial_result(controller, self._known(trial), result))
        return str(TrialScheduler.CONTINUE) if decision == TrialScheduler.STOP and result.get("last") else decision

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Nothing: the result of a trial's end repeats that of its last epoch."""

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Forget a trial."""
        if self._is_first(trial):
            self.inner.on_trial_remove(tune_controller, self._known(trial))

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Which of the trials that wait is next."""
        return self.inner.choose_trial_to_run(tune_controller)

    def _is_first(self, trial: Any) -> bool:
        return bool(trial.config["member"] == 0)

    def _known(self, trial: Any) -> Any:
        """A trial as the other scheduler knows it."""
        return self.earlier.get(Order(**trial.config).name, trial)

    def _replay(self, trial: EarlierTrial, curve: Sequence[float]) -> None:
        """Enter a curve; whether the trial was stopped then is not asked again."""
        # The median rule takes no further result of a trial that it would stop.
        median = isinstance(self.inner, MedianStoppingRule)
        enter = self.inner.on_trial_complete if median else self.inner.on_trial_result
        better = max if getattr(self.inner, "_mode", "max") == "max" else min
        best: float | None = None
        for epoch, value in enumerate(curve, 1):
            if value == value:
                best = value if best is None else better(best, value)
            if best is not None:
                enter(NO_CONTROLLER, trial, {TIME: epoch, VALUE: best})


# Tells a scheduler that no trial is waiting to be run, and that nobody searches.
NO_CONTROLLER = SimpleNamespace(get_live_trials=list, search_alg=None)


def _within_bounds(parameters: Parameters, space: Space) -> Parameters:
    """Numbers that were multiplied may have left their range."""
    limits = {key: bounds(space.parameters[key]) for key in parameters}
    return {key: min(max(value, limits[key][0]), limits[key][1]) if limits[key] else value
            for key, value in parameters.items()}  # fmt: skip


def _mutation(key: str, space: Space) -> Any:
    """Values of a key as population-based training takes them."""
    parameter: ParameterSection = space.parameters[key]
    section, _, name = key.partition(".")
    # Moments of one optimizer, or the place in one schedule, are nothing to another one.
    if section not in CHANGEABLE or name == "name" or (section != "loss" and not name):
        raise ConfigurationError(
            f"tune.scheduler pbt cannot change {key} while a trial runs",
            f"vary single keys of {', '.join(CHANGEABLE)} but .name, or choose asha",
        )
    if parameter.when:
        raise ConfigurationError(f"tune.scheduler pbt takes no condition, as of {key}", "leave 'when' out")
    if parameter.values is not None:
        return parameter.values
    if parameter.randint is not None:
        return tune.randint(parameter.randint[0], parameter.randint[1] + 1)
    return tune.loguniform(*parameter.loguniform) if parameter.loguniform else tune.uniform(*(parameter.uniform or ()))
