"""Write the files that are made from code, or say which are stale (``--check``)."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic.json_schema import models_json_schema

from services.vpc_simulator.api.documented import table as simulator_table
from shared.bus.permissions import CALLERS
from shared.errors import ERROR_BY_CODE, TryLater
from shared.kubernetes.definitions import manifests
from shared.messages.base import Endpoint, Message, Rejected
from shared.messages.events import EVENT_STREAM, NOUN_OF_EVENT
from shared.messages.subjects import ENDPOINTS

ASYNCAPI: Final = Path("docs/asyncapi.json")
BUS: Final = Path("docs/bus.md")
DEFINITIONS: Final = Path("deploy/kubernetes/base/definitions.yaml")
SIMULATOR: Final = Path("docs/simulator.md")
_ROOT: Final = "berth.v1.{cluster}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when stale")
    arguments = parser.parse_args()
    for path, wanted in _files().items():
        found = path.read_text(encoding="utf-8") if path.exists() else ""
        if found == wanted:
            continue
        if arguments.check:
            sys.exit(f"{path} is stale: run `make generate`")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted, encoding="utf-8")


def _files() -> dict[Path, str]:
    return {
        SIMULATOR: simulator_table(),
        ASYNCAPI: json.dumps(asyncapi(), indent=2, sort_keys=True) + "\n",
        BUS: bus_page(BUS.read_text(encoding="utf-8")),
        DEFINITIONS: yaml.safe_dump_all(manifests(), sort_keys=False, explicit_start=True),
    }


def asyncapi() -> dict[str, Any]:
    """The bus as an AsyncAPI 3 document: a channel and an operation for each subject."""
    models: list[type[Message]] = [Rejected, *NOUN_OF_EVENT]
    for endpoint in ENDPOINTS:
        models += [endpoint.request, endpoint.outcome]
    _, schemas = models_json_schema(
        [(model, "serialization") for model in models],
        ref_template="#/components/schemas/{model}",
    )
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for endpoint in ENDPOINTS:
        name = _name(endpoint)
        channels[name] = _request_channel(endpoint)
        channels[f"{name}.reply"] = _reply_channel(endpoint)
        operations[name] = _operation(endpoint)
    for model, noun in NOUN_OF_EVENT.items():
        channels[f"event.{noun}"] = _event_channel(model, noun)
        operations[f"event.{noun}"] = {
            "action": "send",
            "channel": {"$ref": f"#/channels/event.{noun}"},
        }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Berth",
            "version": "v1",
            "description": (
                "Every subject of the bus. Replies are {outcome: <the outcome> | Rejected}. "
                "Within v1 fields are only added, with defaults; unknown fields are ignored."
            ),
        },
        "channels": channels,
        "operations": operations,
        "components": {
            "schemas": schemas["$defs"],
            "messages": {model.__name__: _message(model) for model in models},
        },
    }


def bus_page(text: str) -> str:
    """The page for integrators, with the parts between its marks made anew."""
    later = sorted(e.code for e in ERROR_BY_CODE.values() if issubclass(e, TryLater))
    final = sorted(e.code for e in ERROR_BY_CODE.values() if not issubclass(e, TryLater))
    parts = {
        "later": _codes(later),
        "final": _codes(final),
        "events": "\n" + _event_table() + "\n",
        "requests": "\n" + _request_table() + "\n",
    }
    for name, part in parts.items():
        begin = f"<!-- {name}: made by `make generate` -->"
        before, rest = text.split(begin)
        after = rest.split("<!-- end -->", 1)[1]
        text = f"{before}{begin}{part}<!-- end -->{after}"
    return text


def _codes(codes: Iterable[str]) -> str:
    return ", ".join(f"`{code}`" for code in codes)


def _event_table() -> str:
    lines = ["| noun | verbs |", "|---|---|"]
    for model, noun in NOUN_OF_EVENT.items():
        told = " ".join((model.__doc__ or "").split())
        verbs = told.split(f"event.{noun}.", 1)[1].split("``", 1)[0]
        lines.append(f"| `{noun}` | {verbs.replace(' | ', ', ')} |")
    return "\n".join(lines)


def _request_table() -> str:
    lines = [
        "| subject, below the cluster's | served by | for | same request | no answer |",
        "|---|---|---|---|---|",
    ]
    for endpoint in ENDPOINTS:
        callers = ", ".join(sorted(CALLERS[endpoint.name]))
        lines.append(
            f"| `{endpoint.name}` | {endpoint.server} | {callers} |"
            f" {endpoint.idempotency_key} | {endpoint.on_timeout} |"
        )
    return "\n".join(lines)


def _name(endpoint: Endpoint[Any, Any]) -> str:
    return endpoint.name.replace(".<node>", "")


def _message(model: type[Message]) -> dict[str, Any]:
    return {
        "name": model.__name__,
        "contentType": "application/json",
        "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
    }


def _refer(*models: type[Message]) -> dict[str, Any]:
    return {
        model.__name__: {"$ref": f"#/components/messages/{model.__name__}"} for model in models
    }


def _parameters(*names: str) -> dict[str, Any]:
    return {name: {"description": f"the {name}'s name as one token"} for name in names}


def _request_channel(endpoint: Endpoint[Any, Any]) -> dict[str, Any]:
    names = ("cluster", "node") if "<node>" in endpoint.name else ("cluster",)
    return {
        "address": f"{_ROOT}.{endpoint.name.replace('<node>', '{node}')}",
        "parameters": _parameters(*names),
        "messages": _refer(endpoint.request),
    }


def _reply_channel(endpoint: Endpoint[Any, Any]) -> dict[str, Any]:
    return {"address": None, "messages": _refer(endpoint.outcome, Rejected)}


def _operation(endpoint: Endpoint[Any, Any]) -> dict[str, Any]:
    name = _name(endpoint)
    return {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{name}"},
        "reply": {
            "address": {"location": "$message.header#/reply"},
            "channel": {"$ref": f"#/channels/{name}.reply"},
        },
        "description": (
            f"Served by {endpoint.server}. Idempotency key: {endpoint.idempotency_key}. "
            f"No answer: {endpoint.on_timeout}. "
            f"Time limit unless the request's deadline says less: {endpoint.timeout_s:g} s."
        ),
    }


def _event_channel(model: type[Message], noun: str) -> dict[str, Any]:
    return {
        "address": f"{_ROOT}.event.{noun}.{{verb}}",
        "description": f"In the JetStream stream {EVENT_STREAM}. {model.__doc__}",
        "parameters": {
            **_parameters("cluster"),
            "verb": {"description": "what happened, in the past tense"},
        },
        "messages": _refer(model),
    }


if __name__ == "__main__":
    main()
