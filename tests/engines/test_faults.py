"""What the libraries' exceptions mean; their words were read in torch, onnxruntime and llama.cpp."""

from __future__ import annotations

import pytest

from wyoming_superwhisper.engines import faults


class OutOfMemoryError(RuntimeError):
    """Called as torch's is."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.69 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:115] . DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : bad allocation"),
        RuntimeError("[ONNXRuntimeError] : Failed to allocate memory for requested buffer of size 123"),
        RuntimeError("CUDA error: out of memory"),
    ],
)
def test_no_memory(error: Exception) -> None:
    assert faults.is_out_of_memory(error)
    assert not faults.is_card_lost(error)


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: unspecified launch failure\nCUDA kernel errors might be asynchronously reported",
        "CUDA error: device-side assert triggered",
        "CUDA failure 719: unspecified launch failure ; GPU=0",
        "CUDA error: no CUDA-capable device is detected",
    ],
)
def test_no_card(text: str) -> None:
    assert faults.is_card_lost(RuntimeError(text))
    assert not faults.is_out_of_memory(RuntimeError(text))


@pytest.mark.parametrize("error", [ValueError("out of memory"), RuntimeError("shapes don't match"), KeyError("CUDA")])
def test_neither(error: Exception) -> None:
    assert not faults.is_card_lost(error)
    assert not faults.is_out_of_memory(error)


def test_what_is_said_of_an_error_is_its_first_line() -> None:
    assert faults.first_line(RuntimeError("CUDA error: gone\nand much advice")) == "CUDA error: gone"
    faults.free_memory()
