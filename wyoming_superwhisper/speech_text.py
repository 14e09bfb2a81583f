"""Text made speakable and cut into the pieces that are synthesised one by one.

There is one way to cut, for a whole text and for one that arrives in chunks: `Splitter` reads characters, and every
decision is a function of the text alone, taken as soon as no further character can change it. So the pieces of any
chunking are those of `split(text)`.

- Markdown marks, emoji, tags and control characters are left out; links keep their words, addresses their host;
  blocks of code become two words; table rows and lists are read cell by cell and item by item; units, signs and
  usual shortenings are said in full (see `spoken_words`).
- A piece is a sentence: it ends where its mark is followed by something that can begin another. The first piece of a
  text doesn't wait, so that sound begins early: it ends at once at the mark of a sentence, and with three words and
  fifteen characters also at a comma or the like. Pieces are at most `LONGEST` characters, or one word.
- What can't be pronounced gives no piece.
"""

from __future__ import annotations

import enum
import re

from wyoming_superwhisper.spoken_words import Words, continues_number, is_said, say_token, words_of

LONGEST = 300
"""Characters of the longest piece; a longer sentence is cut at its last comma, or else between words."""

FIRST_CLAUSE_WORDS, FIRST_CLAUSE_CHARACTERS = 3, 15
"""What the first clause of a text must have to be spoken before its sentence is whole."""


def speakable(text: str, language: str) -> str:
    """The text as it is spoken, one line, "" where nothing can be."""
    return " ".join(split(text, language))


def split(text: str, language: str) -> list[str]:
    """The speakable pieces of a text."""
    splitter = Splitter(language)
    return splitter.feed(text) + splitter.finish()


class Splitter:
    """Cuts a text that arrives in chunks into speakable pieces."""

    def __init__(self, language: str) -> None:
        self._cutter = _Cutter()
        self._reader = _Reader(words_of(language), self._cutter)

    def feed(self, chunk: str) -> list[str]:
        """Take more text; returns the pieces that are certain now."""
        self._reader.feed(chunk)
        return self._cutter.take()

    def finish(self) -> list[str]:
        """The text has ended; returns what was still held back. The splitter is then as new."""
        self._reader.finish()
        return self._cutter.take()


class _Line(enum.Enum):
    """What the line being read is."""

    TEXT = "text"
    HEADING = "heading"
    ITEM = "item"
    ROW = "row"


_LONGEST_TOKEN = 400
_NEWLINES = "\n\x0b\x0c\x85\u2028\u2029"
_FULL_STOPS = "。！？"  # of scripts that set no space after them

_FENCE = re.compile(r"(```+|~~~+)")
_RULE = re.compile(r"([-*_=])\1{2,}")
_HEADING = re.compile(r"#{1,6}")
_BULLET = re.compile(r"[-*+•·‣–]")
_NUMBERED = re.compile(r"\d{1,3}[.)]")
_ROW_RULE = re.compile(r"[:|]*-[:|-]*")
_OPEN_TARGET = re.compile(r"\]\([^)]*$")
_OPEN_TAG = re.compile(
    r"</?(?:a|break|code|div|font|img|li|ol|p|pre|prosody|say-as|span|speak|table|td|th|tr|ul|voice)$", re.IGNORECASE
)
_OPENINGS = ((_OPEN_TARGET, ")"), (_OPEN_TAG, ">"))
"""What begins something that isn't spoken and may have spaces in it, and what ends that (or the line does)."""


class _Reader:
    """Characters to words: finds tokens and lines, knows markdown's blocks, tells the cutter."""

    def __init__(self, words: Words, cutter: _Cutter) -> None:
        self._words = words
        self._cutter = cutter
        self._start_anew()

    def feed(self, chunk: str) -> None:
        """Take more characters."""
        for character in chunk:
            if character.isspace():
                self._end_token()
                if character in _NEWLINES:
                    self._end_line()
            else:
                self._token.append(character)
                if character in _FULL_STOPS or len(self._token) == _LONGEST_TOKEN:
                    self._end_token()
        self._foresee()

    def finish(self) -> None:
        """No more characters come."""
        self._end_token()
        self._cutter.end_block()
        self._cutter.start_anew()
        self._start_anew()

    def _start_anew(self) -> None:
        self._token: list[str] = []
        self._newlines = 1  # since the last token: a text begins on a new line
        self._line = _Line.TEXT
        self._fence = ""
        self._fence_opens = False
        self._skip_to = ""

    def _foresee(self) -> None:
        """Tell the cutter how the coming word begins, where no further character can change that."""
        if not self._token or self._fence or self._skip_to:
            return
        first = self._token[0]
        in_line = self._newlines == 0
        if (first.isalpha() and (in_line or self._line is _Line.TEXT)) or (first.isdecimal() and in_line):
            self._cutter.foresee(first)

    def _end_line(self) -> None:
        self._newlines += 1
        self._skip_to = ""
        self._fence_opens = False
        if not self._fence and (self._newlines == 2 or self._line in (_Line.HEADING, _Line.ROW)):
            self._end_block()

    def _end_block(self) -> None:
        self._cutter.end_block()
        self._line = _Line.TEXT

    def _end_token(self) -> None:
        if not self._token:
            return
        token, self._token = "".join(self._token), []
        begins_line, self._newlines = self._newlines > 0, 0
        if self._fence or (begins_line and _FENCE.match(token)):
            self._read_code(token, begins_line)
            return
        if self._skip_to:
            token = self._read_skipped(token)
        elif begins_line:
            token = self._begin_line(token)
        if self._line is _Line.ROW:
            self._say_cells(token)
        else:
            self._say(token)

    def _read_code(self, token: str, begins_line: bool) -> None:
        """Leave out a block of code, all but its mention."""
        if not self._fence:
            self._fence, self._fence_opens = token[:3], True
            self._end_block()
            for word in self._words.code.split():
                self._cutter.add(word)
            self._end_block()
            token = token.lstrip(self._fence[0])
        if (begins_line and token.startswith(self._fence)) or (self._fence_opens and token.endswith(self._fence)):
            self._fence = ""

    def _read_skipped(self, token: str) -> str:
        """Leave out a tag or link target with spaces in it; returns what comes after its end."""
        _, end, rest = token.partition(self._skip_to)
        if end:
            self._skip_to = ""
        return rest

    def _begin_line(self, token: str) -> str:
        """Note what line this token begins; returns what is to be said of it."""
        kind = _line_of(token)
        if self._line is _Line.ITEM and kind is _Line.ITEM:
            self._cutter.end_item()
        elif kind is not _Line.TEXT or (self._line is _Line.ITEM and not token[0].islower()):
            self._cutter.end_block()
        elif self._line is _Line.ITEM:
            return token  # the item goes on
        self._line = kind
        if kind is _Line.TEXT:
            return token.lstrip(">")
        if kind is _Line.ROW:
            return token[1:]
        if token[0].isdigit():
            self._cutter.add(token[:-1])
            self._cutter.end_cell()
        return ""

    def _say_cells(self, token: str) -> None:
        if _ROW_RULE.fullmatch(token):
            return
        for number, cell in enumerate(token.split("|")):
            if number:
                self._cutter.end_cell()
            self._say(cell)

    def _say(self, token: str) -> None:
        for pattern, end in _OPENINGS:
            if match := pattern.search(token):
                token, self._skip_to = token[: match.start()], end
        before = self._cutter.last_word
        if continues_number(before, token, self._words):
            self._cutter.drop_last_word()
            before, token = self._cutter.last_word, before + token
        for word in say_token(token, before, self._words):
            self._cutter.add(word)


def _line_of(token: str) -> _Line:
    """What a line that begins with this token is."""
    if _RULE.fullmatch(token) or _HEADING.fullmatch(token):
        return _Line.HEADING  # a rule, too, ends what is before it and after its line
    if _BULLET.fullmatch(token) or _NUMBERED.fullmatch(token):
        return _Line.ITEM
    return _Line.ROW if token.startswith("|") else _Line.TEXT


_SENTENCE_END = re.compile(r"[.!?…。！？](?:\s*[\"'”’»)\]])*$")
_CLAUSE_END = re.compile(r"[,;:—–](?:\s*[\"'”’»)\]])*$")
_ANY_END = re.compile(r"[.!?…,;:。！？][\"'”’»)\]]*$")
_INITIALS = re.compile(r"(?:^|[\s(«“\"'’-])([^\W\d_a-zà-ÿ]\.|(?:[^\W\d_]\.){2,})$")
_HALVES_OF_DAY = ("a.m.", "p.m.")
_LAST_WORD = re.compile(r"([^\W\d_]{2,})(?:\.| ?[!?]+)$")
_TITLES = frozenset(("capt", "cf", "chap", "lt", "mt", "pp", "prof", "réf", "sgt", "st"))
"""Shortenings that are followed by a name or number, and end no sentence."""
_SHORTENED = _TITLES.union(
    ("al", "apdo", "art", "bzw", "ca", "co", "col", "dpto", "ed", "etc", "ex", "fig", "ibid", "inc", "jr", "ltd", "nb"),
    ("no", "núm", "pág", "sr", "usw", "vol"),
)
"""Shortenings after which a sentence may go on."""
_OPENERS = "«“„‘¿¡([{\"'—–-"


class _Cutter:
    """Words to pieces."""

    def __init__(self) -> None:
        self._ready: list[str] = []
        self._piece: list[str] = []
        self._comma_due = False
        self._begun = False

    @property
    def last_word(self) -> str:
        """The word that the next one directly follows."""
        return self._piece[-1] if self._piece and not self._comma_due else ""

    def take(self) -> list[str]:
        """The pieces that are certain and were not taken yet."""
        ready, self._ready = self._ready, []
        return ready

    def add(self, word: str) -> None:
        """A word is complete."""
        begins = _beginning(word)
        if begins:
            self.foresee(begins)
            self._set_due_comma()
        if len(self._text()) + 1 + len(word) > LONGEST:
            self._shorten()
        if not self._piece and not begins:
            return  # a mark whose words were left out, or are said already
        self._piece.append(word)
        if word[-1] in _FULL_STOPS:
            self.end_block()
        self._end_first_clause()

    def drop_last_word(self) -> None:
        """The last word comes again, in another form."""
        self._piece.pop()

    def foresee(self, begins: str) -> None:
        """The next word begins with this letter, digit or opening mark."""
        if self._piece and _ends_sentence(self._text(), begins):
            self.end_block()

    def end_cell(self) -> None:
        """What comes next in the line, if anything does, comes after a comma."""
        self._comma_due = bool(self._piece)

    def end_item(self) -> None:
        """A list item has ended and another begins: short ones run on as in a sentence."""
        if self._piece and _SENTENCE_END.search(self._piece[-1]):
            self.end_block()
        self.end_cell()
        self._set_due_comma()

    def end_block(self) -> None:
        """A sentence, paragraph, heading or the text has ended."""
        self._comma_due = False
        self._emit(len(self._piece))

    def start_anew(self) -> None:
        """Another text comes."""
        self._begun = False

    def _text(self) -> str:
        return " ".join(self._piece)

    def _set_due_comma(self) -> None:
        if self._comma_due and not _ANY_END.search(self._piece[-1]):
            self._piece[-1] += ","
        self._comma_due = False
        self._end_first_clause()

    def _end_first_clause(self) -> None:
        if not self._begun and self._piece and _ends_first_piece(self._text()):
            self._emit(len(self._piece))

    def _shorten(self) -> None:
        """Cut a piece that can't grow: at its last comma if that is not near its start, else here."""
        ends = (count for count in range(len(self._piece), 0, -1) if _CLAUSE_END.search(self._piece[count - 1]))
        last_comma = next(ends, 0)
        self._emit(last_comma if last_comma > len(self._piece) // 4 else len(self._piece))

    def _emit(self, count: int) -> None:
        words, self._piece = self._piece[:count], self._piece[count:]
        if any(map(is_said, words)):
            self._ready.append(" ".join(words))
            self._begun = True


def _beginning(word: str) -> str:
    """The letter, digit or opening mark a word begins with; "" for marks that belong to what is before them."""
    for character in word:
        if character.isalnum():
            return character
    return word[0] if word[0] in _OPENERS else ""


def _ends_sentence(text: str, begins: str) -> bool:
    """Whether a sentence ends after `text` if the next word begins so."""
    if begins.islower() or not _SENTENCE_END.search(text):
        return False
    initials = _INITIALS.search(text)
    if initials:
        return initials[1].lower() in _HALVES_OF_DAY
    word = _LAST_WORD.search(text)
    return word is None or word[1].lower() not in _TITLES


def _ends_first_piece(text: str) -> bool:
    """Whether the first piece ends after `text`, whatever comes next."""
    if _CLAUSE_END.search(text):
        return len(text) >= FIRST_CLAUSE_CHARACTERS and sum(map(is_said, text.split())) >= FIRST_CLAUSE_WORDS
    if any(text.count(opening) > text.count(closing) for opening, closing in ("«»", "“”", "()")):
        return False  # its closing mark belongs to it
    word = _LAST_WORD.search(text)
    return word is not None and word[1].lower() not in _SHORTENED
