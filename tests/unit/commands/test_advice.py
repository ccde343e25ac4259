"""Every reason that a pod can wait for comes with something to do."""

from __future__ import annotations

import pytest

from berth.advice import ADVICE, advice
from shared.errors import ErrorCode


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_has_its_advice(code: ErrorCode) -> None:
    assert advice(code) == ADVICE[code]


def test_a_newer_services_code_is_no_bug() -> None:
    assert advice("code_of_tomorrow") == "see the detail"
