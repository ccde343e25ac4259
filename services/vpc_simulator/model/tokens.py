"""ClientTokens: a call repeated with its token gets its first answer, and changes nothing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from services.vpc_simulator.model.failures import ApiFailure, Code

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenKey:
    """A token means something for one action of one account."""

    account: str
    action: str
    token: str


class ClientTokens(Generic[T]):
    """The answers of the last calls that succeeded; a refused call may be repeated afresh.

    While a call is being served, a repeat of it is told so.
    """

    def __init__(self, *, kept_max: int) -> None:
        self._answers: OrderedDict[TokenKey, tuple[str, T]] = OrderedDict()
        self._being_served: set[TokenKey] = set()
        self._kept_max = kept_max

    @contextmanager
    def serving(self, key: TokenKey | None) -> Iterator[None]:
        """From a call's arrival to its answer; None: a call without a token."""
        if key is None:
            yield
            return
        if key in self._being_served:
            raise ApiFailure(
                Code.IDEMPOTENT_PROCESSING,
                f"A call with the ClientToken {key.token} is being processed.",
            )
        self._being_served.add(key)
        try:
            yield
        finally:
            self._being_served.discard(key)

    def once(self, key: TokenKey, parameters: str, perform: Callable[[], T]) -> T:
        """Perform, or answer as before. Other parameters under the same token are refused."""
        known = self._answers.get(key)
        if known is not None:
            first_parameters, answer = known
            if first_parameters != parameters:
                raise ApiFailure(
                    Code.IDEMPOTENT_MISMATCH,
                    f"The ClientToken {key.token} was used with other parameters.",
                )
            return answer
        answer = perform()
        self._answers[key] = (parameters, answer)
        if len(self._answers) > self._kept_max:
            self._answers.popitem(last=False)
        return answer

    def answers(self) -> Iterator[tuple[TokenKey, str, T]]:
        """Key, parameters and answer, oldest first."""
        for key, (parameters, answer) in self._answers.items():
            yield key, parameters, answer

    def remember(self, key: TokenKey, parameters: str, answer: T) -> None:
        """What was answered before this cloud was loaded."""
        self._answers[key] = (parameters, answer)
