"""Fixtures and guards for all tests; what they are is said in `support`."""

pytest_plugins = ["support.guards", "support.fixtures", "support.skips"]
