"""Microphones and loudspeakers."""

from __future__ import annotations

from collections.abc import Iterator

from wyoming_superwhisper.doctor.finding import Finding, State
from wyoming_superwhisper.doctor.probe import Probe

_SOUND = """
import json, sounddevice
devices = sounddevice.query_devices()
print(json.dumps({"inputs": [d["name"] for d in devices if d["max_input_channels"]],
                  "outputs": [d["name"] for d in devices if d["max_output_channels"]]}))
"""


def check_sound(probe: Probe) -> Iterator[Finding]:
    """Microphones and loudspeakers; only a satellite on this machine needs them."""
    result = probe(_SOUND, {})
    facts = result.facts
    if facts is None:
        remedy = "for a satellite here: apt-get install libportaudio2, pip install 'wyoming-superwhisper[satellite]'"
        yield Finding("Sound", State.NOTE, f"no sound devices: {result.problem}", remedy)
        return
    for topic, names in (("Microphones", facts["inputs"]), ("Loudspeakers", facts["outputs"])):
        if names:
            yield Finding(topic, State.OK, ", ".join(names))
        else:
            remedy = "a satellite here needs one; is the user in the group audio?"
            yield Finding(topic, State.NOTE, "none", remedy)
