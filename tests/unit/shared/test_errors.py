"""Errors: one code each, and the same error on both sides of the wire."""

from __future__ import annotations

import pytest

from shared.errors import (
    ERROR_BY_CODE,
    BerthError,
    ErrorCode,
    InvalidInput,
    Refused,
    TryLater,
    error_of,
)


@pytest.mark.parametrize("code", [code for code in ErrorCode if code is not ErrorCode.INTERNAL])
def test_every_code_is_one_error(code: ErrorCode) -> None:
    error = error_of(code, "because")

    assert type(error) is ERROR_BY_CODE[code]
    assert error.code is code
    assert str(error) == "because"


@pytest.mark.parametrize("kind", ERROR_BY_CODE.values())
def test_every_error_is_final_or_worth_repeating(kind: type[BerthError]) -> None:
    assert issubclass(kind, Refused) != issubclass(kind, TryLater)


def test_a_bug_elsewhere_is_neither() -> None:
    error = error_of(ErrorCode.INTERNAL, "a bug")

    assert not isinstance(error, Refused | TryLater)


def test_bad_input_names_field_value_and_allowed() -> None:
    error = InvalidInput.of("policy", "never", "Immediate or Never")

    assert str(error) == "policy: 'never' is not allowed; allowed: Immediate or Never"


def test_a_long_value_is_cut_short() -> None:
    assert len(str(InvalidInput.of("body", "x" * 10_000, "less"))) < 200
