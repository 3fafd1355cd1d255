"""Checks s.yaml and template.yml: python tools/check_deployment.py [--schemas DIR]

Names and numbers are checked against the program always; against the vendor's own descriptions
(fc3-schema.json, ros-resources.json) only where a directory has these. Exit code 1 when something is wrong.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import check_functions as functions  # noqa: E402 - needs the program, which had to be made known first
import check_template  # noqa: E402
from package import OUTPUT  # noqa: E402

# Beside a clone, where there is one; nothing depends on it.
SCHEMAS = ROOT.parent / "shared" / "reference"
DOCUMENTS = ("docs/how-to/deploy-function-compute.md",)

_TOP = ("edition", "name", "access", "vars", "resources")
_RESOURCE = ("component", "props", "actions")
# The forms that the tool's documents name, as far as they are used: text with a default or without, and JSON.
_ENV = r"env\('(?P<name>[A-Z][A-Z0-9_]*)'(?:, '(?P<default>[^']*)')?\)"
_EXPRESSION = re.compile(rf"\$\{{(?:{_ENV}|json\({_ENV.replace('?P<', '?P<json_')}\))\}}")
# A password in an address, an access key of Alibaba Cloud, and whatever is long enough to be a key or a code.
_SECRET = re.compile(
    r"://[^\s/:@\[<]*:[^\s/@\[<$]+@(?!host)|\bLTAI[0-9A-Za-z]{8,}|\b[0-9a-f]{32,}\b|\b[0-9A-Za-z+/]{40,}={0,2}"
)


class Files(NamedTuple):
    """What is checked: both files' texts, and the directory of the project they describe."""

    serverless: str
    template: str
    root: Path = ROOT


def read(root: Path = ROOT) -> Files:
    """Both files of a project."""
    return Files((root / "s.yaml").read_text("utf-8"), (root / "template.yml").read_text("utf-8"), root)


def check(files: Files, schemas: Path | None = None) -> list[str]:
    """Everything that is wrong, as sentences; `schemas` is the directory of the vendor's descriptions."""
    document, template = yaml.safe_load(files.serverless), yaml.safe_load(files.template)
    found = [*frame(document), *secrets(files), *documented(files)]
    props = next(iter(document["resources"].values())).get("props", {})
    found += expressions(props, "props")
    if found:
        return found
    if props.get("code") != f"./{OUTPUT.relative_to(ROOT).as_posix()}":
        found.append(f"s.yaml: code is not what tools/package.py makes, {OUTPUT.name}")
    described = [functions.of_props(props)]
    described += [functions.of_template(template["Resources"], kind) for kind in ("ALIYUN::FC3", "ALIYUN::FC")]
    hidden = {name for name, each in template.get("Parameters", {}).items() if each.get("NoEcho") is True}
    for each in described:
        found += functions.code(each, files.root / "src")
        found += functions.environment(each, lambda value: _given(value, hidden))
        found += [*functions.times(each), *functions.size(each)]
    found += functions.differences(described)
    wrong_names = [*check_template.names(template), *check_template.form(template)]
    found += [f"template.yml: {sentence}" for sentence in wrong_names]
    known = json.loads((schemas / "ros-resources.json").read_text("utf-8")) if schemas else None
    if not wrong_names:
        found += [f"template.yml: {each}" for each in check_template.order(template)]
        # The same mistake shows in several of the template's forms.
        found += [f"template.yml: {each}" for each in dict.fromkeys(check_template.alternatives(template, known))]
    if schemas:
        found += against_schema(props, json.loads((schemas / "fc3-schema.json").read_text("utf-8")))
    return found


# -- s.yaml ------------------------------------------------------------------------------------------


def frame(document: Mapping[str, Any]) -> Iterator[str]:
    """What stands around the function."""
    yield from (f"s.yaml: {name} is unknown" for name in document if name not in _TOP)
    if document.get("edition") != "3.0.0":
        yield "s.yaml: edition is not 3.0.0"
    for name, resource in document["resources"].items():
        yield from (f"s.yaml: {name}.{key} is unknown" for key in resource if key not in _RESOURCE)
        if resource.get("component") != "fc3":
            yield f"s.yaml: {name} is not of the component fc3"


def expressions(node: Any, where: str) -> Iterator[str]:
    """Values out of the environment in a form that is not documented, or with a default that is no JSON."""
    if isinstance(node, (dict, list)):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from expressions(value, f"{where}.{key}")
    elif isinstance(node, str) and "${" in node:
        match = _EXPRESSION.fullmatch(node)
        if match is None:
            yield f"s.yaml: {where} has a form that is not documented"
        elif match["json_name"]:
            try:
                json.loads(match["json_default"] or "")
            except ValueError:
                yield f"s.yaml: {where}: the default is no JSON"


def rendered(node: Any) -> Any:
    """As the tool would see it: defaults where there are, else some text."""
    if isinstance(node, dict):
        return {key: rendered(value) for key, value in node.items()}
    if isinstance(node, list):
        return [rendered(value) for value in node]
    match = _EXPRESSION.fullmatch(node) if isinstance(node, str) else None
    if match is None:
        return node
    return json.loads(match["json_default"]) if match["json_name"] else match["default"] or "given"


def against_schema(props: Mapping[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    """What the component's own schema refuses, and the names that it does not know but would let pass."""
    from jsonschema import Draft7Validator  # for development only, and only needed here

    plain = rendered(props)
    # A trigger's configuration may be any of eight, and one of these takes everything: say which it is.
    timer = {"if": {"properties": {"triggerType": {"const": "timer"}}}}
    timer["then"] = {"properties": {"triggerConfig": {"$ref": "#/definitions/ITimerTriggerConfig"}}}
    stricter = {**schema, "allOf": [{"properties": {"triggers": {"items": timer}}}]}
    for error in Draft7Validator(stricter).iter_errors(plain):
        yield f"s.yaml: {error.json_path.replace('$', 'props', 1)}: {error.message}"
    yield from (f"s.yaml: {name} is unknown" for name in unknown(plain, schema, schema, "props"))


def unknown(node: Any, about: Mapping[str, Any], schema: Mapping[str, Any], where: str) -> list[str]:
    """Names in `node` that the schema does not list, by the alternative that lists most of them."""
    if "$ref" in about:
        return unknown(node, schema["definitions"][about["$ref"].rpartition("/")[2]], schema, where)
    if "anyOf" in about:
        tried = [unknown(node, each, schema, where) for each in about["anyOf"] if _lists(each, node, schema)]
        return min(tried, key=len, default=[])
    if isinstance(node, list):
        return [
            name
            for n, each in enumerate(node)
            for name in unknown(each, about.get("items", {}), schema, f"{where}[{n}]")
        ]
    if not isinstance(node, dict) or "properties" not in about:
        return []
    return [
        name
        for key, value in node.items()
        for name in (
            unknown(value, about["properties"][key], schema, f"{where}.{key}")
            if key in about["properties"]
            else [f"{where}.{key}"]
        )
    ]


def _lists(about: Mapping[str, Any], node: Any, schema: Mapping[str, Any]) -> bool:
    """Whether an alternative says anything about this kind of value."""
    if "$ref" in about:
        return _lists(schema["definitions"][about["$ref"].rpartition("/")[2]], node, schema)
    return "properties" in about if isinstance(node, dict) else "items" in about or not isinstance(node, list)


# -- both ------------------------------------------------------------------------------------------------


def secrets(files: Files) -> Iterator[str]:
    """Lines that look as if a secret stood in them; the line is named, not quoted."""
    for name, content in (("s.yaml", files.serverless), ("template.yml", files.template)):
        for number, line in enumerate(content.splitlines(), 1):
            if _SECRET.search(line):
                yield f"{name}: line {number} looks as if a secret stood in it"


def documented(files: Files) -> Iterator[str]:
    """Variables that s.yaml asks for and parameters of template.yml that a document does not name."""
    asked = [match["name"] or match["json_name"] for match in _EXPRESSION.finditer(files.serverless)]
    parameters = yaml.safe_load(files.template).get("Parameters", {})
    for document in DOCUMENTS:
        path = files.root / document
        text = path.read_text("utf-8") if path.is_file() else ""
        for name in dict.fromkeys((*asked, *parameters)):
            if not re.search(rf"\b{name}\b", text):
                yield f"{document} does not name {name}"


def _given(value: Any, hidden: set[str]) -> bool:
    """Whether a value comes from whoever deploys: the environment in s.yaml, a NoEcho parameter elsewhere."""
    if isinstance(value, dict):
        return value.get("Ref") in hidden
    return isinstance(value, str) and _EXPRESSION.fullmatch(value) is not None


def main() -> int:
    """Print what is wrong. Returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0] + ".")
    parser.add_argument("--schemas", type=Path, help="directory of fc3-schema.json and ros-resources.json")
    wanted: Path | None = parser.parse_args().schemas
    schemas = wanted or (SCHEMAS if (SCHEMAS / "ros-resources.json").is_file() else None)
    found = check(read(), schemas)
    for sentence in found:
        print(sentence)
    theirs = "and the vendor's descriptions" if schemas else "(not against the vendor's: no --schemas)"
    state = f"{len(found)} mistakes" if found else "in order"
    print(f"s.yaml and template.yml: {state}, checked against the program {theirs}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
