"""What is wrong with a document, in one line: the field's path, its value, what is allowed."""

from __future__ import annotations

from typing import Final

from pydantic import ValidationError

from shared.errors import InvalidInput

_ABSENT: Final = {
    "apiVersion": "apps/v1 (StatefulSet, Deployment) or v1 (Pod)",
    "kind": "StatefulSet, Deployment or Pod",
    "metadata": "metadata with a name",
    "name": "a name",
    "spec": "the pod's spec with its containers, or the workload's with its template",
    "template": "a pod template with its metadata and spec",
    "selector": "matchLabels that select the template's labels",
    "containers": "at least one container",
}

_BY_KIND: Final = {
    "string_type": "text (a number or a true/false needs quotes)",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


def first_problem(error: ValidationError) -> InvalidInput:
    """The first thing pydantic found, in the one wording of bad input."""
    problem = error.errors(include_url=False)[0]
    path = field_path(problem["loc"])
    context = problem.get("ctx", {})
    match problem["type"]:
        case "missing":
            allowed = _ABSENT.get(str(problem["loc"][-1]), "a value")
            return InvalidInput(f"{path}: missing; allowed: {allowed}")
        case "greater_than_equal":
            allowed = f"{context['ge']} or more"
        case "less_than_equal":
            allowed = f"{context['le']} or less"
        case "too_short":
            allowed = f"at least {context['min_length']} entry"
        case "too_long":
            allowed = f"at most {context['max_length']} entries"
        case "literal_error":
            allowed = str(context["expected"]).replace("'", "")
        case kind:
            allowed = _BY_KIND.get(kind, problem["msg"])
    return InvalidInput.of(path, problem["input"], allowed)


def field_path(parts: tuple[str | int, ...]) -> str:
    """``spec.containers[0].name``, as kubectl shows it."""
    path = ""
    for part in parts:
        if isinstance(part, int) or "." in part or "/" in part:
            path += f"[{part}]"
        else:
            path += f".{part}" if path else part
    return path
