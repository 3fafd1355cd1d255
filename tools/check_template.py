"""Checks of template.yml: that ROS would understand it, in each of the forms that its parameters can give it.

Every function yields sentences about what is wrong. A template is plain data, as YAML gives it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from check_properties import NO_VALUE, PARAMETER_TYPES, properties

Template = Mapping[str, Any]

# What ROS knows without being told.
PSEUDO = frozenset(
    f"ALIYUN::{name}"
    for name in ("StackName", "StackId", "Region", "AccountId", "TenantId", "ResourceGroupId", "NoValue")
)
# What Fn::GetAtt can ask the resources for, by the vendor's own CDK packages (their properties `attr...`).
ATTRIBUTES: Mapping[str, frozenset[str]] = {
    kind: frozenset(names.split())
    for kind, names in {
        "ALIYUN::ECS::SecurityGroup": "SecurityGroupId SecurityGroupName",
        "ALIYUN::ECS::VPC": "RouteTableId VRouterId VpcId VpcName",
        "ALIYUN::ECS::VSwitch": "CidrBlock Ipv6CidrBlock VSwitchId VSwitchName",
        "ALIYUN::FC3::Function": "Arn FunctionId FunctionName",
        "ALIYUN::FC3::Trigger": "FunctionName TriggerId TriggerName UrlInternet UrlIntranet",
        "ALIYUN::FC::Function": "Arn FunctionId FunctionName ServiceId ServiceName",
        "ALIYUN::FC::Service": "InternetAccess LogProject Logstore Role ServiceId ServiceName Tags VpcId",
        "ALIYUN::FC::Trigger": "FunctionName ServiceName TriggerId TriggerName UrlInternet UrlIntranet",
        "ALIYUN::RAM::Role": "Arn RoleId RoleName",
        "ALIYUN::SLS::Logstore": "LogstoreName ProjectName",
        "ALIYUN::SLS::Project": "Name",
        "ALIYUN::VPC::EIP": "AllocationId EipAddress Isp OrderId",
        "ALIYUN::VPC::NatGateway": "ForwardTableId NatGatewayId SNatTableId",
        "ALIYUN::VPC::SnatEntry": "SnatEntryIds",
    }.items()
}
_GENERATIONS = ("ALIYUN::FC", "ALIYUN::FC3")
# What must be there before the first event, without being named by the trigger itself.
_NEEDED_BEFORE = {"Trigger": ("Function", "AsyncInvokeConfig", "ConcurrencyConfig")}
_TESTS = ("Fn::Equals", "Fn::And", "Fn::Or", "Fn::Not")
_SECTIONS = (
    "ROSTemplateFormatVersion",
    "Description",
    "Metadata",
    "Parameters",
    "Conditions",
    "Resources",
    "Outputs",
)
_RESOURCE_KEYS = ("Type", "Properties", "Condition", "DependsOn", "DeletionPolicy")


# -- names ---------------------------------------------------------------------------------------


def references(node: Any) -> Iterator[tuple[str, str]]:
    """Everything in `node` that names something, as (how, name); `how` is Ref, GetAtt or Condition."""
    if isinstance(node, list):
        for each in node:
            yield from references(each)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if key == "Ref":
            yield "Ref", str(value)
        elif key == "Fn::GetAtt":
            yield "GetAtt", ".".join(map(str, value)) if isinstance(value, list) else str(value)
        elif key == "Fn::Sub":
            for name in re.findall(r"\$\{([^!}][^}]*)\}", str(value)):
                yield ("GetAtt" if "." in name else "Ref"), name
        elif key == "Fn::If":
            yield "Condition", str(value[0])
            yield from references(value[1:])
        else:
            yield from references(value)


def conditions_in(test: Any) -> Iterator[str]:
    """The conditions that the definition of a condition names."""
    for function, operands in test.items() if isinstance(test, dict) else ():
        if function in ("Fn::And", "Fn::Or", "Fn::Not"):
            for each in operands if isinstance(operands, list) else [operands]:
                yield from [each] if isinstance(each, str) else conditions_in(each)


def names(template: Template) -> Iterator[str]:
    """Names that stand for nothing, and names that nothing stands for."""
    parameters, conditions = template.get("Parameters", {}), template.get("Conditions", {})
    resources = template["Resources"]
    used = {"Ref": set[str](), "GetAtt": set[str](), "Condition": set[str]()}
    for part in ("Conditions", "Resources", "Outputs"):
        for how, name in references(template.get(part, {})):
            used[how].add(name)
    for test in conditions.values():
        used["Condition"].update(conditions_in(test))
    for each in (*resources.values(), *template.get("Outputs", {}).values()):
        used["Condition"].update([each["Condition"]] if "Condition" in each else [])
    for name in sorted(used["Ref"] - parameters.keys() - resources.keys() - PSEUDO):
        yield f"Ref {name}: there is neither a parameter nor a resource of this name"
    for name in sorted(used["GetAtt"]):
        owner, _, attribute = name.partition(".")
        if owner not in resources:
            yield f"Fn::GetAtt {name}: there is no resource {owner}"
        elif attribute not in ATTRIBUTES.get(resources[owner].get("Type"), ()):
            yield f"Fn::GetAtt {name}: {resources[owner].get('Type')} has no attribute {attribute}"
    for name in sorted(used["Condition"] - conditions.keys()):
        yield f"condition {name} is not defined"
    for name in sorted(conditions.keys() - used["Condition"]):
        yield f"condition {name} is not used"
    for name in sorted(parameters.keys() - used["Ref"]):
        yield f"parameter {name} is not used"


def form(template: Template) -> Iterator[str]:
    """Sections, resources' own keys, DependsOn, and what the console shows of each parameter."""
    yield from (f"{name}: there is no such section" for name in template if name not in _SECTIONS)
    resources, parameters = template["Resources"], template.get("Parameters", {})
    for name, resource in resources.items():
        yield from (f"{name}.{key}: resources have no such key" for key in resource if key not in _RESOURCE_KEYS)
        before = resource.get("DependsOn", [])
        for other in [before] if isinstance(before, str) else before:
            if other not in resources:
                yield f"{name} depends on {other}, which does not exist"
    for name, parameter in parameters.items():
        if parameter.get("Type") not in PARAMETER_TYPES:
            yield f"parameter {name}: its type {parameter.get('Type')} is unknown"
        for key in ("Label", "Description"):
            if not all((parameter.get(key) or {}).get(language) for language in ("en", "zh-cn")):
                yield f"parameter {name}: {key} is missing in English or Chinese"
        if parameter.get("Default", "") not in parameter.get("AllowedValues", [parameter.get("Default", "")]):
            yield f"parameter {name}: its default is not among its allowed values"
    yield from (f"output {name} has no description" for name, each in template.get("Outputs", {}).items()
                if not each.get("Description"))  # fmt: skip
    shown = [name for group in _groups(template) for name in group.get("Parameters", [])]
    yield from (f"parameter {name} is in no group of the console" for name in parameters if name not in shown)
    strangers = [name for name in shown if name not in parameters]
    yield from (f"a group of the console names {name}, which is no parameter" for name in strangers)


def order(template: Template) -> Iterator[str]:
    """Resources that may be made before something that they need, and do not refer to, is there."""
    resources = template["Resources"]
    before = {name: _before(resource) & resources.keys() for name, resource in resources.items()}

    def waits_for(name: str) -> set[str]:
        return before[name].union(*(waits_for(each) for each in before[name]))

    for name, resource in resources.items():
        kind, generation = resource.get("Type", ""), resource.get("Type", "").rpartition("::")[0]
        needed = _NEEDED_BEFORE.get(kind.rpartition("::")[2], ()) if generation in _GENERATIONS else ()
        if "LogConfig" in resource.get("Properties", {}):
            needed = (*needed, "ALIYUN::SLS::Index")
        for wanted in (each if "::" in each else f"{generation}::{each}" for each in needed):
            late = [other for other, its in resources.items() if its.get("Type") == wanted]
            yield from (f"{name} does not wait for {other}" for other in late if other not in waits_for(name))


def _before(resource: Mapping[str, Any]) -> set[str]:
    """What a resource names itself: by DependsOn, and by references."""
    named = resource.get("DependsOn", [])
    referred = {name.partition(".")[0] for _, name in references(resource)}
    return referred | ({named} if isinstance(named, str) else set(named))


def _groups(template: Template) -> list[Any]:
    shown: list[Any] = template.get("Metadata", {}).get("ALIYUN::ROS::Interface", {}).get("ParameterGroups", [])
    return shown


# -- every form it can take ----------------------------------------------------------------------


def choices(template: Template) -> Iterator[dict[str, Any]]:
    """Values for all parameters, in every combination that conditions can tell apart."""
    parameters = template.get("Parameters", {})
    asked = {name for how, name in references(template.get("Conditions", {})) if how == "Ref"} & parameters.keys()
    base = {name: parameter.get("Default", "given") for name, parameter in parameters.items()}
    options = [parameters[name].get("AllowedValues") or ["", "given"] for name in sorted(asked)]
    for values in itertools.product(*options):
        yield base | dict(zip(sorted(asked), values, strict=True))


def holds(template: Template, test: Any, chosen: Mapping[str, Any]) -> bool:
    """Whether a condition (its name, or its definition) is true for these parameters."""
    if isinstance(test, str):
        return holds(template, template["Conditions"][test], chosen)
    ((function, operands),) = test.items()
    if function == "Fn::Equals":
        left, right = (chosen[each["Ref"]] if isinstance(each, dict) else each for each in operands)
        return bool(left == right)
    if function == "Fn::Not":
        return not holds(template, operands, chosen)
    return (all if function == "Fn::And" else any)(holds(template, each, chosen) for each in operands)


def rendered(template: Template, node: Any, chosen: Mapping[str, Any]) -> Any:
    """`node` with each Fn::If decided, and without what is then left out."""
    if isinstance(node, list):
        return [rendered(template, each, chosen) for each in node]
    if not isinstance(node, dict):
        return node
    if "Fn::If" in node:
        test, yes, no = node["Fn::If"]
        return rendered(template, yes if holds(template, test, chosen) else no, chosen)
    decided = {key: rendered(template, value, chosen) for key, value in node.items()}
    return {key: value for key, value in decided.items() if value != NO_VALUE}


def alternatives(template: Template, known: Mapping[str, Any] | None) -> Iterator[str]:
    """What is wrong in any of the forms; `known` is ros-resources.json: without it properties go unchecked.

    Only for a template in which all names stand for something.
    """
    for chosen in choices(template):
        alive = {
            part: {
                name: rendered(template, each, chosen)
                for name, each in template.get(part, {}).items()
                if "Condition" not in each or holds(template, each["Condition"], chosen)
            }
            for part in ("Resources", "Outputs")
        }
        for part, things in alive.items():
            for name, thing in things.items():
                needed = {other.partition(".")[0] for _, other in references(thing)}
                for owner in sorted(needed & template["Resources"].keys() - alive["Resources"].keys()):
                    when = _told(template, chosen)
                    yield f"{part[:-1].lower()} {name} needs {owner}, which is not made when {when}"
        for name, resource in alive["Resources"].items() if known is not None else ():
            yield from properties(name, resource, known or {}, template.get("Parameters", {}))


def _told(template: Template, chosen: Mapping[str, Any]) -> str:
    asked = sorted({name for how, name in references(template.get("Conditions", {})) if how == "Ref"})
    return ", ".join(f"{name} is {chosen[name] or 'empty'}" for name in asked if name in chosen)
