"""The ways a reply leaves on its connection."""

from __future__ import annotations

from platform_simulator.faults.fault import Delivery
from platform_simulator.http1 import Reply
from platform_simulator.server import Link

_BLOCK = b" " * 65_536


def deliver(link: Link, reply: Reply, keep_alive: bool, way: Delivery, interval_s: float = 0.0) -> bool:
    """Send a reply in a way; returns whether the connection stays open.

    Raises OSError when the client leaves before the end.
    """
    if way is Delivery.SILENCE:
        link.wait_until_gone()
        return False
    if way is Delivery.CUT:
        link.reset_on_close()
        return False
    if way is Delivery.ENDLESS_CHUNKS:
        return _endless(link, reply)
    head = reply.head(keep_alive)
    if way in (Delivery.CUT_MID_ANSWER, Delivery.SHORT):
        link.send(head + reply.body[: len(reply.body) // 2])
        if way is Delivery.CUT_MID_ANSWER:
            link.reset_on_close()
        return False
    if way is Delivery.DRIPPED:
        return _dripped(link, head + reply.body, interval_s) and keep_alive
    # Head and body in one piece: two would wait for each other's acknowledgement.
    link.send(head + reply.body)
    for start in range(0, reply.padding, len(_BLOCK)):
        link.send(_BLOCK[: reply.padding - start])
    return keep_alive


def _dripped(link: Link, data: bytes, interval_s: float) -> bool:
    for i in range(len(data)):
        link.send(data[i : i + 1])
        if not link.pause(interval_s):
            return False
    return True


def _endless(link: Link, reply: Reply) -> bool:
    link.send(reply.head(keep_alive=True, chunked=True))
    block = reply.body or _BLOCK
    while not link.stopping.is_set():
        link.send(f"{len(block):x}\r\n".encode() + block + b"\r\n")
        block = _BLOCK
    return False
