"""Faults of a machine that only a machine of its own can have: name servers, cables, file systems.

Each test has one made of Linux namespaces, without any right on the real one. Where the kernel allows none, as in
many containers, they are skipped, and say so.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from support.flow import Deployment
from support.processes import Child
from support.world import World
from token_refresher.domain.model import Kind, Outcome

KINDS = [Kind.ACCESS_TOKEN, Kind.JS_TICKET]

# Every driver begins with it: namespaces of its own, or a word why not. What it starts inherits them.
NAMESPACES = """
import ctypes, errno, fcntl, json, os, socket, struct, subprocess, sys, threading
from support.child import ask, point, say

FILES, USERS, NETWORK = 0x00020000, 0x10000000, 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)

def must(result, what):
    if result:
        say(f"skip:{what}: {os.strerror(ctypes.get_errno())}")
        sys.exit()

def be_alone(which):
    user, group = os.getuid(), os.getgid()
    must(LIBC.unshare(which | USERS), "unshare")
    try:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
            with open("/proc/self/" + name, "w") as file:
                file.write(text)
    except OSError as error:
        say(f"skip:user namespace: {error.strerror}")
        sys.exit()
    if which & FILES:
        must(LIBC.mount(b"none", b"/", None, 0x44000, None), "mount")  # recursively private
    if which & NETWORK:
        with socket.socket() as any_socket:
            fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh22x", b"lo", 1))  # set the loopback's flag "up"

def lay_over(path, content):
    must(LIBC.mount(os.fsencode(content), os.fsencode(path), None, 0x1000, None), f"mount over {path}")

def run_in_here():
    # A process of its own: this one is kept from looking up names. It says its report itself.
    subprocess.run([sys.executable, "-B", "-c", os.environ["RUN"]], timeout=60)
"""
# One run, told on standard output. Namespaces see other files, so the clock comes as a number.
RUN = """
import json, os
from token_refresher import bootstrap as wiring
from token_refresher.domain.errors import TokenRefresherError
from token_refresher.domain.clock import steady_clock
from token_refresher.domain.command import Command
from token_refresher.settings.loader import read

try:
    clock = lambda: steady_clock() + float(os.environ["OFFSET"])
    report = wiring.refresher(read(os.environ), clock=clock, pause=lambda seconds: None).run_once(Command())
    print("report:" + json.dumps(report.as_dict()), flush=True)
except TokenRefresherError as error:
    print("error:" + error.code, flush=True)
# A name server may still be waited for.
os._exit(0)
"""


@pytest.fixture
def deployment(world: World) -> Deployment:
    """Codes are stored, and so old that both are due."""
    deployment = Deployment(world, request_total_s=1.0, connect_timeout_s=0.2)
    deployment.age()
    return deployment


@contextmanager
def alone(deployment: Deployment, driver: str, **environ: str) -> Iterator[Child]:
    """A child that runs `driver` in namespaces of its own. Skips the test where there are none."""
    offset = f"{deployment.world.redis.offset_s}"
    with Child(NAMESPACES + driver, deployment.environ | {"RUN": RUN, "OFFSET": offset} | environ) as child:
        first = child.wait_for("")
        if first.startswith("skip:"):
            pytest.skip(f"NOT TESTED, no namespaces here: {first.removeprefix('skip:')}")
        assert first == "alone"
        yield child


def told_by(child: Child) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(child.wait_for("report:").removeprefix("report:"))
    return told


def failures(told: dict[str, Any]) -> list[str]:
    return [each["failure"]["code"] for each in told["targets"] if "failure" in each]


# -- name servers -----------------------------------------------------------------------------

NAME_SERVER = """
be_alone(FILES | NETWORK)
folder = os.environ["FOLDER"]
with open(folder + "/resolv.conf", "w") as file:
    file.write("nameserver 127.0.0.1\\noptions timeout:30 attempts:2\\n")
with open(folder + "/nsswitch.conf", "w") as file:
    file.write("hosts: files dns\\n")
what = os.environ["WHAT"]
if os.path.exists("/etc/nsswitch.conf"):
    lay_over("/etc/nsswitch.conf", folder + "/nsswitch.conf")
lay_over("/etc/resolv.conf", "/dev/null" if what == "no resolv.conf" else folder + "/resolv.conf")

def serve(sock):
    while True:
        asked, client = sock.recvfrom(512)
        if what == "slow":
            continue
        question = asked[12:]
        wanted = question[question.index(b"\\0") + 1 :][:2]
        four = what == "three dead addresses" and wanted == b"\\0\\1"
        flags, count = ("8180", 3) if four else ("8180", 0) if what == "three dead addresses" else ("8183", 0)
        end = question.index(b"\\0") + 5
        head = asked[:2] + bytes.fromhex(flags) + struct.pack(">4H", 1, count, 0, 0) + question[:end]
        answers = b"".join(
            bytes.fromhex("c00c00010001") + struct.pack(">IH", 60, 4) + bytes([127, 0, 0, 2 + n]) for n in range(count)
        )
        sock.sendto(head + answers, client)

if what != "no resolv.conf":
    name_server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    name_server.bind(("127.0.0.1", 53))
    threading.Thread(target=serve, args=(name_server,), daemon=True).start()
# Three hosts that let nobody in: their queues are full.
dead = []
for n in range(3):
    listener = socket.create_server((f"127.0.0.{2 + n}", 443), backlog=0)
    fillers = [socket.socket() for _ in range(3)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
    dead.append((listener, fillers))
say("alone")
run_in_here()
"""
NAMES = {
    "unknown": ("not_sent_dns", "Name or service not known"),
    "slow": ("not_sent_dns", "in time"),
    "three dead addresses": ("not_sent_connect", "no connection could be made"),
    "no resolv.conf": ("not_sent_dns", "the name could not be resolved"),
}


@pytest.mark.parametrize("what", NAMES)
def test_a_name_server_that_does_not_help_costs_no_fetch(deployment: Deployment, tmp_path: Path, what: str) -> None:
    before = deployment.simulator.count()
    reached = {"REDIS_URL": deployment.world.redis.unix_url, "PLATFORM_BASE_URL": "https://platform.example"}
    # By a socket file Redis is reached from another network, too.
    with alone(deployment, NAME_SERVER, WHAT=what, FOLDER=str(tmp_path), **reached) as child:
        told = told_by(child)
        child.join()
    code, words = NAMES[what]
    assert failures(told) == [code, code]
    assert all(words in each["failure"]["message"] for each in told["targets"]), told
    assert deployment.simulator.count() == before
    report = deployment.tick()
    assert [each.outcome for each in report.targets] == [Outcome.ISSUED, Outcome.ISSUED]
    assert [deployment.fetches(kind) for kind in KINDS] == [2, 2]
    assert (deployment.dead, deployment.missing) == ([], 0)


# -- file systems -----------------------------------------------------------------------------

FILE_SYSTEMS = """
be_alone(FILES)
folder, what = os.environ["FOLDER"], os.environ["WHAT"]
FLAGS = {"ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8, "noatime": 1024, "nodiratime": 2048, "relatime": 1 << 21}

def fill(path):
    must(LIBC.mount(b"none", os.fsencode(path), b"tmpfs", 0, b"size=4k"), "mount tmpfs")
    with open(path + "/filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError as error:
            assert error.errno == errno.ENOSPC

def make_read_only():
    with open("/proc/self/mountinfo") as file:
        mounts = [line.split() for line in file]
    for words in mounts:
        flags = sum(FLAGS.get(each, 0) for each in words[5].split(","))
        path = words[4].encode().decode("unicode_escape")
        # What cannot be changed (a mount under another one) shows below, if it matters.
        LIBC.mount(None, os.fsencode(path), None, 0x1020 | flags | 1, None)

def writable(path):
    try:
        with open(path + "/try", "wb", buffering=0) as file:
            file.write(b"x" * 4096)
    except OSError:
        return False
    os.unlink(path + "/try")
    return True

os.environ["TMPDIR"] = os.environ["HOME"] = folder
if what == "full":
    fill(folder)
elif what == "read-only":
    make_read_only()
else:
    os.mkdir(folder + "/empty")
    lay_over("/etc", folder + "/empty")
    assert not os.listdir("/etc")
spoilt = {"full": [folder], "read-only": [folder, os.getcwd()], "empty": []}[what]
if any(writable(each) for each in spoilt):
    say("skip:file systems: they stay writable")
    sys.exit()
say("alone")
run_in_here()
"""


@pytest.mark.parametrize("what", ["full", "read-only", "empty"])
def test_neither_a_full_nor_a_read_only_disk_nor_an_empty_etc_is_in_the_way(
    deployment: Deployment, tmp_path: Path, what: str
) -> None:
    with alone(deployment, FILE_SYSTEMS, WHAT=what, FOLDER=str(tmp_path)) as child:
        told = told_by(child)
        child.join()
    assert failures(told) == []
    assert [each["outcome"] for each in told["targets"]] == ["issued", "issued"]
    assert [deployment.fetches(kind) for kind in KINDS] == [2, 2]
    deployment.tick(3)
    assert (deployment.dead, deployment.missing) == ([], 0)


# -- a cable ----------------------------------------------------------------------------------

PLATFORM = """
import json, os, ssl, sys, time
from platform_simulator import Simulator

def clock():
    with open(os.environ["CLOCK_FILE"]) as file:
        return time.time() + float(file.read())

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(os.environ["FOLDER"] + "/server.pem")
print("there", flush=True)
# Its end of the cable has to be there first.
sys.stdin.readline()
simulator = Simulator({os.environ["APP_ID"]: os.environ["APP_SECRET"]}, clock=clock, tls=context, host="10.77.0.2")
simulator.start()
print(simulator.url, flush=True)
for line in sys.stdin:
    path, app_id = line.strip(), os.environ["APP_ID"]
    kinds = ("access_token", "js_ticket")
    ends = {
        each.code: simulator.valid_until(app_id, kind, each.code)
        for kind in kinds for each in simulator.issued(app_id, kind)
    }
    with open(path, "w") as file:
        json.dump({"ends": ends, "fetches": [simulator.fetches(app_id, kind) for kind in kinds]}, file)
    print("written", flush=True)
"""
HELD_RUN = """
import json, os, sys
from token_refresher import bootstrap as wiring
from token_refresher.domain.clock import steady_clock
from token_refresher.platforms.http.call import Call
from token_refresher.domain.command import Command
from token_refresher.settings.loader import read

def clock():
    with open(os.environ["CLOCK_FILE"]) as file:
        return steady_clock() + float(file.read())

mark_sent = Call.mark_sent
def held(call):
    mark_sent(call)
    if os.environ.pop("HOLD", ""):
        print("departed", flush=True)
        sys.stdin.readline()
Call.mark_sent = held
report = wiring.refresher(read(os.environ), clock=clock, pause=lambda seconds: None).run_once(Command())
print("report:" + json.dumps(report.as_dict()), flush=True)
"""
CABLE = """
be_alone(FILES | NETWORK)
import shutil, signal

def ip(*words):
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        say(f"skip:ip {' '.join(words)}: {done.stderr.strip()}")
        platform.end(kill=True)
        sys.exit()

class Process:
    def __init__(self, program, **environ):
        before = environ.pop("before", [])
        self.process = subprocess.Popen(
            [*before, sys.executable, "-B", "-u", "-c", program],
            env=os.environ | environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: LIBC.prctl(1, signal.SIGKILL),  # when this one is gone, it goes too
        )
        self.pid = self.process.pid

    def ask(self, line):
        self.tell(line)
        return self.hear()

    def tell(self, line):
        self.process.stdin.write(line + "\\n")
        self.process.stdin.flush()

    def hear(self):
        return self.process.stdout.readline().strip()

    def end(self, kill=False):
        if kill:
            self.process.kill()
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

def to_the_platform():
    # The kernel's own list of connections, of whatever process: 10.77.0.2 as it writes it.
    with open("/proc/self/net/tcp") as file:
        return [words for words in (line.split() for line in file) if words[2].startswith("02004D0A:")]

def under_way():
    # A connection, or bytes of one that is gone and that wait for a neighbour's address: for three seconds at most.
    neighbours = subprocess.run(["ip", "neigh", "show", "dev", "here"], capture_output=True, text=True, check=True)
    return to_the_platform() or "INCOMPLETE" in neighbours.stdout

def reachable():
    port = os.environ["PLATFORM_BASE_URL"].rpartition(":")[2]
    code = f"import socket; socket.create_connection(('10.77.0.2', {port}), 1).close()"
    return not subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL).returncode

def wait_until(true):
    never = threading.Event()
    while not true():
        never.wait(0.05)

platform = Process(os.environ["PLATFORM"], before=["unshare", "--net"])
if platform.hear() != "there":
    say("skip:unshare --net")
    platform.end(kill=True)
    sys.exit()
ip("link", "add", "here", "type", "veth", "peer", "name", "there", "netns", str(platform.pid))
ip("addr", "add", "10.77.0.1/24", "dev", "here")
ip("link", "set", "here", "up")
inside = ["nsenter", "--net", "--target", str(platform.pid)]
for words in (["addr", "add", "10.77.0.2/24", "dev", "there"], ["link", "set", "there", "up"]):
    subprocess.run([*inside, "ip", *words], check=True)
os.environ["PLATFORM_BASE_URL"] = platform.ask("go")
say("alone")
while line := sys.stdin.readline().strip():
    word, _, rest = line.partition(" ")
    if word == "run":
        other = Process(os.environ["HELD_RUN"])
        say(other.hear())
        other.end()
    elif word == "held":
        held = Process(os.environ["HELD_RUN"], HOLD="yes")
        say(held.hear())
    elif word == "cut":
        subprocess.run([*inside, "ip", "link", "set", "there", "down"], check=True)
        say("done")
    elif word == "mend":
        subprocess.run([*inside, "ip", "link", "set", "there", "up"], check=True)
        wait_until(reachable)
        say("done")
    elif word == "send-and-freeze":
        held.tell("go")
        # In the kernel, and not acknowledged.
        wait_until(lambda: any(not words[4].startswith("00000000") for words in to_the_platform()))
        os.kill(held.pid, signal.SIGSTOP)
        say("done")
    elif word == "wait-until-given-up":
        wait_until(lambda: not under_way())
        say("done")
    elif word == "thaw":
        os.kill(held.pid, signal.SIGCONT)
        say(held.hear())
        held.end()
    elif word == "truth":
        platform.ask(rest)
        say("done")
platform.end(kill=True)
"""


@pytest.mark.skipif(not (shutil.which("ip") and shutil.which("nsenter")), reason="NOT TESTED: no ip, or no nsenter")
def test_a_request_sent_into_a_cut_cable_is_not_delivered_when_it_is_mended(world: World, tmp_path: Path) -> None:
    """By a process that stood still meanwhile, so that only the kernel could give up in time."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    authority.issue_cert("10.77.0.2").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    deployment = Deployment(world)
    environ = {
        "PLATFORM": PLATFORM,
        "HELD_RUN": HELD_RUN,
        "FOLDER": str(tmp_path),
        "CLOCK_FILE": str(world.redis.clock_file),
        "REDIS_URL": world.redis.unix_url,
        "PLATFORM_CA_BUNDLE": str(tmp_path / "ca.pem"),
    }

    def truth(child: Child) -> dict[str, Any]:
        """By a file, because credentials must not stand in any output."""
        child.send(f"truth {tmp_path / 'truth'}")
        child.wait_for("done")
        told: dict[str, Any] = json.loads((tmp_path / "truth").read_text())
        (tmp_path / "truth").unlink()
        return told

    with alone(deployment, CABLE, **environ) as child:
        child.send("run")
        assert [each["outcome"] for each in told_by(child)["targets"]] == ["issued", "issued"]
        world.advance(6200)
        child.send("held")
        child.wait_for("departed")
        for word in ("cut", "send-and-freeze", "wait-until-given-up", "mend"):
            child.send(word)
            child.wait_for("done")
        # Its lock of 90 s, and the wait of this copy that was written with it.
        world.advance(151)
        child.send("run")
        healed = told_by(child)
        assert truth(child)["fetches"] == [2, 2], "what was sent into the cut cable has not come out of it"
        child.send("thaw")
        late = told_by(child)
        told = truth(child)
        child.send("")
        child.join()
    assert [each.get("outcome") for each in healed["targets"]] == ["issued", "issued"]
    assert failures(late)[0] in ("no_answer", "cut_answer")
    assert told["fetches"] == [2, 2]
    for kind in KINDS:
        assert told["ends"][deployment.code(kind)] > world.now() + 6000
