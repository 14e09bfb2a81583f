"""Which class is the engine of which worker. An engine's file, and its library, is imported when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from wyoming_superwhisper.engines.base import Engine

_CLASSES = {
    "whisper": "wyoming_superwhisper.engines.whisper:WhisperEngine",
    "llama": "wyoming_superwhisper.engines.llama:LlamaEngine",
    "piper": "wyoming_superwhisper.engines.piper:PiperEngine",
    "light": "wyoming_superwhisper.engines.light:LightEngine",
}


def create(name: str, configuration: Mapping[str, Any]) -> Engine:
    """The engine of that name, not loaded yet. A name with a colon is a class: `package.module:Class`.

    Raises ValueError for a name that is neither.
    """
    path = name if ":" in name else _CLASSES.get(name)
    if path is None:
        raise ValueError(f"no engine is named {name!r}; there are {', '.join(_CLASSES)}")
    module, _, kind = path.partition(":")
    engine: Engine = getattr(importlib.import_module(module), kind)(configuration)
    return engine
