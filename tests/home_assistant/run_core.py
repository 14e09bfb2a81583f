"""Starts Home Assistant with what the tests need of it and nothing that goes to the network. Runs in its environment.

    python run_core.py --config FOLDER [options of Home Assistant]

Without the web pages installed, what belongs to them is left out of the integrations that start by themselves; all else
is Home Assistant's own way to start.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import homeassistant.__main__ as starter
from homeassistant import bootstrap


def main() -> int:
    settings: Any = bootstrap
    if importlib.util.find_spec("hass_frontend") is None:
        settings.DEFAULT_INTEGRATIONS = set()
        settings.CRITICAL_INTEGRATIONS = set()
    # The check of Python's version: the environment was made for this Python (see on_python_3_13.py).
    vars(starter)["validate_python"] = lambda: None
    return starter.main()


if __name__ == "__main__":
    sys.argv.append("--skip-pip")
    sys.exit(main())
