"""The core that the tests share, one for each Home Assistant there is, and one to be broken."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.conftest import RunningServer
from tests.home_assistant.core import HomeAssistantCore, interpreters
from tests.home_assistant.houses import demo_house
from tests.home_assistant.voice import Voice, voice_of


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "ha_python" in metafunc.fixturenames:
        found = interpreters()
        names = [python.parent.parent.name for python in found]
        metafunc.parametrize("ha_python", found or [None], ids=names or ["none"], scope="session", indirect=True)


@pytest.fixture(scope="session")
def ha_python(request: pytest.FixtureRequest) -> Path:
    """The interpreter of an environment with Home Assistant in it."""
    if request.param is None:
        pytest.fail("there is no Home Assistant here: script/setup-ha makes one, or HA_PYTHON names an interpreter")
    python: Path = request.param
    return python


@pytest.fixture(scope="session")
def shared_core(ha_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HomeAssistantCore]:
    core = HomeAssistantCore.start(ha_python, tmp_path_factory.mktemp("home-assistant"))
    yield core
    core.stop()


@pytest.fixture
async def home_assistant(shared_core: HomeAssistantCore) -> AsyncIterator[HomeAssistantCore]:
    """A running Home Assistant with the demo's home as new; its log must hold nothing unexpected after the test."""
    await shared_core.refurnish(demo_house())
    shared_core.mark()
    shared_core.expected.clear()
    yield shared_core
    assert shared_core.log_lines() == []


@pytest.fixture
async def voice(home_assistant: HomeAssistantCore, server: RunningServer) -> AsyncIterator[Voice]:
    """The shared server in the shared Home Assistant."""
    async with home_assistant.connect() as link:
        yield await voice_of(link, server)


@pytest.fixture
def fresh_home_assistant(ha_python: Path, tmp_path: Path) -> Iterator[HomeAssistantCore]:
    """A Home Assistant of the test's own, to be stopped and started."""
    core = HomeAssistantCore.start(ha_python, tmp_path)
    yield core
    core.stop()
