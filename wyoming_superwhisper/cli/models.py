"""List, download and verify models, and say where they lie."""

from __future__ import annotations

import argparse
import shutil
import sys
import time

from wyoming_superwhisper import gpu
from wyoming_superwhisper.cli import options as shared
from wyoming_superwhisper.errors import ModelError
from wyoming_superwhisper.models import download
from wyoming_superwhisper.models.catalogue import CatalogueModel, Kind
from wyoming_superwhisper.models.store import ModelStore

EPILOG = """\
examples:
  wyoming-superwhisper models list
  wyoming-superwhisper models download auto               what suits this machine, and a voice for each language
  wyoming-superwhisper models download fr_FR-siwis-medium
  wyoming-superwhisper models verify                      read every file again and compare
  wyoming-superwhisper models path whisper-large-v3

HF_ENDPOINT names another hub or mirror, HF_TOKEN a token for repositories that ask for one."""

_KIND_TITLES: dict[Kind, str] = {
    "whisper": "Speech recognition",
    "llama": "Language models",
    "voice": "Voices",
}
_GIGABYTE, _MEGABYTE = 10**9, 10**6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `models`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="what there is, what is here, and what suits this machine")
    fetch = actions.add_parser("download", help="fetch models; what is interrupted goes on where it was")
    fetch.add_argument("names", nargs="+", metavar="NAME", help="models, or auto: what suits this machine")
    fetch.add_argument("--again", action="store_true", help="also fetch what is here already")
    check = actions.add_parser("verify", help="read the files again and compare them with what was downloaded")
    check.add_argument("names", nargs="*", metavar="NAME", help="models (default: all that are here)")
    where = actions.add_parser("path", help="print the folder of the models, or of one")
    where.add_argument("name", nargs="?", metavar="NAME", help="a model")
    for action, run_action in ((listing, _list), (fetch, _download), (check, _verify), (where, _path)):
        shared.add_models(action)
        shared.add_settings(action)
        action.set_defaults(run_action=run_action)


def run(options: argparse.Namespace) -> int:
    """Do what was asked for."""
    settings = shared.server_settings(options, quiet=True)
    card = gpu.choose(settings.gpu.device)
    store = ModelStore(settings.models.dir, card)
    status: int = options.run_action(options, store)
    return status


def _list(options: argparse.Namespace, store: ModelStore) -> int:
    suits = {store.recommended("whisper"), store.recommended("llama"), *store.catalogue.voices.values()}
    width = max(len(name) for name in store.catalogue.models)
    for kind, title in _KIND_TITLES.items():
        print(f"{title}:")
        for model in store.catalogue.of_kind(kind):
            mark = "*" if model.name in suits else " "
            about = f"{model.description} ({model.licence})"
            print(f" {mark} {model.name:<{width}}  {_state(store, model):<12} {_size(model):>8}  {about}")
    print(f"\n* suits this machine. Folder: {store.folder}. Demo models are part of the package (--settings demo).")
    return 0


def _state(store: ModelStore, model: CatalogueModel) -> str:
    if not store.folder_of(model.name).is_dir():
        return "not here"
    return "here" if store.is_present(model.name) else "not whole"


def _size(model: CatalogueModel) -> str:
    size = model.about_bytes
    return f"{size / _GIGABYTE:.1f} GB" if size >= _GIGABYTE else f"{size / _MEGABYTE:.0f} MB"


def _download(options: argparse.Namespace, store: ModelStore) -> int:
    for name in _expand(options.names, store):
        model = store.catalogue.get(name)
        if store.is_present(name) and not options.again:
            print(f"{model.name} is here already.")
            continue
        print(f"{model.name} ({_size(model)}, licence: {model.licence})")
        progress = ProgressLine()
        try:
            record = download.Downloader().fetch(model, store, progress.show)
        finally:
            progress.end()
        print(f"{model.name} is here: {store.folder_of(name)} (revision {record.revision[:12]})")
    return 0


def _expand(names: list[str], store: ModelStore) -> list[str]:
    """The names, `auto` replaced by what suits the machine. Raises `ModelError` before anything is fetched."""
    suits = [store.recommended("whisper"), store.recommended("llama"), *store.catalogue.voices.values()]
    expanded = [one for name in names for one in (suits if name == "auto" else [store.catalogue.get(name).name])]
    return list(dict.fromkeys(expanded))


def _verify(options: argparse.Namespace, store: ModelStore) -> int:
    here = [name for name in store.catalogue.models if store.folder_of(name).is_dir()]
    names = [store.catalogue.get(name).name for name in options.names] or here
    if not names:
        print(f"No models are in {store.folder}.")
    wrong = 0
    for name in names:
        problems = list(store.verify(name))
        wrong += bool(problems)
        print(f"{name}: {'; '.join(problems) if problems else 'right'}")
    if wrong:
        raise ModelError(f"{wrong} of {len(names)} models are wrong; run: wyoming-superwhisper models download NAME")
    return 0


def _path(options: argparse.Namespace, store: ModelStore) -> int:
    if options.name:
        store.check(options.name)
        print(store.folder_of(options.name))
    else:
        print(store.folder)
    return 0


class ProgressLine:
    """One line on standard error that says how far a download is; nothing but milestones where that is no terminal."""

    _EVERY_S = 0.2

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._shown_s = 0.0
        self._milestone = -1
        self._first_done: int | None = None

    def show(self, file: str, done: int, total: int) -> None:
        """`done` of `total` bytes of the whole model are here; `file` is being fetched."""
        now_s = time.monotonic()
        self._first_done = done if self._first_done is None else self._first_done
        if sys.stderr.isatty():
            if now_s - self._shown_s >= self._EVERY_S or done >= total:
                self._shown_s = now_s
                text = self._text(file, done, total, now_s)
                print(f"\r\x1b[K{text[: shutil.get_terminal_size().columns - 1]}", end="", file=sys.stderr, flush=True)
        elif total and (tenth := done * 10 // total) != self._milestone:
            self._milestone = tenth
            print(f"  {self._text(file, done, total, now_s)}", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the line."""
        if sys.stderr.isatty() and self._shown_s:
            print(file=sys.stderr)

    def _text(self, file: str, done: int, total: int, now_s: float) -> str:
        rate = (done - (self._first_done or 0)) / max(now_s - self._began_s, 1e-3)
        left = f", {(total - done) / rate:.0f} s left" if rate > 0 and total > done else ""
        share = f"{done * 100 // total} %" if total else ""
        return (
            f"{share} {done / _MEGABYTE:.1f} of {total / _MEGABYTE:.1f} MB, {rate / _MEGABYTE:.1f} MB/s{left}  {file}"
        )
