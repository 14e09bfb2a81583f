"""Everything that is looked at, in order."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from wyoming_superwhisper import gpu
from wyoming_superwhisper.config.settings import Settings
from wyoming_superwhisper.doctor.cards import check_cards, check_choice, check_llama, check_torch
from wyoming_superwhisper.doctor.finding import Finding, State
from wyoming_superwhisper.doctor.machine import check_disk, check_files, check_machine, check_packages, check_python
from wyoming_superwhisper.doctor.network import check_network, check_uri
from wyoming_superwhisper.doctor.probe import installed_version, run_probe
from wyoming_superwhisper.doctor.sound import check_sound
from wyoming_superwhisper.doctor.start import check_models, check_start
from wyoming_superwhisper.errors import SettingsError
from wyoming_superwhisper.models.store import ModelStore


def check_settings(load: Callable[[], Settings]) -> tuple[Settings, Finding]:
    """The settings, or the defaults where they are wrong, so that the rest can be looked at all the same."""
    try:
        return load(), Finding("Settings", State.OK, "no mistakes")
    except SettingsError as error:
        return Settings(), Finding("Settings", State.PROBLEM, str(error), "docs/configuration.md lists all settings")


def examine(settings: Settings) -> Iterator[Finding]:
    """Everything about this machine and these settings, as it is found out."""
    survey, builds = gpu.survey(), gpu.installed_builds()
    yield from check_python(sys.version_info[:2], sys.executable)
    yield from check_machine()
    yield from check_packages(installed_version)
    yield from check_cards(survey)
    choice = None
    for finding in check_choice(settings.gpu.device, survey, builds):
        yield finding
        if finding.state is not State.PROBLEM:
            choice = gpu.choose(settings.gpu.device, survey, builds)
    yield from check_torch(run_probe, choice)
    yield from check_llama(run_probe, choice)
    store = ModelStore(settings.models.dir, choice)
    models = list(check_models(settings, store))
    yield from models
    if choice is not None and all(finding.state is not State.PROBLEM for finding in models):
        yield from check_start(settings)
    yield from check_disk(store.folder)
    yield from check_uri("server.uri", settings.server.uri)
    if settings.metrics.listen != "off":
        yield from check_uri("metrics.listen", f"tcp://{settings.metrics.listen}")
    yield from check_network(settings)
    yield from check_files()
    yield from check_sound(run_probe)
