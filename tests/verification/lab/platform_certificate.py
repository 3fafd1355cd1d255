"""The certificate of the platform: one that is valid, and one that expired a day ago."""

from __future__ import annotations

import ssl
from datetime import datetime, timedelta, timezone

import trustme


class Certificate:
    """`context` shows it to clients, who trust `authority` (PEM). Changes hold for whoever connects from then on."""

    def __init__(self) -> None:
        authority = trustme.CA()
        now = datetime.now(timezone.utc)
        self.authority: str = authority.cert_pem.bytes().decode("ascii")
        self._valid = authority.issue_cert("127.0.0.1")
        self._expired = authority.issue_cert(
            "127.0.0.1", not_before=now - timedelta(days=90), not_after=now - timedelta(days=1)
        )
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.renew()

    def expire(self) -> None:
        self._expired.configure_cert(self.context)

    def renew(self) -> None:
        self._valid.configure_cert(self.context)
