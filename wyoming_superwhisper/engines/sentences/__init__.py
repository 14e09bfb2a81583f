"""Sentences of our own beside the packs of home-assistant-intents: same intents and reply keys, more ways to say them."""
