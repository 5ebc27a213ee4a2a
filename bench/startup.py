"""How long `import reelwright` and `reel --help` take; medians of interleaved runs."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

IMPORT_BAR, HELP_BAR = 100, 300
"""Milliseconds."""


def took(arguments: list[str]) -> float:
    """Milliseconds of one run of this Python."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - began) * 1000


def main(rounds: int = 15) -> int:
    """Print both with their bars; 1 if one does not hold."""
    ways = {
        "bare": ["-c", ""],
        "import": ["-c", "import reelwright"],
        "help": ["-c", "import sys; sys.argv = ['reel', '--help']; from reelwright.cli import main; main()"],
    }
    for way in ways.values():  # once for the disk and the compiled modules
        took(way)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(took(way))
    middle = {name: statistics.median(values) for name, values in times.items()}
    imported = middle["import"] - middle["bare"]
    print(f"python alone {middle['bare']:.0f} ms")
    print(f"{'PASS' if imported < IMPORT_BAR else 'FAIL'}  import reelwright: {imported:.0f} ms more (below {IMPORT_BAR})")
    print(f"{'PASS' if middle['help'] < HELP_BAR else 'FAIL'}  reel --help: {middle['help']:.0f} ms (below {HELP_BAR})")
    return 0 if imported < IMPORT_BAR and middle["help"] < HELP_BAR else 1


if __name__ == "__main__":
    sys.exit(main())
