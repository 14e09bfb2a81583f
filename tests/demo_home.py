"""The home of the demo settings, for tests of what knows a home's names."""

from __future__ import annotations

import importlib.resources

import yaml

from wyoming_superwhisper.home import Home


def demo_home() -> Home:
    file = importlib.resources.files("wyoming_superwhisper.config").joinpath("demo_home.yaml")
    return Home.from_json(yaml.safe_load(file.read_text(encoding="utf-8")))
