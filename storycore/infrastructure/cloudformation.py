"""CloudFormation: a template of what is declared."""

from __future__ import annotations

from storycore.infrastructure.declared import Declared
from storycore.infrastructure.policies import policy
from storycore.ports.infrastructure import Infrastructure, Purpose, Resource
from storycore.ports.lifecycle import PortName

__all__ = ["template"]


def template(needed: Declared, existing: bool) -> dict[str, object]:
    """A template with every resource, and for each port a managed policy with what an application may do.

    A stack that is deleted leaves the resources, which also lets them be imported into another one.

    Args:
        existing: nothing but the resources, for CloudFormation imports nothing together with what is new; the next
            update of the stack, with the whole template, adds the rest.
    """
    head = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"What storycore needs for the profile {needed.profile}.",
    }
    resources: dict[str, object] = {}
    outputs: dict[str, object] = {}
    for port, found in needed.ports.items():
        for resource in found.resources:
            name = _logical(port, resource.name)
            resources[name] = _kept(resource)
            outputs[f"{name}Arn"] = {"Value": {"Fn::GetAtt": [name, "Arn"]}}
    if existing:
        return {**head, "Resources": resources}
    for port, found in needed.ports.items():
        name = _logical(port, "Policy")
        resources[name] = _managed_policy(port, found)
        outputs[f"{name}Arn"] = {"Value": {"Ref": name}}
    return {**head, "Resources": resources, "Outputs": outputs}


def _logical(port: PortName, name: str) -> str:
    return f"{port.title()}{name}"


def _kept(resource: Resource) -> dict[str, object]:
    return {**resource.cloudformation, "DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain"}


def _managed_policy(port: PortName, found: Infrastructure) -> dict[str, object]:
    def target(name: str, suffix: str) -> object:
        return {"Fn::Sub": f"${{{_logical(port, name)}.Arn}}{suffix}"}

    return {
        "Type": "AWS::IAM::ManagedPolicy",
        "Properties": {
            "Description": f"Lets an application use the port {port} of storycore.",
            "PolicyDocument": policy(found, Purpose.USE, target),
        },
    }
