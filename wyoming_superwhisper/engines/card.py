"""Whether the graphics card that CUDA gives this process is the one that was chosen. Asks the driver alone."""

from __future__ import annotations

import ctypes

from wyoming_superwhisper.errors import ModelError


def check_card(wanted: str, who: str) -> None:
    """Refuse to load on another card than the one of this UUID. "" and slices of a card (MIG) are not checked.

    Raises `ModelError`, also where the driver shows no card at all.
    """
    if not wanted or wanted.lower().startswith("mig"):
        return
    found = first_card()
    if found != wanted.lower().removeprefix("gpu-"):
        raise ModelError(f"{who} got {f'the card {found}' if found else 'no card'}, not the one named ({wanted}).")


def first_card() -> str:
    """UUID of the first card that CUDA sees in this process; "" where the driver doesn't say."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        uuid = (ctypes.c_ubyte * 16)()
        device = ctypes.c_int()
        if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0) or driver.cuDeviceGetUuid(uuid, device):
            return ""
    except (OSError, AttributeError):
        return ""
    digits = bytes(uuid).hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
