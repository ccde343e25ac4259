"""YAML text into numbered documents: bounded, plain data, every refusal with its place.

Deeper meaning is `models.py` and `reader.py`; here a document is only a mapping with a number.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from shared.errors import InvalidInput

MANIFEST_BYTES_MAX: Final = 1 << 20  # the API server takes no bigger object either
DOCUMENTS_MAX: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document of a file, as people count them: from 1."""

    number: int
    content: dict[str, object]


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice: which of the two was meant cannot be known."""

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Hashable, object]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen and key != "<<":
                raise yaml.MarkedYAMLError(
                    problem=f"key {key!r} is there twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_text(path: Path) -> str:
    """The file's text. Raises InvalidInput when it cannot be read."""
    try:
        with path.open("rb") as file:
            raw = file.read(MANIFEST_BYTES_MAX + 1)
    except OSError as error:
        raise InvalidInput(f"manifest {path}: cannot be read: {error.strerror}") from error
    if len(raw) > MANIFEST_BYTES_MAX:
        raise InvalidInput(
            f"manifest {path}: longer than the {MANIFEST_BYTES_MAX >> 20} MiB allowed"
        )
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"manifest {path}: byte {error.start} is not UTF-8; allowed: a YAML file"
        ) from error


def split_documents(text: str) -> list[Document]:
    """Every document that is not empty. Raises InvalidInput for what is not YAML."""
    documents: list[Document] = []
    try:
        for number, content in enumerate(yaml.load_all(text, Loader=_Loader), start=1):
            if number > DOCUMENTS_MAX:
                raise InvalidInput(f"more than the {DOCUMENTS_MAX} documents allowed in a file")
            if content is None:  # nothing between two `---`
                continue
            if not isinstance(content, dict):
                raise InvalidInput.of(
                    f"document {number}", content, "a Kubernetes object (a mapping)"
                )
            documents.append(Document(number=number, content=content))
    except yaml.YAMLError as error:
        raise InvalidInput(f"not YAML: {_reason(error)}") from error
    except (
        RecursionError,
        ValueError,
    ) as error:  # nested too deep; a number or date that is none
        raise InvalidInput(f"not YAML that can be read: {type(error).__name__}") from error
    if not documents:
        raise InvalidInput("no document in it; allowed: StatefulSet, Deployment or Pod")
    return documents


def _reason(error: yaml.YAMLError) -> str:
    """One line out of PyYAML's several, with the place as editors count it."""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        what = error.problem or error.context or "malformed"
        return f"line {mark.line + 1}, column {mark.column + 1}: {what}" if mark else what
    return str(error).splitlines()[0]
