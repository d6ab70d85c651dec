"""Freed memory stays with the process: asked of the kernel's own count of page faults."""

from __future__ import annotations

import subprocess
import sys

from raycxr.training.allocator import KEEP_FREED_MEMORY

FAULTS = """
import resource
import numpy
from raycxr.training.allocator import keep_freed_memory
{setting}
numpy.ones(64 * 2**20, numpy.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    numpy.ones(32 * 2**20, numpy.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(setting: str, environment: dict[str, str] | None = None) -> int:
    program = FAULTS.format(setting=setting)
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_blocks_are_used_again() -> None:
    """Ten blocks of 8,192 pages each are cleared anew without the setting, and once at most with it."""
    usual = page_faults("")
    assert page_faults("assert keep_freed_memory()") < usual / 5
    assert page_faults("", KEEP_FREED_MEMORY) < usual / 5
