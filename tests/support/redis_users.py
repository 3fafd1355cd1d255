"""The users of docs/how-to/redis-users.md, made on a server by its own lines; and a reader as one of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from token_refresher.domain.errors import NoCredentialError
from token_refresher.domain.model import Kind, Target, fingerprint
from token_refresher.reader.sync_reader import Reader
from token_refresher.store.keys import keys_of

from .flow import Deployment
from .planted import plant
from .redis_server import RedisServer
from .world import World

DOCS = Path(__file__).resolve().parents[2] / "docs"
ENGLISH, CHINESE = DOCS / "how-to" / "redis-users.md", DOCS / "zh-CN" / "how-to" / "redis-users.md"
# What a line gives, each of which can be taken away; all else in it makes the user.
IS_A_RIGHT = re.compile(r"[+~%]")


def line(name: str, path: Path = ENGLISH) -> list[str]:
    """The words of the line that stands below this comment, without `ACL SETUSER`."""
    found = re.findall(rf"<!-- acl: {re.escape(name)} -->\n```text\n(.+)\n```", path.read_text("utf-8"))
    assert len(found) == 1
    words: list[str] = found[0].split()
    assert words[:2] == ["ACL", "SETUSER"]
    return words[2:]


def rights(name: str) -> list[str]:
    return [word for word in line(name) if IS_A_RIGHT.match(word)]


def as_user(
    server: RedisServer, name: str, without: str = "", more: tuple[str, ...] = (), change: Callable[[str], str] = str
) -> str:
    """Make the user by the line, for the application app0000; the URL to log in as that user."""
    secret = plant(f"password-of-{name.split()[0]}")
    user, *words = [word.replace("PASSWORD", secret).replace("100027", "app0000") for word in line(name)]
    missing = without.replace("100027", "app0000")
    given = [change(word) for word in words if word != missing]
    server.client().execute_command("ACL", "SETUSER", user, *given, *more)
    return f"redis://{user}:{quote(secret)}@127.0.0.1:{server.port}/0"


class Shop:
    """Codes that the refresher stored, and a reader that logs in as the user of a line."""

    def __init__(self, world: World, name: str, without: str = "") -> None:
        self.world, self.deployment = world, Deployment(world)
        self.deployment.run()
        self.url = as_user(world.redis, name, without)
        self.admin: Any = world.redis.client()

    def story(self) -> list[str]:
        """What a reader brings about."""
        told: list[str] = []
        with Reader.from_url(self.url, max_age_s=0) as reader:
            for kind in Kind:
                try:
                    code = reader.record("app0000", kind).code
                except NoCredentialError:
                    told.append("no credential")
                    continue
                reader.report_rejected("app0000", kind, code)
                complaint = self.admin.get(keys_of(Target("app0000", kind)).refused)
                told.append("complained" if complaint == fingerprint(code).encode() else "read")
        return told


def expected(name: str) -> list[str]:
    return ["read", "read"] if name == "reader without complaints" else ["complained", "complained"]
