"""Run a command and write its seconds, processor seconds and largest process.

This runs as its own process, because Linux counts the memory of the starting process as the
command's.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    """Run a command, write its figures to the file named first, and return its exit status."""
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
