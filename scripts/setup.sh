# Sourced by the other scripts: makes .venv from requirements.lock once, and again only when the lock has changed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

find_python() {
  local candidate
  for candidate in python3.11 python3.12 python3.13 python3; do
    if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
      echo "$candidate"
      return
    fi
  done
  echo "raycxr needs Python 3.11 or newer: apt-get install python3.11 python3.11-venv" >&2
  return 1
}

make_environment() {
  local python
  python=$(find_python)
  if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    # Debian and Ubuntu keep the standard library's venv in a package of its own.
    local sudo=""
    [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -q
    $sudo apt-get install -y -q "$(basename "$(readlink -f "$(command -v "$python")")")-venv"
  fi
  "$python" -m venv .venv
}

wanted=$(cat requirements.lock pyproject.toml | sha256sum | cut -d ' ' -f 1)
if [ "$(cat .venv/installed 2>/dev/null || true)" != "$wanted" ]; then
  [ -x .venv/bin/python ] || make_environment
  echo "installing the pinned packages into .venv (once; torch brings several gigabytes)" >&2
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
  echo "$wanted" >.venv/installed
fi
export PATH="$PWD/.venv/bin:$PATH"
