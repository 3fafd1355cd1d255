"""The algorithm of docs/design.md as a state machine, and an exhaustive search through what can happen to it."""
