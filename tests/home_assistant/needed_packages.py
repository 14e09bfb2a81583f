"""Prints what Home Assistant's voice components need, as pip's requirements. Runs in an environment that has
Home Assistant in it, and nothing else yet; reads its manifests, imports nothing of it.

    python needed_packages.py [--frontend]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

COMPONENTS = (
    "assist_pipeline", "assist_satellite", "automation", "config", "conversation", "homeassistant", "intent", "logger",
    "media_player", "media_source", "network", "onboarding", "scene", "script", "stt", "system_log", "todo", "tts",
    "wake_word", "weather", "wyoming", "zeroconf",
)  # fmt: skip
FRONTEND = (
    "ai_task", "analytics", "backup", "brands", "camera", "frontend", "hardware", "hassio", "image_processing",
    "infrared", "person", "radio_frequency", "stream", "system_health", "tag", "zone",
)  # fmt: skip
"""What the browser's side needs besides."""

BESIDES = ("imageio-ffmpeg",)
"""Brings the ffmpeg that speech is converted with; machines of their own have it as a system package."""

NOT_NEEDED = frozenset({"uv"})
"""Of Home Assistant's own: its installer of packages, which the tests switch off."""


def main(arguments: list[str]) -> None:
    distribution = metadata.distribution("homeassistant")
    folder = Path(str(distribution.locate_file("homeassistant"))) / "components"
    components = COMPONENTS + (FRONTEND if "--frontend" in arguments else ())
    needed = {_name(one): one for one in (*_of_core(distribution), *_of_components(folder, components), *BESIDES)}
    print("\n".join(text for name, text in sorted(needed.items()) if name not in NOT_NEEDED))


def _of_core(distribution: metadata.Distribution) -> Iterator[str]:
    for requirement in distribution.requires or ():
        yield requirement.partition(";")[0].strip()


def _of_components(folder: Path, components: tuple[str, ...]) -> Iterator[str]:
    """The requirements of these components, and of those that they depend on."""
    waiting, seen = list(components), set()
    while waiting:
        component = waiting.pop()
        manifest = folder / component / "manifest.json"
        if component in seen or not manifest.exists():
            continue
        seen.add(component)
        description = json.loads(manifest.read_text())
        yield from description.get("requirements", ())
        waiting += description.get("dependencies", ())


def _name(requirement: str) -> str:
    end = next((at for at, sign in enumerate(requirement) if sign in "<>=~!;[ "), len(requirement))
    return requirement[:end].lower().replace("_", "-")


if __name__ == "__main__":
    main(sys.argv[1:])
