"""template.yml: names, conditions, order and properties are as ROS wants them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

_ROOT = Path(__file__).resolve().parents[2]
_TEXT = (_ROOT / "template.yml").read_text("utf-8")
_KNOWN: dict[str, Any] = json.loads((_ROOT / "tests/data/vendor/ros-resources.json").read_text("utf-8"))
_SECTIONS = {"ROSTemplateFormatVersion", "Description", "Metadata", "Parameters", "Conditions", "Resources", "Outputs"}
_RESOURCE_KEYS = {"Type", "Properties", "Condition", "DependsOn"}
# What ROS knows without being told.
_PSEUDO = {f"ALIYUN::{name}" for name in ("Region", "TenantId", "NoValue")}
_NO_VALUE = {"Ref": "ALIYUN::NoValue"}
# What Fn::GetAtt may ask for, by the vendor's CDK packages.
_ATTRIBUTES = {
    "ALIYUN::ECS::SecurityGroup": {"SecurityGroupId"},
    "ALIYUN::ECS::VPC": {"VpcId"},
    "ALIYUN::ECS::VSwitch": {"CidrBlock", "VSwitchId"},
    "ALIYUN::FC3::Function": {"Arn", "FunctionName"},
    "ALIYUN::FC::Function": {"Arn", "FunctionName", "ServiceName"},
    "ALIYUN::FC::Service": {"ServiceName"},
    "ALIYUN::RAM::Role": {"Arn", "RoleName"},
    "ALIYUN::SLS::Logstore": {"LogstoreName", "ProjectName"},
    "ALIYUN::SLS::Project": {"Name"},
    "ALIYUN::VPC::EIP": {"AllocationId", "EipAddress"},
    "ALIYUN::VPC::NatGateway": {"NatGatewayId", "SNatTableId"},
}


def references(node: Any, under: frozenset[str] = frozenset()) -> Iterator[tuple[str, frozenset[str]]]:
    """Each name that is referred to, with `.attribute` where there is one, and the conditions that hold there."""
    if isinstance(node, list):
        for each in node:
            yield from references(each, under)
    for key, value in node.items() if isinstance(node, dict) else ():
        if key == "Fn::If":
            yield from references(value[1], under | {value[0]})
            yield from references(value[2], under)
        elif key == "Fn::GetAtt":
            yield ".".join(value), under
        elif key == "Ref":
            yield value, under
        elif key == "Fn::Sub":
            yield from ((name, under) for name in re.findall(r"\$\{([^}]+)\}", value))
        else:
            yield from references(value, under)


def conditions_in(node: Any) -> Iterator[str]:
    """Each condition that is named: by a resource or an output, by Fn::If, by Fn::And, Fn::Or and Fn::Not."""
    if isinstance(node, list):
        for each in node:
            yield from conditions_in(each)
    for key, value in node.items() if isinstance(node, dict) else ():
        if key == "Condition":
            yield value
        elif key == "Fn::If":
            yield value[0]
        elif key in ("Fn::And", "Fn::Or", "Fn::Not"):
            yield from (each for each in value if isinstance(each, str))
        yield from conditions_in(value)


def wrong_names(template: dict[str, Any]) -> Iterator[str]:
    """Names that stand for nothing, names that nothing uses, and resources that are not made when they are needed."""
    resources, used = template["Resources"], set()
    things = {**resources, **{f"output {name}": each for name, each in template["Outputs"].items()}}
    for name, thing in {**things, "Conditions": template["Conditions"]}.items():
        for wanted, under in references(thing, frozenset([thing["Condition"]] if "Condition" in thing else [])):
            owner, _, attribute = wanted.partition(".")
            used.add(owner)
            about = resources.get(owner, {})
            if attribute and attribute not in _ATTRIBUTES.get(about.get("Type"), ()):
                yield f"{name}: there is no {wanted}"
            elif owner not in template["Parameters"] and owner not in resources and owner not in _PSEUDO:
                yield f"{name}: there is neither a parameter nor a resource {owner}"
            elif "Condition" in about and about["Condition"] not in under:
                yield f"{name} needs {owner}, which is not made unless {about['Condition']}"
    named = set(conditions_in([template["Conditions"], *things.values()]))
    yield from (f"condition {name} is not defined" for name in sorted(named - template["Conditions"].keys()))
    yield from (f"condition {name} is not used" for name in sorted(template["Conditions"].keys() - named))
    yield from (f"parameter {name} is not used" for name in sorted(template["Parameters"].keys() - used))


def waits_for(resources: dict[str, Any], name: str) -> set[str]:
    """All resources that are made before this one: it names them, or those do that it names."""
    named = resources[name].get("DependsOn", [])
    before = {named} if isinstance(named, str) else set(named)
    before |= {each.partition(".")[0] for each, _ in references(resources[name])} & resources.keys()
    return before.union(*(waits_for(resources, each) for each in before))


def order(template: dict[str, Any]) -> Iterator[str]:
    """What may be made before something that it needs is there, without a reference that says so."""
    resources = template["Resources"]
    for name, resource in resources.items():
        kind = resource["Type"]
        needed = {"ALIYUN::SLS::Index"} if "LogConfig" in resource["Properties"] else set()
        if kind.endswith("::Trigger"):
            generation = kind.removesuffix("Trigger")
            needed |= {f"{generation}{each}" for each in ("Function", "AsyncInvokeConfig", "ConcurrencyConfig")}
        late = [other for other, each in resources.items() if each["Type"] in needed]
        yield from (f"{name} does not wait for {other}" for other in late if other not in waits_for(resources, name))


def plain(node: Any, branch: int, parameters: dict[str, Any]) -> Any:
    """`node` as ROS would see it, with one branch of each Fn::If; parameters by their defaults, the rest as text."""
    if isinstance(node, list):
        return [plain(each, branch, parameters) for each in node]
    if not isinstance(node, dict):
        return node
    if "Fn::If" in node:
        return plain(node["Fn::If"][branch], branch, parameters)
    if node.get("Ref") in parameters:
        return parameters[node["Ref"]].get("Default", "given")
    if len(node) == 1 and next(iter(node)) in ("Ref", "Fn::GetAtt", "Fn::Sub"):
        return node if node == _NO_VALUE else "given"
    made = {key: plain(value, branch, parameters) for key, value in node.items()}
    return {key: value for key, value in made.items() if value != _NO_VALUE}


def schema(specification: dict[str, Any]) -> dict[str, Any]:
    """The JSON schema of a resource's properties; names that the vendor does not list are refused."""

    def one(about: dict[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = {"type": {"map": "object", "list": "array"}.get(about["type"], about["type"])}
        if "allowed" in about:
            made["enum"] = about["allowed"]
        if "properties" in about:
            inner = schema(about["properties"])
            made |= {"items": inner} if made["type"] == "array" else inner
        # ALIYUN::NoValue leaves out whole properties, and no member of a list.
        return made | {"not": {"contains": {"const": _NO_VALUE}}} if made["type"] == "array" else made

    required = [name for name, about in specification.items() if about.get("required")]
    properties = {name: one(about) for name, about in specification.items()}
    return {"type": "object", "required": required, "additionalProperties": False, "properties": properties}


def refused(template: dict[str, Any]) -> Iterator[str]:
    """What the vendor's specification of each resource refuses."""
    from jsonschema import Draft7Validator  # seconds to import where optional formats of it are installed

    for name, resource in template["Resources"].items():
        if resource["Type"] not in _KNOWN:
            yield f"{name}: there is no resource type {resource['Type']}"
            continue
        validator = Draft7Validator(schema(_KNOWN[resource["Type"]]))
        for branch in (1, 2):
            properties = plain(resource["Properties"], branch, template["Parameters"])
            yield from (f"{name}{each.json_path[1:]}: {each.message}" for each in validator.iter_errors(properties))


def mistakes(text: str) -> list[str]:
    template = yaml.safe_load(text)
    return [*wrong_names(template), *order(template), *refused(template)]


def test_names_conditions_order_and_properties_are_right() -> None:
    assert mistakes(_TEXT) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("{Ref: ZoneId}", "{Ref: Zone}", "neither a parameter nor a resource Zone"),
        ("${FunctionName}-${ALIYUN::Tenant", "${Name}-${ALIYUN::Tenant", "neither a parameter nor a resource Name"),
        ("[Eip, EipAddress]", "[Eip, Address]", "there is no Eip.Address"),
        ("Condition: IsFc2", "Condition: IsFC2", "condition IsFC2 is not defined"),
        ("[FixedEgress, false, true]", "[Fixed, false, true]", "condition Fixed is not defined"),
        ("\nConditions:\n", "\nConditions:\n  Odd: {Fn::Equals: ['', '']}\n", "condition Odd is not used"),
        ("TTL: {Ref: LogDays}", "TTL: 30", "parameter LogDays is not used"),
        ("    Condition: IsFc2\n    Description", "    Description", "output ServiceName needs Service2"),
        ("{Fn::If: [NewVpc, {Fn::GetAtt: [Vpc, VpcId]}, {Ref: VpcId}]}", "{Fn::GetAtt: [Vpc, VpcId]}",
         "NatGateway needs Vpc, which is not made unless NewVpc"),
        ("    DependsOn: LogIndex\n", "    DependsOn: LogStore\n", "Function3 does not wait for LogIndex"),
        ("    DependsOn: LogIndex\n", "", "Service2 does not wait for LogIndex"),
        ("[AsyncInvokeConfig3, ConcurrencyConfig3]", "ConcurrencyConfig3", "does not wait for AsyncInvokeConfig3"),
        ("ALIYUN::FC::Trigger", "ALIYUN::FC::Timer", "there is no resource type ALIYUN::FC::Timer"),
        ("      ZoneId: {Ref: ZoneId}\n", "      Description: {Ref: ZoneId}\n", "'ZoneId' is a required property"),
        ("OssObjectName: {", "OssObjectKey: {", "'OssObjectKey' was unexpected"),
        ("Bandwidth: 5", "Bandwidth: {Ref: ZoneId}", "Eip.Bandwidth: '' is not of type 'number'"),
        ("NatType: Enhanced", "NatType: Normal", "'Normal' is not one of"),
        ("Action: ['log:PostLogStoreLogs']", "Action: [{Ref: ALIYUN::NoValue}]", "NoValue"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(old: str, new: str, said: str) -> None:
    assert old in _TEXT
    found = mistakes(_TEXT.replace(old, new))
    assert any(said in sentence for sentence in found), found


def test_the_alarms_of_cloudmonitor_are_as_the_vendor_wants_them() -> None:
    template = yaml.safe_load((_ROOT / "examples/alerting/cloudmonitor.yml").read_text("utf-8"))
    assert list(wrong_names({"Conditions": {}, "Outputs": {}, **template})) == []
    assert list(refused(template)) == []
    function = yaml.safe_load(_TEXT)["Parameters"]["FunctionName"]
    assert template["Parameters"]["FunctionName"]["Default"] == function["Default"]


def test_sections_and_resources_have_no_other_keys_and_depend_on_what_is_there() -> None:
    template = yaml.safe_load(_TEXT)
    assert template.keys() == _SECTIONS
    for name, resource in template["Resources"].items():
        assert resource.keys() <= _RESOURCE_KEYS, name
        assert waits_for(template["Resources"], name) <= template["Resources"].keys()


def test_the_console_shows_every_parameter_in_two_languages_and_every_output() -> None:
    template = yaml.safe_load(_TEXT)
    groups = template["Metadata"]["ALIYUN::ROS::Interface"]["ParameterGroups"]
    shown = [name for group in groups for name in group["Parameters"]]
    assert sorted(shown) == sorted(template["Parameters"])
    for parameter in template["Parameters"].values():
        assert parameter["Type"] in ("String", "Number")
        assert parameter["Label"].keys() == parameter["Description"].keys() == {"en", "zh-cn"}
        assert parameter.get("Default") in parameter.get("AllowedValues", [parameter.get("Default")])
    assert all(output["Description"] for output in template["Outputs"].values())


@pytest.mark.parametrize("document", ["how-to", "zh-CN/how-to"])
def test_the_document_names_every_parameter(document: str) -> None:
    words = set(re.findall(r"\w+", (_ROOT / "docs" / document / "deploy-function-compute.md").read_text("utf-8")))
    assert yaml.safe_load(_TEXT)["Parameters"].keys() - words == set()
