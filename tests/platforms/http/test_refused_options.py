"""A kernel that refuses socket options, as sandboxes do: real processes whose `setsockopt` fails by a library in C."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from support.world import World

# Each test starts a process.
pytestmark = pytest.mark.slow

# Before libc's own: refuses what REFUSED lists as level:option, with "Protocol not available".
_SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int setsockopt(int fd, int level, int option, const void *value, socklen_t size) {
    char wanted[32];
    const char *refused = getenv("REFUSED");
    snprintf(wanted, sizeof wanted, " %d:%d ", level, option);
    if (refused != NULL && strstr(refused, wanted) != NULL) {
        errno = ENOPROTOOPT;
        return -1;
    }
    int (*real)(int, int, int, const void *, socklen_t) = dlsym(RTLD_NEXT, "setsockopt");
    return real(fd, level, option, value, size);
}
"""
OPTIONS = {
    "SO_LINGER": (socket.SOL_SOCKET, socket.SO_LINGER),
    "TCP_USER_TIMEOUT": (socket.IPPROTO_TCP, getattr(socket, "TCP_USER_TIMEOUT", 18)),
    "TCP_NODELAY": (socket.IPPROTO_TCP, socket.TCP_NODELAY),
    "SO_KEEPALIVE": (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    "TCP_KEEPIDLE": (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPIDLE", 4)),
    "TCP_KEEPINTVL": (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPINTVL", 5)),
    "TCP_KEEPCNT": (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPCNT", 6)),
}
KEEP_ALIVE = ("SO_KEEPALIVE", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
# Since this release redis-py asks for keep-alive by itself.
_NEWER = "redis==8.1.0"
_SOURCES = Path(__file__).resolve().parents[3] / "src"


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library. Skips the test where there is no compiler."""
    if shutil.which("gcc") is None:
        pytest.skip("NOT TESTED, there is no gcc on this machine")
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(_SHIM)
    command = ["gcc", "-shared", "-fPIC", "-o", str(folder / "shim.so"), str(folder / "shim.c"), "-ldl"]
    subprocess.run(command, check=True, timeout=120)
    return folder / "shim.so"


@pytest.fixture(scope="module")
def newer_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a redis-py that asks for keep-alive. Skips the test where it cannot be fetched."""
    folder = tmp_path_factory.mktemp("newer")
    command = [sys.executable, "-m", "pip", "--quiet", "install", "--no-deps", "--target", str(folder), _NEWER]
    if subprocess.run(command, capture_output=True, timeout=120).returncode:
        pytest.skip(f"NOT TESTED, {_NEWER} cannot be fetched here")
    return folder


def command_line(
    world: World, shim: Path, refused: Sequence[str], *arguments: str, first: Sequence[Path] = (), **environ: str
) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, on a kernel that refuses these options."""
    listed = "".join(" {}:{} ".format(*OPTIONS[name]) for name in refused)
    path = os.pathsep.join(map(str, [*first, _SOURCES]))
    return subprocess.run(
        [sys.executable, "-m", "token_refresher", *arguments, "--json"],
        env=os.environ | world.settings_env() | environ
        | {"PYTHONPATH": path, "LD_PRELOAD": str(shim), "REFUSED": listed},
        capture_output=True,
        text=True,
        timeout=120,
    )  # fmt: skip


def outcomes(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [each["outcome"] for each in json.loads(done.stdout)["targets"]]


@pytest.mark.parametrize("name", ["SO_LINGER", "TCP_USER_TIMEOUT"])
@pytest.mark.parametrize("proxy", ["", "http://127.0.0.1:9"], ids=["direct", "proxy"])
def test_an_option_that_the_promise_rests_on_is_named_and_nothing_is_sent(
    world: World, shim: Path, name: str, proxy: str
) -> None:
    done = command_line(world, shim, [name], "refresh", PLATFORM_HTTP_PROXY=proxy)
    (failure,) = {
        (each["failure"]["code"], each["failure"]["message"])
        for each in json.loads(done.stdout)["targets"]
        if each["kind"] == "access_token"
    }
    assert failure[0] == "not_sent_connect"
    assert failure[1].startswith(
        f"the connection could not be prepared: this system refuses the socket option {name} (Protocol not available), "
        "and nothing is sent without it: run on a Linux kernel or sandbox that accepts it (to 127.0.0.1:"
    )
    assert failure[1].endswith("through the proxy 127.0.0.1:9)" if proxy else "/OAuth2/token)")
    assert world.simulator.count() == 0


@pytest.mark.parametrize("refused", [("TCP_NODELAY",), KEEP_ALIVE, ()], ids=["TCP_NODELAY", "keep-alive", "nothing"])
def test_what_only_saves_time_is_done_without(world: World, shim: Path, refused: Sequence[str]) -> None:
    """redis-py itself needs TCP_NODELAY, so Redis is reached by its socket file."""
    done = command_line(world, shim, refused, "refresh", REDIS_URL=world.redis.unix_url)
    assert outcomes(done) == ["issued", "issued"], done.stderr


@pytest.mark.parametrize("refused", [KEEP_ALIVE, *((each,) for each in KEEP_ALIVE)], ids="-".join)
def test_keep_alive_towards_redis_is_optional_where_the_client_asks_for_it(
    world: World, shim: Path, newer_client: Path, refused: Sequence[str]
) -> None:
    done = command_line(world, shim, refused, "refresh", first=[newer_client])
    assert outcomes(done) == ["issued", "issued"], done.stderr
