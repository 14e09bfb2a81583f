"""Who may connect, with which certificate, and to which services."""

from __future__ import annotations

import asyncio
from pathlib import Path

import ifaddr
import pytest
from wyoming.event import Event

from tests.certificates import Authority
from tests.conftest import start_server
from tests.server.speech import client as stock_client
from tests.server.test_connection import FORMAT, connect, run_pipeline, serving, types_until
from tests.waiting import WAIT_S
from wyoming_superwhisper import client
from wyoming_superwhisper.access import AllowList, Network
from wyoming_superwhisper.config import loader
from wyoming_superwhisper.config.satellite_settings import SatelliteSettings
from wyoming_superwhisper.config.settings import LimitSettings, ServerSettings, Settings, TlsSettings
from wyoming_superwhisper.errors import NotAllowed, SettingsError, from_code


async def ping(uri: str) -> str:
    async with await client.Connection.open(uri, WAIT_S, WAIT_S) as connection:
        await connection.send(Event("ping", {"text": "?"}))
        return (await connection.receive()).type


async def test_our_own_two_ends_speak_tls_and_a_stranger_to_the_authority_gets_nothing(tmp_path: Path) -> None:
    ours, other = Authority(tmp_path), Authority(tmp_path, "Another authority")
    server, satellite, stranger = ours.pair("server"), ours.pair("satellite"), other.pair("stranger")
    tls = TlsSettings(certificate=server.certificate, key=server.key, client_ca=ours.file, plain=())
    async with serving(tls=tls) as fakes:
        base = f"tls://127.0.0.1:{fakes.server.port}"
        assert fakes.server.uri == base
        mine = f"certificate={satellite.certificate}&key={satellite.key}"
        assert await ping(f"{base}?ca={ours.file}&{mine}") == "pong"
        for wrong in (
            f"?ca={ours.file}",  # no certificate of one's own
            f"?ca={ours.file}&certificate={stranger.certificate}&key={stranger.key}",
            f"?ca={other.file}&{mine}",  # we don't trust that server
            f"?{mine}",  # nor does the system
        ):
            with pytest.raises((client.Unreachable, client.Disconnected)):
                await ping(base + wrong)
        with pytest.raises((client.Unreachable, client.Disconnected)):
            await ping(base.replace("tls:", "tcp:"))
        with pytest.raises(SettingsError, match="unknown file"):
            await ping(f"{base}?cert=x.pem")
        with pytest.raises(SettingsError, match=r"nowhere\.pem"):
            await ping(f"{base}?ca=/nowhere.pem")


async def test_what_is_wrong_with_an_encrypted_connection_is_said_in_words(tmp_path: Path) -> None:
    ours, other = Authority(tmp_path), Authority(tmp_path, "Another authority")
    server = ours.pair("server")
    async with serving(tls=TlsSettings(certificate=server.certificate, key=server.key, plain=())) as fakes:
        for wrong in ("", f"?ca={other.file}"):
            with pytest.raises(client.Unreachable, match=r"its certificate is not trusted .*; ca=FILE in the address"):
                await ping(f"tls://127.0.0.1:{fakes.server.port}{wrong}")
    async with serving() as fakes:
        with pytest.raises(client.Unreachable, match="does it speak TLS there"):
            await ping(f"tls://127.0.0.1:{fakes.server.port}?ca={ours.file}")


async def test_turns_run_over_tls_too(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server = authority.pair("server")
    tls = TlsSettings(certificate=server.certificate, key=server.key, plain=())
    async with serving(tls=tls) as fakes:
        uri = f"tls://localhost:{fakes.server.port}?ca={authority.file}".replace("localhost", "127.0.0.1")
        assert await client.transcribe(uri, b"\x10\x10" * 16_000) == "bonjour"
        assert (await client.ask(uri, "ça va ?", execute=True)).text == "Oui."
        async with await client.Connection.open(uri, answer_s=WAIT_S) as connection:  # an error arrives before the end
            await connection.send(Event("synthesize", {"text": "Bonjour.", "voice": {"name": "../../etc/passwd"}}))
            assert (await connection.receive_any()).data["code"] == "unknown-voice"
            with pytest.raises(client.Disconnected):
                await connection.receive()


async def test_a_certificate_is_renewed_without_a_restart(tmp_path: Path) -> None:
    old, new = Authority(tmp_path, "Old"), Authority(tmp_path, "New")
    server = old.pair("server")
    tls = TlsSettings(certificate=server.certificate, key=server.key, plain=())
    async with serving(tls=tls) as fakes:
        uri = f"tls://127.0.0.1:{fakes.server.port}"
        assert await ping(f"{uri}?ca={old.file}") == "pong"
        new.pair("server")  # in the same files
        fakes.server.use(ServerSettings(tls=tls), LimitSettings())
        assert await ping(f"{uri}?ca={new.file}") == "pong"
        with pytest.raises((client.Unreachable, client.Disconnected)):
            await ping(f"{uri}?ca={old.file}")
        Path(server.certificate).write_text("broken")  # noqa: ASYNC240
        with pytest.raises(SettingsError):
            fakes.server.use(ServerSettings(tls=tls), LimitSettings())
        assert await ping(f"{uri}?ca={new.file}") == "pong", "the one that worked goes on"


def test_a_satellite_may_be_told_of_a_server_that_encrypts() -> None:
    uri = "tls://gpu-box:10300?ca=/etc/superwhisper/ca.pem"
    settings = loader.load(SatelliteSettings, None, {}, {"server.uri": uri})
    assert settings.server.uri == uri
    with pytest.raises(SettingsError, match=r"server\.uri"):
        loader.load(Settings, None, {}, {"server.uri": "tls://0.0.0.0:10300"})


async def test_networks_that_cannot_encrypt_go_on_in_the_clear(tmp_path: Path) -> None:
    server = Authority(tmp_path).pair("server")
    async with serving(tls=TlsSettings(certificate=server.certificate, key=server.key)) as fakes:
        assert await ping(f"tcp://127.0.0.1:{fakes.server.port}") == "pong"


async def test_a_handshake_that_never_ends_is_cut(tmp_path: Path) -> None:
    server = Authority(tmp_path).pair("server")
    tls = TlsSettings(certificate=server.certificate, key=server.key, plain=())
    async with serving(tls=tls, limits=LimitSettings(event_s=0.3)) as fakes:
        reader, writer = await asyncio.open_connection("127.0.0.1", fakes.server.port)
        writer.write(b"\x16\x03\x01")
        assert await asyncio.wait_for(reader.read(), WAIT_S) == b""
        writer.close()


def test_a_certificate_that_is_none_stops_the_start_with_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "broken.pem").write_text("nothing of the kind")
    for certificate in (str(tmp_path / "missing.pem"), str(tmp_path / "broken.pem")):
        with pytest.raises(RuntimeError, match=f"(?s)ended with 2:.*{Path(certificate).name} can't be"):
            start_server(tmp_path / "log.txt", "--set", f"server.tls.certificate={certificate}")
        assert "Traceback" not in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize(
    ("services", "event"),
    [
        (("tts",), Event("transcribe")),
        (("tts",), Event("audio-start", FORMAT)),
        (("asr",), Event("synthesize", {"text": "Bonjour."})),
        (("asr",), Event("synthesize-start")),
        (("asr",), Event("detect")),
        (("asr", "tts"), Event("transcript", {"text": "Allume le salon."})),
        (("asr", "tts"), Event("recognize", {"text": "Allume le salon."})),
        (("asr", "tts", "intent"), run_pipeline("asr", "tts")),
        (("asr", "tts", "run-pipeline"), run_pipeline("asr", "tts")),
        (("asr", "intent", "run-pipeline"), run_pipeline("wake", "asr")),
    ],
    ids=lambda value: value.type if isinstance(value, Event) else "+".join(value),
)
async def test_a_service_that_is_switched_off_is_not_allowed(services: tuple[str, ...], event: Event) -> None:
    async with serving(services=services) as fakes, await connect(fakes) as one:
        await one.send(event)
        error = await one.receive_any()
        assert isinstance(from_code(error.data["code"], ""), NotAllowed)


async def test_what_is_left_on_works() -> None:
    async with serving(services=("handle",)) as fakes, await connect(fakes) as one:
        await one.send(Event("transcript", {"text": "ça va ?"}))
        assert (await types_until(one, "handled-stop"))[-2] == "handled"


async def test_what_is_switched_off_is_neither_advertised_nor_loaded(tmp_path: Path) -> None:
    server = start_server(tmp_path / "log.txt", "--set", "server.services=tts,wake")
    try:
        async with stock_client(server) as one:
            await one.send(Event("describe"))
            info = (await one.receive()).data
        assert [name for name in ("asr", "tts", "intent", "handle", "wake") if info.get(name)] == ["tts", "wake"]
        assert set(server.workers()) == {"light", "piper"}
    finally:
        assert server.stop() == 0


def test_the_machine_itself_may_always_call_at_its_own_address() -> None:
    own = {ip.ip for adapter in ifaddr.get_adapters() for ip in adapter.ips if ip.is_IPv4}
    allow = AllowList(ServerSettings().allow)
    assert all(allow.allows(str(address)) for address in own)
    assert not allow.allows("203.0.113.7")


def test_own_prefixes_are_looked_at_again_when_a_provider_changes_them() -> None:
    import ipaddress

    now, prefixes = [0.0], ["2001:db8:1::/64"]

    def own() -> list[Network]:
        return [ipaddress.ip_network(prefix) for prefix in prefixes]

    allow = AllowList(("own-prefixes",), own, lambda: now[0])
    assert allow.allows("2001:db8:1::5")
    prefixes[:] = ["2001:db8:2::/64"]
    assert not allow.allows("2001:db8:2::5"), "the machine isn't asked at every call"
    now[0] = 61.0
    assert allow.allows("2001:db8:2::5")
    assert not allow.allows("2001:db8:1::5")
