"""Starts the server inside the add-on: options to settings, discovery told, root's powers given up."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DATA = Path("/data")
USER = 10300
SUPERVISOR = "http://supervisor"
HEALTHY_WITHIN_S = 600.0


def command(options: Mapping[str, Any]) -> list[str]:
    """The command line that these options of the add-on stand for."""
    settings = {
        "server.uri": "tcp://0.0.0.0:10300",
        "server.zeroconf": "false",
        "asr.language": options["language"],
        "asr.model": options["asr_model"],
        "llm.model": options["llm_model"],
        "tts.voice": options["voice"],
        "models.dir": str(DATA / "models"),
        "log.level": options["log_level"],
    }
    pairs = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return ["wyoming-superwhisper", "serve", *pairs]


def downloads(options: Mapping[str, Any]) -> list[str]:
    """What to fetch before the start, where the owner has asked for it."""
    if not options["download"]:
        return []
    named = (options["asr_model"], options["llm_model"], options["voice"])
    wanted = [name for name in named if name not in ("auto", "demo", "off")]
    return ["wyoming-superwhisper", "models", "download", "--models", str(DATA / "models"), *(wanted or ["auto"])]


def announce(token: str, host: str) -> None:
    """Tell Home Assistant of the server, once it answers."""
    until = time.monotonic() + HEALTHY_WITHIN_S
    while subprocess.run(["wyoming-superwhisper", "health"], capture_output=True, check=False).returncode:
        if time.monotonic() > until:
            return
        time.sleep(2)
    body = json.dumps({"service": "wyoming", "config": {"uri": f"tcp://{host}:10300"}}).encode()
    request = urllib.request.Request(f"{SUPERVISOR}/discovery", body, {"Authorization": f"Bearer {token}"})
    try:
        urllib.request.urlopen(request, timeout=10).close()
    except OSError as error:
        print(f"Home Assistant could not be told of the server ({error}); add it by hand: tcp://{host}:10300")


def main() -> None:
    """Run the server, with this process as its parent."""
    options = json.loads((DATA / "options.json").read_text(encoding="utf-8"))
    for folder in (DATA / "models", DATA / "state"):
        folder.mkdir(exist_ok=True)
        os.chown(folder, USER, USER)
    token, host = os.environ.pop("SUPERVISOR_TOKEN", ""), os.environ.get("HOSTNAME", "")
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(USER)
        os.setuid(USER)
    os.environ.update(HOME=str(DATA), XDG_STATE_HOME=str(DATA / "state"), XDG_CACHE_HOME="/tmp/cache")
    if fetch := downloads(options):
        subprocess.run(fetch, check=False)
    server = command(options)
    # A child tells, so that this process can become the server and get the Supervisor's signals itself.
    if token and host and os.fork() == 0:
        announce(token, host)
        os._exit(0)
    os.execvp(server[0], server)


if __name__ == "__main__":
    main()
