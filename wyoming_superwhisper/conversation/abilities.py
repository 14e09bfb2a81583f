"""What the server can do by itself for a satellite: the time, the date, timers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from wyoming_superwhisper import replies
from wyoming_superwhisper.conversation.turn import Turn
from wyoming_superwhisper.engines.base import IntentCall
from wyoming_superwhisper.timers import NoSuchTimer, SeveralTimers, Timer, Timers, TooManyTimers

TOLD_BY_CLOCK = frozenset({"HassGetCurrentDate", "HassGetCurrentTime"})

WITHOUT_EFFECT = TOLD_BY_CLOCK | {"HassNevermind", "HassRespond", "HassTimerStatus"}
"""What changes nothing: a rehearsal may do it too."""

_WHY_NOT: dict[type[Exception], str] = {
    NoSuchTimer: "timer_not_found",
    SeveralTimers: "multiple_timers",
    TooManyTimers: "too_many_timers",
    ValueError: "no_time_given",
}


class CannotDo(Exception):
    """It can't be done."""

    def __init__(self, phrase: str) -> None:
        """`phrase`: which of our own phrases says why."""
        super().__init__(phrase)
        self.phrase = phrase


class Abilities:
    """Each is an intent of the sentence packs, done here, and said in the packs' words."""

    def __init__(self, timers: Timers, now: Callable[[], datetime]) -> None:
        self._timers = timers
        self._now = now
        self._known: dict[str, Callable[[IntentCall, Turn], str]] = {
            "HassCancelAllTimers": self._cancel_all_timers,
            "HassCancelTimer": self._cancel_timer,
            "HassDecreaseTimer": self._decrease_timer,
            "HassGetCurrentDate": self._clock,
            "HassGetCurrentTime": self._clock,
            "HassIncreaseTimer": self._increase_timer,
            "HassNevermind": self._nevermind,
            "HassPauseTimer": self._pause_timer,
            "HassRespond": self._nevermind,
            "HassStartTimer": self._start_timer,
            "HassTimerStatus": self._timer_status,
            "HassUnpauseTimer": self._unpause_timer,
        }

    def covers(self, call: IntentCall) -> bool:
        """Whether this can be done here."""
        return call.name in self._known and "conversation_command" not in call.slots

    def do(self, call: IntentCall, turn: Turn) -> str:
        """Do what `covers` says can be done; returns what to say. Raises `CannotDo`."""
        try:
            return self._known[call.name](call, turn)
        except tuple(_WHY_NOT) as error:
            raise CannotDo(next(why for kind, why in _WHY_NOT.items() if isinstance(error, kind))) from error

    def tell(self, call: IntentCall) -> str:
        """The time or the date, whichever is asked for."""
        now = self._now()
        return reply(call, time=now.time()) if call.name == "HassGetCurrentTime" else reply(call, date=now.date())

    def _clock(self, call: IntentCall, turn: Turn) -> str:
        return self.tell(call)

    def _nevermind(self, call: IntentCall, turn: Turn) -> str:
        return reply(call)

    def _start_timer(self, call: IntentCall, turn: Turn) -> str:
        self._timers.start(turn.said.owner, call.slots, turn.language, turn.area_name)
        return reply(call)

    def _cancel_timer(self, call: IntentCall, turn: Turn) -> str:
        self._timers.cancel(self._timer(call, turn))
        return reply(call)

    def _cancel_all_timers(self, call: IntentCall, turn: Turn) -> str:
        return reply(call, canceled=self._timers.cancel_all(turn.said.owner, call.slots))

    def _increase_timer(self, call: IntentCall, turn: Turn) -> str:
        self._timers.add(self._timer(call, turn), call.slots)
        return reply(call)

    def _decrease_timer(self, call: IntentCall, turn: Turn) -> str:
        self._timers.add(self._timer(call, turn), call.slots, sign=-1)
        return reply(call)

    def _pause_timer(self, call: IntentCall, turn: Turn) -> str:
        self._timers.pause(self._timer(call, turn, active=True))
        return reply(call)

    def _unpause_timer(self, call: IntentCall, turn: Turn) -> str:
        self._timers.unpause(self._timer(call, turn, active=False))
        return reply(call)

    def _timer_status(self, call: IntentCall, turn: Turn) -> str:
        return reply(call, timers=self._timers.status(self._timers.matching(turn.said.owner, call.slots)))

    def _timer(self, call: IntentCall, turn: Turn, active: bool | None = None) -> Timer:
        return self._timers.find(turn.said.owner, call.slots, active)


def reply(call: IntentCall, **known: Any) -> str:
    """The pack's reply, completed with what was found out here."""
    if not call.template:
        return call.text
    return replies.render(call.template, {**call.slots, **known}) or ""
