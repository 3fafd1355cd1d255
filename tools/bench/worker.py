"""A process that is one subject of the benchmark: does so many steps when told to, and says what they cost.

Arguments: the directory of the code, the directories to import from besides, the subject, its options (JSON). It is
run isolated, so that it sees the standard library, the unpacked zip and nothing else that is installed.
"""

import json
import os
import resource
import sys
import time


def used() -> float:
    """CPU seconds of this process so far, all its threads and the kernel's work for it included."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """One line in ({"n": steps}), one line out, until there are no more."""
    code, besides, subject, options = sys.argv[1:5]
    sys.path.insert(0, code)
    sys.path.extend(besides.split(os.pathsep))
    from bench import subjects

    before = used()
    step = getattr(subjects, subject)(**json.loads(options))
    answer = {"ready": used() - before}
    print(json.dumps(answer), flush=True)
    for line in sys.stdin:
        steps = json.loads(line)["n"]
        result, cpu, began = None, used(), time.perf_counter()
        for _ in range(steps):
            result = step()
        wall = time.perf_counter() - began
        answer = {"cpu": (used() - cpu) / steps, "wall": wall / steps, "told": result}
        print(json.dumps(answer, default=str), flush=True)


if __name__ == "__main__":
    main()
