"""The formats: one declaration, written for CloudFormation, for Terraform, or plainly."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from storycore.errors import InvalidArgument
from storycore.infrastructure.cloudformation import template
from storycore.infrastructure.declared import Declared
from storycore.infrastructure.policies import policy
from storycore.infrastructure.terraform import configuration
from storycore.ports.infrastructure import Infrastructure, Purpose
from storycore.suggestions import did_you_mean

__all__ = ["FORMATS", "document"]


def document(needed: Declared, format: str, *, existing: bool = False) -> dict[str, object]:  # noqa: A002 - the option's own name
    """What is declared, as one JSON document.

    Args:
        format: ``"cloudformation"``: a template; ``"terraform"``: a configuration in Terraform's JSON syntax, to be
            saved as ``….tf.json``; ``"json"``: the requests that create everything, and the policies, plainly.
        existing: for resources that exist already and are to be taken over by the tool.

    Raises:
        InvalidArgument: there is no such format.
    """
    if format not in FORMATS:
        raise InvalidArgument(f"There is no format {format!r}. {did_you_mean(format, FORMATS)}")
    return FORMATS[format](needed, existing)


def _plain(needed: Declared, existing: bool) -> dict[str, object]:
    return {"profile": needed.profile, "ports": {str(port): _port(found) for port, found in needed.ports.items()}}


def _port(found: Infrastructure) -> dict[str, object]:
    arns = {resource.name: resource.arn for resource in found.resources}
    return {
        "resources": {
            resource.name: {"arn": resource.arn, "identity": dict(resource.identity), "definition": resource.definition}
            for resource in found.resources
        },
        "policies": {
            str(purpose): policy(found, purpose, lambda name, suffix: arns[name] + suffix) for purpose in Purpose
        },
    }


FORMATS: Mapping[str, Callable[[Declared, bool], dict[str, object]]] = {
    "cloudformation": template,
    "terraform": configuration,
    "json": _plain,
}
"""Format to what writes it."""
