"""When PortAudio's list of devices is made anew: a stand-in for the library, since no test can plug a device in."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from wyoming_superwhisper.satellite import port_audio
from wyoming_superwhisper.satellite.port_audio import Library


class Opened:
    """A stream that gives way, or can't now."""

    def __init__(self, gives_way: bool) -> None:
        self.gives_way = gives_way
        self.asked = 0

    def give_way(self) -> bool:
        self.asked += 1
        return self.gives_way


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done to PortAudio."""
    done: list[str] = []
    module = SimpleNamespace(_terminate=lambda: done.append("end"), _initialize=lambda: done.append("start"))
    monkeypatch.setattr(port_audio, "portaudio", lambda: module)
    return done


def test_what_is_not_there_is_looked_for_once_more_in_a_new_list(started: list[str]) -> None:
    library = Library()
    tries: list[int] = []

    def open_late() -> str:
        tries.append(len(started))
        if not started:
            raise OSError("there is no such device")
        return "open"

    assert library.find_and_open(open_late) == "open"
    assert started == ["end", "start"]
    assert tries == [0, 2]


def test_a_list_is_made_anew_when_everything_that_is_open_has_closed_and_not_again_at_once(started: list[str]) -> None:
    library = Library()
    stream = Opened(gives_way=True)
    with library.opening(stream):
        pass
    assert library.renew()
    assert library.renew()
    assert (stream.asked, started) == (1, ["end", "start"])


def test_what_can_not_close_now_keeps_the_old_list(started: list[str]) -> None:
    library = Library()
    playing = Opened(gives_way=False)
    with library.opening(playing):
        pass

    def never_there() -> str:
        raise OSError("there is no such device")

    with pytest.raises(OSError, match="no such device"):
        library.find_and_open(never_there)
    assert started == []
    library.closed(playing)
    assert library.renew()


def test_what_failed_to_open_is_asked_nothing(started: list[str]) -> None:
    library = Library()
    stream = Opened(gives_way=False)
    with pytest.raises(OSError, match="busy"), library.opening(stream):
        raise OSError("busy")
    assert library.renew()
    assert stream.asked == 0
