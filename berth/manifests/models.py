"""The part of Kubernetes' objects that decides which pods there are and how they are addressed.

Unknown fields are ignored, as they are many and none of ours; a null is an absent field, as it
is to the API server.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator
from pydantic.alias_generators import to_camel

REPLICAS_MAX: Final = 256  # more than a playground's nodes can hold; a typing error beyond
CONTAINERS_MAX: Final = 64


class Shape(BaseModel):
    """A mapping of a manifest: camelCase names, null is absent, unknown fields ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {key: item for key, item in value.items() if item is not None}


class OwnerShape(Shape):
    kind: str
    name: str
    uid: str = ""


class MetadataShape(Shape):
    name: str | None = None
    generate_name: str | None = None
    namespace: str = "default"
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class ResourcesShape(Shape):
    requests: dict[str, object] = Field(default_factory=dict)  # quantities: text or number
    limits: dict[str, object] = Field(default_factory=dict)


class ContainerShape(Shape):
    name: str
    image: str = ""
    command: list[str] = Field(default_factory=list)
    args: list[str] = Field(default_factory=list)
    resources: ResourcesShape = Field(default_factory=ResourcesShape)


class PodBodyShape(Shape):
    containers: Annotated[list[ContainerShape], Field(min_length=1, max_length=CONTAINERS_MAX)]
    host_network: Annotated[bool, Field(strict=True)] = False


class TemplateShape(Shape):
    metadata: MetadataShape = Field(default_factory=MetadataShape)
    spec: PodBodyShape


class SelectorShape(Shape):
    match_labels: dict[str, str] = Field(default_factory=dict)


class OrdinalsShape(Shape):
    start: Annotated[int, Field(strict=True, ge=0)] = 0


class WorkloadBodyShape(Shape):
    replicas: Annotated[int, Field(strict=True, ge=0, le=REPLICAS_MAX)] = 1
    selector: SelectorShape
    template: TemplateShape
    ordinals: OrdinalsShape = Field(default_factory=OrdinalsShape)
    strategy: dict[str, JsonValue] = Field(default_factory=dict)  # a Deployment's, as it is


class ObjectShape(Shape):
    """What every object has, read first: only then is it known what else must be there."""

    api_version: str
    kind: str
    metadata: MetadataShape


class WorkloadShape(ObjectShape):
    api_version: Literal["apps/v1"]
    spec: WorkloadBodyShape


class PodShape(ObjectShape):
    api_version: Literal["v1"]
    spec: PodBodyShape
