"""Run a command and write what it took: seconds, processor seconds and the largest process.

A process of its own, because Linux counts the memory of whoever starts a command as the command's.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    """Run the command behind a path of a file, which receives the figures; end as it ends."""
    begin = time.perf_counter()
    code = subprocess.call(sys.argv[2:])
    seconds = time.perf_counter() - begin
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    figures = {
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "kibibytes": usage.ru_maxrss,
    }
    Path(sys.argv[1]).write_text(json.dumps(figures), encoding="utf-8")
    raise SystemExit(code)


if __name__ == "__main__":
    main()
