"""Settings read again: what is changed, what is refused, what is kept."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import pytest

from wyoming_superwhisper.config.settings import Area, HomeSettings, Settings
from wyoming_superwhisper.errors import SettingsError
from wyoming_superwhisper.operations.reload import CHANGEABLE, Reloader, differences, is_changeable

OLD = Settings()


def changed() -> Settings:
    return replace(
        OLD,
        home=HomeSettings(areas=(Area("salon", "Salon"),)),
        limits=replace(OLD.limits, text_chars=5, idle_s=1.0),
        asr=replace(OLD.asr, model="whisper-small", bias=False),
        server=replace(OLD.server, uri="tcp://127.0.0.1:1", allow=("loopback",)),
    )


class Applied:
    def __init__(self, error: SettingsError | None = None) -> None:
        self.calls: list[tuple[Settings, tuple[str, ...]]] = []
        self._error = error

    async def __call__(self, settings: Settings, keys: Collection[str]) -> None:
        if self._error is not None:
            raise self._error
        self.calls.append((settings, tuple(keys)))


async def test_what_can_be_changed_is_and_the_rest_is_named(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    applied = Applied()
    reloader = Reloader(OLD, changed, applied)
    await reloader.reload()
    [(settings, keys)] = applied.calls
    assert set(keys) == {"home.areas", "limits.text_chars", "limits.idle_s", "asr.bias", "server.allow"}
    assert settings.limits.text_chars == 5
    assert settings.home.areas[0].name == "Salon"
    assert not settings.asr.bias
    assert (settings.asr.model, settings.server.uri) == (OLD.asr.model, OLD.server.uri)
    assert "changed only by a restart: server.uri, asr.model" in caplog.text
    await reloader.reload()
    assert applied.calls[1][1] == (), "what could not be changed is still another"


async def test_wrong_settings_change_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def wrong() -> Settings:
        raise SettingsError("there is no setting asr.langage")

    applied = Applied()
    await Reloader(OLD, wrong, applied).reload()
    refused = Reloader(OLD, changed, Applied(SettingsError("tts.voice is 'x'")))
    await refused.reload()
    assert applied.calls == []
    assert refused.settings is OLD
    assert caplog.text.count("not reloaded") == 2


def test_every_changeable_key_exists() -> None:
    known = set(differences(OLD, _all_different(OLD)))
    for key in CHANGEABLE:
        assert any(is_changeable(one) and one.startswith(key) for one in known), key


def _all_different(settings: Settings) -> Settings:
    """Settings of which no value is equal to any other."""
    import dataclasses

    def different(section: object) -> object:
        values = {}
        for field in dataclasses.fields(section):  # type: ignore[arg-type]
            value = getattr(section, field.name)
            values[field.name] = different(value) if dataclasses.is_dataclass(value) else object()
        return dataclasses.replace(section, **values)  # type: ignore[type-var]

    made = different(settings)
    assert isinstance(made, Settings)
    return made
