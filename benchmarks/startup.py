"""How long starting takes: `import storycore` and `storycore --help`, against a bare click program.

    python benchmarks/startup.py [--rounds 15] [--json]

The bare program imports click, declares as many empty commands as storycore has, and prints its help. Each program runs
in a process of its own; rounds alternate between the programs, and the least time of each is taken, since other work on
the machine can only add to it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

BARE = """
import sys
import click
@click.group()
def main(): "A program."
for name in "demo init ingest search get list health stats doctor plugins config conformance".split():
    main.add_command(click.Command(name, callback=lambda: None, help="A command."))
sys.argv = ["bare", "--help"]
main()
"""
HELP = """
import sys
from storycore.cli import main
sys.argv = ["storycore", "--help"]
main()
"""
PROGRAMS = {"python": "pass", "import storycore": "import storycore", "bare --help": BARE, "storycore --help": HELP}


def seconds(program: str) -> float:
    """The wall time of one run, from starting Python to its end."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


def measure(rounds: int) -> dict[str, float]:
    """Program to its least time, in seconds."""
    times = [{name: seconds(program) for name, program in PROGRAMS.items()} for _ in range(rounds)]
    return {name: min(each[name] for each in times) for name in PROGRAMS}


def summary(least: dict[str, float]) -> dict[str, float]:
    """The two numbers that matter: milliseconds that the import adds to Python, and the ratio of the two helps."""
    return {
        "import_ms": round((least["import storycore"] - least["python"]) * 1000, 1),
        "help_ratio": round(least["storycore --help"] / least["bare --help"], 3),
        **{f"{name} ms": round(took * 1000, 1) for name, took in least.items()},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure how long starting takes.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = summary(measure(options.rounds))
    print(json.dumps(result) if options.json else "\n".join(f"{name:22} {value}" for name, value in result.items()))


if __name__ == "__main__":
    main()
