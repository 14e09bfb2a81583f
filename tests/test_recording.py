"""Recordings: only for this user, and no more than asked for."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.conftest import fill_disk
from wyoming_superwhisper import logs
from wyoming_superwhisper.audio import read_wav
from wyoming_superwhisper.config.settings import RecordSettings
from wyoming_superwhisper.errors import SettingsError
from wyoming_superwhisper.recording import Recorder


def test_sound_and_transcript_are_kept_for_this_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "kept" / "here"
    recorder = Recorder(RecordSettings(str(folder)), now=lambda: 1_800_000_000.25)
    logs.turn.set("0123abcd")
    recorder.keep(b"\1\0" * 160, "Où ?", "fr")
    recorder.close()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["20270115-080000-250-0123abcd.json", "20270115-080000-250-0123abcd.wav"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    about = json.loads((folder / names[0]).read_text("utf-8"))
    assert about == {"time": 1_800_000_000.25, "turn": "0123abcd", "language": "fr", "text": "Où ?"}
    assert read_wav(folder / names[1])[1] == b"\1\0" * 160


def test_the_oldest_go_when_there_are_too_many_or_too_large(tmp_path: Path) -> None:
    times = iter(range(1_800_000_000, 1_900_000_000))
    recorder = Recorder(RecordSettings(str(tmp_path), files=3), now=lambda: float(next(times)))
    for _ in range(5):
        recorder.keep(bytes(320), "", "fr")
    recorder.close()
    assert len(list(tmp_path.iterdir())) == 6
    again = Recorder(RecordSettings(str(tmp_path), files=100, megabytes=1), now=lambda: float(next(times)))
    for _ in range(4):
        again.keep(bytes(400_000), "", "fr")
    again.close()
    kept = list(tmp_path.glob("*.wav"))
    assert len(kept) == 2, "those of the first run went first"
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1_000_000


def test_a_folder_that_cannot_be_written_to_is_said_at_once_and_a_full_disk_is_survived(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    with pytest.raises(SettingsError, match="record.dir"):
        Recorder(RecordSettings(str(file / "below")))
    folder = tmp_path / "folder"
    recorder = Recorder(RecordSettings(str(folder)))
    folder.rmdir()
    recorder.keep(bytes(320), "", "fr")
    recorder.keep(bytes(320), "", "fr")
    recorder.close()
    assert caplog.text.count("can't be recorded") == 1


def test_a_disk_that_is_full_keeps_no_halves_and_goes_on_once_there_is_room(small_disk: Path) -> None:
    folder, filler = small_disk / "said", small_disk / "filler"
    recorder = Recorder(RecordSettings(dir=str(folder)))
    fill_disk(filler)
    for _ in range(3):
        recorder.keep(bytes(320_000), "Bonjour.", "fr")
    recorder.close()
    assert list(folder.iterdir()) == []
    filler.unlink()
    recorder = Recorder(RecordSettings(dir=str(folder)))
    recorder.keep(bytes(320_000), "Bonjour.", "fr")
    recorder.close()
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".wav"]


def test_files_that_are_not_ours_are_neither_counted_nor_removed(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"0{number} - a song.wav").write_bytes(b"dear to somebody")
    recorder = Recorder(RecordSettings(dir=str(tmp_path), files=1))
    for _ in range(3):
        recorder.keep(bytes(3200), "Bonjour.", "fr")
    recorder.close()
    assert len(list(tmp_path.glob("* - a song.wav"))) == 5
    assert len(list(tmp_path.glob("*.json"))) == 1
