"""The platform's simulator in a process of its own, until its standard input ends.

Arguments: how many applications, the delay before each answer (ms), and with TLS a file of certificate and key.
Prints its port.
"""

import ssl
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "src")]

from bench.forms import APP_ID, SECRET  # noqa: E402 - its place had to be made known first
from platform_simulator import Simulator  # noqa: E402


def main() -> None:
    """Serve."""
    apps, latency_ms = int(sys.argv[1]), float(sys.argv[2])
    tls = None
    if len(sys.argv) > 3:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(sys.argv[3])
    secrets = {APP_ID % number: SECRET for number in range(apps)}
    with Simulator(secrets, latency_s=latency_ms / 1000, tls=tls) as simulator:
        print(simulator.url.rpartition(":")[2], flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
