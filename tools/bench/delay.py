"""A stretch of network: forwards connections to a port and holds back what comes from there. Ends with its input.

Arguments: the port, the delay of each answer (ms). Prints the port it listens on.
"""

import contextlib
import queue
import socket
import sys
import threading
import time


def forward(source: socket.socket, sink: socket.socket, delay_s: float) -> None:
    """Pass on what comes, each piece `delay_s` after it came, as on a long line, until one side closes."""
    on_the_line: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
    threading.Thread(target=arrive, args=(on_the_line, sink), daemon=True).start()
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 20):
            on_the_line.put((time.monotonic() + delay_s, data))
    on_the_line.put((time.monotonic() + delay_s, b""))
    with contextlib.suppress(OSError):
        source.shutdown(socket.SHUT_RD)


def arrive(on_the_line: queue.SimpleQueue[tuple[float, bytes]], sink: socket.socket) -> None:
    """The other end: hand on each piece at its instant."""
    with contextlib.suppress(OSError):
        while True:
            at, data = on_the_line.get()
            time.sleep(max(0.0, at - time.monotonic()))
            if not data:
                break
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


def serve(listener: socket.socket, port: int, delay_s: float) -> None:
    """Accept for ever."""
    while True:
        near, _ = listener.accept()
        far = socket.create_connection(("127.0.0.1", port))
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=forward, args=(near, far, 0), daemon=True).start()
        threading.Thread(target=forward, args=(far, near, delay_s), daemon=True).start()


if __name__ == "__main__":
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    task = (listening, int(sys.argv[1]), float(sys.argv[2]) / 1000)
    threading.Thread(target=serve, args=task, daemon=True).start()
    sys.stdin.read()
