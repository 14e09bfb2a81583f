"""The fuzzing harness itself, on the inputs that it begins with: what it asserts holds for them."""

from __future__ import annotations

import itertools
import random

from tests.fuzz.wire import one_input
from tests.server.abuse import inputs


def test_whatever_is_cut_wherever_gives_the_same() -> None:
    rng = random.Random(3)
    for abuse in itertools.islice(inputs(3), 2_000):
        if len(abuse.data) < 8_192:
            one_input(bytes([rng.randrange(256)]) + abuse.data)
