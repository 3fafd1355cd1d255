"""The applications of the benchmark, and what is posted for them. Nothing of it is worth anything elsewhere."""

APP_ID = "b%05d"
SECRET = "made-up-secret-of-the-benchmark"  # noqa: S105 - the simulator's, and nobody else's


def token_form(number: int) -> str:
    """The request for an access_token, as it goes over the wire."""
    return f"app_id={APP_ID % number}&secret={SECRET}&grant_type=client_credential"


def ticket_form(number: int, token: str) -> str:
    """The request for a js_ticket."""
    return f"app_id={APP_ID % number}&access_token={token}&type=js_ticket"
