"""The platform's own envelope: a success, a definite no, or nothing to rely on. Pure; knows no connection.

Numbers may be text; everything else must be as documented. Nothing a peer wrote gets into an error but the
platform's own message, short, and only if it repeats no part of a secret.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from token_refresher.domain.errors import RefusedError, UnknownOutcomeError
from token_refresher.domain.quoting import quotable
from token_refresher.platforms.http.response import (
    MAX_DIGITS,
    HttpResponse,
    read_json,
    refused_by_status,
    retry_after_s,
    unusable_response,
)

# The platform's page asks for room for 128 characters; more is stored all the same, up to a bound for Redis.
_DOCUMENTED_CODE, _MAX_CODE = 128, 4096
_NUMERIC = re.compile(r"(-?[0-9]{1,15})(\.[0-9]+)?")
# An instant in seconds, not a duration and not milliseconds: from 2001 to 5138.
_FIRST_INSTANT, _LAST_INSTANT = 10**9, 10**11

_OK, _GENERAL, _INVALID_CODE, _NO_PERMISSION, _NOT_ADDED = 2000, 4000, 4102, 4103, 4104

# What a refusal speaks of, looked for in this order: "ip" also occurs where calls are too many, "limit" also where an
# address is not let in, and a platform in trouble may name the application all the same.
_SPEAKS_OF_WHITE_LIST = re.compile(
    r"white.?list|allow.?list|白名单|许可名单|可信列表|(来源|地址)(未授权|不合法|不可信|不在)|未授权的?来源"
    r"|source (address|is )?.{0,12}(reject|not (allowed|trusted))|(host|caller) (is )?not allowed",
    re.IGNORECASE,
)
_SPEAKS_OF_LOAD = re.compile(
    r"too (many|fast|frequent|often)|frequen|throttl|rate.?limit|(?<![a-z])(qps|tps|quota)(?![a-z])"
    r"|overload|(?<![a-z])busy|频繁|频率|频次|限流|限频|限速|流控|流量控制|频度|频密|密集|繁忙|系统忙|稍[后候]"
    r"|过快|太快|次数|过多|太多|配额|额度|限额|请求量|访问量|并发|过载|熔断|降级|排队",
    re.IGNORECASE,
)
_SPEAKS_OF_ADDRESS = re.compile(r"(?<![a-z])ip(?![a-z])", re.IGNORECASE)
_SPEAKS_OF_A_LIMIT = re.compile(
    r"(?<![a-z])(limit(s|ed|ation)?|rate|(try|retry) (again|later)|later)(?![a-z])|上限|超限|超出|限制", re.IGNORECASE
)
_SPEAKS_OF_SECRET = re.compile(r"secret|密钥|app_?id", re.IGNORECASE)
_SPEAKS_OF_APPLICATION = re.compile(r"(?<![a-z])app(?![a-z])|app_?id|application|应用", re.IGNORECASE)
# An application is also out of service when the account is that it belongs to.
_SPEAKS_OF_OWNER = re.compile(
    r"(?<![a-z])(account|developer|tenant)(?![a-z])|账号|账户|开发者|主体|商户|租户", re.IGNORECASE
)
# That the application itself is out of service comes before all of these: such a message likes to speak of limits, of
# "later" and of permissions, too. It is said in one sentence or a part of it, in which nothing that an application has,
# or that is asked of it, comes before the verb.
_OUT_OF_SERVICE = re.compile(
    r"(?<![a-z])(disabled?|suspended|banned|deactivated|terminated|cancell?ed|frozen|deleted|removed|discontinued"
    r"|delisted|offline|inactive|not (active|enabled)|no longer exists?|(does not|doesn't) exist|closed(?! (the |conn))"
    r"|stopped(?! resp)|expired|revoked|archived|unpublished|on hold)(?![a-z])"
    r"|停用|禁用|禁止使用|封禁|封停|封号|查封|冻结|注销|下线|下架|关停|关闭(?!了?连接)|停止(?!响应)|暂停|删除|吊销|作废"
    r"|限制使用|不存在|未启用|未激活|未上线|未发布|审核未通过|到期|过期|欠费|回收|清退|撤销",
    re.IGNORECASE,
)
# The same, but of short duration where load is spoken of as well, and of single rights where the status says so.
_SHUT_OUT = re.compile(
    r"(?<![a-z])(blocked|locked|restricted|barred|black.?listed)(?![a-z])|锁定|封锁|拉黑|黑名单|受限|被限制",
    re.IGNORECASE,
)
_OF_AN_APPLICATION = re.compile(
    r"(?<![a-z])(ip|user|server|system|api|interface|connection|call|request|rate|quota|limit|qps|token|ticket|code|secret"
    r"|key|permission|scope|function|feature)s?(?![a-z])|address|white.?list|allow.?list|gateway|network|frequen"
    r"|signature|timestamp|session|签名|时间戳|会话|用户|地址|白名单|服务器|系统|网关|网络|连接|接口|功能|权限|调用|请求|频|次数|流量|配额|密钥|凭证|令牌",
    re.IGNORECASE,
)
_SENTENCES, _PARTS = re.compile(r"[.;!。；！\n]"), re.compile(r"[.;!。；！\n,，:：()（）]")
# In Chinese the reason comes before the verb, and may be anything; so does who did it.
_REASON = re.compile("[因由].*(?=[被已])|(?<=被)(系统|平台|管理员)")
# That the credential itself is dead, whatever the status says.
_DEAD_CREDENTIAL = re.compile(
    r"(token|ticket|(?<![a-z])code(?![a-z])|凭证|令牌|票据|授权)"
    r"((?!服务|接口|system|service|server)[^.;!。；！，,\n]){0,16}?"
    r"((?<![a-z])(expired|invalid|revoked|(does not|doesn't) exist|not exist)(?![a-z])"
    r"|不存在|失效|过期|已超时|无效|作废|吊销|撤销|[统台已]回收)",
    re.IGNORECASE,
)
# Nothing but that it failed.
_SAYS_NOTHING = re.compile(
    r"(\W|(操作|请求|处理|访问|网络|查询|获取)?(失败|错误|异常|出错|故障)|请?(稍后)?重试|处理中"
    r"|(request |general |network )?(error|fail(ed|ure)?)|null|none|unknown|no data|something went wrong)*",
    re.IGNORECASE,
)
_SPEAKS_OF_CALLER = re.compile(
    r"forbidden|access denied|拒绝访问|访问受限|非法请求|请求(地址)?(被拦截|未授权)|风控|安全校验|人机验证",
    re.IGNORECASE,
)
_SPEAKS_OF_TROUBLE = re.compile(
    r"system|server (error|exception)|internal|maintenance|unavailable|time.?out|database|exception|unknown error"
    r"|general error|parameter|gateway|upstream|connection|network|redis|sql|json|undefined|signature|timestamp"
    r"|系统|服务|内部|维护|异常|超时|数据库|未知|参数|网络|网关|签名|资源不足|暂时|时间戳|请求已过期",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class ApiResponse:
    """A well-formed answer; `data` is empty unless the platform sent an object.

    `retry_after_s` (duration, seconds) is what the answer asks the caller to wait.
    """

    status: int
    message: str = field(repr=False)
    data: Mapping[str, Any] = field(repr=False)
    retry_after_s: float | None = None

    @property
    def ok(self) -> bool:
        return self.status == _OK

    @property
    def invalid_code(self) -> bool:
        """That the credential is dead, and not that the caller may not ask, which no good one pays for."""
        if self.status != _INVALID_CODE:
            return False
        return not _SPEAKS_OF_WHITE_LIST.search(self.message) or bool(_DEAD_CREDENTIAL.search(self.message))


def parse_response(reply: HttpResponse) -> ApiResponse:
    """The envelope in an answer: a success, or a definite no.

    Raises RefusedError (a no by its HTTP status), UnknownOutcomeError (bad_answer).
    """
    http_status, refused = reply.http_status, refused_by_status(reply)
    if not refused and not (200 <= http_status < 300 or 400 <= http_status < 500):
        raise unusable_response(f"HTTP {http_status}")
    try:
        envelope = _envelope(reply)
    except UnknownOutcomeError:
        if refused is None:
            raise
        raise refused from None
    no, success = 4000 <= envelope.status < 5000, 2000 <= envelope.status < 3000
    if refused is not None and not success and not (no and refused.code != "rate_limited"):
        raise refused
    if not no and (envelope.status != _OK or http_status >= 400):
        # A success inside an HTTP error counts as unknown too: a credential may have been issued.
        raise unusable_response(f"status {envelope.status} with HTTP {http_status}")
    return envelope


def _envelope(reply: HttpResponse) -> ApiResponse:
    http_status = reply.http_status
    envelope = read_json(reply)
    if not isinstance(envelope, dict):
        raise unusable_response(f"not a JSON object (HTTP {http_status})")
    status, message, data = whole(envelope.get("status")), envelope.get("message"), envelope.get("data")
    if status is None:
        raise unusable_response(f"no status (HTTP {http_status})")
    # The status alone makes a no.
    if not 4000 <= status < 5000:
        if not isinstance(message, (str, int, float, type(None))):
            raise unusable_response(f"no message (status {status})")
        if not isinstance(data, (dict, list, type(None))):
            raise unusable_response(f"data is neither object nor array (status {status})")
    text = str(message) if isinstance(message, (str, int, float)) else ""
    return ApiResponse(status, text, data if isinstance(data, dict) else {}, retry_after_s(reply))


def whole(leaf: object, *, fraction: bool = False) -> int | None:
    """The whole number that a leaf means, be it a number or text; None when it does not.

    With `fraction` what comes after the point is left out.
    """
    if isinstance(leaf, str):
        found = _NUMERIC.fullmatch(leaf)
        if not found or not (fraction or not (found[2] or "").strip(".0")):
            return None
        return int(found[1])
    if isinstance(leaf, float) and abs(leaf) < 10**MAX_DIGITS and (fraction or leaf.is_integer()):
        leaf = math.floor(leaf)
    return leaf if isinstance(leaf, int) and not isinstance(leaf, bool) else None


def read_credential(data: Mapping[str, Any], name: str) -> tuple[str, tuple[str, ...]]:
    """The credential under `name`, and warnings. Raises UnknownOutcomeError (bad_answer)."""
    code = data.get(name)
    if not isinstance(code, str) or not 0 < len(code) <= _MAX_CODE:
        raise unusable_response(f"no usable {name}")
    if any(char.isspace() or unicodedata.category(char) in ("Cc", "Cs") for char in code):
        raise unusable_response(f"{name} contains blanks or control characters")
    if len(code) > _DOCUMENTED_CODE:
        return code, (f"{name} has {len(code)} characters, documented are at most {_DOCUMENTED_CODE}",)
    return code, ()


def read_lifetime(data: Mapping[str, Any], longest_s: float) -> tuple[int, tuple[str, ...]]:
    """The duration under `expires_in` (s), at most `longest_s`, and warnings. Raises UnknownOutcomeError."""
    lifetime_s = whole(data.get("expires_in"), fraction=True)
    if lifetime_s is None or lifetime_s <= 0:
        raise unusable_response("expires_in is not a duration")
    cap_s = max(1, int(longest_s))
    if lifetime_s > cap_s:
        return cap_s, (f"expires_in is {lifetime_s} s, counted as {cap_s} s",)
    return lifetime_s, ()


def read_expiry(data: Mapping[str, Any]) -> int:
    """The instant under `expires_in` (unix seconds, the platform's clock). Raises UnknownOutcomeError."""
    instant = whole(data.get("expires_in"), fraction=True)
    if instant is None or not _FIRST_INSTANT <= instant < _LAST_INSTANT:
        raise unusable_response("expires_in is not an instant")
    return instant


def rejection(envelope: ApiResponse, secrets: Iterable[str], invalid_code: str, denial: str = "") -> RefusedError:
    """The error for a definite no. None of `secrets` gets into it.

    `invalid_code` is what 4102 means here, `denial` what a no about the application means ("": it is about the secret).
    """
    status, message = envelope.status, envelope.message
    code = invalid_code if envelope.invalid_code else ""
    if not code and _application_is_out(status, message):
        code = denial or "platform_refused"
    if not code and denial and _DEAD_CREDENTIAL.search(message):
        code = denial
    code = code or ("not_added" if status == _NOT_ADDED else "") or _cause(message)
    if not code and status == _NO_PERMISSION:
        code = "no_permission"
    if not code and denial:
        code = denial if _judges(status, message) else ""
    elif not code and _SPEAKS_OF_SECRET.search(message):
        code = "wrong_secret"
    quoted = quotable(message, secrets)
    said = "; its message is not shown: it repeats a part of a secret" if quoted is None else f' "{quoted}"'
    wait_s = envelope.retry_after_s if code == "rate_limited" else None
    what = f"the platform answered {status}{said}"
    return RefusedError(what, status=status, code=code or "platform_refused", retry_after_s=wait_s)


def _application_is_out(status: int, message: str) -> bool:
    """Whether a refusal says that the application itself is disabled, suspended, deleted or the like."""
    if _out_of_service(message, _OUT_OF_SERVICE):
        return True
    lasting = status not in (_NO_PERMISSION, _NOT_ADDED) and not _SPEAKS_OF_LOAD.search(message)
    return lasting and _out_of_service(message, _SHUT_OUT)


def _judges(status: int, message: str) -> bool:
    """Whether a no without a known cause is about the application or the credential, and not about nothing."""
    if _names_application(message):
        return True
    if status == _GENERAL and (_SAYS_NOTHING.fullmatch(message) or _SPEAKS_OF_CALLER.search(message)):
        return False
    return not _SPEAKS_OF_TROUBLE.search(message)


def _names_application(text: str) -> bool:
    """Whether a text names the application, or the account that it belongs to."""
    return bool(_SPEAKS_OF_APPLICATION.search(text) or _SPEAKS_OF_OWNER.search(text))


def _out_of_service(message: str, verb: re.Pattern[str]) -> bool:
    for part in (*_SENTENCES.split(message), *_PARTS.split(message)):
        said = _REASON.sub("", part)
        found = _names_application(said) and verb.search(said)
        if found and not _OF_AN_APPLICATION.search(said, 0, found.start()):
            return True
    return False


def _cause(message: str) -> str:
    """Whether a refusal speaks of the caller's address or of load, "" when it does not."""
    if _SPEAKS_OF_WHITE_LIST.search(message):
        return "not_white_listed"
    if _SPEAKS_OF_LOAD.search(message):
        return "rate_limited"
    if _SPEAKS_OF_ADDRESS.search(message):
        return "not_white_listed"
    return "rate_limited" if _SPEAKS_OF_A_LIMIT.search(message) else ""
