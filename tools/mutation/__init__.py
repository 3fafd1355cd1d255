"""Mutants of the package and the Lua scripts, and the tests that have to find them."""
