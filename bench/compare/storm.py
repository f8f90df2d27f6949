#!/usr/bin/env python3
"""A reconnect storm: every device loses its line at once, and all come back at once, logging in, while the owner's API
is asked all the time and messages are published that absent clients must get. See README.md.
"""

import argparse
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from compare import ROOT, TOKEN, Espush, Sources


class Owner(threading.Thread):
    """Asks for a device, again and again, and remembers how long each answer took."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.took, self.over, self.failed = server, [], threading.Event(), None

    def run(self):
        while not self.over.is_set():
            begun = time.monotonic()
            try:
                ask(self.server, "/api/v1/devices?limit=1&where=online")
            except OSError as error:
                self.failed = error
                return
            self.took.append(time.monotonic() - begun)
            self.over.wait(0.02)

    def end(self):
        self.over.set()
        self.join()
        if self.failed:
            sys.exit(f"the API did not answer: {self.failed}")
        return self.took


def ask(server, path):
    request = urllib.request.Request(f"http://{server.http}{path}", headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read().decode()


def connections(server):
    figures = (line.split() for line in ask(server, "/metrics").splitlines() if line.startswith(("espush_connections ", "espush_connections{")))
    return sum(float(value) for _, value in figures)


def bench(server, options, *more):
    words = ["conns", "--from", Sources.next(), "--count", str(options.devices), "--handshakes", str(options.handshakes), *server.login.split(), *more]
    arguments = [options.espush, "bench", *words, "--port", str(server.port), "--pid", str(server.process.pid), "--json"]
    # In a group of its own with its workers, to be killed together.
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, start_new_session=True)


def until_there(server, count):
    while connections(server) < count:
        time.sleep(0.2)


def storm(server, options):
    """One round; what was seen."""
    before = bench(server, options, "--time", "600s")
    until_there(server, options.devices)
    owner = Owner(server)
    owner.start()
    # What must not be lost: kept for who is away, acknowledged to who sends. Fewer than a queue may hold.
    kept = subprocess.Popen(
        [options.espush, "bench", "fanin", "--publishers", "10", "--subscribers", "5", "--away", "--qos", "1", "--rate", "150",
         "--time", "5s", "--port", str(server.port), "--json"], stdout=subprocess.PIPE, text=True)  # fmt: skip
    # The storm comes in the middle of that.
    time.sleep(1)
    # Killed, so that the system ends all its lines in one moment; the same devices come back in the next.
    begun = time.monotonic()
    os.killpg(before.pid, signal.SIGKILL)
    outcome = json.loads(bench(server, options, "--time", "1s").communicate()[0])
    back = time.monotonic() - begun - 1
    messages = json.loads(kept.communicate()[0])
    return {
        "back_s": back,
        "connected": outcome["connected"],
        "failed": outcome["failed"],
        "cpu": outcome["server"]["connect_cpu_s"],
        "api": owner.end(),
        "acknowledged": messages["acknowledged"],
        "expected": messages["expected"],
        "collected": messages["received"],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--espush", default=str(ROOT / "target/release/espush"))
    parser.add_argument("--devices", type=int, default=15_000)
    parser.add_argument("--handshakes", type=int, default=2_000, help="connections begun at once")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print("| devices | back after, s | CPU s | API answers | median, ms | slowest, ms | kept messages: acknowledged | missing |")
    print("|---|---|---|---|---|---|---|---|")
    bad = False
    with tempfile.TemporaryDirectory(prefix="espush-storm-") as directory:
        server = Espush(pathlib.Path(directory), options.espush)
        try:
            server.login = server.devices()
            for _ in range(options.rounds):
                seen = storm(server, options)
                api = [took * 1000 for took in seen["api"]]
                missing = seen["expected"] - seen["collected"]
                bad |= missing > 0 or seen["connected"] < options.devices
                print(
                    f"| {seen['connected']:,} | {seen['back_s']:.1f} | {seen['cpu']:.2f} | {len(api):,} | {statistics.median(api):.0f}"
                    f" | {max(api):.0f} | {seen['acknowledged']:,} | {missing} |",
                    flush=True,
                )
        finally:
            server.process.terminate()
            server.process.wait()
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
