"""The value of a pod's ``networks`` annotation: one name, a comma list, or a JSON list.

``tke-bridge,tke-route-eni`` · ``tke-route-eni@eth1`` · ``[{"name": "tke-route-eni"}]``. Which
interface a network gets is the delegating plugin's business; only the names are read here.
"""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

_TEXT_CHARACTERS_MAX = 4096


class _Selection(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: Annotated[str, Field(min_length=1)]


_SELECTIONS = TypeAdapter(Annotated[list[_Selection], Field(min_length=1, max_length=16)])


def parse_network_names(text: str) -> tuple[str, ...] | None:
    """The names in their order, or None when the text is neither form."""
    if len(text) > _TEXT_CHARACTERS_MAX:
        return None
    if text.lstrip().startswith("["):
        try:
            selections = _SELECTIONS.validate_python(json.loads(text))
        except (json.JSONDecodeError, ValidationError, RecursionError):
            return None
        names = [each.name for each in selections]
    else:
        names = text.split(",")
    # NAMESPACE/NAME@INTERFACE: the parts around the name are optional.
    found = tuple(each.strip().partition("@")[0].rpartition("/")[2] for each in names)
    return found if all(found) else None
