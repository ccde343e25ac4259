"""Two of the wrongs that the suite must find; `python -m tests.chaos.mutants` tries all."""

from __future__ import annotations

import pytest

from tests.chaos.mutants import hunt, mutants, mutated

TRIED = ("generations stand still", "steps are answered and never journaled")


def test_every_mutant_fits_the_sources_of_today() -> None:
    for mutant in mutants():
        with mutated(mutant) as root:
            assert (root / mutant.file).is_file()


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("what", TRIED)
def test_a_wrong_is_found(what: str) -> None:
    [mutant] = [each for each in mutants() if each.what == what]

    found = hunt(mutant)

    assert {*mutant.caught_by} & {*found.checkers}, found
