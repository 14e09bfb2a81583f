"""From the end of speech to the transcript, the answer and its first sound, streamed at the pace it is spoken.

    python -m benchmarks.turn [-n UTTERANCES] [--first]

Each figure is what a client waits. "0.7 s of silence" is what Home Assistant sends before its `audio-stop`.
"""

from __future__ import annotations

import argparse
import asyncio

from benchmarks import servers
from benchmarks.clients import converse, speak, speak_word_by_word, transcribe, turn
from benchmarks.report import Report, Spread
from benchmarks.spoken import Spoken, commands, join, say

HOME_ASSISTANT_WAIT_S = 0.7
INTENTS = ("Quelle heure est-il ?", "Allume la lumière du salon.", "Éteins la cuisine.", "Quel jour sommes-nous ?")
TALK = ("Raconte-moi une blague.", "Tell me a joke.", "Qui es-tu ?", "Who are you?")
WHOLE = (
    "Quelle heure est-il ?", "Allume la lumière du salon.", "Éteins la cuisine.", "Quel jour sommes-nous ?",
    "Ouvre les volets de la chambre.", "Annule le minuteur.", "Éteins la lumière du bureau.", "Allume le garage.",
)  # fmt: skip
HESITATIONS = (
    ("Allume la lumière de", "la cuisine."), ("Mets un minuteur de", "10 minutes."), ("Éteins le", "bureau."),
    ("Quelle heure", "est-il ?"), ("Ouvre les volets de la", "chambre."), ("Ferme les", "volets du salon."),
    ("Éteins", "la cuisine."), ("Quel jour", "sommes-nous ?"),
)  # fmt: skip
STORY = "Bonjour à tous, voici la météo. Demain il fera beau sur tout le pays. Bonne journée."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=30, help="utterances for each figure")
    parser.add_argument("--first", action="store_true", help="before all else on a shared machine (Linux, as root)")
    options = parser.parse_args()
    if options.first:
        servers.put_all_first()
    count = options.n
    report = Report("turn")
    print(servers.versions())
    recognition(report, count)
    three_connections(report, count)
    straight(report, count)
    end_of_turn(report, count)
    synthesis(report, count)
    report.save()


def recognition(report: Report, count: int) -> None:
    """audio-stop → transcript, ours and the peer's, on the same weights and the same speech."""
    report.heading("Recognition: audio-stop → transcript, after 0.7 s of silence")
    spoken = commands(count, HOME_ASSISTANT_WAIT_S)
    with servers.ours() as server:
        mine = asyncio.run(_all(server.port, spoken))
    ours = Spread.of_seconds(one.stop_s for one in mine)
    report.add("asr/ours", ours, "wyoming-superwhisper")
    report.add("asr/guessed", 100 * sum(one.stop_s < 0.015 for one in mine) / count, "  within 15 ms", "%")
    if not servers.have_peers():
        return
    with servers.faster_whisper() as server:
        theirs = asyncio.run(_all(server.port, spoken))
    peer = Spread.of_seconds(one.stop_s for one in theirs)
    report.add("asr/peer", peer, "wyoming-faster-whisper, same weights")
    report.add("asr/ratio", ours.median / peer.median, "ours / theirs (median)")
    same = sum(a.text.strip() == b.text.strip() for a, b in zip(mine, theirs, strict=True))
    report.add("asr/same", 100 * same / count, "same text (ours knows the names of the home)", "%")


def three_connections(report: Report, count: int) -> None:
    """Home Assistant's way: recognition, conversation and speech as three connections."""
    with servers.ours() as server:
        for kind, texts in (("intents", INTENTS), ("talk", TALK)):
            report.heading(f"A turn by Home Assistant's three connections, {kind}: from audio-stop")
            asyncio.run(_ask_once(server.port, texts))
            rows = asyncio.run(_turns(server.port, texts, count))
            report.add(f"three/{kind}/transcript", Spread.of_seconds(row[0] for row in rows), "→ transcript")
            report.add(f"three/{kind}/answer", Spread.of_seconds(row[1] for row in rows), "→ answer")
            report.add(f"three/{kind}/sound", Spread.of_seconds(row[2] for row in rows), "→ first sound")
    if not servers.have_peers():
        return
    report.heading("The same by wyoming-faster-whisper and wyoming-piper, with nothing in between")
    with servers.faster_whisper() as whisper, servers.piper() as piper:
        took = asyncio.run(_peers(whisper.port, piper.port, count))
    report.add("three/peers/sound", Spread.of_seconds(took), "audio-stop → first sound")


def straight(report: Report, count: int) -> None:
    """run-pipeline: the server hears the end by itself."""
    report.heading("A turn straight against the server (run-pipeline): from the end of speech")
    with servers.ours() as server:
        for kind, texts in (("intents", INTENTS), ("talk", TALK)):
            asyncio.run(turn(server.port, _spoken(texts[0], 4.0)))
            took = [asyncio.run(turn(server.port, _spoken(texts[at % len(texts)], 4.0)))[0] for at in range(count)]
            report.add(f"straight/{kind}", Spread.of_seconds(took), f"→ first sound, {kind}")


def end_of_turn(report: Report, count: int) -> None:
    """`endpointing: server`: who ends it, and when."""
    report.heading("endpointing: server, from the end of speech")
    with servers.ours("--set", "asr.endpointing=server") as server:
        whole = [_spoken(WHOLE[at % len(WHOLE)], 4.0) for at in range(count)]
        heard = asyncio.run(_all(server.port, whole))
        report.add("end/whole", Spread.of_seconds(one.end_s for one in heard), "→ transcript, whole commands")
        voices = ("fr", "fr-be", "fr-ch")
        halves = [
            join([(first, 0.0), (second, 0.3 + 0.3 * (at % 7) / 6)], "fr", 4.0, voice=voices[at % 3])
            for at in range(count)
            for first, second in (HESITATIONS[at % len(HESITATIONS)],)
        ]
        heard = asyncio.run(_all(server.port, halves))
        report.add("end/cut", float(sum(one.end_s < 0 for one in heard)), f"cut in a hesitation, of {count}")


def synthesis(report: Report, count: int) -> None:
    """Text to sound, whole and word by word."""
    report.heading("Synthesis: request → first audio")
    with servers.ours() as server:
        report.add("tts/ours", Spread.of_seconds(_first(server.port, count)), "wyoming-superwhisper")
        words = STORY.split()
        sounds = [asyncio.run(speak_word_by_word(server.port, words, 0.1)) for _ in range(max(3, count // 5))]
        clause_s = 0.1 * [word.endswith(",") for word in words].index(True)
        late = Spread.of_seconds(sound.first_s - clause_s for sound in sounds)
        report.add("tts/words", late, "word by word: end of the first clause → first audio")
    if not servers.have_peers():
        return
    with servers.piper() as server:
        report.add("tts/peer", Spread.of_seconds(_first(server.port, count)), "wyoming-piper, same voice")


def _first(port: int, count: int) -> list[float]:
    return [asyncio.run(speak(port, f"Il est {9 + at % 12} heures {at}. {STORY}")).first_s for at in range(count)]


async def _all(port: int, spoken: list[Spoken]) -> list:  # type: ignore[type-arg]
    return [await transcribe(port, one) for one in spoken]


async def _ask_once(port: int, texts: tuple[str, ...]) -> None:
    """So that the server knows what this client does with a transcript."""
    for number in range(2):
        await _turn(port, texts[number], f"first {number}")


async def _turns(port: int, texts: tuple[str, ...], count: int) -> list[tuple[float, float, float]]:
    return [await _turn(port, texts[at % len(texts)], f"turn {texts[0]} {at}") for at in range(count)]


async def _turn(port: int, text: str, conversation: str) -> tuple[float, float, float]:
    spoken = _spoken(text, HOME_ASSISTANT_WAIT_S)
    heard = await transcribe(port, spoken)
    reply, answered_s = await converse(port, heard.text, spoken.language, conversation)
    sound = await speak(port, reply if "{" not in reply else "Il est neuf heures.")
    return heard.stop_s, heard.stop_s + answered_s, heard.stop_s + answered_s + sound.first_s


async def _peers(whisper: int, piper: int, count: int) -> list[float]:
    took = []
    for at in range(count):
        heard = await transcribe(whisper, _spoken(INTENTS[at % len(INTENTS)], HOME_ASSISTANT_WAIT_S))
        took.append(heard.stop_s + (await speak(piper, "Allumé.")).first_s)
    return took


def _spoken(text: str, after_s: float) -> Spoken:
    return say(text, "en" if text in TALK[1::2] else "fr", after_s)


if __name__ == "__main__":
    main()
