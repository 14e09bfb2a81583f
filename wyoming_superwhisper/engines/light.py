"""The light worker's engine: voice activity, wake words and intents, all quick, one call at each step."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, TypeVar

from wyoming_superwhisper import errors
from wyoming_superwhisper.engines.base import Call, IntentCall
from wyoming_superwhisper.engines.silero import SileroVoice
from wyoming_superwhisper.engines.silero_network import packaged_network
from wyoming_superwhisper.engines.wake_word import WakeWords, builtin_words, choose_words

logger = logging.getLogger(__name__)

MOST_STREAMS = 1024
"""Streams open at once, of voice activity and wake words together."""

IDLE_S = 60.0
"""When there is no room, a stream that has heard nothing for this long gives its place."""

Result = Mapping[str, Any]
_Kind = TypeVar("_Kind")


class _Stream(Protocol):
    def feed(self, audio: bytes) -> Any: ...


@dataclass(slots=True)
class _Open:
    """A stream of some client."""

    stream: _Stream
    used: float = field(default_factory=time.monotonic)


class LightEngine:
    """Dispatches the calls of the light worker; see `Engine` for the contract."""

    capacity = 32

    def __init__(self, configuration: Mapping[str, Any]) -> None:
        self._configuration = configuration
        self._waiting: deque[Call] = deque()
        self._streams: dict[int, _Open] = {}
        self._last_stream = 0
        self._intents: Any = None
        self._methods: dict[str, Callable[[Call], Result]] = {
            "voice.open": self._open_voice,
            "voice.feed": self._feed_voice,
            "voice.close": self._close,
            "wake.open": self._open_wake,
            "wake.feed": self._feed_wake,
            "wake.close": self._close,
            "intents.recognize": self._recognize,
            "intents.complete": self._complete,
            "home": self._set_home,
        }

    def load(self) -> Mapping[str, Any]:
        wake = self._configuration.get("wake") or {}
        engine = wake.get("engine", "micro")
        names = wake.get("words")
        self._words = builtin_words(engine) if names is None else choose_words(engine, names)
        self._intents = _load_intents(self._configuration)
        packaged_network()  # now, rather than while the first client speaks
        return {
            "languages": list(self._configuration.get("languages", ())),
            "wake_words": [asdict(word) for word in self._words],
        }

    def admit(self, call: Call) -> None:
        if call.method not in self._methods:
            call.fail(errors.NotSupported(f"the light worker knows no call {call.method!r}"))
            return
        self._waiting.append(call)

    def step(self) -> bool:
        if not self._waiting:
            return False
        call = self._waiting.popleft()
        if not call.cancelled or call.method.endswith(".close"):
            self._answer(call)
        return bool(self._waiting)

    def _answer(self, call: Call) -> None:
        try:
            result = self._methods[call.method](call)
        except Exception as error:  # the boundary of one call: whatever it is, it is this client's answer
            call.fail(error)
        else:
            call.done(result)
            if call.cancelled and call.method.endswith(".open"):  # nobody may have learnt of this stream
                self._forget(result["stream"])

    def _open_voice(self, call: Call) -> Result:
        return {"stream": self._keep(SileroVoice())}

    def _feed_voice(self, call: Call) -> Result:
        return asdict(self._stream(call, SileroVoice).feed(call.payload))

    def _open_wake(self, call: Call) -> Result:
        names = call.data.get("names") or [word.name for word in self._words]
        offered = {word.name for word in self._words}
        words = choose_words(self._words[0].engine if self._words else "micro", names)
        for word in words:
            if word.name not in offered:
                raise errors.UnknownModel(f"wake word {word.name!r} is not offered; there are: {', '.join(offered)}")
        if not words:
            raise errors.UnknownModel("no wake words are configured (wake.words)")
        return {"stream": self._keep(WakeWords(words))}

    def _feed_wake(self, call: Call) -> Result:
        return {"detections": [asdict(heard) for heard in self._stream(call, WakeWords).feed(call.payload)]}

    def _close(self, call: Call) -> Result:
        self._forget(call.data.get("stream"))
        return {}

    def _recognize(self, call: Call) -> Result:
        data = call.data
        intents = self._loaded_intents().recognize(
            data["text"], data["language"], data.get("area"), _intents(data.get("previous"))
        )
        return {"intents": [asdict(intent) for intent in intents]}

    def _complete(self, call: Call) -> Result:
        data = call.data
        intents = self._loaded_intents().complete(_intents(data["intents"]), data["language"], data.get("area"))
        return {"intents": [asdict(intent) for intent in intents]}

    def _loaded_intents(self) -> Any:
        if self._intents is None:
            raise errors.EngineUnavailable("intents are not loaded")
        return self._intents

    def _set_home(self, call: Call) -> Result:
        if self._intents is not None:
            self._intents.set_home(call.data)
        return {}

    def _keep(self, stream: _Stream) -> int:
        if len(self._streams) >= MOST_STREAMS:
            self._make_room()
        self._last_stream += 1
        self._streams[self._last_stream] = _Open(stream)
        return self._last_stream

    def _make_room(self) -> None:
        number, oldest = min(self._streams.items(), key=lambda item: item[1].used)
        if time.monotonic() - oldest.used < IDLE_S:
            raise errors.Busy(f"{MOST_STREAMS} streams of audio are open already")
        self._forget(number)

    def _stream(self, call: Call, kind: type[_Kind]) -> _Kind:
        opened = self._streams.get(call.data.get("stream", 0))
        if opened is None or not isinstance(opened.stream, kind):
            raise errors.EngineLost(f"stream {call.data.get('stream')} is not open any more")
        opened.used = time.monotonic()
        return opened.stream

    def _forget(self, number: Any) -> None:
        self._streams.pop(number, None)


def _intents(listed: Any) -> tuple[IntentCall, ...]:
    return tuple(IntentCall(**intent) for intent in listed or ())


def _load_intents(configuration: Mapping[str, Any]) -> Any:
    try:
        from wyoming_superwhisper.engines.rules.hassil import HassilIntents
    except ImportError as error:  # voice activity and wake words work without it
        logger.warning("Intents are not available: %s", error)
        return None
    return HassilIntents(configuration.get("languages", ()), configuration.get("home") or {})
