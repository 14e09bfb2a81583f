"""What one event may measure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one event may measure at most."""

    header_bytes: int = 65_536
    data_bytes: int = 1_048_576
    payload_bytes: int = 1_048_576
    depth: int = 32
    """Lists and objects inside each other, in the header and in the data."""
    values: int = 200_000
    """Values in the header, and in the data."""
    surrogates: bool = False
    """Whether halves of surrogate pairs are let through; only between ends that are both ours."""
