"""A server for one kind of turn, that says on standard output which state the turn has reached; to be killed.

python short_server.py PORT [ADDRESS [NAME]]: with a name it is advertised on the network.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import async_read_event, async_write_event
from wyoming.handle import Handled
from wyoming.info import Info
from wyoming.ping import Ping, Pong
from wyoming.vad import VoiceStopped

from wyoming_superwhisper.discovery import Advertisement

VOICE = {"rate": 22050, "width": 2, "channels": 1}


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        await serve_until_it_leaves(reader, writer)
    writer.close()


async def serve_until_it_leaves(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    listening = False
    while (event := await async_read_event(reader)) is not None:
        if event.type == "describe":
            await async_write_event(Info().event(), writer)
        elif event.type == "ping":
            await async_write_event(Pong(text=Ping.from_event(event).text).event(), writer)
        elif event.type == "run-pipeline":
            listening = True
        elif event.type == "audio-chunk" and listening:
            listening = False
            print("listening", flush=True)
            asyncio.get_running_loop().create_task(answer(writer))


async def answer(writer: asyncio.StreamWriter) -> None:
    try:
        await asyncio.sleep(0.1)
        await async_write_event(VoiceStopped(timestamp=0).event(), writer)
        print("thinking", flush=True)
        await asyncio.sleep(0.1)
        await async_write_event(Transcript(text="Quelle heure est-il ?").event(), writer)
        await async_write_event(Handled(text="Il est midi.").event(), writer)
        await async_write_event(AudioStart(**VOICE).event(), writer)
        await async_write_event(AudioChunk(audio=b"\x00\x20" * 22050, **VOICE).event(), writer)
        print("speaking", flush=True)
        await asyncio.sleep(0.3)
        await async_write_event(AudioStop().event(), writer)
    except ConnectionError:
        pass


async def main() -> None:
    port, host, name = [*sys.argv[1:], *("127.0.0.1", "")[len(sys.argv) - 2 :]]
    server = await asyncio.start_server(serve, host, int(port))
    print("up", flush=True)
    async with contextlib.AsyncExitStack() as stack:
        if name:
            await stack.enter_async_context(Advertisement("server", name, int(port), host))
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
