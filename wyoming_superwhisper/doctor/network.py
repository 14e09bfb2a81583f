"""Where is listened, and whether others can reach it."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from wyoming_superwhisper.config.settings import Settings
from wyoming_superwhisper.doctor.finding import Finding, State
from wyoming_superwhisper.errors import SuperwhisperError


def check_uri(key: str, uri: str) -> Iterator[Finding]:
    """Whether the server could listen there, or one of ours does already."""
    parts = urlsplit(uri)
    try:
        if parts.scheme == "unix":
            _try_socket_file(parts.netloc + parts.path)
        elif parts.port:
            _try_listen(parts.hostname or "", parts.port)
    except OSError as error:
        answer = _who_answers(uri) if key == "server.uri" else ""
        if answer:
            yield Finding("Port", State.OK, f"{key}: {uri}, a Wyoming server answers there: {answer}")
        else:
            reason = (error.strerror or str(error)).lower()
            held = error.errno == errno.EADDRINUSE and bool(parts.port)
            yield Finding(
                "Port", State.PROBLEM, f"{key}: {uri} can't be listened on ({reason})",
                (f"stop what holds it (ss -ltnp sport = :{parts.port}), or " if held else "") + f"set {key} to another",
            )  # fmt: skip
    else:
        yield Finding("Port", State.OK, f"{key}: {uri}" + (" is free" if parts.port else ""))


def _try_socket_file(path: str) -> None:
    """Raises OSError where no socket can be made; one that nobody listens on any more is in nobody's way."""
    parent = Path(path).absolute().parent
    with (
        tempfile.TemporaryDirectory(prefix=".superwhisper-", dir=parent) as folder,
        socket.socket(socket.AF_UNIX) as probe,
    ):
        probe.bind(str(Path(folder) / "s"))
    if not Path(path).exists():
        return
    if not Path(path).is_socket():
        raise OSError(errno.ENOTSOCK, "there is a file of that name")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _try_listen(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        probe.listen(1)


def _who_answers(uri: str) -> str:
    from wyoming_superwhisper import client

    reachable = uri.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
    try:
        info = asyncio.run(client.describe(reachable, 2.0))
    except SuperwhisperError:
        return ""
    return ", ".join(name for name in ("asr", "tts", "intent", "handle", "wake") if getattr(info, name))


def check_network(settings: Settings, addresses: Iterable[object] | None = None) -> Iterator[Finding]:
    """Whether others can find and reach the server."""
    from wyoming_superwhisper import discovery

    parts = urlsplit(settings.server.uri)
    if parts.scheme != "tcp" or not settings.server.zeroconf:
        return
    if addresses is None:
        addresses = discovery.advertised_addresses(parts.hostname or "", discovery.machine_addresses())
    shown = ", ".join(map(str, addresses))
    if shown:
        yield Finding("Network", State.OK, f"advertised at {shown}")
    else:
        yield Finding(
            "Network", State.NOTE, "no address that others could reach: the server is not advertised",
            "server.uri tcp://0.0.0.0:10300 on a machine with a network; or give Home Assistant the address by hand",
        )  # fmt: skip
