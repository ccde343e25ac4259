"""Settings that are a choice of numbers, said in the environment, which holds text."""

from __future__ import annotations

import pytest

from services.allocator.config import AllocatorSettings
from shared.settings import InvalidSettings, load_settings


def test_a_choice_of_numbers_is_taken_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BERTH_ALLOCATOR_JOURNAL_REPLICAS", "3")
    monkeypatch.setenv("BERTH_ALLOCATOR_STORED_FORMAT", "1")

    found = load_settings(AllocatorSettings, None, {})

    assert (found.journal_replicas, found.stored_format) == (3, 1)


@pytest.mark.parametrize("value", ["2", "three", "", "-1"])
def test_another_number_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("BERTH_ALLOCATOR_JOURNAL_REPLICAS", value)

    with pytest.raises(InvalidSettings, match=r"journal_replicas.*1, 3 or 5"):
        load_settings(AllocatorSettings, None, {})
