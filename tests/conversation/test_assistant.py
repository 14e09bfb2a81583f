"""Who executes, what is remembered, and what is said when something can't be done."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from datetime import datetime
from typing import Any

import pytest

from tests.demo_home import demo_home
from tests.fakes import FakeIntents, FakeLanguageModel
from wyoming_superwhisper.conversation.answer import Answer, Intents, NotHandled, NotRecognized, Part
from wyoming_superwhisper.conversation.assistant import Assistant
from wyoming_superwhisper.conversation.executor import Executed
from wyoming_superwhisper.conversation.history import MOST_CONVERSATIONS, MOST_EXCHANGES, Conversations
from wyoming_superwhisper.conversation.said import Said
from wyoming_superwhisper.engines.base import (
    AnswerPart,
    AnswerRequest,
    Exchange,
    IntentCall,
    Priority,
    RecognizeRequest,
)
from wyoming_superwhisper.engines.rules.hassil import HassilIntents
from wyoming_superwhisper.errors import Busy, EngineLost, EngineUnavailable, NoText, OutOfMemory
from wyoming_superwhisper.home import Home

NOW = datetime(2026, 11, 22, 9, 5)
KITCHEN_ON = IntentCall("HassTurnOn", {"area": "Cuisine", "domain": "light"}, "Allumé")


class RealIntents:
    """The rules themselves, without a worker."""

    def __init__(self, home: Home) -> None:
        self.languages = ("fr", "en")
        self.requests: list[RecognizeRequest] = []
        self._rules = HassilIntents(self.languages, home)

    async def recognize(self, request: RecognizeRequest, priority: Priority = Priority.FINAL) -> tuple[IntentCall, ...]:
        self.requests.append(request)
        return tuple(self._rules.recognize(request.text, request.language, request.area, request.previous))

    async def complete(self, calls: Any, language: str, area: str | None = None) -> tuple[IntentCall, ...]:
        return tuple(self._rules.complete(calls, language, area))


@pytest.fixture(scope="module")
def real() -> RealIntents:
    return RealIntents(demo_home())


Make = Callable[..., Assistant]


@pytest.fixture
def make(real: RealIntents) -> Make:
    def build(intents: Any = real, llm: Any = None, **options: Any) -> Assistant:
        return Assistant(intents, llm, demo_home(), now=lambda: NOW, **options)

    return build


async def parts(assistant: Assistant, text: str, **said: Any) -> list[Part]:
    return [part async for part in assistant.respond(Said(text, **{"language": "fr", "conversation": "c", **said}))]


async def part(assistant: Assistant, text: str, **said: Any) -> Part:
    (only,) = await parts(assistant, text, **said)
    return only


# --- who executes


async def test_a_client_gets_every_intent_back_and_nothing_is_done(make: Make) -> None:
    assistant = make()
    for text, name in (
        ("Allume la cuisine.", "HassTurnOn"),
        ("Quelle heure est-il ?", "HassGetCurrentTime"),
        ("Mets un minuteur de 5 minutes.", "HassStartTimer"),
        ("Annule.", "HassNevermind"),
    ):
        answer = await part(assistant, text, speakers=("salon-demo",))
        assert isinstance(answer, Intents)
        assert [call.name for call in answer.calls] == [name]
    assert assistant.timers.of("salon-demo") == []


async def test_several_commands_come_back_in_order(make: Make) -> None:
    answer = await part(make(), "Allume la cuisine et éteins le salon.")
    assert isinstance(answer, Intents)
    assert [(call.name, call.slots["area"]) for call in answer.calls] == [
        ("HassTurnOn", "Cuisine"),
        ("HassTurnOff", "Salon"),
    ]


# --- what an older Home Assistant can't do


async def test_an_older_home_assistant_gets_the_first_of_several_and_says_so(make: Make) -> None:
    answer = await part(make(), "Allume la cuisine et éteins le salon.", older=True)
    assert isinstance(answer, Intents)
    [call] = answer.calls
    assert (call.name, call.slots["area"]) == ("HassTurnOn", "Cuisine")
    assert call.text.endswith("Je n'ai fait que cela : redites-moi le reste.")
    assert (await part(make(), "Allume la cuisine.", older=True)).calls[0].text == "Allumé"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("language", "text", "reply"),
    [("fr", "Quelle heure est-il ?", "Il est 09:05"), ("en", "What is the date today?", "November 22nd, 2026")],
)
async def test_an_older_home_assistant_gets_the_time_in_words(make: Make, language: str, text: str, reply: str) -> None:
    answer = await part(make(), text, language=language, older=True)
    assert isinstance(answer, Intents)
    assert (answer.calls[0].text, answer.calls[0].template) == (reply, "")


@pytest.mark.parametrize("text", ["Quelle est la température dans le salon ?", "Combien de minutes reste-t-il ?"])
async def test_an_older_home_assistant_is_told_that_a_state_cant_be_said(make: Make, text: str) -> None:
    answer = await part(make(), text, older=True)
    assert isinstance(answer, NotHandled)
    assert "votre version de Home Assistant" in answer.text


async def test_with_a_token_the_state_is_asked_for_and_said(make: Make) -> None:
    class Asks:
        async def execute(self, call: IntentCall, said: Said, language: str, area: str | None) -> Executed:
            assert call.name == "HassClimateGetTemperature"
            assert call.template, "what the state goes into"
            return Executed("19,5 degrés", True)

    answer = await part(make(executor=Asks()), "Quelle est la température dans le salon ?", older=True)
    assert (answer, answer.text) == (Answer("19,5 degrés"), "19,5 degrés")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("language", "text", "answer"),
    [
        ("fr", "Quelle heure est-il ?", "Il est 09:05"),
        ("fr", "Quel jour sommes-nous ?", "Nous sommes le 22 novembre 2026"),
        ("en", "What time is it?", "9:05 AM"),
        ("en", "What is the date today?", "November 22nd, 2026"),
        ("fr", "Mets un minuteur de 5 minutes.", "Minuteur lancé"),
        ("en", "Set a timer for 5 minutes.", "Timer set for 5 minutes"),
        ("fr", "Annule.", ""),
        ("fr", "Bonjour.", "Bonjour depuis Home Assistant."),
    ],
)
async def test_a_satellite_of_ours_is_answered_with_the_packs_words(
    make: Make, language: str, text: str, answer: str
) -> None:
    assistant = make()
    assert await part(assistant, text, language=language, execute=True) == Answer(answer)
    assistant.timers.close()


@pytest.mark.parametrize(
    ("language", "text", "start"),
    [
        ("fr", "Allume la cuisine.", "Je n'arrive pas à joindre Cuisine"),
        ("en", "Turn on the kitchen lights.", "I can't reach Cuisine"),
        ("fr", "Éteins tout.", "Je n'arrive pas à joindre vos appareils"),
        ("fr", "Quelle est la température dans la cuisine ?", "Je n'arrive pas à joindre"),
    ],
)
async def test_what_no_home_assistant_does_is_said_honestly(make: Make, language: str, text: str, start: str) -> None:
    answer = await part(make(), text, language=language, execute=True)
    assert isinstance(answer, NotHandled)
    assert answer.text.startswith(start)


async def test_an_executor_does_what_we_cannot(make: Make) -> None:
    class Recording:
        def __init__(self) -> None:
            self.calls: list[tuple[IntentCall, str | None]] = []

        async def execute(self, call: IntentCall, said: Said, language: str, area: str | None) -> Executed:
            self.calls.append((call, area))
            return Executed("Allumé", True)

    executor = Recording()
    answer = await part(make(executor=executor), "Allume la lumière et quelle heure est-il", execute=True, area="Salon")
    assert answer == Answer("Allumé. Il est 09:05.")
    assert [(call.slots["area"], area) for call, area in executor.calls] == [("Salon", "salon")]


async def test_timers_of_a_satellite_are_kept_by_voice(make: Make) -> None:
    assistant = make()
    said = {"speakers": ("salon-demo",), "execute": True}
    await part(assistant, "Mets un minuteur de 10 minutes.", **said)
    await part(assistant, "Démarre un minuteur de 30 secondes appelé oeufs.", **said)
    assert await part(assistant, "Annule le minuteur.", **said) == NotHandled(
        "Désolé, il y a plusieurs minuteurs : dites lequel."
    )
    assert await part(assistant, "Annule le minuteur oeufs.", **said) == Answer("Minuteur supprimé")
    assert await part(assistant, "Ajoute 5 minutes au minuteur.", **said) == Answer("Minuteur mis à jour")
    assert await part(assistant, "Combien de temps reste-t-il ?", **said) == Answer("15 minutes restantes.")
    assert await part(assistant, "Combien de temps reste-t-il ?", speakers=("cuisine-demo",), execute=True) == Answer(
        "Il n'y a aucun minuteur."
    )
    assert await part(assistant, "Annule tous les minuteurs.", **said) == Answer("Minuteur supprimé.")
    assert await part(assistant, "Annule le minuteur.", **said) == NotHandled("Désolé, je n'ai pas trouvé ce minuteur.")


# --- without any engine


@pytest.mark.parametrize("text", ["", "   ", "...", "?!", "♪"])
async def test_no_words_are_not_recognized(make: Make, text: str) -> None:
    model = FakeLanguageModel("made up")
    assert isinstance(await part(make(llm=model), text), NotRecognized)
    assert model.requests == []


@pytest.mark.parametrize(
    ("language", "text"), [("fr", "Stop."), ("fr", "Arrête."), ("en", "Stop!"), ("en", "Be quiet.")]
)
async def test_stop_is_handled_for_everybody(make: Make, language: str, text: str) -> None:
    for execute in (False, True):
        answer = await part(make(), text, language=language, execute=execute)
        assert isinstance(answer, Answer)
        assert answer.action == "stop"


async def test_repeat_says_the_last_reply_of_this_conversation(make: Make) -> None:
    assistant = make(llm=FakeLanguageModel("Une blague."))
    assert await part(assistant, "Répète.") == Answer("Je n'ai encore rien dit.")
    await parts(assistant, "Raconte-moi une blague.")
    assert await part(assistant, "Répète, s'il te plaît.") == Answer("Une blague.")
    assert await part(assistant, "Répète.") == Answer("Une blague.")
    assert await part(assistant, "Répète.", conversation="other") == Answer("Je n'ai encore rien dit.")


# --- the language model


async def test_what_no_rule_knows_is_answered_by_the_model_as_it_writes(make: Make) -> None:
    model = FakeLanguageModel("Il était ", "une fois.")
    assert await parts(make(llm=model), "Raconte-moi une histoire.", area="salon") == [
        Answer("Il était "),
        Answer("une fois."),
    ]
    request = model.requests[0]
    assert (request.language, request.conversation, request.area, request.history) == ("fr", "c", "salon", ())
    assert request.now == "2026-11-22 09:05"


async def test_the_model_is_told_this_conversation_and_no_other(make: Make) -> None:
    model = FakeLanguageModel("Oui.")
    assistant = make(llm=model)
    await parts(assistant, "Tu es là ?", conversation="a")
    await parts(assistant, "Qui es-tu ?", conversation="b")
    await parts(assistant, "Et demain ?", conversation="a")
    await parts(assistant, "Encore ?", conversation="")
    await parts(assistant, "Encore ?", conversation="")
    assert [request.history for request in model.requests] == [
        (), (), (Exchange("Tu es là ?", "Oui."),), (), (),
    ]  # fmt: skip


async def test_intents_that_the_model_chose_go_the_same_way_as_others(make: Make) -> None:
    chosen = IntentCall("HassTurnOn", {"area": "Salon", "domain": "light"})
    model = FakeLanguageModel(AnswerPart(intents=(chosen,)))
    answer = await part(make(llm=model), "Il fait trop sombre au salon.")
    assert answer == Intents((IntentCall("HassTurnOn", {"area": "Salon", "domain": "light"}, "Allumé"),))
    answer = await part(make(llm=model), "Il fait trop sombre au salon.", execute=True)
    assert isinstance(answer, NotHandled)


async def test_without_a_model_what_no_rule_knows_is_not_recognized(make: Make) -> None:
    assert await part(make(), "Raconte-moi une blague.") == NotRecognized("Désolé, je n'ai pas compris.")
    assert await part(make(), "Tell me a joke.", language="en") == NotRecognized("Sorry, I couldn't understand that.")


async def test_a_model_that_says_nothing_is_not_taken_for_an_answer(make: Make) -> None:
    assert isinstance(await part(make(llm=FakeLanguageModel("")), "Raconte-moi une blague."), NotRecognized)


@pytest.mark.parametrize(
    ("error", "word"),
    [(EngineUnavailable("down"), "modèle"), (OutOfMemory("full"), "modèle"), (Busy("full"), "occupé")],
)
async def test_with_the_model_down_commands_work_and_the_rest_says_why(make: Make, error: Exception, word: str) -> None:
    model = FakeLanguageModel("x")
    model.error = error  # type: ignore[assignment]
    assistant = make(llm=model)
    assert isinstance(await part(assistant, "Allume la cuisine."), Intents)
    answer = await part(assistant, "Raconte-moi une blague.")
    assert isinstance(answer, NotHandled)
    assert word in answer.text
    assert "commandes" in answer.text


async def test_an_answer_that_breaks_off_says_so(make: Make) -> None:
    class Breaking:
        async def answer(
            self, request: AnswerRequest, priority: Priority = Priority.FINAL
        ) -> AsyncIterator[AnswerPart]:
            yield AnswerPart("Il était une fois")
            raise OutOfMemory("full")

    found = await parts(make(llm=Breaking()), "Raconte une histoire.")
    assert found == [Answer("Il était une fois"), Answer(" Désolé, ma réponse a été interrompue.")]


async def test_what_leaves_nothing_to_answer_is_not_understood(make: Make) -> None:
    model = FakeLanguageModel("x")
    model.error = NoText("nothing but marks")
    assert await part(make(llm=model), "<|im_end|>") == NotRecognized("Désolé, je n'ai pas compris.")


async def test_a_lost_model_is_an_error_that_the_client_learns_of(make: Make) -> None:
    model = FakeLanguageModel("x")
    model.error = EngineLost("gone")
    with pytest.raises(EngineLost):
        await parts(make(llm=model), "Raconte-moi une blague.")


async def test_rules_that_are_down_leave_the_model(make: Make) -> None:
    rules = FakeIntents({})
    rules.error = EngineUnavailable("not loaded")
    assert await parts(make(rules, FakeLanguageModel("Bonjour.")), "Qui es-tu ?") == [Answer("Bonjour.")]
    with pytest.raises(EngineUnavailable):
        await parts(make(rules), "Qui es-tu ?")


async def test_rules_that_are_lost_in_mid_request_are_told(make: Make) -> None:
    rules = FakeIntents({})
    rules.error = EngineLost("gone")
    with pytest.raises(EngineLost):
        await parts(make(rules, FakeLanguageModel("Bonjour.")), "Qui es-tu ?")


async def test_a_client_that_leaves_takes_the_answer_with_it(make: Make) -> None:
    closed = []

    class Endless:
        async def answer(
            self, request: AnswerRequest, priority: Priority = Priority.FINAL
        ) -> AsyncIterator[AnswerPart]:
            try:
                while True:
                    yield AnswerPart("la ")
            finally:
                closed.append(True)

    assistant = make(llm=Endless())
    async with aclosing(assistant.respond(Said("Chante.", "fr", "c"))) as answer:  # type: ignore[type-var]
        async for _ in answer:
            break
    assert closed == [True]
    assert assistant.conversations.peek("c").exchanges == []


async def test_small_talk_of_a_satellite_goes_to_the_model(make: Make) -> None:
    model = FakeLanguageModel("Bonjour !")
    assert await part(make(llm=model), "Bonjour.", execute=True) == Answer("Bonjour !")
    assert isinstance(await part(make(llm=model), "Bonjour."), Intents)


# --- what opens the house

GARAGE = IntentCall("HassTurnOn", {"name": "Porte du garage"})


async def test_a_door_that_the_model_chose_waits_for_a_yes(make: Make) -> None:
    assistant = make(llm=FakeLanguageModel(AnswerPart(intents=(GARAGE,))))
    question = await part(assistant, "Je voudrais sortir la voiture.")
    assert isinstance(question, Answer)
    assert "Porte du garage" in question.text
    answer = await part(assistant, "Oui.")
    assert isinstance(answer, Intents)
    assert [(call.name, call.slots["name"]) for call in answer.calls] == [("HassTurnOn", "Porte du garage")]


@pytest.mark.parametrize("reply", ["Non.", "Allume la cuisine.", "Stop."])
async def test_anything_but_a_yes_leaves_the_door_alone(make: Make, reply: str) -> None:
    assistant = make(llm=FakeLanguageModel(AnswerPart(intents=(GARAGE,))))
    await part(assistant, "Je voudrais sortir la voiture.")
    assert "Porte du garage" not in str(await part(assistant, reply))
    after = await parts(assistant, "Oui.")
    assert not any(isinstance(found, Intents) for found in after)


async def test_a_yes_in_another_conversation_opens_nothing(make: Make) -> None:
    assistant = make(FakeIntents({}), FakeLanguageModel(AnswerPart(intents=(GARAGE,))))
    await part(assistant, "Je voudrais sortir la voiture.")
    assert not isinstance(await part(assistant, "Oui.", conversation="other"), Intents)


@pytest.mark.parametrize(
    ("language", "said", "yes", "no", "question"),
    [
        ("fr", "Je voudrais sortir la voiture.", "Oui, vas-y.", "Non merci.", "vraiment"),
        ("en", "I would like to get the car out.", "Yes.", "No, thanks.", "really"),
        ("es", "Quiero sacar el coche.", "Sí.", "No, gracias.", "verdad"),
    ],
)
async def test_the_question_is_asked_and_answered_in_the_speakers_language(
    make: Make, language: str, said: str, yes: str, no: str, question: str
) -> None:
    assistant = make(llm=FakeLanguageModel(AnswerPart(intents=(GARAGE,))))
    asked = await part(assistant, said, language=language)
    assert isinstance(asked, Answer)
    assert question in asked.text
    assert isinstance(await part(assistant, no, language=language), Answer)
    await part(assistant, said, language=language)
    assert isinstance(await part(assistant, yes, language=language), Intents)


async def test_a_yes_that_comes_too_late_opens_nothing(make: Make) -> None:
    now = [0.0]
    assistant = make(
        llm=FakeLanguageModel(AnswerPart(intents=(GARAGE,))), conversations=Conversations(300, clock=lambda: now[0])
    )
    await part(assistant, "Je voudrais sortir la voiture.")
    now[0] = 61.0
    assert not isinstance(await part(assistant, "Oui."), Intents)


async def test_a_satellite_of_ours_executes_nothing_before_the_yes(make: Make) -> None:
    executed: list[str] = []

    class Executor:
        async def execute(self, call: IntentCall, said: Said, language: str, area: str | None) -> Executed:
            executed.append(call.name)
            return Executed("Ouvert.", True)

    assistant = make(llm=FakeLanguageModel(AnswerPart(intents=(GARAGE,))), executor=Executor())
    await part(assistant, "Je voudrais sortir la voiture.", execute=True)
    assert executed == []
    assert await part(assistant, "Oui.", execute=True) == Answer("Ouvert.")
    assert executed == ["HassTurnOn"]


async def test_without_a_conversation_a_yes_is_nobodys(make: Make) -> None:
    assistant = make(FakeIntents({}), FakeLanguageModel(AnswerPart(intents=(GARAGE,))))
    await part(assistant, "Je voudrais sortir la voiture.", conversation="")
    assert not isinstance(await part(assistant, "Oui.", conversation=""), Intents)


async def test_a_door_that_was_named_in_full_is_not_asked_about(make: Make) -> None:
    assert isinstance(await part(make(), "Ouvre la porte du garage."), Intents)


# --- memory, rooms and language


async def test_a_follow_up_is_understood_in_its_own_conversation_only(make: Make) -> None:
    assistant = make()
    await part(assistant, "Allume la cuisine.")
    assert isinstance(await part(assistant, "Et le salon aussi.", conversation="other"), NotRecognized)
    answer = await part(assistant, "Et le salon aussi.")
    assert isinstance(answer, Intents)
    assert answer.calls[0].slots == {"area": "Salon", "domain": "light"}
    answer = await part(assistant, "Éteins-la.")
    assert isinstance(answer, Intents)
    assert (answer.calls[0].name, answer.calls[0].slots["area"]) == ("HassTurnOff", "Salon")


async def test_the_room_of_the_speaker_is_meant_where_none_is_named(make: Make) -> None:
    answer = await part(make(), "Allume la lumière.", speakers=("unknown", "cuisine-demo"))
    assert isinstance(answer, Intents)
    assert answer.calls[0].slots["area"] == "Cuisine"
    answer = await part(make(), "Allume le plafonnier.", area="chambre")
    assert isinstance(answer, Intents)
    assert answer.calls[0].slots == {"name": "Plafonnier", "preferred_area_id": "chambre"}


async def test_the_language_is_that_of_the_request_else_of_the_text_else_the_default(make: Make) -> None:
    assistant = make(guess_language=lambda text, candidates, default: "en" if "the" in text else default)
    assert assistant.language(Said("Turn on the light", "fr-FR")) == "fr"
    assert assistant.language(Said("Turn on the light")) == "en"
    assert assistant.language(Said("Hmm", "auto")) == "fr"
    assert make().language(Said("Turn on the light")) == "fr"


async def test_a_guess_has_no_effect(make: Make) -> None:
    assistant = make()
    understood = await assistant.understand(Said("Mets un minuteur de 5 minutes.", "fr", "c", execute=True))
    assert [call.name for call in understood.calls] == ["HassStartTimer"]
    assert assistant.timers.of("c") == []
    assert len(assistant.conversations) == 0
    said = Said("Mets un minuteur de 5 minutes.", "fr", "c", execute=True)
    assert [found async for found in assistant.respond(said, understood)] == [Answer("Minuteur lancé")]
    assistant.timers.close()


async def test_a_conversation_is_forgotten_after_its_time(make: Make) -> None:
    now = [0.0]
    assistant = make(conversations=Conversations(300, clock=lambda: now[0]))
    await part(assistant, "Allume la cuisine.")
    now[0] = 299
    assert isinstance(await part(assistant, "Et le salon aussi."), Intents)
    now[0] = 700
    assert isinstance(await part(assistant, "Et le bureau aussi."), NotRecognized)


def test_memory_is_bounded() -> None:
    conversations = Conversations(300)
    for number in range(MOST_CONVERSATIONS + 10):
        conversations.get(f"c{number}").add("hello", "hi")
    assert len(conversations) == MOST_CONVERSATIONS
    conversation = conversations.get("x")
    for _ in range(100):
        conversation.add("a" * 100_000, "b")
    assert len(conversation.exchanges) == MOST_EXCHANGES
    assert len(conversation.exchanges[0].user) < 10_000


async def test_a_text_with_templates_and_chat_tokens_does_no_harm(make: Make) -> None:
    assistant = make()
    for text in ("{{ 7 * 7 }}", "{% for x in range(9) %}", "<|eot_id|>", "'; DROP", "\x00\x01", "a " * 2500):
        assert isinstance(await part(assistant, text), NotRecognized)
