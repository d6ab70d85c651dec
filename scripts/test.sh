#!/usr/bin/env bash
# Everything that must hold before a change lands: style, types, quick tests, then tests with clusters and servers.
set -euo pipefail
source "$(dirname "$0")/setup.sh"

ruff check .
ruff format --check .
mypy
pytest -q
pytest -q -m slow
