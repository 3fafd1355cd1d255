"""s.yaml: what Serverless Devs and its component fc3 accept; what is not fixed comes from the environment."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

_ROOT = Path(__file__).resolve().parents[2]
_TEXT = (_ROOT / "s.yaml").read_text("utf-8")
_SCHEMA: dict[str, Any] = json.loads((_ROOT / "tests/data/vendor/fc3-schema.json").read_text("utf-8"))
# The forms that the tool's documents name, as far as they are used: text with a default or without, and JSON.
_ENV = r"env\('([A-Z][A-Z0-9_]*)'(?:, '([^']*)')?\)"
_EXPRESSION = re.compile(rf"\$\{{(json\()?{_ENV}\)?\}}")
# A password in an address, an access key of Alibaba Cloud, and whatever is long enough to be a key or a credential.
SECRET = re.compile(
    r"://[^\s/:@\[<]*:[^\s/@\[<$]+@(?!host)|\bLTAI[0-9A-Za-z]{8,}|\b[0-9a-f]{32,}\b|\b[0-9A-Za-z+/]{40,}={0,2}"
)


def rendered(node: Any) -> Any:
    """As the tool would see it: defaults where there are, else some text. Raises ValueError for an unknown form."""
    if isinstance(node, dict):
        return {key: rendered(value) for key, value in node.items()}
    if isinstance(node, list):
        return [rendered(value) for value in node]
    if not isinstance(node, str) or "${" not in node:
        return node
    match = _EXPRESSION.fullmatch(node)
    if match is None:
        raise ValueError(f"{node} has a form that is not documented")
    return json.loads(match[3]) if match[1] else "given" if match[3] is None else match[3]


def strict(about: Any) -> Any:
    """A schema that also refuses the names it does not list, which the component would let pass."""
    if isinstance(about, list):
        return [strict(each) for each in about]
    if not isinstance(about, dict):
        return about
    made = {key: strict(value) for key, value in about.items()}
    if isinstance(about.get("properties"), dict):
        made.setdefault("additionalProperties", False)
    return made


def refused(text: str) -> Iterator[str]:
    """What the component refuses of the function that the text describes, and the names that it does not know."""
    from jsonschema import Draft7Validator  # seconds to import where optional formats of it are installed

    (resource,) = yaml.safe_load(text)["resources"].values()
    schema = strict({name: _SCHEMA[name] for name in ("definitions", "properties", "required", "type")})
    # A trigger's configuration may be any of eight, one of which takes everything: say which it is.
    schema["definitions"]["ITrigger"]["properties"]["triggerConfig"] = {"$ref": "#/definitions/ITimerTriggerConfig"}
    errors = Draft7Validator(schema).iter_errors(rendered(resource["props"]))
    yield from (f"{error.json_path}: {error.message}" for error in errors)


def test_the_tool_finds_one_function_of_the_component_fc3_made_of_the_zip() -> None:
    document = yaml.safe_load(_TEXT)
    assert document.keys() == {"edition", "name", "access", "resources"}
    assert document["edition"] == "3.0.0"
    (resource,) = document["resources"].values()
    assert resource.keys() == {"component", "props"}
    assert resource["component"] == "fc3"
    assert resource["props"]["code"] == "./dist/token-refresher.zip"


def test_the_component_accepts_every_property() -> None:
    assert list(refused(_TEXT)) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("'cn-hangzhou'", "'cn-mars'", "$.region: 'cn-mars' is not one of"),
        ("cpu: 0.1", "cpu: 0.01", "$.cpu: "),
        ("memorySize:", "memorysize:", "'memorysize' was unexpected"),
        ("vSwitchIds:", "vswitchIds:", "$.vpcConfig"),
        ("cronExpression:", "cron:", "'cronExpression' is a required property"),
        ("payload: ''", "payLoad: ''", "'payLoad' was unexpected"),
    ],
)
def test_a_value_or_a_name_that_the_component_does_not_know_is_found(old: str, new: str, said: str) -> None:
    assert old in _TEXT
    found = list(refused(_TEXT.replace(old, new)))
    assert any(said in sentence for sentence in found), found


def test_an_expression_in_a_form_that_the_tool_does_not_document_is_found() -> None:
    with pytest.raises(ValueError, match="not documented"):
        rendered({"APP_ID": "${env(APP_ID)}"})


@pytest.mark.parametrize("document", ["how-to", "zh-CN/how-to"])
def test_the_document_names_every_variable_that_is_asked_for(document: str) -> None:
    words = set(re.findall(r"\w+", (_ROOT / "docs" / document / "deploy-function-compute.md").read_text("utf-8")))
    asked = {match[2] for match in _EXPRESSION.finditer(_TEXT)}
    assert {"APP_ID", "REGION", "VSWITCH_IDS"} <= asked
    assert asked - words == set()


@pytest.mark.parametrize("name", ["s.yaml", "template.yml"])
def test_no_secret_stands_in_the_file(name: str) -> None:
    lines = (_ROOT / name).read_text("utf-8").splitlines()
    assert [number for number, line in enumerate(lines, 1) if SECRET.search(line)] == []


@pytest.mark.parametrize(
    "line", ["# redis://:sesame@r-1.aliyuncs.com", "# LTAI5tMadeUpKey42", "x: " + "36bd5645" * 8, "A" * 44 + "="]
)
def test_what_looks_like_a_secret_is_found(line: str) -> None:
    assert SECRET.search(line)
