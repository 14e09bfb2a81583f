"""A model hub on this machine, over HTTP, that misbehaves as it is told."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

REVISION = "a" * 40


class Hub:
    """Serves the hub's two questions and its files. Use as a context; `url` is its endpoint."""

    def __init__(
        self, repo: str, files: dict[str, bytes], large: tuple[str, ...] = (".safetensors", ".gguf", ".onnx")
    ) -> None:
        self.repo = repo
        self.files = dict(files)
        self.large = large
        self.newest = REVISION
        self.requests: list[tuple[str, str]] = []
        """Path and Range of every request."""
        self.tokens: list[str] = []
        self.breaks_off_after: dict[str, list[int]] = {}
        """File → how many bytes of each next answer come before the connection breaks."""
        self.hangs_after: dict[str, list[int]] = {}
        self.hangs_s = 5.0
        self.wrong_times: Counter[str] = Counter()
        """File → how many answers hold wrong bytes."""
        self.errors: dict[str, list[int]] = {}
        """File → statuses of the next answers."""
        self.ignores_ranges = False
        self.redirects_to = ""
        self.moved_to = ""
        """Folder of this hub that every file has moved to."""
        self.slow_s = 0.0

    def __enter__(self) -> Hub:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def ranges(self, name: str) -> list[str]:
        """The ranges asked for of a file, in order."""
        return [wanted for path, wanted in self.requests if PurePosixPath(path).name == name]

    def listing(self, folder: str) -> list[dict[str, Any]]:
        entries = []
        for path, content in self.files.items():
            if str(PurePosixPath(path).parent) == (folder or "."):
                entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content)}
                if path.endswith(self.large):
                    entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}
                else:
                    entry["oid"] = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
                entries.append(entry)
        return entries


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        hub, path = self.hub, unquote(urlsplit(self.path).path).lstrip("/")
        hub.requests.append((path, self.headers.get("Range", "")))
        hub.tokens.append(self.headers.get("Authorization", ""))
        name = PurePosixPath(path).name
        if hub.moved_to and path.startswith(f"{hub.moved_to}/"):
            self._file(name, hub.files[path.partition("/resolve/")[2].partition("/")[2]])
        elif hub.errors.get(name):
            self._answer(hub.errors[name].pop(0), b"not now")
        elif path == f"api/models/{hub.repo}/revision/main":
            self._answer(200, json.dumps({"sha": hub.newest}).encode())
        elif path.startswith(f"api/models/{hub.repo}/tree/"):
            folder = path.removeprefix(f"api/models/{hub.repo}/tree/").partition("/")[2]
            self._answer(200, json.dumps(hub.listing(folder)).encode())
        elif path.startswith(f"{hub.repo}/resolve/"):
            file = path.removeprefix(f"{hub.repo}/resolve/").partition("/")[2]
            if hub.moved_to:
                self._answer(307, b"", {"Location": f"/{hub.moved_to}/{path}"})
            elif hub.redirects_to:
                self._answer(302, b"", {"Location": f"{hub.redirects_to}/{path}"})
            elif file in hub.files:
                self._file(name, hub.files[file])
            else:
                self._answer(404, b"no such file")
        else:
            self._answer(404, b"no such page")

    def _file(self, name: str, content: bytes) -> None:
        hub = self.hub
        if hub.wrong_times[name] > 0:
            hub.wrong_times[name] -= 1
            content = bytes(byte ^ 0xFF for byte in content)
        wanted = self.headers.get("Range", "")
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and not hub.ignores_ranges else 0
        headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        body = content[start:]
        self.send_response(206 if start else 200)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        for fault, faults in (("break", hub.breaks_off_after), ("hang", hub.hangs_after)):
            if faults.get(name):
                self.wfile.write(body[: faults[name].pop(0)])
                self.wfile.flush()
                if fault == "hang":
                    time.sleep(hub.hangs_s)
                self.close_connection = True
                return
        if hub.slow_s:
            time.sleep(hub.slow_s)
        self.wfile.write(body)

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass
