"""Training against what people would otherwise write. Every figure is a ratio, measured in one run, in turns.

    python scripts/bench_training.py loader                 # our loaders against DataLoader, in films per second
    python scripts/bench_training.py loader --augment none  # the same without augmentation
    python scripts/bench_training.py loader --s3            # the first epoch fetches its shards from a bucket
    python scripts/bench_training.py defaults               # the whole training against a plain fp32 loop
    python scripts/bench_training.py epoch CONFIG           # this process and Ray Train against a plain script

Each sub-command prints one JSON document.
"""

from __future__ import annotations

import argparse
import json

import default_speed
import epoch_speed
import loader_speed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for part in (loader_speed, default_speed, epoch_speed):
        part.add_command(commands)
    options = parser.parse_args()
    print(json.dumps(options.measure(options), indent=2))


if __name__ == "__main__":
    main()
