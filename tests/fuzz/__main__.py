"""``python -m tests.fuzz``: every target in turn, one JSON line each; status 1 on findings."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.fuzz.targets import Fuzzed, fuzz_json, fuzz_plugin, fuzz_socket


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    chosen = parser.parse_args()
    logging.getLogger().addHandler(logging.NullHandler())  # each refusal would be a line
    has_findings = False
    with tempfile.TemporaryDirectory(prefix="berth-fuzz-") as folder:
        for fuzzed in run(Path(folder), seed=chosen.seed, seconds=chosen.seconds):
            sys.stdout.write(json.dumps(asdict(fuzzed)) + "\n")
            has_findings = has_findings or bool(fuzzed.findings)
    sys.exit(1 if has_findings else 0)


def run(folder: Path, *, seed: int, seconds: int) -> list[Fuzzed]:
    return [
        fuzz_json(folder, seed=seed, seconds=seconds),
        asyncio.run(fuzz_plugin(folder, seed=seed, seconds=seconds)),
        asyncio.run(fuzz_socket(folder, seed=seed, seconds=seconds)),
    ]


if __name__ == "__main__":
    main()
