"""How many trials fit on the nodes of a cluster, and what a worker of a trial is given."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raycxr.config.sections import Config
from raycxr.errors import InterruptionError
from raycxr.tuning import capacity
from raycxr.tuning.capacity import MOST_CPUS, Room, Share, share_of

Nodes = list[dict[str, float]]


def config(at_once: int | None = None, **resources: float) -> Config:
    return Config.model_validate({"tune": {"at_once": at_once}, "resources": resources})


@pytest.mark.parametrize(
    ("share", "nodes", "trials"),
    [
        (Share(1, 2, 0), [{"CPU": 5}, {"CPU": 4}], 4),
        (Share(1, 2, 0), [{"memory": 1e9}, {"CPU": 1}], 0),
        (Share(2, 2, 0), [{"CPU": 2}, {"CPU": 4}], 1),
        (Share(3, 1, 0), [{"CPU": 2}, {"CPU": 2}, {"CPU": 2}], 2),
        (Share(1, 4, 1), [{"CPU": 0}, {"CPU": 16, "GPU": 8}], 4),
        (Share(1, 1, 1), [{"CPU": 16}, {"CPU": 8, "GPU": 2}], 2),
        (Share(1, 1, 0.5), [{"CPU": 8, "GPU": 2}], 4),
        # A third of a GPU three times, also where 3 x 1/3 is a little more than 1.
        (Share(1, 1, 1 / 3), [{"CPU": 8, "GPU": 1}], 3),
        (Share(1, 1, 0.1), [{"CPU": 80, "GPU": 1}], 10),
        # 0.6 of a GPU lies on one: two GPUs have room for two of them, and not for three.
        (Share(1, 1, 0.6), [{"CPU": 8, "GPU": 2}], 2),
        (Share(2, 1, 2), [{"CPU": 8, "GPU": 3}, {"CPU": 8, "GPU": 3}], 1),
        (Share(1, 1, 1), [], 0),
    ],
)
def test_trials_that_fit(share: Share, nodes: Nodes, trials: int) -> None:
    assert share.fits(nodes) == trials


@pytest.mark.parametrize(
    ("settings", "nodes", "cpus"),
    [
        (config(), [{"CPU": 2}], 2),
        (config(), [{"CPU": 64}], MOST_CPUS),
        (config(), [{"CPU": 2}, {"CPU": 6}, {}], 6),
        (config(cpus_per_worker=3), [{"CPU": 2}], 3),
        (config(at_once=2), [{"CPU": 2}], 1),
        (config(at_once=3), [{"CPU": 8}], 2),
        (config(at_once=3), [{"CPU": 5}, {"CPU": 5}], 2),
        (config(at_once=9), [{"CPU": 2}], 1),
        (config(workers=2), [{"CPU": 4}], 2),
        (config(workers=2), [{"CPU": 4}, {"CPU": 4}], 4),
        (config(workers=2, at_once=2), [{"CPU": 8}], 2),
        (config(gpus_per_worker=1), [{"CPU": 2}, {"CPU": 16, "GPU": 4}], 4),
        (config(gpus_per_worker=1), [{"CPU": 6, "GPU": 1}, {"CPU": 12, "GPU": 4}], 3),
        (config(gpus_per_worker=0.5), [{"CPU": 8, "GPU": 1}], 4),
        (config(gpus_per_worker=1, at_once=1), [{"CPU": 12, "GPU": 4}], 8),
        (config(gpus_per_worker=1), [{"CPU": 4}], 1),
        (config(gpus_per_worker=1), [{"CPU": 1, "GPU": 2}], 1),
        (config(), [], 1),
    ],
)
def test_cpus_of_a_worker(settings: Config, nodes: Nodes, cpus: int) -> None:
    assert share_of(settings, nodes).cpus == cpus


node_lists = st.lists(
    st.builds(lambda cpus, gpus: {"CPU": float(cpus), "GPU": float(gpus)}, st.integers(0, 12), st.integers(0, 3)),
    max_size=4,
)


@given(node_lists, st.integers(1, 4), st.integers(1, 3), st.sampled_from([0, 0.25, 0.5, 1, 2]))
def test_as_many_fit_as_are_asked_for_where_any_share_allows_it(
    nodes: Nodes, at_once: int, workers: int, gpus: float
) -> None:
    share = share_of(config(at_once, workers=workers, gpus_per_worker=gpus), nodes)
    assert (share.workers, share.gpus) == (workers, gpus)
    possible = [cpus for cpus in range(1, MOST_CPUS + 1) if Share(workers, cpus, gpus).fits(nodes) >= at_once]
    assert share.cpus == max(possible, default=1)
    # One node more never makes room for fewer.
    assert share.fits([*nodes, {"CPU": 4.0, "GPU": 1.0}]) >= share.fits(nodes)


def test_a_share_in_words() -> None:
    assert str(Share(1, 1, 0)) == "1 CPU"
    assert str(Share(2, 4, 0.5)) == "2 workers of 4 CPUs and 0.5 GPUs"
    assert Share(1, 4, 0).bundle == {"CPU": 4}
    assert Share(1, 4, 0.5).bundle == {"CPU": 4, "GPU": 0.5}


def test_a_cluster_that_shrinks_is_waited_for_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    clock, nodes = [0.0], [{"CPU": 2.0}]
    monkeypatch.setattr(capacity, "alive_nodes", lambda: nodes)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    room = Room(Share(1, 2, 0), 1, told.append)

    def pass_by(seconds: int) -> None:
        for _ in range(seconds):
            clock[0] += 1
            room.check()

    pass_by(100)
    nodes[0] = {"CPU": 1.0}
    pass_by(50)
    assert told == [
        "a trial asks for 2 CPUs, the cluster has 1 node with 1 CPU and 0 GPUs, at most 1 and 0 on one: waiting up to "
        "1 min for nodes"
    ]
    # Those that come back in time begin the waiting anew.
    nodes[0] = {"CPU": 2.0}
    pass_by(100)
    nodes[0] = {}
    pass_by(50)
    assert len(told) == 2
    with pytest.raises(InterruptionError, match=r"for 1 min the cluster has 1 node .* continue with --resume"):
        pass_by(30)
