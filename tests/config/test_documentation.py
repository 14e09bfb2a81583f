from __future__ import annotations

import re

import pytest

from wyoming_superwhisper.config import documentation
from wyoming_superwhisper.config.documentation import Section, describe
from wyoming_superwhisper.config.satellite_settings import SatelliteSettings
from wyoming_superwhisper.config.schema import keys
from wyoming_superwhisper.config.settings import Settings


@pytest.mark.parametrize("path", documentation.files(), ids=lambda path: path.name)
def test_generated_files_are_up_to_date(path: object) -> None:
    expected = documentation.files()
    [found] = [one for one in expected if one == path]
    assert found.read_text(encoding="utf-8") == expected[found], (
        "run: python -m wyoming_superwhisper.config.documentation"
    )


@pytest.mark.parametrize("kind", [Settings, SatelliteSettings])
def test_every_setting_and_section_has_its_line(kind: type) -> None:
    def walk(section: Section) -> None:
        assert section.documentation
        for entry in section.entries:
            assert entry.documentation, entry.key
            assert entry.allowed, entry.key
        for inner in section.sections:
            walk(inner)

    walk(describe(kind))


def test_the_page_lists_every_key() -> None:
    text = documentation.markdown()
    for key in (*keys(Settings), *keys(SatelliteSettings)):
        assert re.search(rf"\| `{re.escape(key)}` \|", text), key


def test_a_secret_is_not_set_in_a_default_file() -> None:
    assert re.search(r"^\s*# token: …$", documentation.default_yaml(Settings, "x"), re.MULTILINE)
