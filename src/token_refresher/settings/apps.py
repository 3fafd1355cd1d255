"""Which applications there are, and at which addresses their platform is."""

from __future__ import annotations

import re
from collections.abc import Mapping

from token_refresher.domain.addresses import PlatformUrl
from token_refresher.domain.model import App, Endpoints
from token_refresher.domain.secret import Secret
from token_refresher.settings import values
from token_refresher.settings.lookup import Scope, SettingsSources
from token_refresher.settings.schema import names_in
from token_refresher.settings.values import Section

# A platform's name is quoted in messages, so it must look like one and not like something that slipped there.
_PLATFORM_NAME = re.compile("[A-Za-z][A-Za-z0-9_-]{0,31}")


def read_apps(sources: SettingsSources) -> tuple[App, ...]:
    """The applications of the environment (one) or the file (many); mistakes go into `sources.reader`."""
    reader, env = sources.reader, sources.env
    if sources.from_env:
        return _from_env(sources)
    if env.find("APP_ID"):
        reader.problems.append("set either APP_ID or CONFIG_FILE (or --config), not both")
    standard, platforms = _standard(sources), _platforms(sources)
    if sources.broken:
        return ()
    listed = sources.file.get("app_info")
    if not isinstance(listed, list) or not listed:
        reader.problems.append("app_info must be a list of at least one application")
        return ()
    found = []
    first: dict[str, int] = {}
    for position, entry in enumerate(listed, 1):
        where = f"app_info entry {position}"
        if not isinstance(entry, Section):
            reader.problems.append(f"{where} must hold app_id and app_secret (lines of name: value)")
            continue
        reader.unknown(where, entry, names_in("app_info[]"), reader.problems)
        scope = Scope(f"{where}: ", entry)
        chosen = _chosen(sources, scope, standard, platforms)
        app = _app(sources, scope, ("app_id", "app_secret", "app_name"), chosen)
        if app.app_id and first.setdefault(app.app_id, position) != position:
            reader.problems.append(f"{where}: app_id is the same as that of entry {first[app.app_id]}")
        found.append(app)
    return tuple(found)


def _from_env(sources: SettingsSources) -> tuple[App, ...]:
    standard = _standard(sources)
    if not sources.env.find("APP_ID"):
        sources.reader.problems.append(
            "no application is given: set APP_ID, APP_SECRET and REDIS_URL for one, or CONFIG_FILE for many"
        )
        return ()
    return (_app(sources, sources.env, ("APP_ID", "APP_SECRET", "APP_NAME"), standard),)


def _app(sources: SettingsSources, scope: Scope, names: tuple[str, str, str], where: Endpoints) -> App:
    """One application; `names` are those of its id, secret and name in `scope`."""
    id_name, secret_name, name_name = names
    app_id = sources.reader.parse(sources.reader.required(scope, id_name), values.name)
    secret = sources.reader.parse_secret(sources.reader.required(scope, secret_name), Secret)
    name = sources.reader.parse(scope.find(name_name), str)
    return App(app_id or "", secret or Secret(""), name or "", where)


def _standard(sources: SettingsSources) -> Endpoints:
    """For applications that name no platform: PLATFORM_BASE_URL, else oauth_api, else the defaults."""
    base = sources.reader.parse(sources.env.find("PLATFORM_BASE_URL"), PlatformUrl.parse)
    api = sources.section("oauth_api", sources.reader.warnings)
    default = Endpoints()

    def url(name: str, otherwise: PlatformUrl) -> PlatformUrl:
        return sources.reader.parse(api.find(name), PlatformUrl.parse) or otherwise

    token_url = url("get_server_access_token_url", default.token_url)
    ticket_url = url("get_js_ticket_url", default.ticket_url)
    given = Endpoints(
        token_url,
        ticket_url,
        # Files leave these out: what is not named is on the host of its neighbor.
        url("check_code_url", ticket_url.beside("checkCode")),
        url("get_user_access_token_url", token_url),
    )
    return Endpoints.at(base) if base else given


def _platforms(sources: SettingsSources) -> Mapping[str, Endpoints]:
    reader, section = sources.reader, sources.section("platforms").values
    found: dict[str, Endpoints] = {}
    for name in section:
        if not _PLATFORM_NAME.fullmatch(name):
            reader.problems.append("platforms: names must be letters, digits, - and _ (up to 32, a letter first)")
            continue
        entry = reader.section(Scope("platforms.", section).find(name))
        reader.unknown(f"platforms.{name}", entry, names_in("platforms.<name>"), reader.problems)
        base = reader.parse(reader.required(Scope(f"platforms.{name}.", entry), "base_url"), PlatformUrl.parse)
        found[name] = Endpoints.at(base) if base else Endpoints()
    return found


def _chosen(
    sources: SettingsSources, scope: Scope, standard: Endpoints, platforms: Mapping[str, Endpoints]
) -> Endpoints:
    named = sources.reader.parse(scope.find("platform"), str)
    if named is None or named in platforms:
        return platforms[named] if named else standard
    known = ", ".join(platforms) or "none"
    sources.reader.problems.append(f"{scope.prefix}platform must name an entry of platforms ({known})")
    return standard
