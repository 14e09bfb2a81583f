"""Text to pieces: one cut for every chunking, sentences by the rules of the language, markup left out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wyoming_superwhisper.speech_text import LONGEST, Splitter, speakable, split

SNIPPETS = st.sampled_from([
    "Bonjour ", "M. ", "Dupont, ", "3,5 ", "°C", "°C. ", "Oui… ", "peut-être. ", "12 av. Foch ", "8h30 ",
    "**gras** ", "# ", "\n", "\n\n", "- ", "1. ", "2) ", "```\n", "```py\n", "~~~\n", "[lien](http://a.b/c d) ",
    "](x ", "Voulez-vous ", "<b>", "<a href= ", "> ", "| a | b |\n", "|---|\n", "😀", "👨\u200d👩\u200d👧 ",
    "! ", "? ", "« ", "» ", '"', "… ", "... ", "a.m. ", "U.S. ", "J. ", "10 ", "000 ", "000€ ", "km ", "-5 ",
    "10-15 % ", "https://www.ex.org/p?q ", "a@b.fr ", "你好。", "« Ça ", "etc. ", "\xa0", "\u202f", "\t",
    "\r\n", "_x_ ", "é", "É", "i", "W ", "=== ", "--- ", "&amp; ", "$5 ", ", ", "; ", ": ", "— ", "(", ") ",
    "1️⃣ ", "Un mot, deux mots, trois ", "phrase assez longue pour être coupée, ",
])  # fmt: skip
TEXTS = st.lists(SNIPPETS | st.text(max_size=5), max_size=25).map("".join)
LANGUAGES = st.sampled_from(["fr", "en", "es", "de", ""])


@settings(max_examples=200, deadline=None)
@given(text=TEXTS, language=LANGUAGES, data=st.data())
def test_every_chunking_gives_the_pieces_of_the_whole(text: str, language: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    splitter = Splitter(language)
    chunks = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    pieces = [piece for chunk in chunks for piece in splitter.feed(chunk)] + splitter.finish()
    assert pieces == split(text, language)


@settings(max_examples=80, deadline=None)
@given(text=TEXTS, language=LANGUAGES)
def test_letter_by_letter_gives_the_pieces_of_the_whole_twice(text: str, language: str) -> None:
    splitter = Splitter(language)
    for _ in range(2):
        pieces = [piece for letter in text for piece in splitter.feed(letter)] + splitter.finish()
        assert pieces == split(text, language)


@settings(max_examples=80, deadline=None)
@given(text=TEXTS, language=LANGUAGES)
def test_pieces_can_be_said_and_carry_no_markup(text: str, language: str) -> None:
    for piece in split(text, language):
        assert any(letter.isalnum() for letter in piece)
        assert len(piece) <= LONGEST or " " not in piece
        assert not set(piece) & set("*`|[]{}\\~^😀\0\n\t")


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("M. Dupont habite au 12 av. Foch. Il a froid.", ["Monsieur Dupont habite au 12 avenue Foch.", "Il a froid."]),
        ("Il fait 3,5 °C. Voulez-vous chauffer ?", ["Il fait 3,5 degrés.", "Voulez-vous chauffer ?"]),
        ("Oui… peut-être. Ou non !", ["Oui… peut-être.", "Ou non !"]),
        ("Il est 8 h. Debout !", ["Il est 8 heures.", "Debout !"]),
        ("C'est J. Martin qui vient. Ouvre-lui.", ["C'est J. Martin qui vient.", "Ouvre-lui."]),
        ("Des pommes, des poires, etc. et du lait.", ["Des pommes, des poires,", "etc. et du lait."]),
        ("Il dit : « Bonjour. » et rit. « Ça va ? » Oui.", ["Il dit : « Bonjour. » et rit.", "« Ça va ? »", "Oui."]),
        ("Version 2.0 prête. Merci", ["Version 2.0 prête.", "Merci"]),
    ],
)
def test_french_sentences(text: str, pieces: list[str]) -> None:
    assert split(text, "fr") == pieces


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Mr. Smith joined the U.S. Army. He left.", ["Mister Smith joined the U.S. Army.", "He left."]),
        ("Wake up at 5 p.m. Then eat.", ["Wake up at 5 p.m.", "Then eat."]),
        ("It is 22°C. It costs $12.50!", ["It is 22 degrees.", "It costs 12.50 dollars!"]),
        ("1 km, 2 km and -3 degrees", ["1 kilometer, 2 kilometers and minus 3 degrees"]),
    ],
)
def test_english_sentences(text: str, pieces: list[str]) -> None:
    assert split(text, "en_US") == pieces


def test_spanish_sentences() -> None:
    assert split("¿Qué hora es? Son 10 000 km, Sra. López.", "es") == [
        "¿Qué hora es?",
        "Son 10000 kilómetros, Señora López.",
    ]


def test_the_first_clause_of_a_text_is_cut_early_and_no_other() -> None:
    text = "Je vais allumer la lampe, fermer les volets, puis couper le son. Ensuite, je pense, on dort."
    assert split(text, "fr") == [
        "Je vais allumer la lampe,",
        "fermer les volets, puis couper le son.",
        "Ensuite, je pense, on dort.",
    ]


def test_a_later_sentence_waits_for_the_first_letter_of_the_next() -> None:
    splitter = Splitter("fr")
    assert splitter.feed("Bonjour. Il est tard. ") == ["Bonjour."]
    assert splitter.feed("A") == ["Il est tard."]
    assert splitter.feed("h ! dit-il. Bien") == ["Ah ! dit-il."]


def test_a_short_first_clause_is_not_cut() -> None:
    assert split("Oui, oui, bien.", "fr") == ["Oui, oui, bien."]
    assert split("Anticonstitutionnellement, oui.", "fr") == ["Anticonstitutionnellement, oui."]


@pytest.mark.parametrize(
    ("before", "letter", "piece"),
    [
        ("Je vais allumer la lampe,", " ", "Je vais allumer la lampe,"),
        ("Bonjour.", " ", "Bonjour."),
        ("Bonjour !", " ", "Bonjour !"),
        ("Il y en a 3. ", "C", "Il y en a 3."),
        ("# Titre", "\n", "Titre"),
        ("Fin sans point\n", "\n", "Fin sans point"),
    ],
)
def test_a_piece_comes_out_with_the_letter_that_makes_it_certain(before: str, letter: str, piece: str) -> None:
    splitter = Splitter("fr")
    assert splitter.feed(before) == []
    assert splitter.feed(letter) == [piece]


def test_markdown_is_read_not_spelled() -> None:
    text = "# La *liste*\n\n- du **lait**\n- du `pain`\n\n[Voir](https://a.fr/b) ~~ou~~ __non__ <br/> ![photo](x.png)"
    assert split(text, "fr") == ["La liste", "du lait, du pain", "Voir ou non photo"]


def test_long_items_stay_sentences_of_their_own() -> None:
    assert split("1. Ouvrez le robinet.\n2. Fermez-le.", "fr") == ["1, Ouvrez le robinet.", "2, Fermez-le."]


def test_markdown_may_span_chunks() -> None:
    splitter = Splitter("fr")
    pieces = [
        piece
        for chunk in ("Voici **du te", "xte* ", "* gras. [Un li", "en](htt", "p://x.y/z) !")
        for piece in splitter.feed(chunk)
    ]
    assert pieces + splitter.finish() == ["Voici du texte gras.", "Un lien !"]


def test_tables_are_read_row_by_row() -> None:
    assert split("| Pièce | Degrés |\n|---|--:|\n| Salon | 21 °C |\n", "fr") == ["Pièce, Degrés", "Salon, 21 degrés"]


@pytest.mark.parametrize(
    ("language", "said"), [("fr", "bloc de code"), ("en", "code block"), ("es", "bloque de código")]
)
def test_a_block_of_code_is_mentioned(language: str, said: str) -> None:
    assert split("```python\nprint('x. Y')\n```\nOk.", language) == [said, "Ok."]


@pytest.mark.parametrize("text", ["", "   \n", "😀🎉", "…", "**", "---", "| | |", "\0\ud800", "```"])
def test_what_cannot_be_said_gives_no_piece(text: str) -> None:
    assert split(text, "de") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("20 % à 14:00", "20 pour cent à 14 heures"),
        ("de 10-15 °C", "de 10 à 15 degrés"),
        ("il fait -5 °C", "il fait moins 5 degrés"),
        ("n°5, 12 000 €", "numéro 5, 12000 euros"),
        ("(3,5 km)", "(3,5 kilomètres)"),
        ("toto@exemple.fr & https://www.exemple.org/x", "toto arobase exemple point fr et exemple point org"),
        ("le 22/11/2026", "le 22 11 2026"),
        ("et/ou 5 < 6", "et ou 5 inférieur à 6"),
        ("Prêt 👍🏽 !", "Prêt !"),
    ],
)
def test_signs_and_units_are_said(text: str, said: str) -> None:
    assert speakable(text, "fr") == said


def test_a_sentence_without_end_is_cut_at_a_comma_or_between_words() -> None:
    pieces = split("mot " * 200 + "mot, " * 100, "fr")
    assert all(len(piece) <= LONGEST for piece in pieces)
    assert " ".join(pieces).split() == ["mot"] * 200 + ["mot,"] * 100


def test_cutting_takes_time_in_proportion_to_the_text() -> None:
    assert len(split("a" * 200_000, "fr")) == 500
    assert split("(" * 20_000 + "a", "fr")[-1].endswith("a")
