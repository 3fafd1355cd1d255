"""Whether the deployed function has time to fetch: Function Compute is asked for the function's own time-out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from token_refresher.doctor.context import CheckContext
from token_refresher.doctor.finding import Check, Finding
from token_refresher.domain.errors import CATALOGUE, InvokeError, SettingsError
from token_refresher.domain.function_timeout import needed_s, time_out_warning

CHECK = "run time-out"


def time_out(context: CheckContext, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Ask about the function that FUNCTION_NAME names, with the access key that `invoke` uses."""
    check, needed = Check(CHECK), f"{needed_s(context.settings.policy):g} s"
    if not environ.get("FUNCTION_NAME"):
        yield check.grey(f"not examined: FUNCTION_NAME is not set; a function needs {needed} or more")
        return
    from token_refresher.invoke.invoker import FunctionAddress, Invoker, find_credentials

    policy = context.settings.policy
    try:
        address = FunctionAddress.from_environ(environ)
        limit_s = max(min(context.clocks.left_s, policy.request_total_s), 0.001)
        found_s = Invoker(address, find_credentials(environ), timeout_s=limit_s).time_out_s()
    except SettingsError as error:
        plain = error.advice == CATALOGUE[error.code].advice
        fix = "correct what is named, or leave it out" if plain else error.advice
        yield check.yellow(f"not known: {'; '.join(error.problems)}", fix)
        return
    except InvokeError as error:
        fix = "give the access key the right fc:GetFunction" if error.code == "invoke_denied" else error.advice
        yield check.yellow(f"not known: {error.what}", fix)
        return
    warning = time_out_warning(found_s, policy)
    if warning:
        says, _, fix = warning.rpartition("; ")
        yield check.red(says, fix)
    else:
        yield check.green(f"the function may run for {found_s:g} s, which leaves time to fetch")
