"""The link to the server: found, dialled, watched by pings, and made again when it is lost."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Self

from wyoming.audio import AudioStart
from wyoming.event import Event, Eventable
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong
from wyoming.pipeline import PipelineStage

from wyoming_superwhisper import client
from wyoming_superwhisper.audio import SPEECH
from wyoming_superwhisper.config.satellite_settings import LinkSettings
from wyoming_superwhisper.errors import SuperwhisperError, Timeout
from wyoming_superwhisper.satellite.link import Ask, Inbox, LinkLost, LinkState
from wyoming_superwhisper.satellite.reconnect import Backoff

logger = logging.getLogger(__name__)

HERE = "tcp://127.0.0.1:10300"
"""Where a server on this machine would be: looked at first, before the network."""
HERE_S = 0.5
"""Time for a server on this machine to answer, in seconds."""
SEARCH_S = 5.0
"""Time for one search of the network, in seconds."""
STEADY_S = 3.0
"""A connection that lasted this long was a good one: after it the pauses begin anew, in seconds."""


class ServerLink:
    """Keeps a connection to the server while the context is open. Events come in order, to one taker at a time."""

    wants_played = False

    def __init__(self, settings: LinkSettings) -> None:
        self.state = LinkState.CLOSED
        self.uri = ""
        """The server that is, or was last, connected."""
        self.info = Info()
        """What that server offers."""
        self._settings = settings
        self.on_change: Callable[[], None] | None = None
        """See `Link`."""
        self._connection: client.Connection | None = None
        self._inbox = Inbox()
        self._inbox.close()
        self._ready = asyncio.Event()
        self._dropped = asyncio.Event()
        self._backoff = Backoff()
        self._trouble = ""
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._keep_connected(), name="server link")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])
        self._set_state(LinkState.CLOSED)

    @property
    def trouble(self) -> str:
        """Why there is no connection, in words; "" if nothing is wrong."""
        return self._trouble

    async def connected(self) -> None:
        """Return once there is a connection."""
        await self._ready.wait()

    async def send(self, event: Eventable | Event) -> None:
        """Send an event. Raises `LinkLost`."""
        if self._connection is None:
            raise LinkLost("There is no connection to the server.")
        try:
            await self._connection.send(event)
        except client.Disconnected as error:
            raise LinkLost(str(error)) from error

    async def receive(self, answer_s: float | None = None) -> Event:
        """The next event, `error` too. Raises `LinkLost` once all that came is taken, and `Timeout`."""
        try:
            async with asyncio.timeout(answer_s):
                return await self._inbox.get()
        except TimeoutError as error:
            raise Timeout(f"The server has not answered within {answer_s:g} s.") from error

    def requests(self, ask: Ask) -> list[Event]:
        """See `Link`."""
        first = PipelineStage.ASR if ask.listen_for is None else PipelineStage.WAKE
        request = client.pipeline_request(
            first, language=ask.language, conversation=ask.conversation, name=ask.name, area=ask.area
        )
        if ask.wake_word:
            request.data["wake_word_name"] = ask.wake_word
        if ask.listen_for:
            request.data["wake_word_names"] = list(ask.listen_for)
        if ask.voice:
            request.data["voice"] = ask.voice
        return [request, AudioStart(rate=SPEECH.rate, width=SPEECH.width, channels=SPEECH.channels).event()]

    def turn_end(self) -> client.TurnEnd:
        """See `Link`."""
        return client.TurnEnd()

    async def cut_off(self) -> None:
        """See `Link`: the server cancels what it does for a connection that is gone."""
        self.drop()

    def drop(self) -> None:
        """Give this connection up, with whatever the server does for it, and make a new one at once."""
        if self._connection is not None:
            self._ready.clear()
            self._inbox.close(discard=True)
            self._dropped.set()
            self._set_state(LinkState.CONNECTING)

    # --- below: one task ---

    async def _keep_connected(self) -> None:
        while True:
            try:
                await self._connect_and_use()
            except SuperwhisperError as error:
                self._tell(str(error))
            except Exception as error:  # the boundary of a connection: a satellite without a link helps nobody
                logger.exception("The link failed")
                self._tell(str(error))
            if not self._dropped.is_set():
                self._set_state(LinkState.PAUSING)
                await self._backoff.pause()
            self._dropped.clear()

    async def _connect_and_use(self) -> None:
        """One connection from its beginning to its end, which it raises unless it was dropped on purpose."""
        connection = await self._connect()
        began = time.monotonic()
        try:
            async with connection:
                try:
                    await self._use(connection)
                except SuperwhisperError:
                    connection.abort()  # whoever is gone takes nothing more: to wait for that would cost seconds
                    raise
        finally:
            if time.monotonic() - began > STEADY_S:
                self._backoff.succeeded()

    async def _connect(self) -> client.Connection:
        uris = await self._candidates()
        self._set_state(LinkState.CONNECTING)
        failure: SuperwhisperError | None = None
        for uri in uris:
            try:
                return await self._dial(uri)
            except SuperwhisperError as error:
                failure = failure or error
        raise failure or client.Unreachable("no server was found on the network")

    async def _candidates(self) -> tuple[str, ...]:
        if self._settings.uri not in ("", "auto"):
            return (self._settings.uri,)
        self._set_state(LinkState.SEARCHING)
        if await _is_here():
            return (HERE,)
        from wyoming_superwhisper import discovery  # zeroconf is large, and needed for this alone

        found = await discovery.find_servers(SEARCH_S, first=True)
        return tuple(uri for service in found for uri in service.uris)

    async def _dial(self, uri: str) -> client.Connection:
        connection = await client.Connection.open(uri, self._settings.connect_s)
        try:
            await connection.send(Describe())
            event = await connection.receive(self._settings.connect_s)
            while not Info.is_type(event.type):
                event = await connection.receive(self._settings.connect_s)
            self.info = client.parsed(Info, event)
        except BaseException:
            await connection.close()
            raise
        self.uri = uri
        return connection

    async def _use(self, connection: client.Connection) -> None:
        """Have the connection used until it is dropped; raises why it was lost."""
        self._connection, self._inbox = connection, Inbox()
        self._trouble = ""
        self._set_state(LinkState.CONNECTED)
        tasks = {
            asyncio.create_task(self._read(connection, self._inbox), name="link: read"),
            asyncio.create_task(self._ping(connection), name="link: ping"),
            asyncio.create_task(self._dropped.wait(), name="link: dropped"),
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._connection = None
            self._ready.clear()
            self._inbox.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    async def _read(self, connection: client.Connection, inbox: Inbox) -> None:
        while True:
            try:
                event = await connection.receive_any(self._settings.lost_s)
            except SuperwhisperError as error:
                if isinstance(error, client.Disconnected | Timeout) or error.framing_lost:
                    raise
                logger.warning("The server sent an event that makes no sense: %s", error)
                continue
            if not Pong.is_type(event.type):
                await inbox.put(event)

    async def _ping(self, connection: client.Connection) -> None:
        while True:
            await asyncio.sleep(self._settings.ping_s)
            await connection.send(Ping())

    def _set_state(self, state: LinkState) -> None:
        if state is self.state:
            return
        logger.debug("Link: %s -> %s", self.state.value, state.value)
        self.state = state
        if state is LinkState.CONNECTED:
            logger.info("Connected to %s", self.uri)
            self._ready.set()
        if self.on_change is not None:
            self.on_change()

    def _tell(self, trouble: str) -> None:
        """One line for each new trouble, not one for each attempt."""
        if trouble != self._trouble:
            logger.warning("No connection to the server, trying again: %s", trouble)
        self._trouble = trouble


async def _is_here() -> bool:
    """Whether a server on this machine does all that a turn needs; others use the same port."""
    try:
        info = await client.describe(HERE, HERE_S)
    except SuperwhisperError:
        return False
    return bool(info.asr and info.tts and (info.handle or info.intent))
