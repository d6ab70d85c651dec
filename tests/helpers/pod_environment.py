"""The environment of a pod, as far as the configurations for clusters ask for it."""

from __future__ import annotations

# What the environment of a pod says to the configurations in kubernetes/.
ON_A_CLUSTER = {"RAYCXR_STORAGE": "storage", "RAYCXR_FILM_SIZE": "96", "RAYCXR_EPOCHS": "1", "RAYCXR_BATCH_SIZE": "4",
                "RAYCXR_TRIALS": "2", "RAYCXR_WORKERS": "1", "RAYCXR_CPUS_PER_WORKER": "1",
                "RAYCXR_GPUS_PER_WORKER": "0", "RAYCXR_MAX_FAILURES": "3", "RAY_ADDRESS": "127.0.0.1:6379"}  # fmt: skip
