"""Print both credentials of an application: python read.py APP_ID"""

import os
import sys

from token_refresher import Reader

with Reader.from_url(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")) as reader:
    for credential in (reader.access_token(sys.argv[1]), reader.js_ticket(sys.argv[1])):
        sys.stdout.write(f"{credential}\n")
