"""Changes to the code, one place at a time, and whether a test notices: mutmut for Python, `lua` for the scripts."""
