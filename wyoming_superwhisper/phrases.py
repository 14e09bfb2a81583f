"""What the server says of itself: not understood, out of reach, no language model … in French, English and Spanish.

Replies to intents are the sentence packs' own; only what no pack says is here. Where a pack has the sentence among its
errors ("Désolé, je n'ai pas compris"), it is that one, so that the house speaks with one voice.
"""

from __future__ import annotations

import re

_PHRASES: dict[str, dict[str, str]] = {
    "not_understood": {
        "fr": "Désolé, je n'ai pas compris.",
        "en": "Sorry, I couldn't understand that.",
        "es": "Lo siento, no he entendido.",
    },
    "unreachable": {
        "fr": "Je n'arrive pas à joindre {target} : aucun Home Assistant n'est relié. Rien n'a été fait.",
        "en": "I can't reach {target}: no Home Assistant is connected. Nothing was done.",
        "es": "No puedo acceder a {target}: no hay ningún Home Assistant conectado. No se ha hecho nada.",
    },
    "ha_unreachable": {
        "fr": "Je n'arrive pas à joindre Home Assistant. Rien n'a été fait.",
        "en": "I can't reach Home Assistant. Nothing was done.",
        "es": "No puedo acceder a Home Assistant. No se ha hecho nada.",
    },
    "ha_refused": {
        "fr": "Home Assistant n'accepte pas mon jeton d'accès. Rien n'a été fait.",
        "en": "Home Assistant does not accept my access token. Nothing was done.",
        "es": "Home Assistant no acepta mi token de acceso. No se ha hecho nada.",
    },
    "ha_unsure": {
        "fr": "Home Assistant n'a pas répondu : je ne sais pas si cela a été fait.",
        "en": "Home Assistant did not answer: I don't know whether that was done.",
        "es": "Home Assistant no ha respondido: no sé si se ha hecho.",
    },
    "ha_failed": {
        "fr": "Home Assistant n'a pas pu le faire.",
        "en": "Home Assistant could not do that.",
        "es": "Home Assistant no ha podido hacerlo.",
    },
    "ha_not_done": {
        "fr": "Home Assistant n'a rien trouvé qui corresponde. Rien n'a été fait.",
        "en": "Home Assistant found nothing that fits. Nothing was done.",
        "es": "Home Assistant no ha encontrado nada que corresponda. No se ha hecho nada.",
    },
    "ha_not_done_for": {
        "fr": "Home Assistant n'a pas pu le faire pour {target}.",
        "en": "Home Assistant could not do that for {target}.",
        "es": "Home Assistant no ha podido hacerlo para {target}.",
    },
    "ha_no_answer": {
        "fr": "Home Assistant ne me l'a pas dit.",
        "en": "Home Assistant did not tell me.",
        "es": "Home Assistant no me lo ha dicho.",
    },
    "ha_partly": {
        "fr": "{reply}, mais pas {names}.",
        "en": "{reply}, but not {names}.",
        "es": "{reply}, pero no {names}.",
    },
    "timer_finished": {
        "fr": "Le minuteur{name} est terminé.",
        "en": "The timer{name} is finished.",
        "es": "El temporizador{name} ha terminado.",
    },
    "your_devices": {"fr": "vos appareils", "en": "your devices", "es": "sus dispositivos"},
    "failed": {
        "fr": "Une erreur est intervenue, rien n'a été fait.",
        "en": "An unexpected error occurred, nothing was done.",
        "es": "Se ha producido un error inesperado, no se ha hecho nada.",
    },
    "no_answer": {
        "fr": "Je n'ai pas compris cela comme une commande, et le modèle de langue ne répond pas pour l'instant. "
        "Les commandes fonctionnent.",
        "en": "I did not understand that as a command, and the language model is not available right now. "
        "Commands still work.",
        "es": "No lo he entendido como una orden, y el modelo de lenguaje no responde ahora. Las órdenes funcionan.",
    },
    "answer_broke_off": {
        "fr": "Désolé, ma réponse a été interrompue.",
        "en": "Sorry, my answer broke off.",
        "es": "Lo siento, mi respuesta se ha interrumpido.",
    },
    "busy": {
        "fr": "Je suis occupé, redemandez-moi dans un instant. Les commandes fonctionnent.",
        "en": "I am busy, please ask me again in a moment. Commands still work.",
        "es": "Estoy ocupado, pregúnteme de nuevo en un momento. Las órdenes funcionan.",
    },
    "done": {"fr": "D'accord.", "en": "All right.", "es": "De acuerdo."},
    "stopped": {"fr": "D'accord.", "en": "All right.", "es": "De acuerdo."},
    "only_first": {
        "fr": "Je n'ai fait que cela : redites-moi le reste.",
        "en": "I only did that one: please tell me the rest again.",
        "es": "Solo he hecho eso: repítame el resto.",
    },
    "state_unknown": {
        "fr": "Désolé, votre version de Home Assistant ne me permet pas de répondre à cette question.",
        "en": "Sorry, your version of Home Assistant does not let me answer that.",
        "es": "Lo siento, su versión de Home Assistant no me permite responder a eso.",
    },
    "nothing_said": {
        "fr": "Je n'ai encore rien dit.",
        "en": "I have not said anything yet.",
        "es": "Todavía no he dicho nada.",
    },
    "timer_not_found": {
        "fr": "Désolé, je n'ai pas trouvé ce minuteur.",
        "en": "Sorry, I couldn't find that timer.",
        "es": "Lo siento, no se pudo encontrar ese temporizador.",
    },
    "multiple_timers": {
        "fr": "Désolé, il y a plusieurs minuteurs : dites lequel.",
        "en": "Sorry, there are several timers: please say which one.",
        "es": "Lo siento, hay varios temporizadores: diga cuál.",
    },
    "too_many_timers": {
        "fr": "Désolé, il y a déjà trop de minuteurs.",
        "en": "Sorry, there are too many timers already.",
        "es": "Lo siento, ya hay demasiados temporizadores.",
    },
    "no_time_given": {
        "fr": "Pour combien de temps ?",
        "en": "For how long?",
        "es": "¿Para cuánto tiempo?",
    },
    "confirm": {
        "fr": "Voulez-vous vraiment que j'agisse sur {target} ? Répondez oui ou non.",
        "en": "Do you really want me to operate {target}? Say yes or no.",
        "es": "¿De verdad quiere que actúe sobre {target}? Diga sí o no.",
    },
    "dropped": {
        "fr": "D'accord, je ne fais rien.",
        "en": "All right, I do nothing.",
        "es": "De acuerdo, no hago nada.",
    },
}

_WORDS: dict[str, dict[str, str]] = {
    "stop": {
        "fr": r"(?:stop|stoppe|arrête(?:[- ]toi)?|tais[- ]toi|silence|ça suffit|assez)",
        "en": r"(?:stop(?: it| that| talking)?|be quiet|quiet|shut up|silence|that's enough|enough)",
        "es": r"(?:para|detente|basta|cállate|silencio|alto)",
    },
    "repeat": {
        "fr": r"(?:répète(?:[- ](?:le|ça|cela|moi ça))?|tu peux répéter|peux[- ]tu répéter|redis(?:[- ](?:le|moi ça))?"
        r"|qu'est[- ]ce que tu as dit|encore une fois)",
        "en": r"(?:repeat(?: that| it)?|say (?:that|it) again|(?:can|could) you repeat(?: that| it)?"
        r"|what did you say|once more)",
        "es": r"(?:repite(?:lo)?|repítelo|puedes repetir(?:lo)?|qué has dicho|otra vez)",
    },
    "no": {
        "fr": r"(?:non(?: non)?(?: merci)?|surtout pas|annule|laisse tomber|pas du tout)",
        "en": r"(?:no(?: no)?(?: thanks?| thank you)?|nope|cancel|never mind|nevermind|don't)",
        "es": r"(?:no(?: gracias)?|cancela|déjalo)",
    },
    "yes": {
        "fr": r"(?:oui(?: oui)?|ouais|bien sûr|d'accord|vas[- ]y|fais[- ]le|confirme|je confirme|ok(?:ay)?)",
        "en": r"(?:yes(?: yes)?|yeah|yep|sure|of course|go ahead|do it|confirm|ok(?:ay)?)",
        "es": r"(?:sí|si|claro|por supuesto|adelante|hazlo|confirmo|vale)",
    },
}


def say(key: str, language: str, **values: str) -> str:
    """A phrase in a language; in English where there is none in that language."""
    forms = _PHRASES[key]
    return forms.get(language, forms["en"]).format(**values)


def is_said(key: str, words: str, language: str) -> bool:
    """Whether plain words are nothing but a form of "stop", "repeat", "yes" or "no" in a language (or in English)."""
    return any(_COMPILED[key, tag].fullmatch(words.strip()) for tag in {language, "en"} if tag in _WORDS[key])


_COMPILED = {
    (key, language): re.compile(pattern, re.IGNORECASE)
    for key, forms in _WORDS.items()
    for language, pattern in forms.items()
}
