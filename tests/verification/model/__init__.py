"""The algorithm of docs/explanation/design.md as a state machine, and an exhaustive search of what can happen."""
