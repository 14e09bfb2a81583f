"""What a setting may be beyond its type: a field carries a `Check` in its metadata, as `field(metadata=at_least(0))`.

The loader applies it and puts its words into the error; the documentation prints them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

KEY = "check"
"""Under this key a field's metadata holds its `Check`."""

SECRET = "secret"
"""A field whose metadata holds this key is never shown."""


@dataclass(frozen=True, slots=True)
class Check:
    """A test of a value, and what it allows in words ("at least 0")."""

    allowed: str
    passes: Callable[[Any], bool]


def at_least(low: float) -> Mapping[str, Any]:
    """A number of this size or more."""
    return {KEY: Check(f"at least {low:g}", lambda value: bool(value >= low))}


def between(low: float, high: float) -> Mapping[str, Any]:
    """A number of this range, its ends included."""
    return {KEY: Check(f"{low:g} to {high:g}", lambda value: bool(low <= value <= high))}


def zero_or_at_least(low: float) -> Mapping[str, Any]:
    """Zero, which has a meaning of its own, or a number of this size or more."""
    return {KEY: Check(f"0, or at least {low:g}", lambda value: value == 0 or value >= low)}


def _is_listen_uri(value: str) -> bool:
    return value == "stdio://" or (_is_dial_uri(value) and not value.startswith("tls:"))


def _is_dial_uri(value: str) -> bool:
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return False
    if parts.scheme in ("tcp", "tls"):
        return bool(parts.hostname) and port is not None and parts.path in ("", "/")
    return parts.scheme == "unix" and bool(parts.netloc + parts.path)


def _is_dial_uri_or_auto(value: str) -> bool:
    return value == "auto" or _is_dial_uri(value)


_NETWORK_WORDS = frozenset({"loopback", "private", "link-local", "own-prefixes"})


def _is_network(value: str) -> bool:
    if value in _NETWORK_WORDS:
        return True
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        return False
    return True


def _is_host_port_or_off(value: str) -> bool:
    if value == "off":
        return True
    host, colon, port = value.rpartition(":")
    return bool(colon and host) and port.isascii() and port.isdigit() and int(port) < 65536


def _is_http_url(value: str) -> bool:
    parts = urlsplit(value)
    return value == "" or (parts.scheme in ("http", "https") and bool(parts.hostname))


_LANGUAGE = re.compile(r"[a-z]{2,3}([-_][A-Za-z0-9]{2,8})*\Z")


def _is_language(value: str) -> bool:
    return bool(_LANGUAGE.match(value))


def _each(check: Check) -> Mapping[str, Any]:
    return {KEY: Check(f"each {check.allowed}", lambda values: all(check.passes(value) for value in values))}


def _is_entity_id(value: str) -> bool:
    domain, dot, name = value.partition(".")
    return bool(domain and dot and name)


SERVICE_NAMES = ("asr", "tts", "intent", "handle", "wake", "run-pipeline")
SERVICES = {
    KEY: Check(f"one or more of {', '.join(SERVICE_NAMES)}", lambda values: values and set(values) <= {*SERVICE_NAMES})
}
LISTEN_URI = {KEY: Check("tcp://HOST:PORT, unix://PATH or stdio://", _is_listen_uri)}
SATELLITES = _each(
    Check("tcp://HOST:PORT, unix://PATH or discover", lambda value: value == "discover" or _is_dial_uri(value))
)
DIAL_URI_OR_AUTO_OR_NOTHING = {
    KEY: Check(
        "tcp://HOST:PORT, tls://HOST:PORT, unix://PATH, auto or nothing",
        lambda value: value == "" or _is_dial_uri_or_auto(value),
    )
}
DIAL_URI_OR_NOTHING = {
    KEY: Check("tcp://HOST:PORT, unix://PATH or nothing", lambda value: value == "" or _is_dial_uri(value))
}
NETWORKS = _each(Check("a network as 192.168.1.0/24, or loopback, private, link-local or own-prefixes", _is_network))
HOST_PORT_OR_OFF = {KEY: Check("HOST:PORT or off", _is_host_port_or_off)}
HTTP_URL = {KEY: Check("http://HOST:PORT, https://HOST:PORT or nothing", _is_http_url)}
LANGUAGE_OR_AUTO = {
    KEY: Check("a language code as fr or en, or auto", lambda value: value == "auto" or _is_language(value))
}
LANGUAGES = {
    KEY: Check("one or more language codes as fr or en", lambda values: bool(values) and all(map(_is_language, values)))
}
ENTITY_ID = {KEY: Check("a domain, a dot and a name, as light.kitchen", _is_entity_id)}
