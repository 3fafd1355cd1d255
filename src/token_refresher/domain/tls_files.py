"""The files that TLS to Redis needs, looked at before anything is dialed: else a wrong path looks like an outage."""

from __future__ import annotations

import os
from collections.abc import Mapping

from token_refresher.domain.errors import InvalidValueError


def check_tls_files(files: Mapping[str, str]) -> None:
    """Read the files of an address's options: `ssl_ca_certs`, `ssl_certfile` and `ssl_keyfile` map to paths.

    Raises InvalidValueError for a file that is missing, or does not hold what the option is for.
    """
    for name, path in files.items():
        if not os.path.isfile(path):
            raise InvalidValueError(f"must name a file that exists as its option {name}")
    if "ssl_keyfile" in files and "ssl_certfile" not in files:
        raise InvalidValueError("must have the option ssl_certfile beside ssl_keyfile")
    import ssl  # redis-py imports it for such an address anyway

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if "ssl_ca_certs" in files:
            context.load_verify_locations(files["ssl_ca_certs"])
    except (OSError, ValueError):
        what = "must name a readable file of CA certificates (PEM) as its option ssl_ca_certs"
        raise InvalidValueError(what) from None
    try:
        if "ssl_certfile" in files:
            # An empty password, because Python would ask a person for it.
            context.load_cert_chain(files["ssl_certfile"], files.get("ssl_keyfile"), password="")
    except (OSError, ValueError):
        what = "must name a readable certificate and its key without a passphrase (PEM)"
        raise InvalidValueError(f"{what} as its options ssl_certfile and ssl_keyfile") from None
