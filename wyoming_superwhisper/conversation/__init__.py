"""The conversation: what was said becomes intents, an answer, or the honest word that it was not understood."""
