"""A sweep from its configuration to its winner: checked, claimed, searched on Ray Tune, tidied, closed."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ray import tune
from ray.tune.schedulers import TrialScheduler

from raycxr.config.sections import Config
from raycxr.errors import InterruptionError, RaycxrError, StorageError, TrainingError, first_line
from raycxr.number_text import count, duration
from raycxr.runs.metric import Mode
from raycxr.runs.sweep import Candidate, Trial, ranked, read_trials
from raycxr.runs.sweep_record import note_sweep, resume_sweep, start_sweep
from raycxr.storage.check import check_writable
from raycxr.storage.location import Location
from raycxr.tuning.board import Board
from raycxr.tuning.capacity import Room, Share, alive_nodes, wait_for_room
from raycxr.tuning.display import SweepDisplay
from raycxr.tuning.keeper import Keeper, bare_trials
from raycxr.tuning.preparation import SweepPlan, plan_sweep
from raycxr.tuning.proposals import Proposals, build_proposals
from raycxr.tuning.queue import TrialQueue, member_names, outcome_of
from raycxr.tuning.rungs import build_rungs
from raycxr.tuning.scheduler import FirstMembersScheduler, build_scheduler
from raycxr.tuning.searcher import SweepSearcher
from raycxr.tuning.space import Parameters, within
from raycxr.tuning.trial import TrialActor
from raycxr.tuning.watch import Budget, BudgetStopper, SweepWatch, interrupt

# Memory that Ray sets aside for a process that leads the workers of a trial.
LEADER_BYTES = 2**20
# Read by Ray Tune when it starts: no files or lines of its own, no metric that every result must have.
ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
}


@dataclass(frozen=True)
class SweepResult:
    """A sweep that has come to its end.

    `status` is `finished`, or `interrupted` where its budget was spent first, as `reason` says; `best` is the best
    candidate of which all trials have ended well.
    """

    sweep: Location
    metric: str
    mode: Mode
    status: str
    reason: str | None
    trials: list[Trial]
    best: Candidate


def run_sweep(config: Config, config_path: Path, resume: bool, tell: Callable[[str], None]) -> SweepResult:
    """Run a sweep on the connected cluster.

    Raises
    ------
    RaycxrError
        In one line: the space, the data or the cluster do not fit, the sweep exists or cannot be resumed, storage
        refuses, it was interrupted, or no trial has come to a value.
    """
    plan = plan_sweep(config, config_path, resume)
    sweep, base = plan.sweep, plan.base
    # Before the sweep is claimed: it may refuse the space.
    judge = build_scheduler(base.tune, plan.space, plan.mode)
    check_writable(sweep.parent)
    share, fits = wait_for_room(base, tell)
    earlier = _open(plan, config, resume, tell)
    board = Board(plan.metric, plan.mode, len(member_names(base)))
    budget = Budget(config, board, earlier)
    try:
        spent = _run(plan, share, fits, judge, board, budget, tell)
    except KeyboardInterrupt:
        interrupt(sweep, base.tracking, board, tell)
        note_sweep(sweep, budget.seconds, "interrupted")
        raise InterruptionError(f"sweep {sweep.name} was interrupted", "continue with --resume") from None
    except Exception as error:
        interrupt(sweep, base.tracking, board, tell)
        status = "interrupted" if isinstance(error, InterruptionError) else "failed"
        note_sweep(sweep, budget.seconds, status, error.message if isinstance(error, RaycxrError) else repr(error))
        raise
    status, reason = ("finished", None) if spent is None else ("interrupted", f"{spent} was spent")
    note_sweep(sweep, budget.seconds, status, reason)
    tell(f"sweep {sweep.name}: {_summary(board)} in {duration(budget.seconds)}")
    if reason is not None:
        tell(f"{reason}: give more of it, and continue with --resume")
    trials = read_trials(sweep)
    whole = (candidate for candidate in ranked(trials, plan.metric, plan.mode) if _is_whole(candidate, board))
    best = next(whole, None)
    if best is None:
        raise _fruitless(sweep, trials, reason)
    return SweepResult(sweep, plan.metric, plan.mode, status, reason, trials, best)


def _open(plan: SweepPlan, config: Config, resume: bool, tell: Callable[[str], None]) -> float:
    """Claim or reopen the sweep; returns the seconds that it has taken so far."""
    if resume:
        return float(resume_sweep(plan.sweep, config, plan.dataset, tell)["seconds"])
    start_sweep(plan.sweep, config, plan.dataset, plan.metric, plan.mode)
    return 0.0


def _run(
    plan: SweepPlan,
    share: Share,
    fits: int,
    judge: TrialScheduler,
    board: Board,
    budget: Budget,
    tell: Callable[[str], None],
) -> str | None:
    """Train what is left of a sweep; returns the limit that ended it before it was done."""
    sweep, tune, metric, mode = plan.sweep, plan.base.tune, plan.metric, plan.mode
    trials = read_trials(sweep)
    board.add_earlier(trials)
    proposals = build_proposals(tune, plan.space, mode, len(trials))
    points = _learn(plan, proposals, tell)
    rungs = build_rungs(tune, plan.epochs, proposals.total, mode)
    members = member_names(plan.base)
    queue = TrialQueue(proposals, points, members, trials, metric, mode, rungs, bare_trials(trials))
    keeper = Keeper(sweep, board, tune.keep, queue.may_go_on)
    at_once = min(fits, tune.at_once or fits)
    tell(
        f"sweep {sweep}: {count(queue.left, 'trial')} to train, {at_once} at a time with {share} each, "
        f"{count(plan.epochs, 'epoch')} at most, best {metric} wins"
    )
    curves = {trial.location.name: trial.curve(metric) for trial in trials if trial.member == members[0]}
    _search(plan, share, queue, board, budget, keeper, FirstMembersScheduler(judge, curves))
    try:
        keeper.tidy(set())
    except StorageError as error:  # everything is trained
        tell(f"the weights of some losers are still there: {error.message}")
    return budget.spent() if board.count("interrupted") + queue.left > 0 else None


def _fruitless(sweep: Location, trials: list[Trial], reason: str | None) -> TrainingError:
    """Say that there is no winner, and why."""
    failed = [trial for trial in trials if trial.status == "failed"]
    why = f"{len(failed)} of {count(len(trials), 'trial')} failed, the first: {failed[0].reason}" if failed else reason
    return TrainingError(
        f"sweep {sweep.name} has no candidate with a value: {why or 'none was trained'}", f"see raycxr runs {sweep}"
    )


def _learn(plan: SweepPlan, proposals: Proposals, tell: Callable[[str], None]) -> list[Parameters]:
    """Points to try first, after telling the searcher of an earlier sweep."""
    section, metric, mode = plan.base.tune, plan.metric, plan.mode
    points = [dict(point) for point in section.points]
    if section.start_from is None:
        return points
    place = Location(section.start_from)
    trials = read_trials(place)
    found = ranked(trials, metric, mode)
    for candidate in found:
        first = outcome_of(candidate.trials[0], metric, mode)
        proposals.tell(None, candidate.parameters, replace(first, value=candidate.value(metric, mode)))
    if not found:
        tell(f"{place} has no trial with a value: nothing to learn")
        return points
    known = plan.space.parameters
    shared = {key: value for key, value in found[0].parameters.items() if key in known and within(known[key], value)}
    return [shared, *points] if shared else points


def _search(
    plan: SweepPlan,
    share: Share,
    queue: TrialQueue,
    board: Board,
    budget: Budget,
    keeper: Keeper,
    scheduler: FirstMembersScheduler,
) -> None:
    """Hand the queue to Ray Tune, and follow it until nothing is left."""
    os.environ.update(ENVIRONMENT)
    # A trial that fails is told of in one line, and not with all its layers.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    base, section = plan.base, plan.base.tune
    several = share.workers > 1
    # A process that only leads workers takes none of their CPUs; nothing at all is refused.
    resources = tune.PlacementGroupFactory([{"memory": LEADER_BYTES} if several else share.bundle])

    def at_once() -> int:
        fits = share.fits(alive_nodes())
        return min(fits, section.at_once or fits)

    def room() -> int:
        if section.scheduler == "pbt":
            return queue.proposals.total  # the whole population lives at once, and takes turns
        # One that waits keeps a process warm for it; workers of one that waits would take the room of the others.
        return at_once() if several else at_once() + 1

    def seconds_left() -> float | None:
        return board.seconds_left(queue.epochs_left(plan.epochs), at_once())

    with (
        SweepDisplay(board, list(section.space), seconds_left) as display,
        _notes(plan) as notes,
    ):
        filesystem, path = notes.filesystem() if not notes.is_local else (None, notes.uri)
        chance = Room(share, section.wait_minutes, display.tell)
        watch = SweepWatch(plan.sweep, base, plan.dataset, board, display, keeper, budget, chance)
        trainable = tune.with_parameters(
            TrialActor,
            base=base.model_dump(mode="json"),
            dataset_id=plan.dataset["id"],
            mode=plan.mode,
            cpus=share.cpus,
        )
        tuner = tune.Tuner(
            tune.with_resources(trainable, resources),
            tune_config=tune.TuneConfig(
                search_alg=SweepSearcher(queue, room, lambda: budget.spent() is not None),
                scheduler=scheduler,
                num_samples=-1,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=path,
                storage_filesystem=filesystem,
                verbose=0,
                stop=BudgetStopper(budget),
                callbacks=[watch],
                failure_config=tune.FailureConfig(max_failures=base.resources.max_failures),
            ),
        )
        try:
            tuner.fit()
        except tune.TuneError as error:
            raise TrainingError(f"Ray Tune gave up: {first_line(error)}", "continue with --resume") from error


@contextmanager
def _notes(plan: SweepPlan) -> Iterator[Location]:
    """Folder for the notes of Ray Tune itself, while it runs; what a sweep leaves is in its runs.

    Trials of a population pass notes to each other, and may lie on several nodes.
    """
    if plan.base.tune.scheduler != "pbt":
        with tempfile.TemporaryDirectory(prefix="raycxr-sweep-") as folder:
            yield Location(folder)
        return
    place = plan.sweep / "population"
    try:
        yield place
    finally:
        place.delete_tree()


def _summary(board: Board) -> str:
    states = ("finished", "stopped", "failed", "interrupted")
    return ", ".join(f"{board.count(state)} {state}" for state in states if board.count(state)) or "no trial"


def _is_whole(candidate: Candidate, board: Board) -> bool:
    return len(candidate.trials) == board.members
