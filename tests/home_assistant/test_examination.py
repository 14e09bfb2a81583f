"""`doctor --home-assistant` beside a real Home Assistant: what it says when all is well, and when something is not."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.conftest import RunningServer
from tests.home_assistant.core import HomeAssistantCore
from tests.home_assistant.voice import add_by_hand, remove
from wyoming_superwhisper.config.settings import HomeAssistantSettings, ServerSettings, Settings
from wyoming_superwhisper.doctor.finding import Finding, State
from wyoming_superwhisper.home_assistant import examination

pytestmark = [pytest.mark.home_assistant, pytest.mark.timeout(600)]


async def report(core: HomeAssistantCore, port: int, token: str = "") -> list[Finding]:
    settings = Settings(
        server=ServerSettings(uri=f"tcp://127.0.0.1:{port}"),
        home_assistant=HomeAssistantSettings(url=core.url, token=token or core.token),
    )
    return [finding async for finding in examination.examine(settings)]


def lines(findings: list[Finding], topic: str, state: State) -> list[str]:
    return [finding.text for finding in findings if (finding.topic, finding.state) == (topic, state)]


def problems(findings: list[Finding]) -> list[str]:
    return [finding.text for finding in findings if finding.state is State.PROBLEM]


async def test_a_server_that_home_assistant_uses_and_then_loses(
    home_assistant: HomeAssistantCore, own_server: RunningServer
) -> None:
    findings = await report(home_assistant, own_server.port)
    assert problems(findings) == []
    assert home_assistant.version in lines(findings, "HA version", State.OK)[0]
    assert "43 entities" in lines(findings, "HA exposed", State.OK)[0]
    # Other tests may have left one that is loaded.
    before = sum("is set up and loaded" in line for line in lines(findings, "HA to us", State.OK))
    if not before:
        assert "is not set up" in lines(findings, "HA to us", State.NOTE)[0]
    async with home_assistant.connect() as link:
        entry = (await add_by_hand(link, own_server.host, own_server.port))["result"]["entry_id"]
        try:
            findings = await report(home_assistant, own_server.port)
            assert problems(findings) == []
            *entries, answers = lines(findings, "HA to us", State.OK)
            assert all("is set up and loaded" in entry for entry in entries)
            assert len(entries) == before + 1
            assert "the server answers" in answers
            await asyncio.to_thread(own_server.stop)
            await link.post(f"/api/config/config_entries/entry/{entry}/reload")
            findings = await report(home_assistant, own_server.port)
            assert "does not reach it: setup_retry" in problems(findings)[0]
            assert any("nobody answers" in line for line in lines(findings, "HA to us", State.NOTE))
        finally:
            await remove(link, entry)
    home_assistant.mark()  # it may say that it did not reach the server


async def test_two_things_of_one_name_and_nothing_exposed(home_assistant: HomeAssistantCore) -> None:
    async with home_assistant.connect() as link:
        await link.call("config/entity_registry/update", entity_id="light.lampe_salon", name="Plafonnier")
        [problem] = problems(await report(home_assistant, 1))
        assert "light.lampe_salon" in problem
        assert "light.plafonnier_salon" in problem
        exposed = (await link.call("homeassistant/expose_entity/list"))["exposed_entities"]
        await link.call(
            "homeassistant/expose_entity", assistants=["conversation"], entity_ids=list(exposed), should_expose=False
        )
        assert "no entity is exposed" in problems(await report(home_assistant, 1))[0]


async def test_tokens_of_nobody_and_of_somebody_without_rights(home_assistant: HomeAssistantCore) -> None:
    [problem] = problems(await report(home_assistant, 1, "a-token-of-nobody"))
    assert "does not accept the token" in problem
    async with home_assistant.connect() as link:
        user = (await link.call("config/auth/create", name="Enfant", group_ids=["system-users"]))["user"]
        try:
            await link.call(
                "config/auth_provider/homeassistant/create", user_id=user["id"], username="enfant", password="p4ssw0rd!"
            )
            [problem] = problems(await report(home_assistant, 1, await token_of(home_assistant, "enfant", "p4ssw0rd!")))
            assert "accepted, of Enfant, who is no administrator" in problem
        finally:
            await link.call("config/auth/delete", user_id=user["id"])
    home_assistant.mark()  # it logs the attempt with a wrong token


async def token_of(core: HomeAssistantCore, name: str, password: str) -> str:
    """What somebody gets who logs in with a browser."""
    async with core.connect() as link:
        client = f"{core.url}/"
        begin = {"client_id": client, "handler": ["homeassistant", None], "redirect_uri": client}
        flow = await link.post("/auth/login_flow", begin)
        login = {"client_id": client, "username": name, "password": password}
        code = (await link.post(f"/auth/login_flow/{flow['flow_id']}", login))["result"]
        form = {"client_id": client, "grant_type": "authorization_code", "code": code}
        async with link.http.post("/auth/token", data=form) as got:
            token: str = (await got.json())["access_token"]
            return token


async def test_the_command_says_it_and_ends_with_a_status(home_assistant: HomeAssistantCore, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(home_assistant.token)
    file.chmod(0o600)
    command = [
        sys.executable, "-m", "wyoming_superwhisper", "doctor", "--settings", "demo", "--home-assistant",
        "--set", f"home_assistant.url={home_assistant.url}",
    ]  # fmt: skip
    for token, status in ((file, 0), (tmp_path / "nowhere", 2)):
        process = await asyncio.create_subprocess_exec(
            *command, "--set", f"home_assistant.token_file={token}", stdout=asyncio.subprocess.PIPE, env=os.environ
        )
        said, _ = await process.communicate()
        assert process.returncode == status, said.decode()
        assert ("HA exposed" in said.decode()) == (status == 0)
        assert home_assistant.token not in said.decode()
