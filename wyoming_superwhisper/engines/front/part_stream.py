"""An answer that comes in parts, as it is read."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from wyoming_superwhisper.engines.front.dispatcher import Dispatcher
from wyoming_superwhisper.engines.front.jobs import Job, Reply


class PartStream:
    """Iterate it, then `reply` is its end. Close it, or use it in `async with`."""

    def __init__(self, calls: Dispatcher, job: Job) -> None:
        self._calls = calls
        self.job = job
        self._taken = 0
        self._closed = False

    @property
    def reply(self) -> Reply:
        """The result that came after the last part."""
        assert self.job.reply is not None
        return self.job.reply

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Reply:
        part = await self.job.next_part()
        if part is None:
            self.close()
            raise StopAsyncIteration
        self._taken += 1
        if self._taken >= self.job.first_credit // 2:
            self._calls.give_credit(self.job, self._taken)
            self._taken = 0
        return part

    def close(self) -> None:
        """Want no more; cancels what has not ended. May be called twice."""
        if not self._closed:
            self._closed = True
            self._calls.release(self.job)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
