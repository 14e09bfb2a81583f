"""The front's heap: given back to the system once it has grown, and left alone else."""

from __future__ import annotations

import subprocess
import sys

import pytest

from wyoming_superwhisper.operations.heap import GROWN_BYTES, Heap
from wyoming_superwhisper.operations.memory import ProcessMemory, read_memory


async def test_only_a_heap_that_has_grown_is_given_back() -> None:
    own, given_back = 100 << 20, []
    heap = Heap(read=lambda pid: ProcessMemory(own, own), give_back=lambda: given_back.append(own))
    await heap.look()
    own += GROWN_BYTES
    await heap.look()
    assert given_back == []
    own += 1
    await heap.look()
    assert given_back == [own]
    own -= GROWN_BYTES
    await heap.look()
    assert given_back == [own + GROWN_BYTES]


@pytest.mark.skipif(read_memory(1).resident == 0, reason="only where the system says what a process takes")
def test_what_is_freed_below_something_in_use_goes_back_to_the_system() -> None:
    program = """
import os
from wyoming_superwhisper.operations.heap import trim
from wyoming_superwhisper.operations.memory import read_memory
blocks = [bytearray(20_000) for _ in range(10_000)]
kept = blocks[::100]
del blocks
before = read_memory(os.getpid()).own
trim()
print(before - read_memory(os.getpid()).own)
"""
    freed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert int(freed) > 100_000_000
