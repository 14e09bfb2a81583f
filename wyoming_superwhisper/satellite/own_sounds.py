"""The satellite's own sounds on its loudspeaker, which it doesn't hear itself."""

from __future__ import annotations

from wyoming_superwhisper.satellite.hearing import Ears
from wyoming_superwhisper.satellite.sounds import Kind, Sounds
from wyoming_superwhisper.satellite.speaker import Speaker

ROOM_S = 0.25
"""How long a room rings on with a sound that was played, in seconds."""


class OwnSounds:
    """Plays them, where nothing else is being played."""

    def __init__(self, sounds: Sounds, ears: Ears, speaker: Speaker, lead_in_s: float) -> None:
        """`lead_in_s`: silence that the loudspeaker puts before a sound."""
        self._sounds = sounds
        self._ears = ears
        self._speaker = speaker
        self._lead_in_s = lead_in_s

    async def play(self, kind: Kind) -> None:
        """Play one, to its end; what the microphone hears of it is taken out again."""
        sound = self._sounds.get(kind)
        if sound is None or self._ears.finite or self._speaker.playing:
            return
        if sound.tones:
            self._ears.leave_out(sound.tones, sound.seconds + self._lead_in_s + ROOM_S)
        await self._speaker.play(sound.format, sound.audio)
