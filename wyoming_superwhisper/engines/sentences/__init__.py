"""Sentences of our own beside the packs of home-assistant-intents: same intents, same reply keys, more ways to say them."""
