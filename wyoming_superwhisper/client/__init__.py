"""The client side of Wyoming: one function for each thing to ask a server, over a connection that never hangs.

Every call takes a URI, has time limits for connecting and for each answer, and turns a server's `error` event into the
exception of that code. URIs: tcp://HOST:PORT, unix://PATH, or tls://HOST:PORT?ca=FILE&certificate=FILE&key=FILE, where
each of the three files (PEM) may be left out: without `ca` the server must be known to an authority that the system
trusts.
"""

from __future__ import annotations

from wyoming_superwhisper.client.answer import ANSWERS, Answer, SpokenChunk, chunk_format
from wyoming_superwhisper.client.connection import Connection, Disconnected, Unreachable, error_of, parsed
from wyoming_superwhisper.client.pipeline import TurnEnd, pipeline_request
from wyoming_superwhisper.client.readiness import wait_listening, wait_ready
from wyoming_superwhisper.client.requests import ask, describe, detect, run_pipeline, synthesize, transcribe

__all__ = [
    "ANSWERS",
    "Answer",
    "Connection",
    "Disconnected",
    "SpokenChunk",
    "TurnEnd",
    "Unreachable",
    "ask",
    "chunk_format",
    "describe",
    "detect",
    "error_of",
    "parsed",
    "pipeline_request",
    "run_pipeline",
    "synthesize",
    "transcribe",
    "wait_listening",
    "wait_ready",
]
