"""What an exception of an engine's library means: no memory, or no card any more. Known by words alone."""

from __future__ import annotations

import gc
import re
import sys

_NO_MEMORY = re.compile(
    r"out of memory|bad allocation|can'?t allocate memory|cannot allocate|failed to allocate|alloc_failed|"
    r"memory_?allocation|insufficient memory",
    re.IGNORECASE,
)
_NO_CARD = re.compile(
    r"CUDA error|CUDA failure|cudaError|CUBLAS_STATUS_(?!ALLOC)|device-side assert|device (is )?lost|"
    r"no CUDA-capable device|unspecified launch failure|GPU is lost|fallen off the bus",
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it says that there was no memory, of the machine or the card."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and bool(_NO_MEMORY.search(str(error)))


def is_card_lost(error: BaseException) -> bool:
    """Whether it says that the card, or what this process has on it, can't be used any more."""
    return isinstance(error, RuntimeError) and not is_out_of_memory(error) and bool(_NO_CARD.search(str(error)))


def first_line(error: BaseException) -> str:
    """What it says, without the advice that libraries add."""
    return str(error).strip().partition("\n")[0][:200]


def free_memory() -> None:
    """Give back what the libraries keep for later."""
    gc.collect()
    torch = sys.modules.get("torch")  # only where it is loaded already
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
