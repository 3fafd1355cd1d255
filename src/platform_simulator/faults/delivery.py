"""The ways a reply leaves on its connection."""

from __future__ import annotations

from platform_simulator.faults.fault import Delivery
from platform_simulator.server import ClientConnection, HttpResponse

_BLOCK = b" " * 65_536


def deliver(
    client: ClientConnection, reply: HttpResponse, keep_alive: bool, way: Delivery, interval_s: float = 0.0
) -> bool:
    """Send a reply in a way; returns whether the connection stays open.

    Raises OSError when the client leaves before the end.
    """
    if way is Delivery.SILENCE:
        client.wait_until_gone()
        return False
    if way is Delivery.CUT:
        client.reset_on_close()
        return False
    if way is Delivery.ENDLESS_CHUNKS:
        return _endless(client, reply)
    head = reply.head(keep_alive)
    if way in (Delivery.CUT_MID_ANSWER, Delivery.SHORT):
        client.send(head + reply.body[: len(reply.body) // 2])
        if way is Delivery.CUT_MID_ANSWER:
            client.reset_on_close()
        return False
    if way is Delivery.DRIPPED:
        return _dripped(client, head + reply.body, interval_s) and keep_alive
    # Head and body in one piece: two would wait for each other's acknowledgement.
    client.send(head + reply.body)
    for start in range(0, reply.padding, len(_BLOCK)):
        client.send(_BLOCK[: reply.padding - start])
    return keep_alive


def _dripped(client: ClientConnection, data: bytes, interval_s: float) -> bool:
    for i in range(len(data)):
        client.send(data[i : i + 1])
        if not client.pause(interval_s):
            return False
    return True


def _endless(client: ClientConnection, reply: HttpResponse) -> bool:
    client.send(reply.head(keep_alive=True, chunked=True))
    block = reply.body or _BLOCK
    while not client.stopping.is_set():
        client.send(f"{len(block):x}\r\n".encode() + block + b"\r\n")
        block = _BLOCK
    return False
