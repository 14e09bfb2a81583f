"""The satellite at work: what is heard and pressed, what the other side sends and what rings, brought into one order.

One task decides, one thing at a time. Everything that can happen is put into its queue; what takes long (a turn, an
announcement, the ringing of a timer) is one activity beside it, which is ended before the next one begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from wyoming.audio import AudioStop

from wyoming_superwhisper.audio import SPEECH
from wyoming_superwhisper.config.satellite_settings import SatelliteSettings
from wyoming_superwhisper.errors import NoText, SuperwhisperError
from wyoming_superwhisper.satellite.activity import Activity
from wyoming_superwhisper.satellite.announcements import Announcements
from wyoming_superwhisper.satellite.bell import Bell
from wyoming_superwhisper.satellite.button import Button
from wyoming_superwhisper.satellite.hearing import Ears, Recording
from wyoming_superwhisper.satellite.link import Link, LinkLost, LinkState, tell_played
from wyoming_superwhisper.satellite.news import News
from wyoming_superwhisper.satellite.own_sounds import OwnSounds
from wyoming_superwhisper.satellite.own_voice import OwnVoice
from wyoming_superwhisper.satellite.reconnect import Backoff
from wyoming_superwhisper.satellite.routing import Announcement, Router, TurnEvents
from wyoming_superwhisper.satellite.sounds import Sounds
from wyoming_superwhisper.satellite.speaker import Speaker
from wyoming_superwhisper.satellite.state import State, StateHolder
from wyoming_superwhisper.satellite.timers import Timer, Timers
from wyoming_superwhisper.satellite.turn import Result, Start, Turn, TurnState
from wyoming_superwhisper.satellite.wake_word import Detection, WakeWordListener
from wyoming_superwhisper.satellite.wish import Wish
from wyoming_superwhisper.satellite.word_tail import WithoutTail

logger = logging.getLogger(__name__)

RECONNECT_S = 3.0
"""How long a turn waits for a connection that was given up for it, in seconds."""


class Runner:
    """Does what is wished, one thing at a time."""

    def __init__(
        self,
        settings: SatelliteSettings,
        link: Link,
        ears: Ears,
        speaker: Speaker,
        button: Button,
        sounds: Sounds,
        news: News,
        words: WakeWordListener | None,
        own_voice: OwnVoice | None,
    ) -> None:
        self._settings = settings
        self._link = link
        self._ears = ears
        self._speaker = speaker
        self._button = button
        self._sounds = sounds
        self._news = news
        self._words = words
        self._own_voice = own_voice
        self._state = StateHolder(news)
        self._conversation = uuid.uuid4().hex
        """Its turns share their history on the server, which forgets it after a while."""
        self._wishes: asyncio.Queue[tuple[Wish, Any]] = asyncio.Queue()
        self._activity: Activity | None = None
        self._announcements = Announcements(link, speaker, news)
        self._cut: TurnEvents | None = None
        """The turn that is being cut off: what comes of it meanwhile is still its own."""
        self._router = Router(link, self._events_of_turn, self._take_announcement)
        self._own_sounds = OwnSounds(sounds, ears, speaker, settings.snd.lead_in_s)
        self._bell = Bell(settings.timers, news, self._own_sounds)
        self._ended = False
        self._status = 0
        self._said_ready = False
        self._met = False
        """Whether anybody was ever connected."""
        self._backoff = Backoff()
        self._first_recording: Recording | None = None
        self._done_sound: asyncio.Task[None] | None = None

    def keep(self, timers: Timers) -> None:
        """Have these take the events of timers; before `serve`."""
        self._router.timers = timers

    @property
    def state(self) -> State:
        """What it is doing."""
        return self._state.now

    @property
    def one_turn(self) -> bool:
        """Whether it hears a recording that is one turn and nothing else."""
        return self._ears.finite and self._mode == "off"

    # --- what can be wished, by anybody ---

    def press(self) -> None:
        """The button: begin a turn, or end what is going on."""
        self._wishes.put_nowait((Wish.BUTTON, None))

    def stop(self) -> None:
        """End what is going on."""
        self._wishes.put_nowait((Wish.STOP, None))

    def ring(self, timer: Timer) -> None:
        """A timer has finished."""
        self._wishes.put_nowait((Wish.RING, timer))

    async def serve(self) -> int:
        """Do what is wished until the microphone has ended; the exit status."""
        self._ears.on_word = lambda detection: self._wishes.put_nowait((Wish.WORD, detection))
        self._ears.on_voice = lambda position: self._wishes.put_nowait((Wish.VOICE, position))
        self._link.on_change = lambda: self._wishes.put_nowait((Wish.LINK, None))
        self._wishes.put_nowait((Wish.LINK, None))  # it may have changed already
        if self.one_turn:
            await self._link.connected()
            self._first_recording = self._ears.record(0)
        beside = [
            asyncio.create_task(self._follow_ears(), name="ears"),
            asyncio.create_task(self._router.run(), name="events of the other side"),
            asyncio.create_task(self._follow_button(), name="button"),
        ]
        try:
            return await self._decide()
        finally:
            await self._end_activity()
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    # --- deciding: one task ---

    async def _decide(self) -> int:
        if self._first_recording is not None:
            self._begin_turn(Start(reason="recording"), self._first_recording)
        else:
            self._rest()
        while True:
            wish, what = await self._wishes.get()
            await _DECISIONS[wish](self, what)
            if self._ended and self._activity is None:
                return self._status
            if self._activity is None:
                await self._next()

    async def _next(self) -> None:
        """Nothing is going on: begin what waits, or rest."""
        if self._announcements:
            self._begin(State.SPEAKING, self._announcements.play_next())
        elif self._bell.wanted:
            self._begin(State.RINGING, self._bell.ring(lambda: bool(self._announcements)))
        else:
            self._rest()

    def _rest(self) -> None:
        """Wait for what comes, in the way that the settings name."""
        link = self._link.state
        if link is LinkState.CONNECTED:
            self._state.become(State.IDLE)
            if not self._said_ready:
                self._say_ready()
            self._said_ready = True
        else:
            self._state.become(State.MUTED if link is LinkState.MUTED else State.WAITING)
            self._said_ready = False
        heard = link is not LinkState.MUTED
        self._ears.listen_for_words(heard)
        self._ears.listen_for_voice(self._mode == "voice" and link is LinkState.CONNECTED)
        if self._mode == "server" and link is LinkState.CONNECTED:
            self._begin_turn(Start(waits=True, reason="server"), self._ears.record(self._ears.position))
        elif self._settings.turn.repeat and self._mode == "off" and link is LinkState.CONNECTED:
            self._begin_turn(Start(reason="repeat"), self._ears.record(self._ears.position))

    async def _on_word(self, detection: Detection) -> None:
        if self._link.state is LinkState.MUTED or self._is_own(detection):
            return
        if detection.stops:
            await self._on_stop(None)
            return
        logger.info("Wake word: %s", detection.name)
        self._news.tell("awake", detection.name, loudness=round(detection.loudness_db, 1))
        self._bell.silence()
        if not await self._ready_for_a_turn():
            return
        since = max(0, detection.end - SPEECH.bytes_of(self._settings.wake.pre_roll_s))
        start = Start(detection.name, reason="wake-word", loudness_db=detection.loudness_db)
        recording = self._ears.record(since)
        rest = self._settings.wake.pre_roll_s == 0  # else the word itself is wanted too
        self._begin_turn(start, recording, self._ears.heard_until(since) if rest else b"")

    def _is_own(self, detection: Detection) -> bool:
        own = self._own_voice is not None and self._own_voice.has_said(detection.name)
        if own:
            logger.info("The wake word %s was its own", detection.name)
        return own

    async def _on_voice(self, position: int) -> None:
        if self._activity is None and self._link.state is LinkState.CONNECTED:
            since = max(0, position - SPEECH.bytes_of(self._settings.wake.voice_pre_roll_s))
            self._begin_turn(Start(reason="voice"), self._ears.record(since))

    async def _on_button(self, _: None) -> None:
        activity = self._activity
        if activity is not None and not activity.gives_way:
            await self._on_stop(None)
        elif self._link.state is not LinkState.MUTED and await self._ready_for_a_turn():
            if self._mode == "off":
                self._ears.rewind()
            self._begin_turn(Start(reason="button"), self._ears.record(self._ears.position))

    async def _ready_for_a_turn(self) -> bool:
        """End what is going on; whether a turn can begin. Where it can't, that is told with a sound."""
        connected = self._link.state is LinkState.CONNECTED
        await self._cut_off()
        if not connected:
            self._begin(State.WAITING, self._tell_trouble())
        return connected

    async def _on_stop(self, _: None) -> None:
        if self._activity is not None:
            self._news.tell("cut-off")
        self._bell.silence()
        await self._cut_off()

    async def _on_link(self, _: None) -> None:
        """A satellite that is muted hears nothing; what it says is said to its end."""
        if self._link.state is LinkState.CONNECTED and not self._met and self._mode != "off":
            self._ears.rewind()  # a recording waits until somebody listens
            self._met = True
        if self._link.state is LinkState.MUTED and self._state.now is not State.SPEAKING:
            await self._cut_off()

    async def _on_announcement(self, announcement: Announcement) -> None:
        await self._end_waiting()
        await self._end_given_up()
        self._announcements.add(announcement)

    async def _on_ring(self, timer: Timer) -> None:
        self._bell.add(timer)
        await self._end_waiting()

    async def _end_waiting(self) -> None:
        """A turn that waits for its wake word makes room for whatever comes."""
        if self._activity is not None and self._activity.waits:
            await self._cut_off()

    async def _end_given_up(self) -> None:
        """Whoever announces something before it has understood a turn has given that turn up, and says no more of it.

        Home Assistant does. It waits for `played` then: told here, it would be taken for that of the announcement.
        """
        events = self._activity.events if self._activity is not None else None
        if events is None or events.takes_sound:
            return
        await self._end_activity()
        with contextlib.suppress(LinkLost):
            await self._link.send(AudioStop())

    async def _on_over(self, task: asyncio.Task[None]) -> None:
        activity = self._activity
        if activity is None or activity.task is not task:
            return
        self._activity = None
        await asyncio.gather(task, return_exceptions=True)
        if activity.turn is not None:
            await self._after_turn(activity.start, activity.turn.result)

    async def _on_end(self, _: None) -> None:
        self._ended = True

    # --- turns ---

    @property
    def _mode(self) -> str:
        mode = self._settings.wake.mode
        return ("local" if self._words is not None else "off") if mode == "auto" else mode

    def _begin_turn(self, start: Start, recording: Recording, word: bytes = b"") -> None:
        """`word`: a wake word, as it was heard up to where the recording begins, whose rest is not to be heard."""
        self._said_ready = start.waits
        events = TurnEvents(self._link)
        turn = Turn(
            self._settings,
            self._link,
            WithoutTail(recording, word) if word else recording,
            self._speaker,
            self._conversation,
            self._follow_turn,
            events,
            self._news,
        )
        self._begin(
            State.IDLE if start.waits else State.LISTENING,
            self._run_turn(turn, start, recording, events),
            turn,
            start,
            events,
        )

    async def _run_turn(self, turn: Turn, start: Start, recording: Recording, events: TurnEvents) -> None:
        running = asyncio.create_task(self._connect_and_run(turn, start, events), name="turn: run")
        try:
            if start.wake_word:
                await self._own_sounds.play("awake")
            await asyncio.wait({running})
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            self._ears.close(recording)

    async def _connect_and_run(self, turn: Turn, start: Start, events: TurnEvents) -> None:
        """Run the turn, if need be on a connection that is still being made."""
        try:
            async with asyncio.timeout(RECONNECT_S):
                await self._link.connected()
        except TimeoutError:
            turn.result.error = LinkLost(self._link.trouble or "The connection to the server was lost.")
            return
        events.begun = True
        await turn.run(start)

    def _follow_turn(self, state: TurnState) -> None:
        """The turn has come further."""
        shown = _SHOWN.get(state)
        if shown is not None:
            self._state.become(shown)
        barge_in = self._settings.turn.barge_in and state in (TurnState.THINKING, TurnState.SPEAKING)
        self._ears.listen_for_words(barge_in)
        if state is TurnState.THINKING and self._settings.sounds.done != "off":
            self._done_sound = asyncio.create_task(self._own_sounds.play("done"), name="sound: done")

    async def _after_turn(self, start: Start, result: Result) -> None:
        error = result.error
        self._status = 1 if error is not None and not isinstance(error, NoText) else 0
        if error is not None:
            self._tell_error(error)
        if not result.link_is_clean and not isinstance(error, LinkLost):
            await self._link.cut_off()
        elif result.spoken:
            await tell_played(self._link)
        if self.one_turn:
            self._ended = True
        if self._ended:
            return
        if error is not None:
            if start.waits:
                self._begin(State.IDLE, self._backoff.pause())
            elif not isinstance(error, NoText) or start.reason in ("wake-word", "button"):
                self._begin(State.IDLE, self._own_sounds.play("error"))
            return
        self._backoff.succeeded()
        if result.cancelled:
            self._begin(State.IDLE, self._own_sounds.play("cancelled"))
        elif result.spoken and self._asks(result) and not self._announcements and not self._bell.wanted:
            logger.info("It has asked something: speak.")
            self._begin_turn(Start(reason="follow-up"), self._ears.record(self._ears.position))

    def _asks(self, result: Result) -> bool:
        open_link = self._link.state is LinkState.CONNECTED
        return open_link and self._settings.turn.follow_up and result.reply.rstrip(' "»”').endswith("?")

    def _tell_error(self, error: SuperwhisperError) -> None:
        logger.log(logging.INFO if isinstance(error, NoText) else logging.WARNING, "%s", error)
        self._news.tell("error", str(error), code=error.code)

    async def _tell_trouble(self) -> None:
        """Somebody wants something, and there is nobody to ask."""
        trouble = self._link.trouble or "There is no connection."
        logger.warning("Nobody can be asked: %s", trouble)
        self._news.tell("error", trouble, code="disconnected")
        await self._own_sounds.play("error")

    # --- activities ---

    def _begin(
        self,
        state: State,
        work: Coroutine[Any, Any, None],
        turn: Turn | None = None,
        start: Start | None = None,
        events: TurnEvents | None = None,
    ) -> None:
        """Begin something. Nothing else may be going on."""
        assert self._activity is None
        task = asyncio.create_task(work, name=f"activity: {state.value}")
        task.add_done_callback(lambda done: self._wishes.put_nowait((Wish.OVER, done)))
        self._activity = Activity(state, task, turn, start or Start(), events)
        if state is not State.WAITING:
            self._state.become(state)
        if turn is None:
            self._ears.listen_for_words(True)
        self._ears.listen_for_voice(False)

    async def _end_activity(self) -> None:
        """End what is going on, sound and all."""
        activity, self._activity = self._activity, None
        if activity is not None:
            activity.task.cancel()
            await asyncio.gather(activity.task, return_exceptions=True)
            await self._speaker.stop()

    async def _cut_off(self) -> None:
        """End what is going on, here and on the other side."""
        activity = self._activity
        events = activity.events if activity is not None else None
        self._cut = events
        await self._end_activity()
        if events is None:
            return
        if not events.done:
            await self._link.cut_off()
        else:
            await tell_played(self._link)
        self._router.drop_rest(self._link.wants_played and events.sounding)
        self._cut = None

    # --- what comes from outside ---

    async def _follow_ears(self) -> None:
        await self._ears.run()
        self._wishes.put_nowait((Wish.END, None))

    async def _follow_button(self) -> None:
        self._button.forget()
        while True:
            await self._button.pressed()
            self.press()

    def _events_of_turn(self) -> TurnEvents | None:
        return self._cut or (self._activity.events if self._activity is not None else None)

    def _take_announcement(self, announcement: Announcement) -> None:
        self._wishes.put_nowait((Wish.ANNOUNCE, announcement))

    def _say_ready(self) -> None:
        ways = []
        if self._words is not None:
            ways.append("say " + " or ".join(f'"{phrase}"' for phrase in self._words.phrases))
        if self._button.on_terminal:
            ways.append("press Enter")
        if ways:
            ready = f"Ready: {', or '.join(ways)}, then speak."
        else:
            ready = f"Ready: a signal USR1 to process {os.getpid()} starts a turn."
        if not self._ears.finite or self._words is not None:
            logger.info("%s", ready)


_SHOWN = {
    TurnState.LISTENING: State.LISTENING,
    TurnState.THINKING: State.THINKING,
    TurnState.SPEAKING: State.SPEAKING,
}

_DECISIONS: dict[Wish, Callable[[Runner, Any], Awaitable[None]]] = {
    Wish.WORD: Runner._on_word,
    Wish.VOICE: Runner._on_voice,
    Wish.BUTTON: Runner._on_button,
    Wish.STOP: Runner._on_stop,
    Wish.LINK: Runner._on_link,
    Wish.ANNOUNCE: Runner._on_announcement,
    Wish.RING: Runner._on_ring,
    Wish.OVER: Runner._on_over,
    Wish.END: Runner._on_end,
}
