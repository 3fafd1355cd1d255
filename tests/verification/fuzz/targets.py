"""Every target there is: what takes bytes and checks that all properties hold, and words that get an input far."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

from token_refresher.settings.loader import SETTINGS

from . import addresses, answers, commands, configuration, handling, keeping, serving, speaking, stored

Check = Callable[[bytes], None]


class Target(NamedTuple):
    """`open` gives a check (bytes -> None, raises BrokenError); `live` ones need servers and are much slower.

    `words` are texts that an input is made of, which no search would guess.
    """

    meaning: str
    open: Callable[[], AbstractContextManager[Check]]
    words: tuple[bytes, ...]
    live: bool = False


def _words(text: str) -> tuple[bytes, ...]:
    return tuple(word.encode() for word in text.split())


_JSON = _words('{ } [ ] : , " null true false NaN -Infinity 1e999 0.5 -1 9007199254740993 "\\ud800" \\u0000 <secret>')
_EVENT = (
    *_words('"action" "refresh" "audit" "status" "apps" "app0000" "kinds" "js_ticket" "access_token" "force" "shard"'),
    *_words('"1/2" "9999/9999" "update_server_access_token" "update_js_ticket" "payload" "triggerName" "triggerTime"'),
    *_JSON,
)
_FILE = (
    *(name.rpartition(".")[2].encode() + b": " for name in SETTINGS if not name.isupper()),
    *_words("storage_redis: app_info: policy: platforms: oauth_api: proxies: ${REDIS_PASSWORD} ${NONE} file: <secret>"),
    *_words("redis://h:1/0 https://h http://127.0.0.1:1 ~ | > & * ! !!str ? # % --- ... ' \" { } [ ] 1e308 0x1 \\x00"),
    b"\n",
    b"\n  ",
    b"\n- ",
)
_ENVIRONMENT = (
    *(name.encode() + b"=" for name in SETTINGS if name.isupper() and name != "CONFIG_FILE"),
    *_words("redis://h:1/0 rediss:// unix:///s redis+sentinel://h,i/n redis+cluster:// [::1] %40 ?ssl_ca_certs= ?db="),
    *_words("https:// http://u:<secret>@h:1 http://localhost ${APP_SECRET} file:x 1e308 60 -0 0.001 INFO <secret>"),
    b"\0",
)
_ANSWER = (
    *_words('{"status": "message": "data": "access_token": "ticket": "open_id": "expires_in": "scope": 2000 4102 4103'),
    *_words('"2000" 4999 2011 7200 1700000000 gzip identity <token> <code> secret 白名单 \xef\xbb\xbf'),
    *_JSON,
    b"\0",
)
_STORED = (
    *_words('"server_access_token" "js_ticket" "expires_in" "issued_at" "fence" 1700007200 "1700007200"'),
    *_words("attempt work_until locked_until mark mark_since before by issued_by callers audited_at outcome"),
    *_words("outcome_at superseded superseded_code denied life finished none abcdef01"),
    *_words("me:1700000060000:1:1699999999000:no_end 1699999999000 1700000060000 999999999999999"),
    *_JSON,
    b"\0",
)
_HTTP = (
    *_words("Content-Length: Transfer-Encoding: chunked Content-Encoding: Date: Location: Connection: Set-Cookie: 100"),
    *_words("HTTP/1.1 HTTP/1.0 200 302 407 500 gzip deflate"),
    b"\r\n",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    *_ANSWER,
)
_PROTOCOL = (
    *_words("+ - : $ * $-1 *-1 $5 $0 *0 *2 :1 -ERR -NOAUTH -WRONGTYPE -MOVED -LOADING _ , # ( = % ~ > <secret>"),
    *_words("9223372036854775807 99999999999999999999 -2 HTTP/1.1"),
    b"\r\n",
    b"\r\n\r\n",
)
_ADDRESS = _words("https:// http:// HTTPS:// // / ? # @ : :80 :99999 [ ] [::1] % %2F \\ .. ; a.b nonce 1654850924 \0")
_ARGUMENTS = (
    *_words("refresh plan status check doctor sign invoke open-id daemon version --json --app --kind --shard"),
    *_words("--force --serve --listen --token-file --repair --url --async --no-http"),
    *_words("--log-format --stop-timeout --allow-host --help -- - = js_ticket app0000 1/2 127.0.0.1:0 <secret> 8080"),
    b"\0",
)

TARGETS: dict[str, Target] = {
    "event": Target("an event, read", lambda: nullcontext(commands.event), _EVENT),
    "payload": Target("the payload of a timer", lambda: nullcontext(commands.payload), _EVENT),
    "arguments": Target("the command line", lambda: nullcontext(commands.command_line), _ARGUMENTS),
    "config": Target("the configuration file", lambda: nullcontext(configuration.config_file), _FILE),
    "environment": Target("the environment", lambda: nullcontext(configuration.surroundings), _ENVIRONMENT),
    "answer": Target("the platform's answer, as a body", lambda: nullcontext(answers.answer), _ANSWER),
    "value": Target("a value in Redis", lambda: nullcontext(stored.value), _STORED),
    "lease": Target("a lease and a complaint in Redis", lambda: nullcontext(stored.lease), _STORED),
    "address": Target("an address to sign", lambda: nullcontext(addresses.address), _ADDRESS),
    "function": Target("an event, handled by the function", handling.function, _EVENT, live=True),
    "connection": Target("the platform's answer, over a socket", serving.connection, _HTTP, live=True),
    "protocol": Target("what comes from Redis's port", speaking.protocol, _PROTOCOL, live=True),
    "readers": Target("what Redis holds, read", keeping.readers, _STORED, live=True),
    "healing": Target("what Redis holds, healed", keeping.healing, _STORED, live=True),
}
