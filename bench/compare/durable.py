#!/usr/bin/env python3
"""How many messages a second espush acknowledges when each must be on disk first, and how long that takes: 1, 100
and 1,000 publishers to a subscriber with a kept session, which is away (each message waits on disk) or online and
acknowledges (few of them get there). Prints the table of docs/en/durability.md.
"""

import argparse
import os
import pathlib
import signal
import statistics
import sys
import tempfile
import time

from compare import ROOT, Espush

import json
import subprocess

CASES = [
    # publishers, messages on their way at once, QoS
    (1, 1, 1),
    (1, 100, 1),
    (100, 100, 1),
    (1000, 1000, 1),
    (1, 1, 2),
    (100, 100, 2),
]


def sync_ms(directory):
    """The median of what the disk takes for one small append that is synced."""
    took = []
    with tempfile.NamedTemporaryFile(dir=directory) as file:
        for _ in range(200):
            file.write(b"x" * 4096)
            file.flush()
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - begun) * 1000)
    return statistics.median(took)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--espush", default=str(ROOT / "target" / "release" / "espush"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--time", default="5s")
    parser.add_argument("--data", help="a directory on the disk in question")
    parser.add_argument("--json", help="write everything that was measured into this file")
    options = parser.parse_args()
    # So that nothing is dropped, however much waits.
    Espush.more = ["limits.queue_messages=1000000", "limits.queue_bytes=1000000000"]
    seen, syncs = {}, []
    for number in range(options.rounds):
        for case in CASES:
            for sessions in ("away", "kept"):
                publishers, window, qos = case
                print(f"round {number + 1}/{options.rounds}: {case} {sessions}", file=sys.stderr)
                with tempfile.TemporaryDirectory(prefix="espush-durable-", dir=options.data) as directory:
                    syncs.append(sync_ms(directory))
                    server = Espush(pathlib.Path(directory), options.espush)
                    try:
                        words = f"fanin --publishers {publishers} --window {window} --qos {qos} --{sessions} --time {options.time}".split()
                        bench = [options.espush, "bench", *words, "--port", str(server.port), "--pid", str(server.process.pid), "--json"]
                        outcome = json.loads(subprocess.run(bench, capture_output=True, text=True).stdout)
                    finally:
                        server.process.send_signal(signal.SIGTERM)
                        server.process.communicate()
                    missing = outcome["expected"] - outcome["received"]
                    if missing or outcome["failed"] or outcome["dropped"]:
                        print(f"  {missing} missing, {outcome['failed']} failed, {outcome['dropped']} dropped: {outcome['trouble']}", file=sys.stderr)
                    seen.setdefault((*case, sessions), []).append(outcome)
    print(f"One synced append of 4 KiB took {statistics.median(syncs):.2f} ms (median; {min(syncs):.2f} to {max(syncs):.2f}).\n")
    print("| publishers | on their way at once | QoS | subscriber | acknowledged a second | p50 | p99 | p99.9 | CPU s per million |\n|---|---|---|---|---|---|---|---|---|")
    for (publishers, window, qos, sessions), outcomes in seen.items():
        median = lambda read: statistics.median(read(outcome) for outcome in outcomes)
        ms = lambda name: f"{median(lambda outcome: outcome['acknowledge_latency'][name]) / 1000:.1f} ms"
        rate = f"{median(lambda outcome: outcome['acknowledged_per_s']):,.0f}"
        cpu = f"{median(lambda outcome: outcome['server']['load_cpu_s'] * 1e6 / max(1, outcome['acknowledged'])):.0f}"
        who = "away" if sessions == "away" else "online"
        print(f"| {publishers:,} | {window:,} | {qos} | {who} | {rate} | {ms('p50_us')} | {ms('p99_us')} | {ms('p999_us')} | {cpu} |")
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps([[*key, outcomes] for key, outcomes in seen.items()], indent=1))


if __name__ == "__main__":
    main()
