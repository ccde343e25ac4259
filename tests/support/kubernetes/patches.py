"""Patches as the API server takes them: JSON patch and JSON merge patch.

A strategic merge patch of a custom resource does not exist, and of the built-in kinds our
services send none, so it is refused.
"""

from __future__ import annotations

import copy
from typing import Any

from tests.support.kubernetes.failures import ApiFailure, bad_request, invalid
from tests.support.kubernetes.kinds import Object

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"


def patched(content_type: str, target: Object, patch: Any) -> Object:
    """A new object; the old one stays as it is."""
    if content_type == JSON_PATCH:
        if not isinstance(patch, list):
            raise bad_request("a JSON patch is a list of operations")
        return _operations(copy.deepcopy(target), patch)
    if content_type == MERGE_PATCH:
        merged = merge(target, patch)
        if not isinstance(merged, dict):
            raise bad_request("a merge patch of an object is an object")
        return merged
    raise ApiFailure(415, "UnsupportedMediaType", f"patches of type {content_type!r}")


def merge(target: Any, patch: Any) -> Any:
    """RFC 7386: null deletes, objects merge, anything else replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def _operations(document: Any, operations: list[Object]) -> Object:
    for operation in operations:
        try:
            document = _apply(document, operation)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise invalid(f"JSON patch {operation}: {error!r}") from error
    if not isinstance(document, dict):
        raise invalid("a JSON patch must leave an object")
    return document


def _apply(document: Any, operation: Object) -> Any:
    """RFC 6902: add, replace, remove and test."""
    parts = [part.replace("~1", "/").replace("~0", "~") for part in _split(operation["path"])]
    verb = operation["op"]
    if not parts:
        if verb not in ("add", "replace"):
            raise ValueError(f"{verb} of the whole document")
        return operation["value"]
    parent = document
    for part in parts[:-1]:
        parent = parent[int(part)] if isinstance(parent, list) else parent[part]
    _change(parent, parts[-1], verb, operation)
    return document


def _change(parent: Any, last: str, verb: str, operation: Object) -> None:
    is_list = isinstance(parent, list)
    at: Any = last if not is_list else (len(parent) if last == "-" else int(last))
    match verb:
        case "add" if is_list:
            if at > len(parent):
                raise IndexError(f"{at} is beyond the list")
            parent.insert(at, operation["value"])
        case "add":
            parent[at] = operation["value"]
        case "replace":
            if not is_list and at not in parent:
                raise KeyError(at)
            parent[at] = operation["value"]
        case "remove":
            del parent[at]
        case "test":
            if parent[at] != operation["value"]:
                raise ValueError(f"test failed: {parent[at]!r}")
        case _:
            raise ValueError(f"operation {verb!r} is not known")


def _split(path: str) -> list[str]:
    if path and not path.startswith("/"):
        raise ValueError(f"path {path!r} does not begin with /")
    return path.split("/")[1:]
