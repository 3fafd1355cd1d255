"""All settings, read once: from environment variables alone, or from a file which they override.

`read(environ)` is all there is. It finds every mistake before it raises, names each, and quotes no value.
SETTINGS lists every name that is read. Only `invoke` reads names of its own (INVOKE_SETTINGS).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any

from token_refresher.domain.addresses import ProxyUrl, RedisUrl, Topology
from token_refresher.domain.errors import InvalidValueError, SettingsError
from token_refresher.domain.host_port import HostPort
from token_refresher.domain.model import App
from token_refresher.domain.policy import Policy
from token_refresher.domain.secret import Secret
from token_refresher.domain.suggestion import did_you_mean
from token_refresher.settings import values
from token_refresher.settings.apps import read_apps
from token_refresher.settings.lookup import Scope, SettingsReader, SettingsSources
from token_refresher.settings.origin import Origin
from token_refresher.settings.schema import SETTINGS, Setting, names_in
from token_refresher.settings.values import Section, is_service_link

__all__ = ["SETTINGS", "RedisSettings", "Setting", "Settings", "read", "read_from"]

# What the published file holds until it is filled in. It is not an address, and is not used.
_SAMPLE_PROXY = "http://user:password@host:port"


@dataclass(frozen=True)
class RedisSettings:
    """Where the credentials are kept; `key_prefix` (str) goes before every key."""

    url: RedisUrl
    key_prefix: str = ""


@dataclass(frozen=True)
class Settings:
    """Everything that was set. `proxies` maps "http" and "https" to a proxy, where there is one.

    `ca_bundle` is a path, `log_level` a name out of the module logging. `warnings` are sentences about what
    is odd but no mistake; they quote no value either. `origin` is where all of it was read.
    """

    apps: tuple[App, ...]
    redis: RedisSettings
    proxies: Mapping[str, ProxyUrl]
    policy: Policy
    ca_bundle: str | None
    log_level: str
    warnings: tuple[str, ...]
    origin: Origin = field(default_factory=lambda: Origin({}), repr=False, compare=False)

    def app(self, app_id: str) -> App | None:
        """The application with this id (str); None when there is none."""
        return next((app for app in self.apps if app.app_id == app_id), None)


def read(environ: Mapping[str, str]) -> Settings:
    """The settings that `environ` gives, together with those of the file that its CONFIG_FILE names.

    Raises `SettingsError` with all mistakes at once. Reads the files that are named and touches nothing else.
    """
    return read_from(Origin(environ))


def read_from(origin: Origin) -> Settings:
    """The same for the environment of `origin`, which notes each file that is read."""
    sources = _sources(origin)
    reader = sources.reader
    settings = Settings(
        apps=read_apps(sources),
        redis=_redis(sources),
        proxies=_proxies(sources),
        policy=_policy(sources),
        ca_bundle=reader.parse(sources.either("PLATFORM_CA_BUNDLE", "ca_bundle"), values.existing_file),
        log_level=reader.parse(sources.either("LOG_LEVEL", "log_level"), values.log_level)
        or SETTINGS["LOG_LEVEL"].default,
        warnings=(),
        origin=origin,
    )
    reader.unknown("top level", sources.file, names_in(""), reader.warnings)
    if reader.problems:
        raise SettingsError(reader.problems, tuple(dict.fromkeys(reader.warnings)))
    return replace(settings, warnings=tuple(dict.fromkeys(reader.warnings)))


def _where(path: str) -> str:
    """Where a configuration file is, or should be. What is not a file may be a secret, and is not shown."""
    if os.path.isfile(path):
        return f" (the file {path})"
    return "" if os.path.isabs(path) else f" (a path that begins at {os.getcwd()})"


def _sources(origin: Origin) -> SettingsSources:
    reader, env = SettingsReader(origin), Scope("", origin.environ)

    def read_file(path: str) -> Section:
        try:
            from token_refresher.settings.yaml_file import LARGEST_FILE, load  # brings PyYAML, which only this needs
        except ModuleNotFoundError:
            raise InvalidValueError("needs the package PyYAML, which is not installed") from None
        origin.note(path, LARGEST_FILE)
        try:
            return load(path, reader.problems)
        except InvalidValueError as error:
            raise InvalidValueError(error.what + _where(path)) from None

    config = env.find("CONFIG_FILE")
    file = reader.parse(config and config._replace(name="CONFIG_FILE (or --config)"), read_file)
    broken = config is not None and file is None
    return SettingsSources(reader, env, Section() if file is None else file, from_env=config is None, broken=broken)


def _redis(sources: SettingsSources) -> RedisSettings:
    reader = sources.reader
    storage = sources.section("storage_redis", reader.warnings)
    prefix = reader.parse(sources.env.find("REDIS_KEY_PREFIX") or storage.find("key_prefix"), values.name)
    given = sources.env.find("REDIS_URL") or storage.find("url")
    url = reader.parse_secret(given, RedisUrl.parse) if given else _redis_url_of_parts(sources, storage)
    beside = [name for name in ("host", "port", "auth", "db", "username") if storage.find(name)]
    if storage.find("url") and beside:
        reader.warnings.append(f"storage_redis.url is given, so these go unused: {', '.join(beside)}")
    return RedisSettings(url or RedisUrl(Topology.SERVER), prefix or "")


def _redis_url_of_parts(sources: SettingsSources, storage: Scope) -> RedisUrl | None:
    """The address of Redis from the parts that the published file has; None after a mistake."""
    reader = sources.reader
    if sources.from_env:
        # Without an application either, the sentence about that names REDIS_URL too.
        if sources.env.find("APP_ID"):
            reader.required(sources.env, "REDIS_URL")
        return None
    if not storage.find("host"):
        if not sources.broken:
            reader.problems.append("storage_redis.host is missing, or storage_redis.url, or REDIS_URL")
        return None
    host = reader.parse(storage.find("host"), values.redis_host)
    port = reader.parse(storage.find("port"), values.port)
    db = reader.parse(storage.find("db"), values.database)
    user, auth = (reader.parse_secret(storage.find(name), Secret) or Secret("") for name in ("username", "auth"))
    at = HostPort(host.host if host else "", port or int(SETTINGS["storage_redis.port"].default))
    return RedisUrl(Topology.SERVER, (at,), user, auth, db or 0)


def _proxies(sources: SettingsSources) -> Mapping[str, ProxyUrl]:
    reader = sources.reader
    section = sources.section("proxies", reader.warnings)
    found: dict[str, ProxyUrl] = {}
    for scheme in ("http", "https"):
        given = sources.env.find(f"PLATFORM_{scheme.upper()}_PROXY") or section.find(scheme)
        if given and given.value == _SAMPLE_PROXY:
            reader.warnings.append(f"{given.name} is still the published sample's, so no proxy is used")
            continue
        proxy = reader.parse_secret(given, ProxyUrl.parse)
        if proxy:
            found[scheme] = proxy
    return MappingProxyType(found)


def _policy(sources: SettingsSources) -> Policy:
    reader = sources.reader
    section = sources.section("policy", reader.problems)
    reader.warnings.extend(_misspelt(sources.env.values))
    numbers: dict[str, Any] = {}
    unread = set()
    for each in fields(Policy):
        name = each.name
        given = sources.env.find(f"POLICY_{name.upper()}") or section.find(name)
        number = reader.parse(given, values.concurrency if name == "concurrency" else values.seconds)
        if number is not None:
            numbers[name] = number
        elif given:
            unread.add(name)
    policy = replace(Policy(), **numbers)
    # Whether an unread number fits to the others is not known: its default stands in, and would be blamed.
    reader.problems.extend(rule for rule in policy.problems() if not unread & set(re.findall(r"\w+", rule)))
    return policy


def _misspelt(environ: Mapping[str, object]) -> list[str]:
    """Warnings about POLICY_... variables that nothing reads; no more, for they may be another program's."""
    names = tuple(name for name in SETTINGS if name.startswith("POLICY_"))
    like = (name for name in environ if re.fullmatch("POLICY_[A-Z0-9_]+", name) and not is_service_link(name))
    found = sorted(name for name in like if name not in names)
    return [f"the environment variable {name} is not read{did_you_mean(name, names)}" for name in found]
