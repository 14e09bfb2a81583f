"""Sentences to intents by rule: hassil, a second matcher for English, and what is tried where they find nothing."""
