"""Makes the pictures of docs/home-assistant.md from a real Home Assistant and a headless Chromium.

    script/setup-ha --frontend --version 2026.11.0 /tmp/ha-with-pages
    .venv/bin/python -m tests.home_assistant.pictures /tmp/ha-with-pages/bin/python [FOLDER]

Chromium is Debian's (`apt-get install chromium`). The server is advertised on the network for this.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.conftest import free_port, start_server
from tests.home_assistant.core import HomeAssistantCore
from tests.home_assistant.link import Link
from tests.home_assistant.voice import Voice

WIDTH, HEIGHT, ALL_OF_A_DIALOGUE = 1000, 720, 1600
SETTLED_S = 4.0
"""A page says nothing when it has stopped moving."""


class Browser:
    """One page of a headless Chromium, by its DevTools protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)

    @classmethod
    @asynccontextmanager
    async def start(cls, folder: Path) -> AsyncIterator[Browser]:
        port = free_port()
        program = shutil.which("chromium") or "chromium-browser"
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--lang=en-US"]
        options += [f"--remote-debugging-port={port}", f"--user-data-dir={folder}", f"--window-size={WIDTH},{HEIGHT}"]
        command = [program, *options, "about:blank"]
        chromium = await asyncio.create_subprocess_exec(*command, stderr=subprocess.DEVNULL)
        try:
            async with aiohttp.ClientSession() as http:
                page = await _first_page(http, port)
                async with http.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                    yield cls(socket)
        finally:
            chromium.terminate()
            await chromium.wait()

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            message = await self._socket.receive_json(timeout=60)
            if message.get("id") == number:
                return dict(message.get("result") or {"error": message.get("error")})

    async def resize(self, height: int) -> None:
        size = {"width": WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": False}
        await self.call("Emulation.setDeviceMetricsOverride", **size)

    async def open(self, url: str) -> None:
        await self.call("Page.navigate", url=url)
        await asyncio.sleep(SETTLED_S)

    async def run(self, script: str) -> Any:
        answer = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        return answer.get("result", {}).get("value", answer)

    async def click(self, text: str) -> None:
        """Click the innermost element that reads like this, through all shadow roots."""
        found = await self.run(_CLICK.replace("TEXT", json.dumps(text)))
        print("click", text, "->", found)
        await asyncio.sleep(SETTLED_S / 2)

    async def picture(self, path: Path) -> None:
        shot = await self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(shot["data"]))  # noqa: ASYNC240  # nothing else goes on here


_CLICK = """(() => {
  const wanted = TEXT; let best = null;
  const walk = root => { for (const one of root.querySelectorAll('*')) {
    if (one.shadowRoot) walk(one.shadowRoot);
    const text = (one.label || one.headline || one.innerText || '').trim();
    if (text === wanted && one.getClientRects().length) best = one;
  } };
  walk(document);
  if (!best) return 'not found';
  best.click(); return best.tagName;
})()"""


async def _first_page(http: aiohttp.ClientSession, port: int) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while True:
        try:
            async with http.get(f"http://127.0.0.1:{port}/json") as answer:
                pages = [one for one in await answer.json() if one["type"] == "page"]
                if pages:
                    return dict(pages[0])
        except aiohttp.ClientConnectionError:
            pass
        if time.monotonic() > deadline:
            raise TimeoutError("Chromium does not answer")
        await asyncio.sleep(0.2)


async def make(core: HomeAssistantCore, folder: Path, scratch: Path) -> None:
    """Every picture, in the order of the page."""
    async with core.connect() as link, Browser.start(scratch / "chromium") as browser:
        await browser.resize(HEIGHT)
        await browser.open(f"{core.url}/manifest.json")
        tokens = {
            "hassUrl": core.url, "clientId": f"{core.url}/", "access_token": core.token, "token_type": "Bearer",
            "expires_in": 86400, "expires": (time.time() + 86400) * 1000, "refresh_token": "",
        }  # fmt: skip
        await browser.run(f"localStorage.setItem('hassTokens', {json.dumps(json.dumps(tokens))})")
        await browser.run("localStorage.setItem('dockedSidebar', JSON.stringify('always_hidden'))")
        await browser.open(f"{core.url}/config/integrations/dashboard")
        await asyncio.sleep(SETTLED_S)
        await browser.picture(folder / "discovered.png")
        await browser.click("Add")
        await browser.picture(folder / "discovered-confirm.png")
        await browser.open(f"{core.url}/config/integrations/dashboard/add?domain=wyoming")
        await browser.click("OK")
        await browser.click("Set up another instance of Wyoming Protocol")
        await browser.picture(folder / "add-by-hand.png")
        flow = next(one for one in await link.call("config_entries/flow/progress") if one["handler"] == "wyoming")
        answer = await link.post(f"/api/config/config_entries/flow/{flow['flow_id']}", {})
        voice = await Voice.of_entry(link, answer["result"]["entry_id"])
        await browser.open(f"{core.url}/config/integrations/integration/wyoming")
        await browser.picture(folder / "integration.png")
        async with voice.pipeline("en", name="Superwhisper"):
            await browser.open(f"{core.url}/config/voice-assistants/assistants")
            await browser.resize(ALL_OF_A_DIALOGUE)
            await browser.click("Superwhisper")
            await browser.picture(folder / "assistant.png")
        await browser.resize(HEIGHT)
        await browser.open(f"{core.url}/config/voice-assistants/expose")
        await browser.picture(folder / "expose.png")
        await browser.resize(1250)
        await browser.open(f"{core.url}/profile/security")
        await browser.picture(folder / "token.png")


def main(python: Path, folder: Path) -> None:
    """Start everything, make the pictures, stop everything."""
    scratch = Path(tempfile.mkdtemp())
    core = HomeAssistantCore.start(python, scratch, language="en")
    port = free_port()
    options = ("--uri", f"tcp://0.0.0.0:{port}", "--zeroconf")
    server = start_server(scratch / "server.txt", *options, port=port)
    try:
        asyncio.run(_until_discovered(core))
        asyncio.run(make(core, folder, scratch))
    finally:
        server.stop()
        core.stop()


async def _until_discovered(core: HomeAssistantCore) -> None:
    async with core.connect() as link:
        news = await link.subscribe("config_entries/flow/subscribe")
        while not await _flows(link):
            await news.next(60)


async def _flows(link: Link) -> list[Any]:
    return [one for one in await link.call("config_entries/flow/progress") if one["handler"] == "wyoming"]


if __name__ == "__main__":
    where = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parents[2] / "docs" / "images"
    main(Path(sys.argv[1]), where)
