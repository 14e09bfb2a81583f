"""Sentences of our own beside those of home-assistant-intents: same intents and replies, more ways to say them."""
