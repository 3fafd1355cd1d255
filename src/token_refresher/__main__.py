"""The command line: `token-refresher` and `python -m token_refresher`. Python 3.6 must be able to read it."""

import os
import sys

from token_refresher.python_version import require


def main() -> int:
    """Returns the exit code; 2 (nothing was done) on a Python that is too old."""
    try:
        require()
    except ImportError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    try:
        from token_refresher.cli.main import main

        code = main()
        if code == 130:
            # All output is written. Threads that still wait for an answer must not keep who pressed Ctrl-C.
            os._exit(code)
        return code
    except KeyboardInterrupt:
        # Before the command line itself is ready to answer.
        sys.stderr.write("interrupted\n")
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
