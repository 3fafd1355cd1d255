"""Every setting there is, with one line of meaning and its default. What is not in this table is not read.

Names in capitals are environment variables, the others stand in the configuration file. `app_info[]` is each
entry of the list of applications, `platforms.<name>` each entry of the section of platforms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import NamedTuple

from token_refresher.domain.model import Endpoints
from token_refresher.domain.policy import Policy


class Setting(NamedTuple):
    """`meaning` (str, one line), `default` (str; empty when there is none).

    `secret` (bool): the value is never shown, and may be a reference: `${NAME}` to an environment variable or
    `file:PATH` to a file.
    """

    meaning: str
    default: str = ""
    secret: bool = False


# In the environment (POLICY_MARGIN_S) and in the file (policy.margin_s).
_POLICY = {field.name: Setting(field.metadata["meaning"], str(field.default)) for field in fields(Policy)}
_PLATFORM = Endpoints()
_ROOT = str(_PLATFORM.token_url).removesuffix("/OAuth2/token")

SETTINGS: Mapping[str, Setting] = MappingProxyType(
    {
        "CONFIG_FILE": Setting("path of the YAML configuration file; instead of APP_ID"),
        "APP_ID": Setting("the application's id on the platform; instead of CONFIG_FILE"),
        "APP_SECRET": Setting("the application's secret", secret=True),
        "APP_NAME": Setting("what to call the application in reports"),
        "REDIS_URL": Setting("where the credentials are kept: redis://[user]:[password]@host:port/db", secret=True),
        "REDIS_KEY_PREFIX": Setting("put before every key in Redis"),
        "PLATFORM_BASE_URL": Setting("where the platform's /OAuth2/... addresses begin", _ROOT),
        "PLATFORM_HTTP_PROXY": Setting("proxy for http:// addresses of the platform", secret=True),
        "PLATFORM_HTTPS_PROXY": Setting("proxy for https:// addresses of the platform", secret=True),
        "PLATFORM_CA_BUNDLE": Setting("path of the CA certificates to trust instead of the usual ones"),
        "LOG_LEVEL": Setting("DEBUG, INFO, WARNING, ERROR or CRITICAL", "INFO"),
        **{f"POLICY_{name.upper()}": setting for name, setting in _POLICY.items()},
        "proxies.http": Setting("proxy for http:// addresses of the platform", secret=True),
        "proxies.https": Setting("proxy for https:// addresses of the platform", secret=True),
        "storage_redis.host": Setting("host of Redis"),
        "storage_redis.port": Setting("port of Redis", "6379"),
        "storage_redis.auth": Setting("password of Redis", secret=True),
        "storage_redis.db": Setting("number of the database in Redis", "0"),
        "storage_redis.username": Setting("user of Redis, where it has users", secret=True),
        "storage_redis.url": Setting("address of Redis; instead of the five above", secret=True),
        "storage_redis.key_prefix": Setting("put before every key in Redis"),
        "oauth_api.get_server_access_token_url": Setting(
            "address of the server access_token", str(_PLATFORM.token_url)
        ),
        "oauth_api.get_user_access_token_url": Setting("address of a user's token", str(_PLATFORM.user_token_url)),
        "oauth_api.get_js_ticket_url": Setting("address of the js_ticket", str(_PLATFORM.ticket_url)),
        "oauth_api.check_code_url": Setting(
            "address of checkCode", "get_js_ticket_url with checkCode as its last segment"
        ),
        "oauth_api.refresh_user_token_url": Setting("accepted and not used"),
        "app_info[].app_id": Setting("an application's id on the platform"),
        "app_info[].app_secret": Setting("the application's secret", secret=True),
        "app_info[].app_name": Setting("what to call the application in reports"),
        "app_info[].platform": Setting("name of the entry of platforms it lives on; else oauth_api"),
        "platforms.<name>.base_url": Setting("where another platform's /OAuth2/... addresses begin"),
        "ca_bundle": Setting("path of the CA certificates to trust instead of the usual ones"),
        "log_level": Setting("DEBUG, INFO, WARNING, ERROR or CRITICAL", "INFO"),
        **{f"policy.{name}": setting for name, setting in _POLICY.items()},
    }
)


def names_in(section: str) -> tuple[str, ...]:
    """The names that may stand in a section of the file, as SETTINGS spells it; "" is the top level."""
    if section:
        return tuple(name.rpartition(".")[2] for name in SETTINGS if name.rpartition(".")[0] == section)
    tops = (name.partition(".")[0].removesuffix("[]") for name in SETTINGS if not name.isupper())
    return tuple(dict.fromkeys(tops))


# What `invoke` and `doctor` alone are told, by the environment alone.
INVOKE_SETTINGS: Mapping[str, Setting] = MappingProxyType(
    {
        "FUNCTION_NAME": Setting("the deployed function's name"),
        "FUNCTION_SERVICE": Setting("its service; with one it is of FC 2.0, without of FC 3.0"),
        "FUNCTION_QUALIFIER": Setting("version or alias"),
        "FUNCTION_ENDPOINT": Setting("Function Compute's address; instead of account and region"),
        "ALIBABA_CLOUD_ACCOUNT_ID": Setting("the account's number"),
        "ALIBABA_CLOUD_REGION_ID": Setting("the region, such as cn-hangzhou"),
        "ALIBABA_CLOUD_ACCESS_KEY_ID": Setting("the access key"),
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET": Setting("its secret", secret=True),
        "ALIBABA_CLOUD_SECURITY_TOKEN": Setting("the token of a temporary key", secret=True),
        "ALIBABA_CLOUD_CREDENTIALS_FILE": Setting("keys in a file", "~/.alibabacloud/credentials"),
        "ALIBABA_CLOUD_PROFILE": Setting("which part of that file", "default"),
    }
)
