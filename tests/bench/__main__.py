"""All benchmarks: `python -m tests.bench [NAME …] [--json FILE]` (uv sync --group bench brings the servers to compare).

`store` and `warm` print what they find and are not in the file.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from tests.bench import cancel, fanout, linear, pty, sessions, start

MEASURES: Final[dict[str, Callable[[], Sequence[msgspec.Struct]]]] = {
    "start": start.run,
    "pty": pty.run,
    "cancel": cancel.run,
    "sessions": sessions.run,
    "linear": linear.run,
    "fanout": fanout.run,
}
PROGRAMS: Final = ("store", "warm")


def main() -> None:
    """Run what is named, or all, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join((*MEASURES, *PROGRAMS)))
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    names = options.names or [*MEASURES, *PROGRAMS]
    if unknown := set(names) - {*MEASURES, *PROGRAMS}:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    results: dict[str, Sequence[msgspec.Struct]] = {}
    for name in names:
        if name in MEASURES:
            results[name] = MEASURES[name]()
        else:
            print(f"\n{name}", flush=True)
            subprocess.run([sys.executable, "-m", f"tests.bench.{name}"], check=True)
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(results)))


if __name__ == "__main__":
    main()
