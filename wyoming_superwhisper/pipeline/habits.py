"""What clients do with what they get: does a transcript come back as a sentence to answer, an answer as one to speak?
And what the house usually says.

Home Assistant asks for recognition, conversation and speech on separate connections, and may use any of them without
the others. So its next step is prepared only where it took that step recently. One address is one client here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from time import monotonic

from wyoming_superwhisper.conversation.said import Said
from wyoming_superwhisper.intents_text import language_of
from wyoming_superwhisper.pipeline.speaking import SpeakOptions

SOON_S = 10.0
"""A step that is taken later than this after the one before has nothing to do with it."""
TRIES = 3
"""How often a step is prepared in vain before it is not prepared any more."""
MOST_CONVERSATIONS = 2
"""Of so many of a client's conversations, the newest ones, its next sentence may be the next."""
MOST_CLIENTS = 64
MOST_SENTENCES = 256
OFTEN = 2
"""Once may have been somebody who was cut off."""


@dataclass(slots=True)
class _Step:
    """One step that a client may take after another."""

    awaited: str | None = None
    since_s: float = 0.0
    tries: int = 0

    def await_(self, text: str, now_s: float) -> None:
        """The step before it was taken, with this text."""
        if self.awaited is not None:
            self.tries = max(0, self.tries - 1)
        self.awaited, self.since_s = text, now_s

    def taken(self, text: str, now_s: float) -> bool:
        """This text has come; whether it was awaited."""
        if self.awaited != text or now_s - self.since_s > SOON_S:
            return False
        self.awaited, self.tries = None, TRIES
        return True

    @property
    def likely(self) -> bool:
        """Whether it is worth preparing."""
        return self.tries > 0


@dataclass(slots=True)
class _Client:
    """What one address did."""

    conversation: _Step = field(default_factory=_Step)
    speech: _Step = field(default_factory=_Step)
    said: Said = field(default_factory=lambda: Said(""))
    conversations: OrderedDict[str, Said] = field(default_factory=OrderedDict)
    """The last sentence of each, the newest conversation last."""
    begins_anew: bool = False
    """Whether its last sentence went on with none of them."""
    doubts: int = TRIES
    """How many more sentences must be as expected until nothing else is."""
    options: SpeakOptions = field(default_factory=SpeakOptions)

    def ask(self, said: Said) -> None:
        """This sentence was to be answered."""
        if self.conversations:
            expected, self.begins_anew = self.likely()[0].conversation, said.conversation not in self.conversations
            as_expected = said.conversation == expected or (self.begins_anew and not expected)
            self.doubts = max(0, self.doubts - 1) if as_expected else TRIES
        if said.conversation:
            self.conversations[said.conversation] = said
            self.conversations.move_to_end(said.conversation)
            while len(self.conversations) > MOST_CONVERSATIONS:
                self.conversations.popitem(last=False)
        self.said = said

    def likely(self) -> list[Said]:
        """As what its next sentence may be asked, the likeliest first; their texts are those of the last ones."""
        going_on, anew = [*reversed(self.conversations.values())], replace(self.said, conversation="")
        found = [anew, *going_on] if self.begins_anew else [*going_on, anew]
        return found if self.doubts else found[:1]


class Habits:
    """Remembers the last steps of each client."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._clients: OrderedDict[str, _Client] = OrderedDict()
        self._whole: OrderedDict[str, int] = OrderedDict()

    def transcript(self, peer: str, text: str) -> None:
        """This transcript was given."""
        if text:
            self._client(peer).conversation.await_(text, self._clock())

    def conversation(self, peer: str, said: Said) -> None:
        """This sentence is to be answered."""
        client = self._client(peer)
        if client.conversation.taken(said.text, self._clock()):
            client.ask(said)

    def answer(self, peer: str, text: str) -> None:
        """This answer was given."""
        if text:
            self._client(peer).speech.await_(text.strip(), self._clock())

    def speech(self, peer: str, text: str, options: SpeakOptions) -> None:
        """This text is to be spoken so."""
        client = self._client(peer)
        if client.speech.taken(text.strip(), self._clock()):
            client.options = options

    def next_sentences(self, peer: str, text: str, language: str) -> list[Said]:
        """As what this client may ask about such a transcript, the likeliest first; nothing where it hardly will."""
        client = self._client(peer)
        if not client.conversation.likely:
            return []
        return [replace(said, text=text, language=_tag(said, language)) for said in client.likely()]

    def ended(self, sentence: str) -> None:
        """Somebody said this and nothing more."""
        key = _words(sentence)
        if " " in key:
            self._whole[key] = self._whole.get(key, 0) + 1
            self._whole.move_to_end(key)
            while len(self._whole) > MOST_SENTENCES:
                self._whole.popitem(last=False)

    def went_on(self, sentence: str) -> None:
        """Somebody said this and then more: it is no whole sentence."""
        self._whole.pop(_words(sentence), None)

    def is_whole(self, sentence: str) -> bool:
        """Whether this was all that was said, often enough to be taken for a whole sentence."""
        return self._whole.get(_words(sentence), 0) >= OFTEN

    def next_speech(self, peer: str) -> SpeakOptions | None:
        """How this client is likely to have an answer spoken, if at all."""
        client = self._client(peer)
        return client.options if client.speech.likely else None

    def _client(self, peer: str) -> _Client:
        address = peer.rpartition(":")[0] or peer
        client = self._clients.setdefault(address, _Client())
        self._clients.move_to_end(address)
        while len(self._clients) > MOST_CLIENTS:
            self._clients.popitem(last=False)
        return client


def _tag(said: Said, language: str) -> str | None:
    """The language that one is asked in who was asked so, and speaks this one now."""
    known = said.language is None or language_of(said.language) == language
    return said.language if known else language


def _words(sentence: str) -> str:
    return " ".join(sentence.casefold().rstrip(" .!?…").split())
