"""How fast decision rules are searched, against a loop that applies every triplet to every film.

    python scripts/bench_postprocess.py --films 2400 --size 512

Draws maps like those of a small structure that most films do not have, searches the triplets of the standard grid, and
applies some of them one by one, interleaved with the search, so that a noisy machine disturbs both alike; the time of
the whole loop is the time of those, scaled up. Both must give the same scores. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from raycxr.config.postprocess import GridSection
from raycxr.metrics.overlap import dice
from raycxr.postprocess.rule import DecisionRule, apply_rules
from raycxr.postprocess.search import RuleSearch

DRAWN = 48


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=2400)
    parser.add_argument("--size", type=int, default=512, help="pixels of a side")
    parser.add_argument("--every", type=int, default=200, help="the loop is timed on each so many-th film")
    arguments = parser.parse_args()
    grid = GridSection()
    points = list(product(grid.top, grid.area, grid.bottom))
    drawn = [draw(number, arguments.size) for number in range(min(DRAWN, arguments.films))]
    search = RuleSearch(DecisionRule(top=0.75, area=0.0019, bottom=0.3), grid)
    searched = looped = 0.0
    timed = 0
    for number in range(arguments.films):
        probabilities, truth = drawn[number % len(drawn)]
        started = time.perf_counter()
        search.add(probabilities, truth)
        searched += time.perf_counter() - started
        if number % arguments.every == 0:
            started = time.perf_counter()
            scores = loop([(probabilities, truth)], points)
            looped += time.perf_counter() - started
            timed += 1
            alone = RuleSearch(DecisionRule(top=0.95, area=1.0, bottom=0.5), grid)
            alone.add(probabilities, truth)
            assert abs(alone.result().after - max(scores)) < 1e-12, "search and loop differ"
    started = time.perf_counter()
    found = search.result()
    finished = time.perf_counter() - started
    whole_loop = looped / timed * arguments.films
    result = {
        "films": arguments.films,
        "size": arguments.size,
        "triplets": len(points),
        "search_seconds": round(searched + finished, 2),
        "of_which_scores": round(finished, 2),
        "loop_seconds": round(whole_loop, 1),
        "loop_to_search": round(whole_loop / (searched + finished), 1),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "rule": str(found.rule),
        "before": round(found.before, 4),
        "after": round(found.after, 4),
        "empty": round(found.empty, 4),
    }
    print(json.dumps(result, indent=2))


def loop(
    films: list[tuple[NDArray[np.float32], NDArray[np.bool_]]], points: list[tuple[float, float, float]]
) -> list[float]:
    """Mean Dice of each triplet."""
    scores = []
    for top, area, bottom in points:
        rules = [DecisionRule(top=top, area=area, bottom=bottom)]
        scores.append(float(np.mean([dice(apply_rules(rules, p[None]), t[None])[0] for p, t in films])))
    return scores


def draw(number: int, size: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Probabilities and truth (size, size); two films in nine have the structure."""
    random = np.random.default_rng(number)
    noise = gaussian_filter(random.standard_normal((size, size)), size / 50)
    noise /= noise.std()
    truth = noise > 2.2 if number % 9 < 2 else np.zeros(noise.shape, bool)
    blurred = gaussian_filter(truth.astype(np.float32), size / 100)
    logits = 8 * blurred - 5 + 0.9 * gaussian_filter(random.standard_normal((size, size)), size / 80) * size / 20
    return (1 / (1 + np.exp(-logits))).astype(np.float32), truth


if __name__ == "__main__":
    main()
