"""Inputs nobody thought of: targets that take any bytes, what must hold for each, and a kept corpus.

`python -m verification.fuzz` (with src and tests on PYTHONPATH) searches by coverage;
`test_fuzz.py` replays and searches briefly.
"""
