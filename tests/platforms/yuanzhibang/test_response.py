"""Answers, judged: a success, a definite no, or nothing to rely on."""

from __future__ import annotations

import base64
import html
import json
import quopri
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from support.tables import each_line
from token_refresher.domain.errors import PlatformError, RefusedError, UnknownOutcomeError
from token_refresher.platforms.http.response import MAX_BODY, HttpResponse
from token_refresher.platforms.yuanzhibang.response import (
    ApiResponse,
    parse_response,
    read_credential,
    read_expiry,
    read_lifetime,
    rejection,
    whole,
)

_GOOD = b'{"status": "2000", "message": "ok", "data": {"ticket": "abc", "expires_in": 7200}}'


def _reply(body: bytes = _GOOD, http_status: int = 200) -> HttpResponse:
    return HttpResponse(http_status, "", "", body, 0.0)


def _is_bad(error: PlatformError) -> bool:
    return isinstance(error, UnknownOutcomeError) and error.code == "bad_answer"


@each_line("status", ["2000", '"2000"', "2000.0", '"2000.0"'])
def test_a_success_may_write_its_status_as_number_or_text(status: str) -> None:
    body = f'{{"status": {status}, "message": "ok", "data": {{"ticket": "abc"}}}}'
    envelope = parse_response(_reply(body.encode()))
    assert (envelope.ok, envelope.data) == (True, {"ticket": "abc"})


def test_json_that_is_no_object_says_nothing() -> None:
    with pytest.raises(UnknownOutcomeError, match=re.escape("not a JSON object (HTTP 200)")):
        parse_response(_reply(b"[]"))


@each_line("http_status", [200, 201, 299, 400, 401, 403, 404, 408, 425, 499])
@pytest.mark.parametrize("data", ["[]", "{}", "null"])
def test_a_no_is_a_no_below_http_500(http_status: int, data: str) -> None:
    body = f'{{"status": "4103", "message": "no", "data": {data}}}'
    envelope = parse_response(_reply(body.encode(), http_status))
    assert (envelope.status, envelope.message, envelope.data) == (4103, "no", {})


@each_line("http_status", [100, 199, 204, 300, 301, 302, 303, 304, 307, 308, 399, 500, 502, 503, 504, 599, 600])
def test_other_http_answers_say_nothing(http_status: int) -> None:
    body = b"" if http_status == 204 else b'{"status": "4000", "message": "no", "data": []}'
    with pytest.raises(UnknownOutcomeError) as caught:
        parse_response(_reply(body, http_status))
    assert _is_bad(caught.value)


@each_line(
    "body",
    [
        b"",
        b"<html></html>",
        b'"2000"',
        b"2000",
        b"null",
        b"[]",
        b"{}",
        _GOOD[:-1],
        _GOOD + b"x",
        b'{"message": "ok", "data": []}',
        b'{"status": null, "message": "ok", "data": []}',
        b'{"status": true, "message": "ok", "data": []}',
        b'{"status": [2000], "message": "ok", "data": []}',
        b'{"status": "ok", "message": "ok", "data": []}',
        b'{"status": 2000.5, "message": "ok", "data": []}',
        b'{"status": NaN, "message": "ok", "data": []}',
        b'{"status": 2000, "message": "ok", "data": {"a": NaN}}',
        b'{"status": 1e999, "message": "ok", "data": []}',
        b'{"status": -Infinity, "message": "ok", "data": []}',
        b'{"status": "\xd9\xa2000", "message": "ok", "data": []}',
        b'{"status": 2000, "message": ["ok"], "data": []}',
        b'{"status": 2000, "message": "ok", "data": "ok"}',
        b'{"status": 2000, "status": 2000, "message": "ok", "data": {}}',
        b'{"status": 2000, "message": "ok", "data": {"a": 1, "a": 1}}',
        b'{"status": 2011, "message": "ok", "data": []}',
        b'{"status": 2999, "message": "ok", "data": {}}',
        b'{"status": 0, "message": "ok", "data": {}}',
        b'{"status": 5000, "message": "ok", "data": {}}',
        b'{"status": 3999, "message": "ok", "data": {}}',
        b'{"status": 200, "message": "ok", "data": {}}',
        b'{"status": 2000, "message": "ok", "data": {"expires_in": ' + b"9" * 5000 + b"}}",
        b'{"status": 2000, "message": "ok", "data": {"expires_in": 0.' + b"9" * 5000 + b"}}",
        b'{"status": 2000, "message": "' + b"x" * MAX_BODY + b'", "data": {}}',
        b"[" * 60_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b'{"status": 2000, "message": "\xff", "data": {}}',
        _GOOD.decode().encode("utf-16"),
    ],
)
def test_what_is_no_documented_envelope_says_nothing(body: bytes) -> None:
    with pytest.raises(UnknownOutcomeError) as caught:
        parse_response(_reply(body))
    assert _is_bad(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_success_inside_an_http_error_says_nothing() -> None:
    with pytest.raises(UnknownOutcomeError):
        parse_response(_reply(http_status=400))


def test_an_envelope_of_load_may_say_how_long_to_wait_too() -> None:
    reply = HttpResponse(200, "", "", b'{"status": 4000, "message": "busy", "data": []}', 0.0, "30")
    assert rejection(parse_response(reply), (), "").retry_after_s == 30.0
    reply = HttpResponse(200, "", "", b'{"status": 4000, "message": "secret", "data": []}', 0.0, "30")
    assert rejection(parse_response(reply), (), "").retry_after_s is None


@each_line("body", [b'{"status": 5000, "message": "", "data": []}', b"2000", b'{"status": 2000'])
@pytest.mark.parametrize(("http_status", "code"), [(404, "platform_refused"), (529, "rate_limited")])
def test_what_is_no_envelope_leaves_the_word_to_the_http_status(body: bytes, http_status: int, code: str) -> None:
    with pytest.raises(RefusedError) as caught:
        parse_response(_reply(body, http_status))
    assert (caught.value.code, caught.value.status) == (code, None)


def test_a_code_that_is_no_longer_valid_is_told_from_other_refusals() -> None:
    statuses = (2000, 4101, 4102, 4103)
    assert [ApiResponse(status, "", {}).invalid_code for status in statuses] == [False, False, True, False]


@pytest.mark.parametrize("number", ["9" * 15, "0." + "9" * 28, "-0." + "9" * 27])
def test_a_number_may_have_as_many_digits_as_any_of_the_platform(number: str) -> None:
    body = f'{{"status": 2000, "message": "ok", "data": {{"expires_in": {number}}}}}'
    assert parse_response(_reply(body.encode())).data == {"expires_in": float(number)}


@pytest.mark.parametrize("number", ["1" + "0" * 15, "0." + "9" * 29])
def test_a_number_with_one_digit_more_says_nothing(number: str) -> None:
    body = f'{{"status": 2000, "message": "ok", "data": {{"expires_in": {number}}}}}'
    with pytest.raises(UnknownOutcomeError) as caught:
        parse_response(_reply(body.encode()))
    assert _is_bad(caught.value)


@pytest.mark.parametrize("message", ["null", "7", '"ok"'])
def test_the_message_is_only_for_people(message: str) -> None:
    body = f'{{"status": 4000, "message": {message}, "data": []}}'
    assert parse_response(_reply(body.encode())).status == 4000


@each_line("rest", ['"data": ""', '"data": false', '"data": 0', '"message": []', '"message": {}, "data": "x"'])
def test_a_no_is_one_whatever_stands_beside_its_status(rest: str) -> None:
    assert parse_response(_reply(f'{{"status": 4102, {rest}}}'.encode())).invalid_code


@pytest.mark.parametrize("status", [4000, 4999])
def test_a_no_may_do_without_a_message(status: int) -> None:
    envelope = parse_response(_reply(b'{"status": %d}' % status))
    assert (envelope.status, envelope.message) == (status, "")


@each_line(
    ("leaf", "number"),
    [
        (7200, 7200),
        ("7200", 7200),
        (7200.0, 7200),
        ("7200.0", 7200),
        (-1, -1),
        ("-1", -1),
        (0, 0),
        (1e12, 10**12),
        (7200.5, None),
        ("7200.5", None),
        ("", None),
        (" 7200", None),
        ("7200\n", None),
        ("+7200", None),
        ("7_200", None),
        ("0x10", None),
        ("٧٢٠٠", None),
        ("9" * 16, None),
        (999_999_999_999_999.0, 10**15 - 1),
        (1e15, None),
        (1e300, None),
        (float("inf"), None),
        (float("nan"), None),
        (True, None),
        (None, None),
        ([], None),
        ({}, None),
    ],
)
def test_a_leaf_is_a_whole_number_or_none(leaf: object, number: int | None) -> None:
    assert whole(leaf) == number


@each_line("code", ["a", "x" * 128, "猿之棒", "a/b+c=", "\N{ZERO WIDTH JOINER}"])
def test_a_code_is_any_text_without_blanks(code: str) -> None:
    assert read_credential({"ticket": code}, "ticket") == (code, ())


@pytest.mark.parametrize("length", [129, 512, 4096])
def test_a_code_longer_than_documented_is_taken_with_a_warning(length: int) -> None:
    code, warnings = read_credential({"ticket": "x" * length}, "ticket")
    assert code == "x" * length
    assert str(length) in warnings[0]


@each_line(
    "code",
    [None, 7, True, [], {}, "", " ", "a b", "a\n", "a\0", "a\x7f", "a\u2028", "\ud800", "x" * 4097],
)
def test_anything_else_is_no_code(code: object) -> None:
    with pytest.raises(UnknownOutcomeError) as caught:
        read_credential({"ticket": code}, "ticket")
    assert _is_bad(caught.value)


@each_line(
    ("said", "counted", "warned"),
    [
        (1, 1, 0),
        (60, 60, 0),
        ("7200", 7200, 0),
        (7199.9, 7199, 0),
        ("7199.5", 7199, 0),
        (7201, 7200, 1),
        (1e12, 7200, 1),
        ("9" * 15, 7200, 1),
    ],
)
def test_a_life_is_believed_up_to_the_documented_one(said: object, counted: int, warned: int) -> None:
    lifetime_s, warnings = read_lifetime({"expires_in": said}, 7200)
    assert (lifetime_s, len(warnings)) == (counted, warned)


@each_line("said", [0, -1, "0", "-5", None, "soon", 0.5, True, [7200], float("inf"), "9" * 16])
def test_what_is_no_life_is_not_believed(said: object) -> None:
    with pytest.raises(UnknownOutcomeError):
        read_lifetime({"expires_in": said}, 7200)


def test_where_hardly_any_life_is_believed_a_second_is_counted() -> None:
    assert read_lifetime({"expires_in": 5}, 0.5)[0] == 1


def test_a_missing_life_is_not_believed() -> None:
    with pytest.raises(UnknownOutcomeError):
        read_lifetime({}, 7200)


def test_an_instant_is_told_from_a_duration_and_from_milliseconds() -> None:
    assert read_expiry({"expires_in": "1654576906"}) == 1654576906
    assert read_expiry({"expires_in": 1654576906.5}) == read_expiry({"expires_in": "1654576906.5"}) == 1654576906
    assert read_expiry({"expires_in": 10**9}) == 10**9
    assert read_expiry({"expires_in": 10**11 - 1}) == 10**11 - 1
    for said in (7200, 0, -1, 10**9 - 1, 10**11, 1654576906000, None, "soon", True):
        with pytest.raises(UnknownOutcomeError):
            read_expiry({"expires_in": said})


@each_line(
    ("status", "message", "meaning", "code"),
    [
        (4102, "server_access_token is invalid", "token_invalid", "token_invalid"),
        (4102, "authorization_code is invalid", "code_invalid", "code_invalid"),
        (4102, "secret is invalid", "", "wrong_secret"),
        (4102, "x", "", "platform_refused"),
        (4103, "no permission", "", "no_permission"),
        (4103, "app_id has no permission", "", "no_permission"),
        (4103, "ip is not in the white list", "", "not_white_listed"),
        (4103, "IP不在白名单", "", "not_white_listed"),
        (4103, "来源ip未授权", "", "not_white_listed"),
        (4103, "not in whitelist", "", "not_white_listed"),
        (4000, "1.2.3.4 not in white-list", "", "not_white_listed"),
        (4103, "no recipient, no description", "", "no_permission"),
        (4104, "not added", "", "not_added"),
        (4000, "app_id or secret is wrong", "", "wrong_secret"),
        (4000, "密钥错误", "", "wrong_secret"),
        (4000, "", "", "platform_refused"),
        (4999, "too many requests", "", "rate_limited"),
        (4000, "Too Many Requests from this IP", "", "rate_limited"),
        (4103, "call frequency is limited", "", "rate_limited"),
        (4000, "rate limit exceeded", "", "rate_limited"),
        (4000, "daily quota used up", "", "rate_limited"),
        (4000, "request limit", "", "rate_limited"),
        (4000, "please try again later", "", "rate_limited"),
        (4000, "app_id: 请求过于频繁", "", "rate_limited"),
        (4000, "ip请求频率过高", "", "rate_limited"),
        (4000, "系统繁忙，请稍后再试", "", "rate_limited"),
        (4000, "接口限流", "", "rate_limited"),
        (4000, "调用次数超出上限", "", "rate_limited"),
        (4103, "ip is limited by the white list", "", "not_white_listed"),
        (4103, "the ip limit forbids it", "", "not_white_listed"),
        (4103, "IP限制", "", "not_white_listed"),
        (4000, "separate secrets", "", "wrong_secret"),
        (4104, "too many requests", "", "not_added"),
        (4102, "too many requests", "token_invalid", "token_invalid"),
    ],
)
def test_a_refusal_says_what_to_do(status: int, message: str, meaning: str, code: str) -> None:
    error = rejection(ApiResponse(status, message, {}), (), meaning)
    assert (error.code, error.status) == (code, status)
    assert message in str(error)


# A message that says that the application itself is out of service denies it, whatever else it says.
_OUT_OF_SERVICE = [
    (4000, "应用已被限制使用"),
    (4000, "application is disabled, try again later"),
    (4103, "application is disabled"),
    (4104, "application disabled"),
    (4000, "应用已停用，请稍后联系客服"),
    (4000, "app is suspended: quota"),
    (4000, "the app has been banned because of too many requests"),
    (4103, "该应用已被禁用"),
    (4103, "应用被封禁"),
    (4000, "应用已冻结，请稍候"),
    (4000, "应用已注销"),
    (4000, "应用已下线"),
    (4000, "应用已下架，次数过多"),
    (4000, "应用已关闭，请稍后再试"),
    (4000, "应用已被管理员删除"),
    (4000, "应用因违规调用被封禁，请稍后再试"),
    (4000, "应用因调用频率过高被暂停"),
    (4000, "已停用的应用，请稍后"),
    (4000, "app_id 100027 has been deleted, retry later"),
    (4000, "APP DISABLED (limit)"),
    (4000, "appid: 1000 disabled; limit"),
    (4000, "your application was closed; please try later"),
    (4000, "The application has been frozen. Its rate limit is 0."),
    (4104, "应用不存在"),
    (4000, "应用状态：已停用，稍后重试"),
    (4000, "application stopped, limit reached"),
    (4000, "disabled application, later"),
    (4000, "the application is inactive, retry later"),
    (4000, "application is not active; limit"),
    (4000, "应用暂停使用，系统繁忙"),
    (4000, "应用已停止服务，请稍后重试"),
    (4000, "application is blocked, contact us later"),
    (4000, "应用已被锁定，超出上限"),
    (4000, "该应用违反规定，已被停用，请稍后再试"),
    (4000, "application 100027, disabled since yesterday, try later"),
    (4103, "应用已停用，请检查IP白名单"),
    (4000, "App has been deactivated by the administrator, IP 1.2.3.4"),
    (4000, "开发者应用已被查封，次数超限"),
    (4000, "application no longer exists, try later"),
    (4000, "应用已经被平台暂停服务，请稍后再试"),
]
_OF_LOAD = [
    "应用调用频率过高，已暂停服务",
    "应用请求过多，已被暂停",
    "应用调用频率超限",
    "app call frequency exceeded",
    "application is limited, try later",
    "应用请求过于频繁，请稍后再试",
    "应用接口调用次数已达上限",
    "app qps limit",
    "应用并发过高",
    "应用调用已被暂停，请求过多",
    "app request limit exceeded",
    "application is blocked: too many requests",
    "应用被锁定，请稍后再试",
    "the calls of the application were stopped: rate limit",
    "application: too many requests",
    "应用配额已用完",
    "应用流量已关闭，频率过高",
    "app: rate limit exceeded, calls are suspended",
    "应用被限制调用频率",
    "app_id: 请求过于频繁",
    "application server closed the connection, retry later",
    "应用服务器已关闭，请稍后重试",
    "系统繁忙，应用稍后再试",
    "应用系统已停止，请稍后重试",
    "接口已停用，请稍后",
    "interface is disabled, try again later",
    "应用接口已下线，请稍后",
]
_OF_ADDRESSES = [
    "应用IP不在白名单",
    "ip is not in the white list of the application",
    "应用白名单已关闭",
    "the white list of the app is disabled",
    "应用IP已被封禁",
    "the ip is banned from this application",
    "application: ip banned",
    "app ip blocked",
    "应用的IP地址已被限制使用",
    "ip address of the app was removed from the allow list",
]


@each_line(("status", "message"), _OUT_OF_SERVICE)
def test_an_application_out_of_service_is_denied_whatever_else_is_said(status: int, message: str) -> None:
    assert rejection(ApiResponse(status, message, {}), (), "", "app_denied").code == "app_denied"
    assert rejection(ApiResponse(status, message, {}), (), "").code in ("platform_refused", "wrong_secret")


@pytest.mark.parametrize("status", [4000, 4103])
@pytest.mark.parametrize("denial", ["app_denied", ""])
def test_load_and_addresses_of_an_application_say_nothing_about_it(denial: str, status: int) -> None:
    for code, messages in (("rate_limited", _OF_LOAD), ("not_white_listed", _OF_ADDRESSES)):
        for message in messages:
            assert rejection(ApiResponse(status, message, {}), (), "", denial).code == code, message


@each_line(
    "message",
    [
        "access_token不存在或已超时",
        "access_token 已过期",
        "access_token is expired (system)",
        "token has been revoked, please retry later",
        "凭证已失效，服务端已更换密钥",
        "code 已失效，请稍后重新获取",
        "token 已被系统回收",
        "该应用已被系统停用",
        "应用已到期，请稍后续费",
        "app expired, retry later after renewal",
        "developer account is suspended, please try again later",
        "账户已欠费，服务暂停",
        "租户已停用，请稍后重试",
    ],
)
@pytest.mark.parametrize("status", [4000, 4103])
def test_a_dead_credential_or_owner_is_denied_whatever_else_is_said(status: int, message: str) -> None:
    assert rejection(ApiResponse(status, message, {}), (), "", "app_denied").code == "app_denied"


@each_line(
    ("message", "code"),
    [
        ("", "platform_refused"),
        ("操作失败", "platform_refused"),
        ("请求失败，请重试", "platform_refused"),
        ("Network error!", "platform_refused"),
        ("something went wrong", "platform_refused"),
        ("upstream error", "platform_refused"),
        ("redis connection refused", "platform_refused"),
        ("forbidden", "platform_refused"),
        ("请求被拦截", "platform_refused"),
        ("获取token超时", "platform_refused"),
        ("token 服务已失效", "platform_refused"),
        ("签名已过期", "platform_refused"),
        ("触发流控", "rate_limited"),
        ("今日额度已用完", "rate_limited"),
        ("host not allowed", "not_white_listed"),
        ("访问来源不在可信列表", "not_white_listed"),
    ],
)
def test_a_general_error_that_speaks_of_neither_denies_nothing(message: str, code: str) -> None:
    assert rejection(ApiResponse(4000, message, {}), (), "", "app_denied").code == code


def test_a_dead_credential_s_status_with_words_of_the_white_list_condemns_none() -> None:
    for message in ("ip is not in the white list", "IP不在白名单"):
        envelope = ApiResponse(4102, message, {})
        assert not envelope.invalid_code
        assert rejection(envelope, (), "token_invalid").code == "not_white_listed"
    assert ApiResponse(4102, "code is invalid or not in the white list", {}).invalid_code


@each_line(
    ("status", "message", "code"),
    [
        (4103, "app has no permission", "no_permission"),
        (4103, "应用权限已关闭", "no_permission"),
        (4103, "permission of the application was removed", "no_permission"),
        (4103, "接口已停用", "no_permission"),
        (4103, "the application is blocked", "no_permission"),
        (4104, "用户已删除应用", "not_added"),
        (4104, "the user has removed the application", "not_added"),
        (4104, "用户未添加应用", "not_added"),
        (4000, "system is disabled", "platform_refused"),
        (4000, "服务已停止", "platform_refused"),
        (4000, "app_id is invalid", "app_denied"),
        (4102, "application is disabled", "token_invalid"),
    ],
)
def test_what_is_shut_is_not_always_the_application(status: int, message: str, code: str) -> None:
    meaning = "token_invalid" if status == 4102 else ""
    assert rejection(ApiResponse(status, message, {}), (), meaning, "app_denied").code == code


# With characters that are escaped, long enough to be cut in two.
_SECRET = "pa$$/wörd+Kx7'Qm2Zt9&B\"4Lc8\\Vn5"
_ECHOES: dict[str, Callable[[str], str]] = {
    "as it is": lambda secret: secret,
    "in capitals": str.upper,
    "in the other case": str.swapcase,
    "in a form": quote_plus,
    "in an address": lambda secret: quote(secret, safe=""),
    "in an address, twice": lambda secret: quote(quote(secret, safe=""), safe=""),
    "in JSON": lambda secret: json.dumps(secret)[1:-1],
    "in JSON, twice": lambda secret: json.dumps(json.dumps(secret))[1:-1],
    "in JSON of PHP": lambda secret: json.dumps(secret).replace("/", r"\/"),
    "in HTML": html.escape,
    "in HTML, each character by its number": lambda secret: "".join(f"&#{ord(char)};" for char in secret),
    "in an address, in HTML": lambda secret: html.escape(quote(secret, safe="")),
    "each character escaped": lambda secret: "".join(f"%{byte:02x}" for byte in secret.encode()),
    "each character by its number": lambda secret: "".join(f"\\u{ord(char):04x}" for char in secret),
    "in JavaScript": lambda secret: "".join(f"\\u{{{ord(char):x}}}" for char in secret),
    "in an address of JavaScript": lambda secret: "".join(f"%u{ord(char):04x}" for char in secret),
    "as bytes": lambda secret: " ".join(f"0x{byte:02X}" for byte in secret.encode("latin-1")),
    "in a letter": lambda secret: quopri.encodestring(secret.encode(), quotetabs=True).decode(),
    "in a letter, each byte": lambda secret: "".join(f"={byte:02X}" for byte in secret.encode()),
    "in an address, ten times": lambda secret: "".join(f"%{'25' * 9}{byte:02x}" for byte in secret.encode()),
    "in JSON, in HTML, in an address": lambda secret: quote(
        html.escape("".join(f"\\u{ord(char):04x}" for char in secret)), safe=""
    ),
    "in an address, in HTML, in JSON, in a form": lambda secret: quote_plus(
        json.dumps("".join(f"&#x{ord(char):x};" for char in quote(secret, safe="")))
    ),
    "in Python": lambda secret: "".join(f"\\x{byte:02x}" for byte in secret.encode("latin-1")),
    "with backslashes": lambda secret: "".join(f"\\{char}" for char in secret),
    "with blanks": " ".join,
    "with what does not print": "\u200b\0".join,
    "over lines": lambda secret: secret[:9] + "\n  " + secret[9:],
    "its first third": lambda secret: secret[: len(secret) // 3],
    "its last third": lambda secret: secret[-len(secret) // 3 :],
    "its middle": lambda secret: secret[12:20],
    "shortened in its middle": lambda secret: f"{secret[:12]}...{secret[-4:]}",
    "backwards": lambda secret: secret[::-1],
    "in wide letters": lambda secret: "".join(
        chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in secret
    ),
    "in base64": lambda secret: base64.b64encode(secret.encode()).decode()[:14],
    "in base64 behind its name": lambda secret: base64.b64encode(b"id:" + secret.encode()).decode()[:20],
    "in hexadecimal": lambda secret: secret.encode().hex()[:20],
}


@each_line("how", _ECHOES)
def test_a_message_that_repeats_a_part_of_a_secret_is_not_quoted_at_all(how: str) -> None:
    echo = _ECHOES[how](_SECRET)
    error = rejection(ApiResponse(4001, f"secret <{echo}> is wrong", {}), ["unused", _SECRET], "")
    assert str(error).startswith(
        "wrong_secret: the platform answered 4001; its message is not shown: it repeats a part of a secret"
    )
    assert error.code == "wrong_secret"


@pytest.mark.parametrize("secret", ["Kx7Qm", "Kx7", "$%!", "ö7"])
def test_a_short_secret_is_looked_for_as_a_whole(secret: str) -> None:
    hidden = rejection(ApiResponse(4001, f"key {secret} is wrong", {}), [secret], "")
    assert "is not shown" in str(hidden)
    assert '"key is wrong"' in str(rejection(ApiResponse(4001, "key is wrong", {}), [secret], ""))


def test_five_letters_of_a_secret_are_quoted_and_six_are_not() -> None:
    assert '"Kx7Qm is wrong"' in str(rejection(ApiResponse(4001, "Kx7Qm is wrong", {}), ["Kx7Qm2Zt9"], ""))
    assert "is not shown" in str(rejection(ApiResponse(4001, "x7Qm2Z is wrong", {}), ["Kx7Qm2Zt9"], ""))


def test_values_print_without_codes() -> None:
    from token_refresher.domain.platform_answer import Issued
    from token_refresher.platforms.yuanzhibang.client import User

    values: list[Any] = [
        Issued("code-x", 1, 0.0, None),
        User("code-x", "", 1, None),
        _reply(b"code-x"),
        ApiResponse(2000, "code-x", {"ticket": "code-x"}),
    ]
    assert "code-x" not in json.dumps([repr(value) for value in values])
