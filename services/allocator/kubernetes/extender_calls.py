"""What kube-scheduler asks an extender, and how it wants to be answered (pure).

The scheduler's own encoder writes the fields' Go names; older ones wrote them in small letters,
and its decoder takes either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from shared.errors import InvalidInput

from .admission import Pod

NODES_MAX: Final = 20_000
_SHOWN_MAX: Final = 80  # of a value that is not allowed

NodeObjectName = Annotated[str, Field(min_length=1, max_length=253)]


class ExtenderArgs(BaseModel):
    """A pod that is to be placed, and the nodes that are left."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    pod: Annotated[Pod, Field(validation_alias=AliasChoices("Pod", "pod"))]
    node_names: Annotated[
        tuple[NodeObjectName, ...],
        Field(
            max_length=NODES_MAX,
            validation_alias=AliasChoices("NodeNames", "nodeNames", "nodenames"),
        ),
    ]


def parse_args(body: bytes) -> ExtenderArgs:
    """Raises InvalidInput naming the field."""
    try:
        return ExtenderArgs.model_validate_json(body)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in problem["loc"]) or "body"
        if field == "NodeNames" and problem["type"] in ("missing", "tuple_type"):
            raise InvalidInput(
                "NodeNames: is missing: set nodeCacheCapable: true in the scheduler's"
                " configuration of this extender"
            ) from error
        shown = repr(problem["input"])[:_SHOWN_MAX]
        raise InvalidInput(f"{field}: {shown} is not allowed: {problem['msg']}") from error


def filtered(
    kept: list[str], failed: Mapping[str, str], failed_for_good: Mapping[str, str]
) -> dict[str, Any]:
    """An ExtenderFilterResult."""
    return {
        "NodeNames": kept,
        "FailedNodes": failed,
        "FailedAndUnresolvableNodes": failed_for_good,
        "Error": "",
    }


def prioritized(scores: Mapping[str, int]) -> list[dict[str, Any]]:
    """A HostPriorityList."""
    return [{"Host": node, "Score": score} for node, score in scores.items()]
