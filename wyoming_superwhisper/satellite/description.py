"""What the satellite says of itself when it is asked with `describe`."""

from __future__ import annotations

from wyoming.info import Attribution, Info, Satellite, WakeModel, WakeProgram

from wyoming_superwhisper import __version__
from wyoming_superwhisper.config.satellite_settings import SatelliteSettings
from wyoming_superwhisper.satellite.wake_word import names_of

_OURS = Attribution(name="wyoming-superwhisper", url="https://pypi.org/project/wyoming-superwhisper")
_LIBRARIES = {
    "micro": Attribution(name="Open Home Foundation", url="https://github.com/OHF-Voice/pymicro-wakeword"),
    "open": Attribution(name="Open Home Foundation", url="https://github.com/OHF-Voice/pyopen-wakeword"),
}


def describe(settings: SatelliteSettings) -> Info:
    """The satellite, and the wake words that it listens for itself."""
    words = list(names_of(settings.wake.words)) if settings.wake.mode in ("auto", "local") else []
    satellite = Satellite(
        name=settings.name,
        area=settings.area or None,
        description="A room's microphone and loudspeaker",
        attribution=_OURS,
        installed=True,
        version=__version__,
        has_vad=True,
        active_wake_words=words,
        max_active_wake_words=max(len(words), 1),
        supports_trigger=True,
    )
    return Info(satellite=satellite, wake=[_wake_program(settings, words)] if words else [])


def _wake_program(settings: SatelliteSettings, words: list[str]) -> WakeProgram:
    attribution = _LIBRARIES[settings.wake.engine]
    models = [
        WakeModel(
            name=word,
            description=word.replace("_", " "),
            phrase=word.replace("_", " "),
            attribution=attribution,
            installed=True,
            languages=["en"],
            version=None,
        )
        for word in words
    ]
    return WakeProgram(
        name=f"{settings.wake.engine}-wake-word",
        description="Wake words heard on the satellite",
        attribution=attribution,
        installed=True,
        version=None,
        models=models,
    )
