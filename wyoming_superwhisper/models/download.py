"""Fetches models of the catalogue from the hub: resumes, verifies, and moves into place only what is whole.

By urllib rather than huggingface_hub: two JSON requests are all that is needed of the hub's own protocol, the base
install stays light, and resuming, stalls, checks and what lies where are ours to promise.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import logging
import os
import shutil
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Protocol

from wyoming_superwhisper import __version__
from wyoming_superwhisper.errors import ModelError
from wyoming_superwhisper.models.catalogue import CatalogueFile, CatalogueModel
from wyoming_superwhisper.models.headers import check_header
from wyoming_superwhisper.models.store import FileRecord, ModelRecord, file_sha256, read_record

logger = logging.getLogger(__name__)

DEFAULT_ENDPOINT = "https://huggingface.co"
"""The hub; HF_ENDPOINT names another."""

PIECE_BYTES = 1 << 18
"""Bytes read at a time."""

SPARE_BYTES = 64 << 20
"""Room that must stay free on the disk."""

STAGING = ".downloads"
"""Folder in the store where what is not whole yet lies."""

_ESSENTIAL = (".safetensors", ".gguf", ".onnx", ".onnx.json", "config.json", "tokenizer.json")
"""Ends of names without which a model is none; other files of the catalogue may be missing from a repository."""


class Progress(Protocol):
    """Told how far a download is."""

    def __call__(self, file: str, done: int, total: int) -> None: ...


class Store(Protocol):
    """What the download must know of the store (`models.store.ModelStore`)."""

    folder: Path

    def folder_of(self, name: str) -> Path: ...


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a download waits and how often it tries again, in seconds."""

    stall_s: float = 30.0
    """Without a byte for this long the connection is given up."""
    tries: int = 6
    """Attempts in a row that bring nothing new."""
    first_pause_s: float = 1.0
    longest_pause_s: float = 30.0

    def pauses(self) -> Iterator[float]:
        """The pause before each further attempt."""
        for attempt in range(self.tries - 1):
            yield min(self.first_pause_s * 2**attempt, self.longest_pause_s)


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file as the hub describes it."""

    file: CatalogueFile
    path: str
    size: int
    sha256: str = ""
    """Large files: their SHA-256."""
    git_hash: str = ""
    """Small files: git's hash of them."""


class _Broken(Exception):
    """The connection broke off, stalled or was refused for the moment; another attempt may go on."""


class _WrongBytes(Exception):
    """A whole file came that is not the one wanted."""


class Downloader:
    """Fetches models from one hub."""

    def __init__(self, endpoint: str | None = None, patience: Patience | None = None, token: str | None = None) -> None:
        """`endpoint` and `token` are HF_ENDPOINT and HF_TOKEN of the environment where they are not given."""
        self._endpoint = (endpoint or os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")
        self._patience = patience or Patience()
        self._token = token if token is not None else os.environ.get("HF_TOKEN", "")
        self._opener = urllib.request.build_opener(_Redirects(self._endpoint))

    def fetch(self, model: CatalogueModel, store: Store, progress: Progress | None = None) -> ModelRecord:
        """Fetch a model into the store and record what came.

        What an earlier attempt left is gone on with. Raises `ModelError`: the hub can't be reached or has no such
        thing, the bytes are wrong, the disk is full, somebody else is fetching the same model.
        """
        staging = store.folder / STAGING / model.name
        target = store.folder_of(model.name)
        with _disk_errors(store.folder):
            staging.mkdir(parents=True, exist_ok=True)
            with _only_one(staging, model.name):
                known = read_record(target)
                revision = self._revision(model, known)
                _forget_other_revision(staging, revision)
                remote = self._describe(model, revision)
                _check_room(store.folder, staging, remote)
                self._fetch_files(model, remote, revision, staging, progress or _silent)
                record = _record(model, revision, remote, staging, known)
                _move_into_place(staging, target, record)
        return record

    # --- what there is ----------------------------------------------------------------------------------------------

    def _revision(self, model: CatalogueModel, known: ModelRecord | None) -> str:
        """The commit to fetch: the catalogue's, else the one fetched before, else the newest."""
        if model.revision or (known and known.repo == model.repo):
            return model.revision or (known.revision if known else "")
        answer = self._json(f"/api/models/{model.repo}/revision/main")
        revision = answer.get("sha") if isinstance(answer, dict) else None
        if not isinstance(revision, str) or not revision:
            raise ModelError(f"{self._endpoint} does not say which revision of {model.repo} is the newest")
        return revision

    def _describe(self, model: CatalogueModel, revision: str) -> list[RemoteFile]:
        """Sizes and hashes of the model's files."""
        folder = f"/{model.folder}" if model.folder else ""
        answer = self._json(f"/api/models/{model.repo}/tree/{revision}{folder}")
        listed = {entry.get("path"): entry for entry in answer if isinstance(entry, dict)} if answer else {}
        found = []
        for file in model.files:
            path = model.path_of(file)
            if path in listed:
                found.append(_remote_file(file, path, listed[path]))
            elif file.name.endswith(_ESSENTIAL):
                raise ModelError(f"{model.repo} holds no {path} at revision {revision[:12]}")
        return found

    def _json(self, path: str) -> Any:
        url = self._endpoint + urllib.parse.quote(path)

        def ask() -> Any:
            with self._open(url, {}) as answer:
                return json.loads(_read_all(answer))

        try:
            return self._insist(ask, url)
        except ValueError as error:
            raise ModelError(f"{url} answers with something that is not JSON") from error

    # --- the files --------------------------------------------------------------------------------------------------

    def _fetch_files(
        self, model: CatalogueModel, remote: list[RemoteFile], revision: str, staging: Path, progress: Progress
    ) -> None:
        total = sum(one.size for one in remote)
        before = 0
        for one in remote:
            url = f"{self._endpoint}/{model.repo}/resolve/{revision}/{urllib.parse.quote(one.path)}"
            done_before = before

            def tell(done: int, name: str = one.file.name, done_before: int = done_before) -> None:
                progress(name, done_before + done, total)

            self._fetch_file(url, one, staging / one.file.name, tell)
            before += one.size

    def _fetch_file(self, url: str, remote: RemoteFile, path: Path, tell: Callable[[int], None]) -> None:
        if path.is_file() and not _problem(path, remote):
            tell(remote.size)
            return
        for last_try in (False, True):
            self._fetch_bytes(url, remote, _part(path), tell)
            problem = _problem(_part(path), remote)
            if not problem:
                _part(path).replace(path)
                return
            # Kept bytes of another file, or a fault on the way: once more from the start.
            _part(path).unlink()
            if last_try:
                raise ModelError(f"{url} gives the wrong bytes: {problem}; try again later, or another HF_ENDPOINT")
            logger.warning("%s: %s; fetching it again from the start", remote.file.name, problem)

    def _fetch_bytes(self, url: str, remote: RemoteFile, part: Path, tell: Callable[[int], None]) -> None:
        """Fill the part file up to the file's size, going on where it ends, in as many attempts as it takes."""

        def attempt() -> None:
            have = part.stat().st_size if part.exists() else 0
            if have > remote.size:
                part.unlink()
                have = 0
            tell(have)
            if have < remote.size or not part.exists():
                self._append(url, part, have, remote.size, tell)

        self._insist(attempt, url, lambda: part.stat().st_size if part.exists() else 0)

    def _append(self, url: str, part: Path, have: int, size: int, tell: Callable[[int], None]) -> None:
        headers = {"Range": f"bytes={have}-"} if have else {}
        with self._open(url, headers) as answer:
            # 200 to a range: a server that can't resume sends all of it.
            resumed = answer.status == 206 and _range_start(answer.headers.get("Content-Range", "")) == have
            have = have if resumed else 0
            with part.open("ab" if resumed else "wb") as file:
                while have < size and (piece := _read(answer, min(PIECE_BYTES, size - have))):
                    file.write(piece)
                    have += len(piece)
                    tell(have)
        if have < size:
            raise _Broken(f"the connection broke off after {have} of {size} bytes")

    # --- one request ------------------------------------------------------------------------------------------------

    def _insist(self, attempt: Callable[[], Any], url: str, came: Callable[[], int] = lambda: 0) -> Any:
        """Try until it works; an attempt that brought new bytes starts the count of tries again."""
        pauses, had = self._patience.pauses(), came()
        while True:
            try:
                return attempt()
            except _Broken as error:
                if came() > had:
                    pauses, had = self._patience.pauses(), came()
                pause_s = next(pauses, None)
                if pause_s is None:
                    raise ModelError(f"{url} can't be fetched: {error}") from error
                logger.warning("%s; trying again in %g s", error, pause_s)
                time.sleep(pause_s)

    def _open(self, url: str, headers: Mapping[str, str]) -> Any:
        """A GET. Raises `_Broken` for what may pass, `ModelError` for what won't."""
        request = urllib.request.Request(url, headers={"User-Agent": f"wyoming-superwhisper/{__version__}", **headers})
        if self._token:
            request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        try:
            return self._opener.open(request, timeout=self._patience.stall_s)
        except urllib.error.HTTPError as error:
            with error:
                raise _http_problem(url, error) from error
        except urllib.error.URLError as error:
            raise _Broken(f"{_host(url)} can't be reached ({error.reason})") from error
        except (OSError, http.client.HTTPException) as error:
            raise _Broken(f"{_host(url)} does not answer ({error or type(error).__name__})") from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows the hub to where the bytes lie: the token stays with the hub, and https is never left."""

    def __init__(self, endpoint: str) -> None:
        self._secure = endpoint.startswith("https://")

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if self._secure and not newurl.startswith("https://"):
            raise ModelError(f"{req.full_url} leads to {newurl}, which is not encrypted")
        redirected = super().redirect_request(req, fp, code, msg, headers, newurl)
        token = req.unredirected_hdrs.get("Authorization")
        if redirected is not None and token and _host(newurl) == _host(req.full_url):
            redirected.add_unredirected_header("Authorization", token)
        return redirected


def _http_problem(url: str, error: urllib.error.HTTPError) -> Exception:
    if error.code in (401, 403):
        return ModelError(f"{url} is not open to everybody ({error.code}); set HF_TOKEN, or accept its licence there")
    if error.code == 404:
        return ModelError(f"{url} does not exist (404)")
    if error.code in (408, 416, 425, 429) or error.code >= 500:
        return _Broken(f"{_host(url)} answers {error.code} {error.reason}")
    return ModelError(f"{url} answers {error.code} {error.reason}")


def _read_all(answer: Any) -> bytes:
    try:
        whole: bytes = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(f"the connection stalled or broke off ({error or type(error).__name__})") from error
    return whole


def _read(answer: Any, size: int) -> bytes:
    """What has come, up to `size` bytes; nothing at the end. Waits for no more than that, so a stall loses nothing."""
    try:
        piece: bytes = answer.read1(size)
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(f"the connection stalled or broke off ({error or type(error).__name__})") from error
    return piece


def _range_start(header: str) -> int:
    """First byte of a Content-Range ("bytes 100-199/200"); -1: not understood."""
    start = header.removeprefix("bytes ").partition("-")[0]
    return int(start) if start.isdigit() else -1


def _host(url: str) -> str:
    return urllib.parse.urlsplit(url).netloc


# --- what is right ---------------------------------------------------------------------------------------------


def _remote_file(file: CatalogueFile, path: str, entry: Mapping[str, Any]) -> RemoteFile:
    large = entry.get("lfs") or {}
    size = large.get("size", entry.get("size"))
    if type(size) is not int or size < 0:
        raise ModelError(f"the hub does not say how large {path} is")
    if file.size is not None and file.size != size:
        raise ModelError(f"{path} has {size} bytes at the hub; the catalogue says {file.size}")
    sha256 = file.sha256 or str(large.get("oid") or "").removeprefix("sha256:")
    return RemoteFile(file, path, size, sha256, "" if large else str(entry.get("oid") or ""))


def _problem(path: Path, remote: RemoteFile) -> str:
    """What is wrong with a fetched file; empty: nothing."""
    size = path.stat().st_size
    if size != remote.size:
        return f"{remote.file.name} has {size} bytes instead of {remote.size}"
    if remote.sha256 and file_sha256(path) != remote.sha256:
        return f"{remote.file.name} has a wrong SHA-256"
    if remote.git_hash and _git_hash(path) != remote.git_hash:
        return f"{remote.file.name} has a wrong hash"
    return ""


def _git_hash(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _record(
    model: CatalogueModel, revision: str, remote: list[RemoteFile], staging: Path, known: ModelRecord | None
) -> ModelRecord:
    """What came. Raises `ModelError` where it is not what came the first time, or not what its name says."""
    files = {}
    for one in remote:
        path = staging / one.file.name
        check_header(path)
        files[one.file.name] = FileRecord(one.size, file_sha256(path))
    if known and known.revision == revision:
        for name, first in known.files.items():
            if name in files and files[name].sha256 != first.sha256:
                raise ModelError(
                    f"{model.repo}: {name} is not what it was when it was first downloaded ({known.fetched})"
                )
    return ModelRecord(model.name, model.repo, revision, datetime.now(UTC).isoformat(timespec="seconds"), files)


# --- on the disk -----------------------------------------------------------------------------------------------


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _forget_other_revision(staging: Path, revision: str) -> None:
    """Bytes of another revision must not be gone on with."""
    mark = staging / ".revision"
    if not mark.is_file() or mark.read_text(encoding="utf-8") != revision:
        for path in staging.iterdir():
            if path.name != ".lock":
                path.unlink()
        mark.write_text(revision, encoding="utf-8")


def _check_room(folder: Path, staging: Path, remote: list[RemoteFile]) -> None:
    here = sum(path.stat().st_size for path in staging.iterdir() if path.is_file())
    missing = sum(one.size for one in remote) - here
    free = shutil.disk_usage(folder).free
    if missing + SPARE_BYTES > free:
        raise _no_room(folder, missing, free)


def _no_room(folder: Path, missing: int, free: int) -> ModelError:
    return ModelError(
        f"the disk of {folder} is too full: {missing / 1e9:.2f} GB are still to come, {free / 1e9:.2f} GB are free; "
        "make room, or name another folder with --models"
    )


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise ModelError(f"the disk of {folder} is full; make room, or name another with --models") from error
        raise ModelError(f"{error.filename or folder} can't be written: {error.strerror or error}") from error


def _move_into_place(staging: Path, target: Path, record: ModelRecord) -> None:
    """Each file in one step, the record last: a model is whole or visibly not."""
    target.mkdir(parents=True, exist_ok=True)
    (target / "superwhisper.json").unlink(missing_ok=True)
    for name in record.files:
        (staging / name).replace(target / name)
    record.write(target)
    shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def _only_one(staging: Path, name: str) -> Iterator[None]:
    """Hold the lock on a model's staging folder. Raises `ModelError` where somebody else has it."""
    with (staging / ".lock").open("w", encoding="utf-8") as lock:
        if not _try_lock(lock.fileno()):
            raise ModelError(f"{name} is being downloaded by another process already; wait for it to end")
        yield


def _try_lock(number: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _silent(file: str, done: int, total: int) -> None:
    pass
