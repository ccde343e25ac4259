"""A book of each format that agents have written: read as it was meant, or left as it is."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from services.node_agent.adapters.book import FORMAT
from services.node_agent.domain.ports import Saved
from shared.errors import Refused
from tests.unit.agent.test_book import ATTACHMENT, CLAIM, COOLING, POD, RECORD, open_book

WRITTEN = Path(__file__).parent / "book_format_1"  # by its agent; never written again
SAVED = Saved(
    node=RECORD,
    claims=(CLAIM,),
    attachments=(ATTACHMENT,),
    cooling=(COOLING,),
    pods=(POD,),
)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    shutil.copytree(WRITTEN, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_a_book_of_format_1_is_read(written: Path) -> None:
    assert open_book(written).load() == SAVED


def test_what_an_agent_of_the_same_format_added_since_has_its_default(written: Path) -> None:
    (page,) = (written / "state" / "claims").iterdir()
    document = json.loads(page.read_bytes())
    for added_later in ("workload", "pods_max", "policy", "nominated", "subnets"):
        del document["body"][added_later]
    page.write_text(json.dumps(document))

    assert open_book(written).load() == replace(SAVED, claims=(CLAIM,))


@pytest.mark.parametrize("shelf", ["state/claims", "state", "run/book/attachments"])
def test_a_book_of_a_newer_agent_is_refused_in_one_line_and_left_as_it_is(
    written: Path, shelf: str
) -> None:
    page = next(each for each in sorted((written / shelf).iterdir()) if each.is_file())
    newer = {"format": FORMAT + 1, "body": {"of": "another shape"}}
    page.write_text(json.dumps(newer))
    before = _pages(written)

    with pytest.raises(Refused) as refused:
        open_book(written).load()

    assert str(refused.value) == (
        f"{page}: format 2 of the book is of a newer agent, this one knows up to 1: start that"
        " release again; nothing was changed"
    )
    assert _pages(written) == before


def _pages(folder: Path) -> dict[Path, bytes]:
    files = (each for each in folder.rglob("*") if each.is_file() and each.name != "lock")
    return {each: each.read_bytes() for each in files}
