"""Infrastructure: what must exist in a cloud before a port can serve, as data for the tools that create it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["Infrastructure", "Permission", "Purpose", "Resource"]


class Purpose(StrEnum):
    """What somebody needs a permission for."""

    USE = "use"
    """To read and write: what an application's role holds."""
    PROVISION = "provision"
    """To create and change what is used: what ``init`` needs, and no application."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One thing that must exist.

    Args:
        name: what it is to the adapter, letters and digits only: ``"Table"``.
        identity: by which attribute, and under which value, the cloud knows it: ``{"TableName": "storycore"}``.
        arn: its Amazon Resource Name; ``*`` stands for what is not known before it exists.
        definition: the request that creates it, as the vendor's own interface takes it.
        cloudformation: ``Type`` and ``Properties`` of the resource in a CloudFormation template.
        terraform: the resource in Terraform: ``{"aws_dynamodb_table": {…}}``.
    """

    name: str
    identity: Mapping[str, str]
    arn: str
    definition: Mapping[str, object]
    cloudformation: Mapping[str, object]
    terraform: Mapping[str, Mapping[str, object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """What may be done with a resource, and no more than is needed.

    Args:
        purpose: who needs it.
        resource: the name of the resource.
        actions: as AWS Identity and Access Management names them: ``"dynamodb:GetItem"``.
        suffixes: what follows the resource's name in each target: ``""`` for itself, ``"/index/*"`` for its indexes.
    """

    purpose: Purpose
    resource: str
    actions: Sequence[str]
    suffixes: Sequence[str] = ("",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Infrastructure:
    """Everything that one port needs."""

    resources: Sequence[Resource] = ()
    permissions: Sequence[Permission] = field(default=())
