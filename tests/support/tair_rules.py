"""What the proxy of a Tair or ApsaraDB for Redis cluster refuses, as functions of a command. No network.

After Alibaba Cloud's pages on the limits of commands in clusters, on Lua scripts and on common errors, as of 2026:

| what                                                      | what the proxy answers                                   |
|-----------------------------------------------------------|----------------------------------------------------------|
| WAIT, HELLO, ACL, MIGRATE, FUNCTION ...                   | ERR unknown command                                      |
| CLIENT but for KILL, LIST, GETNAME, SETNAME               | ERR unknown command                                      |
| CLUSTER but for INFO, KEYSLOT, NODES, SLAVES, SLOTS       | ERR unknown command                                      |
| what no account may run: SAVE, SHUTDOWN, REPLICAOF ...    | ERR command not support for your account                 |
| CONFIG SET                                                | OK, and nothing is set                                   |
| EVAL without keys                                         | ERR ... number of keys can't be negative or zero         |
| EVAL with keys of several slots                           | ERR eval/evalsha command keys must be in same slot       |
| a script with a key that does not stand there as KEYS[n]  | ERR bad lua script ... using the KEYS array              |
| a script that makes up the name of a command              | ERR bad lua script ... a single literal string           |
| a script with unpack, pub/sub, or one call inside another | ERR bad lua script; the pages do not say how it goes on  |
| EVALSHA after SCRIPT LOAD                                 | NOSCRIPT: one node has loaded it, another is asked       |
| RENAME, SMOVE ... with keys of several slots              | ERR command keys must in same slot                       |
| EVAL, TIME, SCAN ... between MULTI and EXEC               | refused; the pages do not say in which words             |

DEL, EXISTS, MGET, MSET, TOUCH and UNLINK may name keys of several slots, and SELECT is allowed. Pub/sub outside of
scripts is allowed there, and is left out here. Where releases differ this is the stricter one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from redis.crc import key_slot


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_UNKNOWN = _names("WAIT WAITAOF HELLO RESET ACL MIGRATE SYNC PSYNC REPLCONF FAILOVER LATENCY SWAPDB ASKING MODULE")
_UNKNOWN |= _names("FUNCTION FCALL FCALL_RO EVAL_RO EVALSHA_RO RESTORE-ASKING")
_FORBIDDEN = _names("SAVE BGSAVE BGREWRITEAOF SHUTDOWN DEBUG REPLICAOF SLAVEOF LASTSAVE")
# What of these is there; the rest of each is unknown.
_PARTLY = {
    "CLIENT": _names("KILL LIST GETNAME SETNAME"),
    "CLUSTER": _names("INFO KEYSLOT NODES SLAVES SLOTS"),
    "SCRIPT": _names("LOAD EXISTS FLUSH KILL"),
}
_NOT_IN_TRANSACTIONS = _names("WATCH UNWATCH RANDOMKEY KEYS SCRIPT EVAL EVALSHA SCAN DBSIZE AUTH PING ECHO TIME")
_NOT_IN_TRANSACTIONS |= _names("FLUSHDB FLUSHALL MONITOR INFO CONFIG SLOWLOG CLIENT")
_TWO_KEYS = _names("RENAME RENAMENX SMOVE RPOPLPUSH LMOVE COPY PFMERGE")
_PUB_SUB = _names("PSUBSCRIBE PUBSUB PUBLISH PUNSUBSCRIBE SUBSCRIBE UNSUBSCRIBE SSUBSCRIBE SPUBLISH")
# In scripts: those that have no key, and those of which every argument is one.
_KEYLESS = _names("TIME PING ECHO")
_ALL_KEYS = _names("DEL EXISTS MGET TOUCH UNLINK SINTER SUNION SDIFF")

_NO_KEYS = "ERR for redis cluster, eval/evalsha number of keys can't be negative or zero"
_SLOTS = "ERR eval/evalsha command keys must be in same slot"
_BAD = "ERR bad lua script for redis cluster, "
_KEYS_ARRAY = _BAD + (
    "all the keys that the script uses should be passed using the KEYS array, and KEYS should not be in expression"
)
_LITERAL = _BAD + "first parameter of redis.call/redis.pcall must be a single literal string"
_NESTED = _BAD + "nested redis.call/redis.pcall"
_NO_SCRIPT = "NOSCRIPT No matching script. Please use EVAL."

_A_CALL = re.compile(r"\bredis\s*\.\s*p?call\s*\(")
_A_STRING = re.compile(r"""(['"])([A-Za-z]+)\1""")
_A_KEY = re.compile(r"KEYS\[[0-9]+\]")


def refusal(command: Sequence[bytes], in_transaction: bool = False) -> str:
    """The error that the proxy answers with, without the dash; empty when it passes the command on."""
    words = [word.decode("utf-8", "replace") for word in command]
    name, first = words[0].upper(), words[1].upper() if len(words) > 1 else ""
    if name in _UNKNOWN or (name in _PARTLY and first not in _PARTLY[name]):
        return f"ERR unknown command '{words[0]}{f' {words[1]}' if name in _PARTLY and first else ''}'"
    if name in _FORBIDDEN:
        return f"ERR command '{words[0]}' not support for your account"
    if in_transaction and name in _NOT_IN_TRANSACTIONS:
        return f"ERR command '{words[0]}' not support in transaction"
    if name in ("EVAL", "EVALSHA"):
        return _of_eval(name, words)
    if name in _TWO_KEYS and len({key_slot(key) for key in command[1:3]}) > 1:
        return f"ERR '{words[0]}' command keys must in same slot"
    return ""


def only_said_to_be_done(command: Sequence[bytes]) -> bool:
    """Whether the proxy answers OK to it and does nothing, for the sake of some clients."""
    return [word.upper() for word in command[:2]] == [b"CONFIG", b"SET"]


def _of_eval(name: str, words: Sequence[str]) -> str:
    if len(words) < 3 or not re.fullmatch("-?[0-9]+", words[2]):
        return "ERR syntax error"
    count = int(words[2])
    if count <= 0:
        return _NO_KEYS
    if len({key_slot(key.encode()) for key in words[3 : 3 + count]}) > 1:
        return _SLOTS
    return _NO_SCRIPT if name == "EVALSHA" else refused_script(words[1])


def refused_script(source: str) -> str:
    """What the proxy finds wrong in the text of a script; it does not run it. Empty: nothing."""
    code = re.sub(r"--[^\n]*", "", source)
    if re.search(r"\bunpack\b", code):
        return _KEYS_ARRAY
    for found in _A_CALL.finditer(code):
        if wrong := _refused_call(_arguments(code, found.end())):
            return wrong
    return ""


def _refused_call(arguments: Sequence[str]) -> str:
    named = _A_STRING.fullmatch(arguments[0]) if arguments else None
    if any(_A_CALL.search(argument) for argument in arguments):
        return _NESTED
    if named is None:
        return _LITERAL
    command = named[2].upper()
    if command in _PUB_SUB:
        return f"{_BAD}redis.call/redis.pcall unknown redis command {command}"
    if command in _KEYLESS:
        return ""
    keys = arguments[1:] if command in _ALL_KEYS else arguments[1:2]
    rest = arguments[1 + len(keys) :]
    well = keys and all(_A_KEY.fullmatch(key) for key in keys) and not any("KEYS" in each for each in rest)
    return "" if well else _KEYS_ARRAY


def _arguments(code: str, start: int) -> list[str]:
    """The arguments of a call, whose opening parenthesis ends at `start`, each without blanks around it."""
    found, quote, depth, begin = [], "", 0, start
    for at in range(start, len(code)):
        char = code[at]
        if quote:
            quote = "" if char == quote and code[at - 1] != "\\" else quote
        elif char in "'\"":
            quote = char
        elif char in "([{":
            depth += 1
        elif char in ")]}" and depth:
            depth -= 1
        elif char in ",)" and not depth:
            found.append(code[begin:at].strip())
            begin = at + 1
            if char == ")":
                break
    return [each for each in found if each]
