"""A namespace per test, and a conversation with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from shared.kernel.conversation import Conversation
from shared.kernel.netns import new_netns

pytestmark = pytest.mark.kernel

MakeNetns = Callable[[], int]


@pytest.fixture
def make_netns() -> Iterator[MakeNetns]:
    """Fresh namespaces by descriptor, freed by the kernel when the test ends."""
    made: list[int] = []

    def make() -> int:
        made.append(new_netns())
        return made[-1]

    try:
        yield make
    finally:
        for fd in made:
            os.close(fd)


@pytest.fixture
def netns(make_netns: MakeNetns) -> int:
    return make_netns()


@pytest.fixture
def conversation(netns: int) -> Iterator[Conversation]:
    with Conversation(netns) as conversation:
        yield conversation
