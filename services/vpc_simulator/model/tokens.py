"""ClientTokens: a call repeated with its token gets its first answer, and changes nothing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from services.vpc_simulator.model.failures import ApiFailure, Code

T = TypeVar("T")


class ClientTokens(Generic[T]):
    """The answers of the last calls that succeeded; a refused call may be repeated afresh."""

    def __init__(self, *, kept_max: int) -> None:
        self._answers: OrderedDict[tuple[str, str], tuple[str, T]] = OrderedDict()
        self._kept_max = kept_max

    def once(self, action: str, token: str, parameters: str, perform: Callable[[], T]) -> T:
        """Perform, or answer as before. Other parameters under the same token are refused."""
        known = self._answers.get((action, token))
        if known is not None:
            first_parameters, answer = known
            if first_parameters != parameters:
                raise ApiFailure(
                    Code.IDEMPOTENT_MISMATCH,
                    f"The ClientToken {token} was used with other parameters.",
                )
            return answer
        answer = perform()
        self._answers[action, token] = (parameters, answer)
        if len(self._answers) > self._kept_max:
            self._answers.popitem(last=False)
        return answer
