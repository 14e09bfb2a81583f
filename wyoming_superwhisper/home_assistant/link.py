"""Keeps the names of the home as Home Assistant has them, through its restarts and through being away.

Events of its registries and states only say that something changed; a moment after the last of them everything is read
again. What was learnt last is kept while Home Assistant is gone, and while it starts: its entities come one by one.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import random
import time
from collections.abc import Callable, Mapping

from wyoming_superwhisper.config.settings import HomeSettings
from wyoming_superwhisper.home import Home
from wyoming_superwhisper.home_assistant.client import Client, Connection
from wyoming_superwhisper.home_assistant.errors import ConnectionEnded, HomeAssistantError, RightsMissing, TokenRefused
from wyoming_superwhisper.home_assistant.names import home_from
from wyoming_superwhisper.home_assistant.registries import (
    MOST_DEVICES,
    Registries,
    RegistryReader,
    precision_of,
    thermometers_of,
)
from wyoming_superwhisper.home_assistant.states import States

logger = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0
"""Pauses between attempts double from the first to the longest: a restart takes Home Assistant a minute at most."""
REFUSED_PAUSE_S = 300.0
"""Pause after a refused token, or one without rights: only a person can change that."""
JITTER = 0.25
QUIET_S = 0.3
"""What changed is read once nothing has changed for this long,"""
LATEST_S = 2.0
"""or this long after the first change."""
STRAYS_S = 2.0
"""How often the exposure of entities that are in no registry is looked at, where there are any: no event tells it."""
STARTING_S = 90.0
"""While Home Assistant starts, the names learnt before are kept, for this long at most."""
STARTING_LOOK_S = 1.0
"""How often to look whether it has started."""

EVENTS = (
    "entity_registry_updated",
    "device_registry_updated",
    "area_registry_updated",
    "floor_registry_updated",
)


class LinkState(enum.Enum):
    """How the link stands."""

    CONNECTING = "connecting"
    """Not connected yet."""
    READY = "ready"
    """Connected; the names are those of Home Assistant."""
    LOST = "lost"
    """Not reachable; the names are the last ones, or the settings'."""
    REFUSED = "refused"
    """Home Assistant does not accept the token. Nothing must be asked with it: who keeps trying is banned."""
    RESTRICTED = "restricted"
    """Home Assistant accepts the token, but does not tell its owner what is exposed."""


class Link:
    """The one connection to Home Assistant. `run` keeps it until it is cancelled."""

    def __init__(self, client: Client, on_home: Callable[[HomeSettings], None]) -> None:
        """`on_home` is called with every new home, on the loop; it must not block."""
        self.state = LinkState.CONNECTING
        self.states = States()
        """Entities as they stood when last heard of."""
        self.home = Home()
        """The home as last learnt."""
        self.precision: Mapping[str, int] = {}
        """Digits that sensors are shown with, by entity id."""
        self.thermometers: Mapping[str, str] = {}
        """The sensor that stands for an area's temperature, by area id."""
        self.version = ""
        """Version of Home Assistant, once connected."""
        self.ready = asyncio.Event()
        """Set while connected and read."""
        self.gone = asyncio.Event()
        """Set while not."""
        self.tried = asyncio.Event()
        """Set once the first attempt has ended, well or not."""
        self._client = client
        self._on_home = on_home
        self._learnt = False
        self._pause_s = FIRST_PAUSE_S

    @property
    def learnt(self) -> HomeSettings | None:
        """The home as Home Assistant has it; None: it never told."""
        return self.home.settings if self._learnt else None

    async def run(self) -> None:
        """Connect, follow, connect again; for ever."""
        while True:
            try:
                async with self._client.connect() as connection:
                    await self._follow(connection)
            except TokenRefused as error:
                self._become(LinkState.REFUSED, str(error))
            except RightsMissing as error:
                self._become(LinkState.RESTRICTED, str(error))
            except HomeAssistantError as error:
                self._become(LinkState.LOST, str(error))
            except Exception:  # a fault of ours in reading somebody else's data must not end the link
                logger.exception("The link to Home Assistant failed")
                self._become(LinkState.LOST, "The link to Home Assistant failed.")
            await asyncio.sleep(self._next_pause_s())

    def _next_pause_s(self) -> float:
        if self.state in (LinkState.REFUSED, LinkState.RESTRICTED):
            pause_s = REFUSED_PAUSE_S
        else:
            pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, LONGEST_PAUSE_S)
        return pause_s * random.uniform(1 - JITTER, 1 + JITTER)

    def _become(self, state: LinkState, why: str) -> None:
        """Change the state; said once, not at every attempt."""
        if state is not self.state:
            kept = "The last names are kept" if self._learnt else "The names in the settings are used"
            logger.warning("%s %s.", why, kept)
        else:
            logger.debug("%s", why)
        self.state = state
        self.ready.clear()
        self.gone.set()
        self.tried.set()

    async def _follow(self, connection: Connection) -> None:
        """Read, and read again whenever something changed, until the connection ends."""
        changes = _Changes()
        states = States()
        reader = RegistryReader(connection, states)

        def states_changed(event: object) -> None:
            if isinstance(event, dict) and states.apply(event):
                changes.happened()

        connection.on_end = changes.happened
        for event in EVENTS:
            await connection.subscribe(lambda _: changes.happened(), "subscribe_events", event_type=event)
        await connection.subscribe(states_changed, "subscribe_entities")
        self.version = connection.version
        began_s = time.monotonic()
        while not connection.ended.is_set():
            changes.begin()
            registries = await reader.read()
            if self._learnt and not await self._has_started(connection, began_s):
                await changes.settled(STARTING_LOOK_S)
                continue
            self._publish(registries, states)
            await self._until_changed(connection, reader, changes, registries)
        raise ConnectionEnded("The connection to Home Assistant was lost.")

    async def _until_changed(
        self, connection: Connection, reader: RegistryReader, changes: _Changes, registries: Registries
    ) -> None:
        """Wait for a change, or the end of the connection. What no event tells is looked at now and then."""
        look_s = STRAYS_S if reader.has_strays(registries.entities) else None
        while not await changes.settled(look_s):
            if connection.ended.is_set() or await reader.listed() != registries.listed:
                return

    async def _has_started(self, connection: Connection, began_s: float) -> bool:
        if self.ready.is_set() or time.monotonic() - began_s > STARTING_S:
            return True
        config = await connection.command("get_config")
        return not isinstance(config, dict) or config.get("state", "RUNNING") == "RUNNING"

    def _publish(self, registries: Registries, states: States) -> None:
        home = home_from(registries, states)
        self.states = states
        self.precision = precision_of(registries)
        self.thermometers = thermometers_of(registries)
        if not self.ready.is_set():
            logger.info(
                "Home Assistant %s: %d exposed entities, %d areas, %d floors",
                self.version, len(home.devices), len(home.areas), len(home.floors),
            )  # fmt: skip
            if registries.unlisted:
                logger.warning("%d more entities are exposed than the %d in use", registries.unlisted, MOST_DEVICES)
        self.state = LinkState.READY
        self._pause_s = FIRST_PAUSE_S
        self.ready.set()
        self.gone.clear()
        if home != self.home.settings or not self._learnt:
            self._learnt = True
            self.home = Home(home)
            self._on_home(home)
        self.tried.set()


class _Changes:
    """That something changed, and when it has settled."""

    def __init__(self) -> None:
        self._happened = asyncio.Event()
        self._first_s = 0.0
        self._last_s = 0.0

    def begin(self) -> None:
        """What happens from now on is a change."""
        self._happened.clear()

    def happened(self) -> None:
        self._last_s = time.monotonic()
        if not self._happened.is_set():
            self._first_s = self._last_s
            self._happened.set()

    async def settled(self, look_s: float | None = None) -> bool:
        """Wait for a change, and until it is quiet again; False where there was none for `look_s`."""
        try:
            async with asyncio.timeout(look_s):
                await self._happened.wait()
        except TimeoutError:
            return False
        while (left_s := min(self._last_s + QUIET_S, self._first_s + LATEST_S) - time.monotonic()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left_s)
        return True
