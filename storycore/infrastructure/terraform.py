"""Terraform: a configuration of what is declared, in the JSON syntax."""

from __future__ import annotations

import json

from storycore.infrastructure.declared import Declared
from storycore.infrastructure.policies import policy
from storycore.ports.infrastructure import Infrastructure, Purpose, Resource
from storycore.ports.lifecycle import PortName

__all__ = ["configuration"]


def configuration(needed: Declared, existing: bool) -> dict[str, object]:
    """Every resource, and for each port a policy with what an application may do, to be saved as ``….tf.json``.

    Terraform refuses to destroy the resources.

    Args:
        existing: with ``import`` blocks, so that the next ``terraform apply`` takes the resources over.
    """
    resources: dict[str, dict[str, object]] = {}
    imports: list[dict[str, str]] = []
    outputs: dict[str, object] = {}
    for port, found in needed.ports.items():
        for resource in found.resources:
            [(kind, body)] = resource.terraform.items()
            name = _name(port, resource.name)
            resources.setdefault(kind, {})[name] = {**body, "lifecycle": {"prevent_destroy": True}}
            imports.append({"to": f"{kind}.{name}", "id": next(iter(resource.identity.values()))})
            outputs[f"{name}_arn"] = {"value": f"${{{kind}.{name}.arn}}"}
        resources.setdefault("aws_iam_policy", {})[_name(port, "Policy")] = _policy(port, found)
        outputs[f"{_name(port, 'Policy')}_arn"] = {"value": f"${{aws_iam_policy.{_name(port, 'Policy')}.arn}}"}
    return {
        "terraform": {"required_providers": {"aws": {"source": "hashicorp/aws", "version": ">= 5.0"}}},
        **({"import": imports} if existing else {}),
        "resource": resources,
        "output": outputs,
    }


def _name(port: PortName, name: str) -> str:
    return f"{port}_{name.lower()}"


def _policy(port: PortName, found: Infrastructure) -> dict[str, object]:
    kinds = {resource.name: _kind(resource) for resource in found.resources}

    def target(name: str, suffix: str) -> str:
        return f"${{{kinds[name]}.{_name(port, name)}.arn}}{suffix}"

    return {
        "name_prefix": f"storycore-{port}-",
        "description": f"Lets an application use the port {port} of storycore.",
        "policy": json.dumps(policy(found, Purpose.USE, target)),
    }


def _kind(resource: Resource) -> str:
    return next(iter(resource.terraform))
