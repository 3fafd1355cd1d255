"""Checks a resource of template.yml against what ros-resources.json says of its type.

A specification is {property: {"type", "required", "allowed", "properties"}}, the last three only where they
apply.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

NO_VALUE = {"Ref": "ALIYUN::NoValue"}
# A parameter's type, and what it is as a property.
PARAMETER_TYPES = {"String": "string", "Number": "number", "Boolean": "boolean"}
_PYTHON: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "number": (int, float),
    "boolean": bool,
    "list": list,
    "map": dict,
    "object": dict,
}


def properties(name: str, resource: Any, known: Mapping[str, Any], parameters: Any) -> Iterator[str]:
    """Unknown types and properties, missing ones, and values of the wrong type, of one resource."""
    specification = known.get(resource.get("Type"))
    if specification is None:
        yield f"{name}: there is no resource type {resource.get('Type')}"
        return
    yield from _members(name, resource.get("Properties", {}), specification, parameters)


def _members(where: str, given: Any, specification: Mapping[str, Any], parameters: Any) -> Iterator[str]:
    for name, about in specification.items():
        if about.get("required") and name not in given:
            yield f"{where}.{name} is missing"
    for name, value in given.items():
        if name not in specification:
            yield f"{where}.{name}: there is no such property"
        else:
            yield from _value(f"{where}.{name}", value, specification[name], parameters)


def _value(where: str, value: Any, about: Mapping[str, Any], parameters: Any) -> Iterator[str]:
    kind = _kind(value, parameters)
    if kind is not None:
        if kind != about["type"]:
            yield f"{where} refers to a {kind} where a {about['type']} is wanted"
        return
    wanted = _PYTHON[about["type"]]
    if not isinstance(value, wanted) or (isinstance(value, bool) and about["type"] == "number"):
        yield f"{where} is no {about['type']}"
        return
    if isinstance(value, list) and NO_VALUE in value:
        yield f"{where} has ALIYUN::NoValue in it, which only leaves out whole properties"
        return
    if "allowed" in about and value not in about["allowed"]:
        yield f"{where} is none of {', '.join(map(str, about['allowed']))}"
    if "properties" in about:
        items = {f"{where}[{n}]": each for n, each in enumerate(value)} if isinstance(value, list) else {where: value}
        for place, item in items.items():
            if not isinstance(item, dict):
                yield f"{place} is no object"
            else:
                yield from _members(place, item, about["properties"], parameters)


def _kind(value: Any, parameters: Any) -> str | None:
    """The type of what a function of ROS stands for; None for plain data."""
    if not isinstance(value, dict) or len(value) != 1:
        return None
    ((function, operand),) = value.items()
    if function == "Ref" and operand in parameters:
        return PARAMETER_TYPES.get(parameters[operand].get("Type"), "string")
    return "string" if function in ("Ref", "Fn::GetAtt", "Fn::Sub", "Fn::Join") else None
