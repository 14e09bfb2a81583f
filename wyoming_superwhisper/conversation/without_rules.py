"""The rules where understanding by them is switched off."""

from __future__ import annotations

from collections.abc import Sequence

from wyoming_superwhisper.engines.base import IntentCall, IntentRecognizer, Priority, RecognizeRequest


class WithoutRules:
    """Recognises nothing; the packs still reply to a model's calls."""

    def __init__(self, rules: IntentRecognizer) -> None:
        self._rules = rules

    @property
    def languages(self) -> Sequence[str]:
        return self._rules.languages

    async def recognize(self, request: RecognizeRequest, priority: Priority = Priority.FINAL) -> tuple[IntentCall, ...]:
        return ()

    async def complete(
        self, calls: Sequence[IntentCall], language: str, area: str | None = None
    ) -> tuple[IntentCall, ...]:
        return await self._rules.complete(calls, language, area)
