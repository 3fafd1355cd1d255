"""What is in the zip, as a bill of materials that programs read: CycloneDX 1.6, JSON.

Says of every distribution its name, version, licence, purl, and the SHA-256 of the published file that it was taken
from. Nothing in it comes from a clock or from chance: the same zip has the same bill.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterable
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
# Those that our packages name, by their classifiers; a name that is not here stays a name.
_BY_CLASSIFIER = {
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: BSD License": "BSD-3-Clause",
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}


class Shipped(NamedTuple):
    """A distribution in the zip: the published file's name and SHA-256, and what is told about it besides."""

    name: str
    version: str
    file: str
    sha256: str
    note: str = ""


def bill(shipped: Iterable[Shipped], metadata: Path, archive: bytes, archive_name: str) -> str:
    """The bill of a zip (`archive`); `metadata` is the folder with the distributions' .dist-info folders.

    Raises SystemExit for a distribution that does not say its licence.
    """
    parts = sorted(shipped, key=lambda each: each.name)
    told = {_key(found["Name"]): found for found in map(_headers, metadata.glob("*.dist-info/METADATA"))}
    content: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"lifecycles": [{"phase": "build"}], "component": _ours(archive, archive_name)},
        "components": [_component(each, _licences(each, told[_key(each.name)])) for each in parts],
    }
    # Told apart by what they say, and by nothing else.
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    content["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_URL, f"urn:sha256:{digest}").urn
    return json.dumps(content, indent=2) + "\n"


def _ours(archive: bytes, archive_name: str) -> dict[str, Any]:
    project = dict(
        re.findall(r'^(name|version|description|license) = "([^"]+)"', (ROOT / "pyproject.toml").read_text(), re.M)
    )
    purl = f"pkg:generic/{project['name']}@{project['version']}"
    return {
        "type": "application",
        "bom-ref": purl,
        "name": project["name"],
        "version": project["version"],
        "description": project["description"],
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(archive).hexdigest()}],
        "licenses": [{"license": {"id": project["license"]}}],
        "purl": purl,
        "properties": [{"name": "token-refresher:file", "value": archive_name}],
    }


def _component(each: Shipped, licences: list[dict[str, Any]]) -> dict[str, Any]:
    purl = f"pkg:pypi/{_key(each.name)}@{each.version}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": each.name,
        "version": each.version,
        "scope": "required",
        "hashes": [{"alg": "SHA-256", "content": each.sha256}],
        "licenses": licences,
        "purl": purl,
        **({"pedigree": {"notes": each.note}} if each.note else {}),
        "properties": [{"name": "token-refresher:file", "value": each.file}],
    }


def _licences(each: Shipped, told: Message) -> list[dict[str, Any]]:
    expression = told.get("License-Expression")
    if expression:
        return [{"expression": expression}]
    classified = [_BY_CLASSIFIER.get(found) for found in told.get_all("Classifier", []) if found in _BY_CLASSIFIER]
    given = told.get("License", "").strip()
    if given in _BY_CLASSIFIER.values() or classified:
        return [{"license": {"id": given if given in _BY_CLASSIFIER.values() else classified[0]}}]
    if not given or "\n" in given:
        raise SystemExit(f"{each.name} {each.version} does not say its licence in a form that is known")
    return [{"license": {"name": given}}]


def _headers(path: Path) -> Message:
    return HeaderParser().parsestr(path.read_text(encoding="utf-8"))


def _key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
