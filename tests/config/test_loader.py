from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wyoming_superwhisper.config import loader
from wyoming_superwhisper.config.environment import environment_name
from wyoming_superwhisper.config.loader import Override, load, parse_assignment
from wyoming_superwhisper.config.satellite_settings import SatelliteSettings
from wyoming_superwhisper.config.schema import keys, schema_of
from wyoming_superwhisper.config.settings import Area, Device, Settings
from wyoming_superwhisper.config.source import Source, compose
from wyoming_superwhisper.errors import SettingsError

E = "WYOMING_SUPERWHISPER_"


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(text: str, name: str = "mine.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


# --- where values come from -------------------------------------------------------------------------------------


def test_without_anything_the_defaults_hold() -> None:
    assert load(environment={}) == Settings()


def test_the_packaged_default_file_equals_the_defaults() -> None:
    folder = Path(loader.__file__).parent
    assert load(Settings, folder / "default.yaml", {}) == Settings()
    assert load(SatelliteSettings, folder / "satellite.yaml", {}) == SatelliteSettings()


def test_the_packaged_files_load_by_name() -> None:
    demo, reference = load(Settings, "demo", {}), load(Settings, "rtx3090", {})
    assert demo.asr.model == demo.llm.model == "demo"
    assert demo.asr.language == "fr"
    assert len(demo.home.devices) > 10
    assert reference.gpu.device == "RTX 3090"
    assert reference.asr.compute == "float16"
    assert load(SatelliteSettings, "satellite", {}) == SatelliteSettings()


def test_options_beat_environment_beats_file_beats_defaults(write: Any) -> None:
    path = write("asr: {model: from-file, batch: 2, language: en}\nllm: {context: 512}")
    environment = {f"{E}ASR_MODEL": "from-environment", f"{E}ASR_BATCH": "3"}
    loaded = load(Settings, path, environment, [Override("asr.model", "from-option")])
    assert loaded.asr.model == "from-option"
    assert loaded.asr.batch == 3
    assert loaded.asr.language == "en"
    assert loaded.llm.context == 512
    assert loaded.tts == Settings().tts


def test_one_underscore_or_two_mean_the_same_in_the_environment() -> None:
    assert load(environment={f"{E}ASR__MODEL": "x"}) == load(environment={f"{E}ASR_MODEL": "x"})


def test_every_key_has_an_environment_variable_of_its_own() -> None:
    for kind in (Settings, SatelliteSettings):
        names = [environment_name(key) for key in keys(kind)]
        assert len(names) == len(set(names))


def test_a_secret_comes_from_a_file_that_the_environment_or_the_settings_name(tmp_path: Path, write: Any) -> None:
    secret = tmp_path / "token"
    secret.write_text("s3cret\n")
    assert load(environment={f"{E}HOME_ASSISTANT_TOKEN_FILE": str(secret)}).home_assistant.token == "s3cret"
    path = write("home_assistant: {token_file: token}")
    assert load(Settings, path, {}).home_assistant.token == "s3cret"
    assert load(environment={f"{E}ASR_MODEL_FILE": str(secret)}).asr.model == "s3cret"


def test_a_secret_is_shown_nowhere(write: Any) -> None:
    loaded = load(environment={f"{E}HOME_ASSISTANT_TOKEN": "s3cret"})
    assert loaded.home_assistant.token == "s3cret"
    assert "s3cret" not in repr(loaded)
    with pytest.raises(SettingsError) as error:
        load(Settings, write("home_assistant: {token: [s3cret]}"), {})
    assert "s3cret" not in str(error.value)


def test_variables_of_others_are_left_alone() -> None:
    others = {
        f"{E}SERVICE_HOST": "10.0.0.1",  # Kubernetes, for a service of our name
        f"{E}PORT_10300_TCP": "tcp://10.0.0.1:10300",
        f"{E}SETTINGS": "demo",
        f"{E}MIC_DEVICE": "a satellite's",
        "PATH": "/bin",
    }
    assert load(environment=others) == Settings()


# --- values -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("asr.languages", "fr,en", ("fr", "en")),
        ("asr.languages", "[fr, de]", ("fr", "de")),
        ("tts.voices", "", ()),
        ("asr.gate", "off", False),
        ("asr.gate", "1", True),
        ("llm.model", "off", "off"),
        ("llm.context", "4096", 4096),
        ("tts.length_scale", "2", 2.0),
        ("asr.endpointing", "server", "server"),
        ("home.areas", "[{id: a, name: A, aliases: [b]}]", (Area("a", "A", ("b",)),)),
        ("gpu.device", "0", "0"),
        ("server.uri", "unix:///run/s", "unix:///run/s"),
    ],
)
def test_options_and_environment_are_read_by_type(key: str, text: str, value: Any) -> None:
    by_option = load(environment={}, overrides={key: text})
    by_environment = load(environment={environment_name(key): text})
    assert by_option == by_environment
    found: Any = by_option
    for part in key.split("."):
        found = getattr(found, part)
    assert found == value


def test_words_stay_words_in_a_file(write: Any) -> None:
    loaded = load(Settings, write("metrics: {listen: off}\nllm: {model: off}\ngpu: {device: 007}\n"), {})
    assert (loaded.metrics.listen, loaded.llm.model, loaded.gpu.device) == ("off", "off", "007")


def test_a_section_with_nothing_in_it_is_no_mistake(write: Any) -> None:
    assert load(Settings, write("asr:\n  # model: x\nllm:\n"), {}) == Settings()
    assert load(Settings, write("# nothing\n"), {}) == Settings()


def test_a_home_in_the_settings_and_in_a_file_is_the_same(write: Any) -> None:
    home = """
floors: [{id: rez, name: Rez}]
areas: [{id: cuisine, name: Cuisine, floor: rez}]
devices: [{id: light.a, name: Plafonnier, aliases: [lumière], area: cuisine}]
satellites: {pi: cuisine}
"""
    inside = load(Settings, write("home:\n" + re.sub("^", "  ", home, flags=re.M), "a.yaml"), {}).home
    write(home, "home.yaml")
    beside = load(Settings, write("home: {file: home.yaml}", "b.yaml"), {}).home
    write("home:\n" + re.sub("^", "  ", home, flags=re.M), "wrapped.yaml")
    wrapped = load(Settings, write("home: {file: wrapped.yaml}", "c.yaml"), {}).home
    assert (
        inside.devices
        == beside.devices
        == wrapped.devices
        == (Device("light.a", "Plafonnier", ("lumière",), "cuisine"),)
    )
    assert inside.satellites == beside.satellites == {"pi": "cuisine"}


def test_one_entry_of_a_mapping_can_be_set() -> None:
    loaded = load(Settings, "demo", {}, [parse_assignment("home.satellites.pi=salon")])
    assert loaded.home.satellites["pi"] == "salon"
    assert loaded.home.satellites["cuisine-demo"] == "cuisine"


# --- mistakes: where, what, what is allowed ----------------------------------------------------------------------

MISTAKES = [
    ("asr:\n  modle: x", "mine.yaml, line 2: there is no setting asr.modle; did you mean asr.model?"),
    ("asr:\n  endpointing: sever", "line 2: asr.endpointing is sever; allowed: client or server; did you mean server?"),
    ("asr: 3", "line 1: section asr takes"),
    ("- 1", "line 1: settings are a list of KEY: VALUE lines, not a list"),
    ("asr:\n\tmodel: x", "line 2: this is not valid YAML"),
    ("asr: {a: [}", "line 1: this is not valid YAML"),
    ("[" * 100_000, "this is not valid YAML: it is nested too deeply"),
    ("asr: {model: a}\nasr: {model: b}", "line 2: asr is set twice (first in line 1)"),
    ("asr:\n  model: a\n  model: b", "line 3: asr.model is set twice (first in line 2)"),
    ("asr:\n  model:", "line 2: asr.model is empty; allowed: text"),
    ("asr:\n  model: [a]", "line 2: asr.model is a list; allowed: text"),
    ("asr:\n  batch: 1.5", "line 2: asr.batch is 1.5; allowed: a whole number"),
    ("asr:\n  batch: 0", "line 2: asr.batch is 0; allowed: 1 to 64"),
    ("asr:\n  gate: maybe", "line 2: asr.gate is maybe; allowed: true or false"),
    ("asr:\n  languages: fr", "line 2: asr.languages is fr; allowed: a list"),
    ("asr:\n  languages: []", "allowed: one or more language codes"),
    ("asr:\n  language: de", "line 2: asr.language is de; allowed: auto or one of asr.languages (fr, en, es)"),
    ("tts:\n  length_scale: .inf", "allowed: a number"),
    ("limits:\n  idle_s: -3", "allowed: at least 0.1"),
    ("server:\n  uri: tcp://x", "line 2: server.uri is tcp://x; allowed: tcp://HOST:PORT, unix://PATH or stdio://"),
    ("server:\n  allow: [home]", "server.allow is home; allowed: each a network"),
    ("metrics:\n  listen: here", "allowed: HOST:PORT or off"),
    ("home:\n  areas:\n    - {id: a}", "line 3: home.areas[0] has no name"),
    ("home:\n  areas:\n    - {id: a, name: A, nme: b}", "line 3: home.areas[0] takes no nme; did you mean name?"),
    ("home:\n  areas:\n    - {id: a, name: A}\n    - {id: a, name: B}",
     "line 4: home.areas has two entries with the id a"),
    ("home:\n  devices:\n    - {id: lamp, name: L}", "line 3: home.devices[0].id is lamp; allowed: a domain, a dot"),
    ("home:\n  areas: [{id: salon, name: S}]\n  devices:\n    - {id: light.a, name: L, area: salom}",
     "line 4: device light.a is in area salom, which is not in home.areas; did you mean salon?"),
    ("home:\n  satellites: {pi: salon}", "line 2: satellite pi is in area salon, which is not in home.areas"),
    ("home:\n  areas: [{id: a, name: A, floor: up}]", "area a is on floor up, which is not in home.floors"),
    ("limits:\n  write_s: 99999999999999999999", "line 2: limits.write_s is 1e+20; allowed: at most 2147483647"),
    ("asr:\n  threads: 100000", "line 2: asr.threads is 100000; allowed: 0 to 256"),
    ('server:\n  name: "\\ud800"', "line 2: server.name is"),
    ("home: {file: nowhere.yaml}", "nowhere.yaml, which does not exist"),
    ("home_assistant: {token_file: nowhere}", "line 1: home_assistant.token_file"),
    ("home_assistant: {url: homeassistant}", "allowed: http://HOST:PORT"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), MISTAKES)
def test_a_mistake_in_the_file_names_line_key_and_what_is_allowed(write: Any, text: str, expected: str) -> None:
    with pytest.raises(SettingsError) as error:
        load(Settings, write(text), {})
    assert expected in str(error.value)
    assert str(error.value).startswith("mine.yaml")
    assert "\n" not in str(error.value)


def test_a_mistake_in_the_environment_names_the_variable() -> None:
    with pytest.raises(
        SettingsError, match=r"variable WYOMING_SUPERWHISPER_ASR_BATCH: asr.batch is many; allowed: a whole"
    ):
        load(environment={f"{E}ASR_BATCH": "many"})
    with pytest.raises(
        SettingsError, match="ASR_MODLE: there is no such setting; did you mean WYOMING_SUPERWHISPER_ASR_MODEL"
    ):
        load(environment={f"{E}ASR_MODLE": "x"})
    with pytest.raises(SettingsError, match="can't be read: no such file"):
        load(environment={f"{E}HOME_ASSISTANT_TOKEN_FILE": "/nowhere/token"}).home_assistant  # noqa: B018


def test_a_mistake_in_an_option_names_the_option() -> None:
    with pytest.raises(SettingsError, match="option --uri: server.uri is here; allowed: tcp"):
        load(environment={}, overrides=[Override("server.uri", "here", "--uri")])
    with pytest.raises(SettingsError, match=r"option --set asr: asr is a section; its settings are asr.model"):
        load(environment={}, overrides={"asr": "x"})
    with pytest.raises(SettingsError, match="there is no setting asr.moddel; did you mean asr.model"):
        load(environment={}, overrides={"asr.moddel": "x"})
    with pytest.raises(SettingsError, match="takes KEY=VALUE"):
        parse_assignment("asr.model")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no settings file dmo; did you mean demo"):
        load(Settings, "dmo", {})
    with pytest.raises(SettingsError, match="is a directory"):
        load(Settings, tmp_path, {})
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="not text in UTF-8"):
        load(Settings, binary, {})
    with pytest.raises(SettingsError, match="/dev/zero is larger than"):
        load(Settings, "/dev/zero", {})


@settings(deadline=None)
@given(st.text(max_size=200))
def test_no_text_whatever_gives_anything_but_settings_or_a_sentence(text: str) -> None:
    path = Path(loader.__file__).parent / "demo.yaml"
    schema = schema_of(Settings)
    try:
        node = compose(text, Source("fuzz.yaml"))
        if node is not None:
            loader._collect(schema, node, "", path, {})
    except SettingsError as error:
        assert str(error)


@settings(deadline=None)
@given(st.sampled_from(keys(Settings)), st.text(max_size=40))
@example("home.file", "/")
@example("home.file", "x" * 5000)
@example("home.file", "~\0")
@example("home_assistant.token_file", "\0")
@example("home_assistant.token_file", "~nobody-of-this-name/x")
def test_no_option_whatever_gives_anything_but_settings_or_a_sentence(key: str, text: str) -> None:
    try:
        load(environment={}, overrides={key: text})
    except SettingsError as error:
        assert "option --set" in str(error) or "home.file" in str(error) or "token_file" in str(error)
