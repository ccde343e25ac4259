"""Every error has a code that tells the runtime the right thing."""

from __future__ import annotations

import pytest

from services.node_agent.cni.codes import CNI_CODE, CniCode, code_of
from shared.errors import ERROR_BY_CODE, BerthError, ErrorCode, TryLater

CODE_THAT_SKIPS_DEL = 3


@pytest.mark.parametrize("code", ErrorCode)
def test_every_error_has_a_cni_code_and_none_skips_del(code: ErrorCode) -> None:
    assert CNI_CODE[code] != CODE_THAT_SKIPS_DEL


@pytest.mark.parametrize("error", ERROR_BY_CODE.values(), ids=lambda error: error.code)
def test_what_may_succeed_later_says_so_and_nothing_else_does(error: type[BerthError]) -> None:
    code = code_of(error("because"))

    assert (code is CniCode.TRY_AGAIN_LATER) == issubclass(error, TryLater)
    assert code is CNI_CODE[error.code]
