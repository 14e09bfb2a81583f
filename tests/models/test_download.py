from __future__ import annotations

import errno
import http.client
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import pytest

from tests.conftest import fill_disk
from tests.models.hub import REVISION, Hub
from tests.models.tiny_models import gguf, onnx, safetensors, whisper_files
from wyoming_superwhisper.errors import ModelError
from wyoming_superwhisper.models import download
from wyoming_superwhisper.models.catalogue import CatalogueFile, CatalogueModel
from wyoming_superwhisper.models.download import Downloader, Patience
from wyoming_superwhisper.models.store import RECORD, read_record

REPO = "maker/tiny"
BIG = "model.safetensors"
QUICK = Patience(stall_s=30.0, tries=3, first_pause_s=0.01, longest_pause_s=0.02)
IMPATIENT = replace(QUICK, stall_s=1.0)


class Store:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def folder_of(self, name: str) -> Path:
        return self.folder / name


def model(**changes: Any) -> CatalogueModel:
    files = tuple(CatalogueFile(name) for name in (*whisper_files(), "normalizer.json"))
    fields = {"name": "tiny", "kind": "whisper", "description": "", "repo": REPO, "files": files, "licence": "MIT"}
    return CatalogueModel(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


@pytest.fixture
def hub() -> Iterator[Hub]:
    content = safetensors(200_000)
    with Hub(REPO, {**whisper_files(), BIG: content}) as hub:
        yield hub


def fetch(
    hub: Hub, store: Store, wanted: CatalogueModel | None = None, patience: Patience = QUICK, **options: Any
) -> Any:
    return Downloader(hub.url, patience, token="").fetch(wanted or model(), store, **options)


def part(store: Store, name: str = BIG) -> Path:
    return store.folder / ".downloads" / "tiny" / f"{name}.part"


# --- the whole ---------------------------------------------------------------------------------------------------


def test_a_model_arrives_whole_with_its_record(hub: Hub, store: Store) -> None:
    record = fetch(hub, store)
    folder = store.folder_of("tiny")
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != RECORD} == hub.files
    assert read_record(folder) == record
    assert record.revision == REVISION
    assert record.files[BIG].size == len(hub.files[BIG])
    assert len(record.files[BIG].sha256) == 64
    assert not (store.folder / ".downloads" / "tiny").exists()


def test_the_catalogues_revision_is_fetched_and_the_newest_not_asked_for(hub: Hub, store: Store) -> None:
    record = fetch(hub, store, model(revision="b" * 40))
    assert record.revision == "b" * 40
    assert not any("revision/main" in path for path, _ in hub.requests)


def test_the_first_revision_stays_pinned_afterwards(hub: Hub, store: Store) -> None:
    fetch(hub, store)
    hub.newest = "c" * 40
    assert fetch(hub, store).revision == REVISION


def test_files_in_a_folder_of_the_repository_are_found_there(store: Store) -> None:
    files = {"fr/x/v.onnx": onnx(), "fr/x/v.onnx.json": b"{}"}
    wanted = model(kind="voice", folder="fr/x", files=(CatalogueFile("v.onnx"), CatalogueFile("v.onnx.json")))
    with Hub(REPO, files) as hub:
        fetch(hub, store, wanted)
    assert (store.folder_of("tiny") / "v.onnx").read_bytes() == files["fr/x/v.onnx"]


def test_progress_runs_from_nothing_to_all(hub: Hub, store: Store) -> None:
    seen: list[tuple[str, int, int]] = []
    fetch(hub, store, progress=lambda *args: seen.append(args))
    total = sum(map(len, hub.files.values()))
    dones = [done for _, done, _ in seen]
    assert dones == sorted(dones)
    assert dones[-1] == total
    assert {one[2] for one in seen} == {total}


def test_a_file_that_a_repository_may_lack_is_left_out_but_not_one_it_needs(hub: Hub, store: Store) -> None:
    assert "normalizer.json" not in fetch(hub, store).files
    del hub.files[BIG]
    with pytest.raises(ModelError, match=r"maker/tiny holds no model.safetensors at revision aaaa"):
        fetch(hub, Store(store.folder / "other"))


# --- faults on the way -------------------------------------------------------------------------------------------


def test_a_connection_that_breaks_off_is_gone_on_with(hub: Hub, store: Store) -> None:
    hub.breaks_off_after[BIG] = [100_000, 0, 300_000]
    fetch(hub, store)
    assert (store.folder_of("tiny") / BIG).read_bytes() == hub.files[BIG]
    assert hub.ranges(BIG) == ["", "bytes=100000-", "bytes=100000-", "bytes=400000-"]


def test_progress_counts_as_hope_so_many_short_breaks_are_survived(hub: Hub, store: Store) -> None:
    hub.breaks_off_after[BIG] = [10_000] * 20
    fetch(hub, store)
    assert (store.folder_of("tiny") / BIG).read_bytes() == hub.files[BIG]


def test_a_server_that_hangs_is_given_up_and_gone_on_with(hub: Hub, store: Store) -> None:
    hub.hangs_after[BIG] = [50_000]
    fetch(hub, store, patience=IMPATIENT)
    assert hub.ranges(BIG) == ["", "bytes=50000-"]
    assert (store.folder_of("tiny") / BIG).read_bytes() == hub.files[BIG]


def test_a_server_that_only_hangs_is_an_error_in_the_end(hub: Hub, store: Store) -> None:
    hub.hangs_after[BIG] = [0] * 10
    hub.hangs_s = 2.0
    with pytest.raises(ModelError, match=r"model.safetensors can't be fetched: the connection stalled"):
        fetch(hub, store, patience=IMPATIENT)
    assert not store.folder_of("tiny").exists()


def test_an_interrupted_download_goes_on_where_it_was(hub: Hub, store: Store) -> None:
    hub.breaks_off_after[BIG] = [123_456, 0, 0, 0]
    with pytest.raises(ModelError, match="broke off after 123456"):
        fetch(hub, store)
    hub.breaks_off_after.clear()
    assert part(store).stat().st_size == 123_456
    hub.requests.clear()
    fetch(hub, store)
    assert hub.ranges(BIG) == ["bytes=123456-"]
    assert hub.ranges("config.json") == []
    assert (store.folder_of("tiny") / BIG).read_bytes() == hub.files[BIG]


def test_a_server_that_cannot_resume_sends_it_all_again(hub: Hub, store: Store) -> None:
    hub.ignores_ranges = True
    hub.breaks_off_after[BIG] = [100_000]
    fetch(hub, store)
    assert (store.folder_of("tiny") / BIG).read_bytes() == hub.files[BIG]


def test_wrong_bytes_are_fetched_once_more(hub: Hub, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    hub.wrong_times[BIG] = 1
    fetch(hub, store)
    assert "wrong SHA-256; fetching it again" in caplog.text
    assert (store.folder_of("tiny") / BIG).read_bytes() == hub.files[BIG]


@pytest.mark.parametrize("name", [BIG, "config.json"])
def test_bytes_that_stay_wrong_never_reach_the_store(hub: Hub, store: Store, name: str) -> None:
    hub.wrong_times[name] = 99
    with pytest.raises(ModelError, match=rf"{name} gives the wrong bytes: {name} has a wrong"):
        fetch(hub, store)
    assert not store.folder_of("tiny").exists()


def test_kept_bytes_of_something_else_are_thrown_away(hub: Hub, store: Store) -> None:
    part(store).parent.mkdir(parents=True)
    (part(store).parent / ".revision").write_text(REVISION)
    part(store).write_bytes(b"x" * 1000)
    fetch(hub, store)
    assert (store.folder_of("tiny") / BIG).read_bytes() == hub.files[BIG]


def test_kept_bytes_that_are_too_many_are_thrown_away(hub: Hub, store: Store) -> None:
    part(store).parent.mkdir(parents=True)
    (part(store).parent / ".revision").write_text(REVISION)
    part(store).write_bytes(hub.files[BIG] + b"more")
    fetch(hub, store)
    assert (store.folder_of("tiny") / BIG).read_bytes() == hub.files[BIG]


def test_kept_bytes_of_another_revision_are_thrown_away(hub: Hub, store: Store) -> None:
    hub.breaks_off_after[BIG] = [5000, 0, 0, 0]
    with pytest.raises(ModelError):
        fetch(hub, store)
    hub.breaks_off_after.clear()
    hub.newest = "d" * 40
    hub.requests.clear()
    assert fetch(hub, store).revision == "d" * 40
    assert hub.ranges(BIG) == [""]


def test_a_hub_that_is_busy_for_a_moment_is_asked_again(hub: Hub, store: Store) -> None:
    hub.errors["main"] = [503, 429]
    hub.errors[BIG] = [500, 502]
    fetch(hub, store)
    assert (store.folder_of("tiny") / BIG).read_bytes() == hub.files[BIG]


@pytest.mark.parametrize(
    ("status", "says"), [(401, "set HF_TOKEN"), (403, "licence"), (404, "does not exist"), (410, "410")]
)
def test_a_hub_that_refuses_is_not_asked_again(hub: Hub, store: Store, status: int, says: str) -> None:
    hub.errors[BIG] = [status] * 9
    with pytest.raises(ModelError, match=says):
        fetch(hub, store)
    assert len(hub.ranges(BIG)) == 1


def test_a_hub_that_is_not_there_is_one_sentence(store: Store) -> None:
    with pytest.raises(ModelError, match=r"can't be fetched: 127.0.0.1:9 can't be reached"):
        Downloader("http://127.0.0.1:9", QUICK).fetch(model(), store)


def test_an_answer_that_is_no_json_is_one_sentence(hub: Hub, store: Store) -> None:
    hub.errors["main"] = [200]
    with pytest.raises(ModelError, match="not JSON"):
        fetch(hub, store)


# --- trust -------------------------------------------------------------------------------------------------------


def test_what_changed_since_the_first_download_is_refused(hub: Hub, store: Store) -> None:
    fetch(hub, store)
    hub.files[BIG] = safetensors(200_001)
    with pytest.raises(ModelError, match=r"not what it was when it was first downloaded"):
        fetch(hub, store)


def test_a_size_or_hash_of_the_catalogue_is_held_against_the_hub(hub: Hub, store: Store) -> None:
    files = tuple(CatalogueFile(name, size=7 if name == BIG else None) for name in whisper_files())
    with pytest.raises(ModelError, match="the catalogue says 7"):
        fetch(hub, store, model(files=files))
    files = tuple(CatalogueFile(name, sha256="0" * 64 if name == BIG else "") for name in whisper_files())
    with pytest.raises(ModelError, match="wrong SHA-256"):
        fetch(hub, store, model(files=files))


def test_a_file_of_another_format_is_refused(store: Store) -> None:
    wanted = model(kind="llama", files=(CatalogueFile("m.gguf"),))
    with (
        Hub(REPO, {"m.gguf": b"<html>not found</html>" + bytes(40)}) as hub,
        pytest.raises(ModelError, match="GGUF format"),
    ):
        fetch(hub, store, wanted)
    with Hub(REPO, {"m.gguf": gguf()}) as hub:
        fetch(hub, Store(store.folder / "other"), wanted)


def test_the_token_goes_to_the_hub_and_not_to_where_it_redirects(hub: Hub, store: Store) -> None:
    with Hub(REPO, hub.files) as elsewhere:
        hub.redirects_to = elsewhere.url
        hub.breaks_off_after[BIG] = []
        elsewhere.breaks_off_after[BIG] = [1000]
        Downloader(hub.url, QUICK, token="s3cret").fetch(model(), store)
        assert set(hub.tokens) == {"Bearer s3cret"}
        assert set(elsewhere.tokens) == {""}
        assert elsewhere.ranges(BIG) == ["", "bytes=1000-"]


def test_the_token_follows_within_the_hub(hub: Hub, store: Store) -> None:
    hub.moved_to = "cache"
    hub.breaks_off_after[BIG] = [1000]
    Downloader(hub.url, QUICK, token="s3cret").fetch(model(), store)
    assert set(hub.tokens) == {"Bearer s3cret"}
    assert [wanted for path, wanted in hub.requests if path.startswith("cache/") and BIG in path] == ["", "bytes=1000-"]


def test_an_encrypted_hub_may_not_lead_to_plain_text() -> None:
    redirects = download._Redirects("https://hub")
    request = SimpleNamespace(full_url="https://hub/x")
    with pytest.raises(ModelError, match="not encrypted"):
        redirects.redirect_request(request, None, 302, "", {}, "http://elsewhere/x")  # type: ignore[arg-type]


# --- the disk ----------------------------------------------------------------------------------------------------


def test_a_full_disk_is_said_before_anything_is_fetched(
    hub: Hub, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(ModelError, match=r"too full: .* are still to come"):
        fetch(hub, store)
    assert hub.ranges(BIG) == []


def test_a_disk_that_fills_up_on_the_way_is_one_sentence(
    hub: Hub, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.open

    def open_full(path: Path, mode: str = "r", *args: Any, **options: Any) -> IO[Any]:
        if path.name.endswith(".part"):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return real(path, mode, *args, **options)

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(ModelError, match=r"the disk of .* is full; make room"):
        fetch(hub, store)


def test_a_disk_that_is_really_full_keeps_what_came_and_the_next_try_goes_on_there(small_disk: Path) -> None:
    content = safetensors(1_000_000)
    filler = small_disk / "filler"

    def fill(file: str, done: int, total: int) -> None:
        if file == BIG and done > total / 2 and not filler.exists():
            fill_disk(filler)

    store = Store(small_disk / "models")
    with Hub(REPO, {**whisper_files(), BIG: content}) as hub:
        with pytest.raises(ModelError, match=r"the disk of .* is full; make room, or name another with --models"):
            fetch(hub, store, progress=fill)
        came = part(store).stat().st_size
        assert 0 < came < len(content)
        with pytest.raises(ModelError, match=r"too full: .* are still to come"):
            fetch(hub, store)
        filler.unlink()
        fetch(hub, store)
        assert hub.ranges(BIG) == ["", f"bytes={came}-"]
    assert (store.folder_of("tiny") / BIG).read_bytes() == content


def test_a_folder_that_cannot_be_written_is_named(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ModelError, match="can't be written"):
        fetch(hub, Store(tmp_path / "file" / "models"))


def test_two_downloads_of_one_model_do_not_meet(hub: Hub, store: Store) -> None:
    staging = store.folder / ".downloads" / "tiny"
    staging.mkdir(parents=True)
    code = (
        "import sys, time; from pathlib import Path; from wyoming_superwhisper.models.download import _only_one\n"
        "with _only_one(Path(sys.argv[1]), 'tiny'): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(staging)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ModelError, match="tiny is being downloaded by another process"):
            fetch(hub, store)
        holder.communicate()
    fetch(hub, store)


def test_whatever_breaks_a_model_is_whole_or_not_there(store: Store) -> None:
    rng = random.Random(7)
    content = safetensors(50_000)
    with Hub(REPO, {**whisper_files(), BIG: content}) as hub:
        for round_number in range(10):
            hub.breaks_off_after[BIG] = [rng.randrange(len(content)) for _ in range(rng.randrange(4))]
            hub.wrong_times[BIG] = rng.randrange(3)
            mine = Store(store.folder / str(round_number))
            try:
                fetch(hub, mine)
            except ModelError:
                assert not mine.folder_of("tiny").exists()
            else:
                assert (mine.folder_of("tiny") / BIG).read_bytes() == content
            hub.breaks_off_after.clear()
            hub.wrong_times.clear()
            fetch(hub, mine)
            assert (mine.folder_of("tiny") / BIG).read_bytes() == content


def test_a_description_that_breaks_off_is_asked_for_again(
    hub: Hub, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = [True]
    whole = download._read_all

    def breaks_off_once(answer: Any) -> bytes:
        class Short:
            def read(self) -> bytes:
                raise http.client.IncompleteRead(b"{")

        return whole(Short() if broken and broken.pop() else answer)

    monkeypatch.setattr(download, "_read_all", breaks_off_once)
    fetch(hub, store)
    assert not broken
