"""What Function Compute calls: `index.handler`, and `index.initialize` for a warm start.

Python 3.6, the oldest runtime there, must be able to read this file, so that it can say what is wrong.
"""

from token_refresher.python_version import require

require()

from token_refresher.function.handler import handler, initialize  # noqa: E402 - an older Python fails in it

__all__ = ["handler", "initialize"]
