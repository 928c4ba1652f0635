"""Policy documents of AWS Identity and Access Management: what may be done with which resource, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

from storycore.ports.infrastructure import Infrastructure, Permission, Purpose

__all__ = ["policy"]

_VERSION = "2012-10-17"
"""AWS IAM: the present version of the policy language."""


def policy(found: Infrastructure, purpose: Purpose, target: Callable[[str, str], object]) -> dict[str, object]:
    """The policy of everybody with that purpose.

    Args:
        target: from a resource's name and a suffix to the ARN as the document's language writes it.
    """
    permissions = [each for each in found.permissions if each.purpose is purpose]
    return {"Version": _VERSION, "Statement": [_statement(each, target) for each in permissions]}


def _statement(permission: Permission, target: Callable[[str, str], object]) -> dict[str, object]:
    return {
        "Effect": "Allow",
        "Action": list(permission.actions),
        "Resource": [target(permission.resource, suffix) for suffix in permission.suffixes],
    }
