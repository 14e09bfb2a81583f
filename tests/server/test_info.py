"""`describe`, `ping` and `select-program`."""

import asyncio

from wyoming.event import Event
from wyoming.info import Describe, Info, SelectProgram
from wyoming.ping import Ping
from wyoming.tts import Synthesize

from tests.conftest import RunningServer
from tests.server.speech import client, said


async def test_info_names_every_service_and_lacks_no_field(server: RunningServer) -> None:
    async with client(server) as one:
        await one.send(Describe())
        info = Info.from_event(await one.receive())
    assert info.asr
    assert info.tts
    assert info.intent
    assert info.handle
    assert info.wake
    assert info.satellite is None, "Home Assistant would ignore every other service"
    programs = [(one, one.models) for kind in (info.asr, info.intent, info.handle, info.wake) for one in kind]
    for program, models in [*programs, *((one, one.voices) for one in info.tts)]:
        assert models, program
        for artifact in (program, *models):
            assert all((artifact.name, artifact.installed, artifact.attribution.name, artifact.attribution.url))
        assert all(model.languages for model in models)
    assert {"fr", "en"} <= set(info.asr[0].models[0].languages)
    assert info.tts[0].supports_synthesize_streaming


async def test_ping_is_answered_with_its_text_also_while_a_request_is_at_work(server: RunningServer) -> None:
    async with client(server) as one:
        await one.send(Synthesize(text="Bonjour. " * 40), Ping(text="encore là ?"))
        events = await one.until("pong")
        assert events[-1].data == {"text": "encore là ?"}
        assert "audio-stop" not in [event.type for event in events]
        await one.until("audio-stop")


async def test_every_advertised_program_can_be_selected_and_no_other(server: RunningServer) -> None:
    async with client(server) as one:
        await one.send(Describe())
        info = Info.from_event(await one.receive())
        for program in (*info.asr, *info.tts, *info.intent, *info.handle, *info.wake):
            await one.send(SelectProgram(name=program.name), Ping())
            assert (await one.receive()).type == "pong"
        await one.send(SelectProgram(name="../../etc/passwd"))
        error = await one.receive()
        assert (error.type, error.data["code"]) == ("error", "unknown-model")


async def test_describe_is_quick_while_every_engine_works(server: RunningServer) -> None:
    enough, turns = asyncio.Event(), 0

    async def keep_busy() -> None:
        nonlocal turns
        async with client(server) as one:
            while not enough.is_set():
                await one.transcribe(said("Allume la lumière du salon."), "fr")
                await one.send(Synthesize(text="Bonjour tout le monde. " * 5))
                await one.until("audio-stop")
                await one.send(Event("transcript", {"text": "Raconte-moi une blague.", "language": "fr"}))
                await one.until("handled", "not-recognized")
                turns += 1

    busy = [asyncio.create_task(keep_busy()) for _ in range(3)]
    try:
        async with client(server) as one:
            for _ in range(60):
                await one.send(Describe())
                await one.receive()
                await asyncio.sleep(0.02)
            meanwhile = turns
    finally:
        enough.set()
        await asyncio.gather(*busy)
    assert meanwhile < 60, "a describe waits for no turn of another client"
