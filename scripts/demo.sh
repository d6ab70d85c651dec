#!/usr/bin/env bash
# The whole road on phantom films: synth, ingest, train, evaluate, pull. No server, no GPU, no patient data.
set -euo pipefail
source "$(dirname "$0")/setup.sh"

out=${1:-out/demo}
rm -rf "$out"
say() { printf '\n\033[1m%s\033[0m\n' "$*" >&2; }
export RAYCXR_DEMO=$out

say "1. Draw 120 phantom films with true masks, in the layout of the JSRT archive"
raycxr synth jsrt --out "$out/films" --count 120 --size 256

say "2. Ingest them with Ray Data: verified shards"
raycxr ingest configs/demo.yaml
raycxr inspect "$out/data" --html "$out/films.html"

say "3. Train a U-Net with Ray Train, on a cluster started in the process"
raycxr train configs/demo.yaml train.name=phantoms

say "4. Measure it on films that it has not seen"
raycxr evaluate "$out/runs/phantoms" --out "$out/evaluation"

say "5. What is there, and the best checkpoint as a verified bundle"
raycxr runs "$out/runs"
raycxr pull "$out/runs" "$out/best"

say "Look at $out/films.html, at $out/evaluation/report.html, and at the curves with: .venv/bin/tensorboard --logdir $out/runs"
