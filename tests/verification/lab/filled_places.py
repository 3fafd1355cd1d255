"""Places with several applications, with values stored from the beginning, and with our own library as the reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import yaml

from platform_simulator import CHECK_PATH, TICKET_PATH, TOKEN_PATH, Fault
from platform_simulator.credentials import KINDS
from support.cron_pattern import KEYS
from token_refresher.domain.errors import NoCredentialError
from token_refresher.domain.model import Kind
from token_refresher.reader.sync_reader import Reader

from .place import Place
from .places import BehindWire
from .stored import MEMBERS
from .wire import Wire


class ManyApps(Place):
    """Several applications, of which the first may be taken out of the configuration, or moved to another platform.

    The first `sick` are what others suffer from: their own readers do not count.
    """

    apps = 2
    sick = 0

    @property
    def read_ids(self) -> list[str]:
        return self.app_ids[self.sick :]

    def take_out_first(self) -> None:
        """What is deployed from now on knows all applications but the first."""
        content = self._content()
        content["app_info"] = content["app_info"][1:]
        self._configure(content)

    def move_sick(self, address: str) -> None:
        """In what is deployed from now on the sick applications are of a platform at this address."""
        content = self._content()
        content["platforms"] = {"elsewhere": {"base_url": address}}
        for each in content["app_info"][: self.sick]:
            each["platform"] = "elsewhere"
        self._configure(content)

    def _content(self) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load(Path(self.environs[0]["CONFIG_FILE"]).read_text())
        return found

    def _configure(self, content: dict[str, Any]) -> None:
        path = self._file("changed.yaml", yaml.safe_dump(content))
        self.environs = [environ | {"CONFIG_FILE": str(path)} for environ in self.environs]


class Stored(NamedTuple):
    """A credential that is stored from the beginning, how long it lives and its key stays (seconds; None: for ever)."""

    left_s: float
    ttl_s: float | None = None


class Filled(ManyApps):
    """Every application has values of another tool; the platform issued the credentials, and may be `away` at first."""

    away = False

    def __init__(self, **policy: float) -> None:
        super().__init__(**policy)
        for number in range(self.apps):
            for kind in KINDS:
                self._store(self.app_ids[number], kind, self.stored(number))
        if self.away:
            self.simulator.stop()

    def stored(self, number: int) -> Stored:
        """What is stored for the application of this number."""
        raise NotImplementedError

    def _store(self, app_id: str, kind: str, stored: Stored) -> None:
        code = self.simulator.issue(app_id, kind).code
        self.simulator.shorten(app_id, kind, code, stored.left_s)
        self.planted.add(code)
        value = json.dumps({MEMBERS[kind]: code, "expires_in": int(self.now() + stored.left_s)})
        px = None if stored.ttl_s is None else int(stored.ttl_s * 1000)
        self.world.redis.client().set(KEYS[MEMBERS[kind]].format(app_id), value, px=px)


class WithoutTtl(Filled):
    """The credentials live for another 50 minutes, their keys for ever."""

    def stored(self, number: int) -> Stored:
        return Stored(3000)


class TooLongTtl(Filled):
    """The credentials live for another 50 minutes, their keys for a day."""

    def stored(self, number: int) -> Stored:
        return Stored(3000, 86400)


class WithoutTtlAway(WithoutTtl):
    """The platform is away at first, too."""

    away = True


class TooLongTtlAway(TooLongTtl):
    """The platform is away at first, too."""

    away = True


class EndAsDate(Filled):
    """The values call the credentials' end a date in words, for which readers do not care; they live for 30 s.

    No fetch succeeds until the faults of the simulator are cleared.
    """

    ends: object = "2026-12-01 10:00:00"

    def __init__(self, **policy: float) -> None:
        super().__init__(**policy)
        for path in (TOKEN_PATH, TICKET_PATH):
            self.simulator.script(path, Fault.platform_status(4000, "secret is wrong"), times=None)

    def stored(self, number: int) -> Stored:
        return Stored(30)

    def _store(self, app_id: str, kind: str, stored: Stored) -> None:
        super()._store(app_id, kind, stored)
        key, client = KEYS[MEMBERS[kind]].format(app_id), self.world.redis.client()
        client.set(key, json.dumps(json.loads(client.get(key)) | {"expires_in": self.ends}))


class EndAsNull(EndAsDate):
    """They name none."""

    ends = None


class GoodEndAsDate(EndAsDate):
    """The same with credentials that live for two hours."""

    def stored(self, number: int) -> Stored:
        return Stored(7200)


class LastOnesUrgent(Filled):
    """Of 60 applications the last ten have credentials for another 400 s, the others for nearly two hours.

    A run may take so little time that it cannot wait for many questions without an answer.
    """

    apps = 60
    function_timeout_s = 4.0

    def stored(self, number: int) -> Stored:
        left_s = 7000 if number < self.apps - 10 else 400
        return Stored(left_s, left_s)


class Sixty(ManyApps):
    """Sixty applications."""

    apps = 60


class SixtyLimited(Sixty):
    """The platform serves 30 requests a minute, and says when to come again."""

    says: Literal["seconds", "date", "nothing"] = "seconds"
    path: str | None = None

    def __init__(self, **policy: float) -> None:
        super().__init__(**policy)
        self.simulator.limit(None, 30, 60, self.says, self.path)


class SixtyLimitedByDate(SixtyLimited):
    """It says so as a date."""

    says = "date"


class SixtyLimitedSilently(SixtyLimited):
    """It does not say when."""

    says = "nothing"


class SixtyQuestionsLimited(SixtyLimited):
    """Only checkCode is limited."""

    path = CHECK_PATH


class TwelveBehindWire(BehindWire):
    """Twelve applications, and a wire to Redis."""

    apps = 12


class SeventyBehindWire(BehindWire):
    """Seventy applications, and a wire to Redis."""

    apps = 70


class ShortLives(Place):
    """The platform issues credentials for 300 s."""

    simulator_options: ClassVar = {"lifetime_s": 300.0, "grace_s": 60.0}


class TokenEndsTickets(Place):
    """A newer access_token ends every ticket at once."""

    simulator_options: ClassVar = {"token_ends_tickets": True}


class NoTokenGrace(Place):
    """A newer access_token ends the older one at once."""

    simulator_options: ClassVar = {"access_token_grace_s": 0.0}


class NoGrace(Place):
    """A newer credential ends the older one at once."""

    simulator_options: ClassVar = {"grace_s": 0.0}


class _Library:
    """Our own Reader behind the one command that the lab's readers use."""

    def __init__(self, reader: Reader, client: Any) -> None:
        self._reader, self._client = reader, client

    def get(self, key: str) -> bytes | None:
        kind = next(kind for kind in KINDS if key.startswith(KEYS[MEMBERS[kind]].format("")))
        try:
            reading = self._reader.record(key.rpartition("/")[2], Kind(kind))
        except NoCredentialError:
            return None
        return json.dumps({MEMBERS[kind]: reading.code, "expires_in": reading.expires_at}).encode()

    def pipeline(self, transaction: bool) -> Any:
        return self._client.pipeline(transaction=transaction)


class LibraryBehindWire(BehindWire):
    """The reader is our own library, which reaches Redis through the wire; the refresher does not."""

    def __init__(self, **policy: float) -> None:
        super().__init__(**policy)
        server = self.world.redis
        through = server.client(port=self.wire.port, socket_timeout=0.2)
        self.readers = [_Library(Reader(through, clock=self.steady, timeout_s=0.2), server.client())]

    def _environ(self, server: Any, policy: dict[str, float]) -> dict[str, str]:
        self._wires.append(Wire(server.port))
        return Place._environ(self, server, policy)
