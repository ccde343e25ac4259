"""No mutation of a script goes unnoticed, and none has gone stale."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.mutants.runner import Mutation, mutations, scripts
from tests.support.paths import ROOT


@pytest.mark.parametrize(
    "mutation", mutations(), ids=lambda each: f"{each.script}: {each.what}"
)
def test_a_mutation_fits_its_script(mutation: Mutation) -> None:
    text = scripts()[mutation.script]

    assert mutation.applied_to(text) != text


def test_every_script_has_mutations() -> None:
    assert {each.script for each in mutations()} == set(scripts())


@pytest.mark.long
@pytest.mark.timeout(600)
def test_every_mutation_is_noticed_by_the_suite_it_names() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.mutants"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    sys.stdout.write(run.stdout)
    assert run.returncode == 0, run.stdout + run.stderr
