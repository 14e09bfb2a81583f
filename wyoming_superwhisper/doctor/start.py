"""The models, and whether `serve` would start with them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from wyoming_superwhisper.config.settings import Settings
from wyoming_superwhisper.doctor.finding import Finding, State
from wyoming_superwhisper.errors import SettingsError, SuperwhisperError, system_reason
from wyoming_superwhisper.models.store import ModelStore


def check_models(settings: Settings, store: ModelStore) -> Iterator[Finding]:
    """Whether each model that the settings name is here and whole."""
    yield from _check_model("Recognition", lambda: _model(store.resolve("whisper", settings.asr.model), store.whisper))
    if settings.llm.model == "off":
        yield Finding("Language model", State.NOTE, "off: only what intents understand is answered")
    else:
        yield from _check_model(
            "Language model", lambda: _model(store.resolve("llama", settings.llm.model), store.llama)
        )
    yield from _check_model("Voices", lambda: ", ".join(store.voices(settings.tts.voices)))


def _model(name: str, find: Callable[[str], Path]) -> str:
    return f"{name} ({find(name)})"


def _check_model(topic: str, find: Callable[[], str]) -> Iterator[Finding]:
    try:
        yield Finding(topic, State.OK, find())
    except SuperwhisperError as error:
        text, _, remedy = str(error).partition("; run: ")
        yield Finding(topic, State.PROBLEM, text, f"run: {remedy}" if remedy else "see docs/models.md")


def check_start(settings: Settings) -> Iterator[Finding]:
    """Whether `serve` would start: what it refuses before it listens, where the models themselves are right."""
    from wyoming_superwhisper.access import server_tls
    from wyoming_superwhisper.plan import Plan, needed_engines

    def offered() -> None:
        plan = Plan.of(settings, needed_engines(settings.server.services))
        plan.wake_words()
        plan.video_memory()
        plan.voice(settings.asr.language)

    checks: tuple[Callable[[], object], ...] = (
        offered, lambda: server_tls(settings.server.tls), lambda: _try_record(settings.record.dir),
    )  # fmt: skip
    problems = []
    for check in checks:
        try:
            check()
        except SettingsError as error:
            problems.append(str(error))
    for problem in problems:
        yield Finding("Start", State.PROBLEM, problem, "docs/configuration.md says what each setting allows")
    if not problems:
        yield Finding("Start", State.OK, "languages, voices, wake words, certificates and folders fit together")


def _try_record(folder: str) -> None:
    """Raises `SettingsError` where recordings could not be written; makes no folder."""
    if not folder:
        return
    wanted = Path(folder).expanduser()
    there = next(path for path in (wanted, *wanted.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise SettingsError(f"record.dir: {folder} can't be written to: {system_reason(error)}") from error
