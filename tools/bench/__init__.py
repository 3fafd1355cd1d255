"""What `make bench` measures, and how. Start at `sections`; the program itself is tools/bench.py."""
