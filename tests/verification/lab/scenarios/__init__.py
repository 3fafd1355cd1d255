"""All scenarios. Each module of this package has a tuple SCENARIOS; a new module needs no entry anywhere."""

from __future__ import annotations

import importlib
import pkgutil

from verification.lab.scenario import Scenario


def collected() -> dict[str, Scenario]:
    """Every scenario by its name, in the order of modules and of their tuples. Raises ValueError for a name twice."""
    found: dict[str, Scenario] = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        for scenario in importlib.import_module(f"{__name__}.{module}").SCENARIOS:
            if scenario.name in found:
                raise ValueError(f"two scenarios are called {scenario.name!r}")
            found[scenario.name] = scenario
    return found
