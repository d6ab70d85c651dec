#!/usr/bin/env bash
# Everything that must hold before a change lands: style, types, quick tests, then tests with clusters and servers.
set -euo pipefail
source "$(dirname "$0")/setup.sh"

ruff check .
ruff format --check .
mypy
# One core each, or networks of two processes would stand in each other's way.
export OMP_NUM_THREADS=1
pytest -q -n auto --maxprocesses 4
# Two at a time: most of a cluster's start is waiting. The files stay whole, for what their tests share.
pytest -q -m 'slow and not alone' -n 2 --dist loadfile --durations=20
pytest -q -m 'slow and alone' --durations=5
