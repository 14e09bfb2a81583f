"""`satellite setup`: finds microphone and loudspeaker together with their owner, and writes the settings and a service.

Everything is asked on the terminal, and Return takes what is proposed; so it can also be answered by a file.
"""

from __future__ import annotations

import asyncio
import importlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from wyoming_superwhisper.audio import SPEECH
from wyoming_superwhisper.config.satellite_settings import MicSettings, SatelliteSettings, SndSettings
from wyoming_superwhisper.errors import SettingsError
from wyoming_superwhisper.satellite import levels
from wyoming_superwhisper.satellite.microphone import make_microphone
from wyoming_superwhisper.satellite.speaker import make_speaker
from wyoming_superwhisper.satellite.wake_word import WakeWordListener, known_words

WAKE_S = 8.0

UNIT = """\
[Unit]
Description=Voice satellite (microphone and loudspeaker of a room)
Wants=network-online.target sound.target
After=network-online.target sound.target

[Service]
Type=notify
NotifyAccess=main
ExecStart={command} satellite --settings {settings}
Restart=on-failure
RestartSec=2
RestartPreventExitStatus=2
WatchdogSec=30
TimeoutStopSec=10
NoNewPrivileges=yes
PrivateTmp=yes
ProtectSystem=full
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryMax=512M

[Install]
WantedBy=default.target
"""


class SetUp:
    """The conversation with the owner."""

    noise_s = 3.0
    record_s = 4.0

    def __init__(
        self,
        settings: SatelliteSettings,
        folder: Path,
        ask: Callable[[str], str] = input,
        tell: Callable[[str], None] = print,
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._ask = ask
        self._tell = tell

    async def run(self) -> int:
        """All of it; the exit status."""
        microphone, speaker = self._settings.mic.device, self._settings.snd.device
        while True:
            microphone = self._choose("Microphone", microphone_choices(), microphone)
            speaker = self._choose("Loudspeaker", speaker_choices(), speaker)
            if await self._try_sound(microphone, speaker):
                break
        word = self._choose_word()
        if word:
            await self._try_word(microphone, word)
        return self._write(microphone, speaker, word)

    def _choose(self, what: str, choices: Sequence[str], proposed: str) -> str:
        self._tell(f"\n{what}s:")
        for number, choice in enumerate(choices, 1):
            self._tell(f"  {number}  {choice}")
        answer = self._answer(f"{what}: a number, or anything that --mic and --snd take", proposed)
        if answer.isdigit() and 1 <= int(answer) <= len(choices):
            return choices[int(answer) - 1].split("  ")[0]
        return answer

    async def _try_sound(self, microphone: str, speaker: str) -> bool:
        try:
            async with make_microphone(replace(self._settings.mic, device=microphone)) as one:
                self._tell("\nBe silent for three seconds …")
                noise = await levels.listen(one, self.noise_s)
                self._tell(f"The noise of the room: {noise.floor_db:.0f} dB (below -45 is good).")
                self._tell("Now say a sentence …")
                heard = await levels.listen(one, self.record_s, lambda level: self._tell("  " + levels.bar(level)))
            over_db = heard.peak_db - noise.floor_db
            self._tell(f"Your voice was {over_db:.0f} dB above the noise (20 and more is good).")
            if heard.clipped:
                self._tell("It was too loud for the microphone: turn its gain down.")
            self._tell("This is what was heard:")
            async with make_speaker(replace(self._settings.snd, device=speaker)) as player:
                await player.play(SPEECH, heard.audio)
        except (SettingsError, TimeoutError) as error:
            self._tell(str(error) or "The microphone gives no sound.")
            return not self._yes("Choose again?", True)
        return self._yes("Did you hear yourself well?", True)

    def _choose_word(self) -> str:
        try:
            words = known_words(self._settings.wake.engine)
        except SettingsError as error:
            self._tell(str(error))
            return ""
        self._tell(f"\nWake words: {', '.join(words)}; or none, to talk at a press of a button.")
        proposed = next(iter(self._settings.wake.words), "okay_nabu")
        answer = self._answer("Wake word", proposed)
        return "" if answer == "none" else answer

    async def _try_word(self, microphone: str, word: str) -> None:
        listener = WakeWordListener(replace(self._settings.wake, words=(word,)))
        self._tell(f'Say "{listener.phrases[0]}" …')
        try:
            async with make_microphone(replace(self._settings.mic, device=microphone)) as one, asyncio.timeout(WAKE_S):
                while chunk := await one.read():
                    found = listener.feed(chunk)
                    if found is not None:
                        self._tell(f"Heard, {found.loudness_db:.0f} dB above the noise.")
                        return
        except TimeoutError:
            pass
        self._tell("It was not heard. Speak towards the microphone; `satellite doctor` tells more.")

    def _write(self, microphone: str, speaker: str, word: str) -> int:
        content: dict[str, Any] = {
            "name": self._answer("\nName of this satellite", self._settings.name or "satellite"),
            "area": self._answer("Room it stands in", self._settings.area),
            "mic": _differing(replace(self._settings.mic, device=microphone), MicSettings()),
            "snd": _differing(replace(self._settings.snd, device=speaker), SndSettings()),
        }
        if word:
            content["wake"] = {"words": [word]}
        if self._yes("Does Home Assistant drive it? (else it talks to our server itself)", False):
            content["listen"] = {"uri": "tcp://0.0.0.0:10700"}
        else:
            content["server"] = {"uri": self._answer("Server", self._settings.server.uri or "auto")}
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / "satellite.yaml"
        kept = {key: value for key, value in content.items() if value not in ("", {})}
        path.write_text(yaml.safe_dump(kept, allow_unicode=True, sort_keys=False), encoding="utf-8")
        unit = self._folder / "wyoming-superwhisper-satellite.service"
        command = shutil.which("wyoming-superwhisper") or f"{sys.executable} -m wyoming_superwhisper"
        unit.write_text(UNIT.format(command=command, settings=path.resolve()), encoding="utf-8")
        self._tell(f"\nWritten: {path} and {unit}. To try it:\n  wyoming-superwhisper satellite --settings {path}")
        self._tell(
            f"To have it start by itself:\n  systemctl --user enable --now {unit.resolve()}\n  loginctl enable-linger"
        )
        return 0

    def _answer(self, question: str, proposed: str) -> str:
        try:
            return self._ask(f"{question} [{proposed}]: ").strip() or proposed
        except EOFError:
            return proposed

    def _yes(self, question: str, proposed: bool) -> bool:
        answer = self._answer(question, "yes" if proposed else "no").lower()
        return answer.startswith(("y", "o", "j", "s"))


def run(settings: SatelliteSettings, folder: Path) -> int:
    """Set it up; the exit status."""
    try:
        return asyncio.run(SetUp(settings, folder).run())
    except KeyboardInterrupt:
        print("\nNothing was written.")
        return 1


def microphone_choices() -> list[str]:
    """What `--mic` can be here, the likeliest first."""
    return _choices("input", "sources", "arecord")


def speaker_choices() -> list[str]:
    """What `--snd` can be here, the likeliest first."""
    return _choices("output", "sinks", "aplay")


def _choices(direction: str, pulse: str, tool: str) -> list[str]:
    found = [f"pulse:{line.split(chr(9))[1]}" for line in _lines("pactl", "list", "short", pulse) if chr(9) in line]
    found = [one for one in found if not one.endswith(".monitor")] + [one for one in found if one.endswith(".monitor")]
    found += [f"{tool}:{line.strip()}" for line in _lines(tool, "-L") if line.startswith(("plughw:", "default"))]
    try:
        devices = importlib.import_module("sounddevice").query_devices()
        found += [f"{one['name']}  (PortAudio)" for one in devices if one[f"max_{direction}_channels"] > 0]
    except (ImportError, OSError):
        pass
    return found


def _lines(*command: str) -> list[str]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []


def _differing(settings: MicSettings | SndSettings, default: MicSettings | SndSettings) -> dict[str, Any]:
    names = type(settings).__dataclass_fields__
    return {name: value for name in names if (value := getattr(settings, name)) != getattr(default, name)}
