"""Where to listen, from a URI."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from urllib.parse import urlsplit

from wyoming_superwhisper.errors import SettingsError

DEFAULT_PORT = 10300


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen, from a URI."""

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""


def parse_uri(uri: str) -> Address:
    """tcp://HOST[:PORT], unix://PATH or stdio://. Raises `SettingsError`."""
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        raise SettingsError(f"'{uri}' is no address: the port must be a number up to 65535.") from None
    if parts.scheme == "tcp":
        return Address("tcp", host=parts.hostname or "0.0.0.0", port=DEFAULT_PORT if port is None else port)
    if parts.scheme == "unix" and (parts.netloc or parts.path):
        return Address("unix", path=parts.netloc + parts.path)
    if parts.scheme == "stdio":
        return Address("stdio")
    raise SettingsError(f"'{uri}' is no address to listen on; write tcp://HOST:PORT, unix://PATH or stdio://.")


def why_not(address: Address, uri: str, error: OSError) -> str:
    """One sentence: what is wrong with an address that can't be listened on, and what to do."""
    unix = address.scheme == "unix"
    if error.errno == errno.EADDRINUSE:
        another = "" if unix else f" (tcp://0.0.0.0:{address.port + 1})"
        return f"{uri} is in use by another program: stop it, or choose another address with --uri{another}."
    if error.errno == errno.EACCES:
        return f"{uri} may not be opened by this user: choose a port above 1023, or a folder you may write to."
    if error.errno == errno.ENOTSOCK:
        return f"{uri} can't be listened on: there is a file of that name already. Choose another path with --uri."
    remedy = "a short path in a folder that exists" if unix else "an address of this machine"
    return f"{uri} can't be listened on: {error.strerror or error}. Choose {remedy} with --uri."
