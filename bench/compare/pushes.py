#!/usr/bin/env python3
"""Pushes by the API to boards that are online: direct ones that wait for the board, at a rate, and one push to all of
them. See README.md. Needs nothing but Python's standard library and the built program, whose `sim` plays the boards.
"""

import argparse
import asyncio
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

from compare import ROOT, TOKEN, Espush


def call(server, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"http://{server.http}{path}", data, headers), timeout=120) as answer:
        return json.load(answer)


def of_process(pid):
    """CPU seconds so far, and the most resident memory that it ever had, in MiB."""
    times = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return (int(times[11]) + int(times[12])) / 100, peak / 1024


class Lane:
    """One connection to the API, kept open."""

    async def open(self, server):
        host, port = server.http.rsplit(":", 1)
        self.reader, self.writer = await asyncio.open_connection(host, int(port))

    async def push(self, device):
        """The status of one direct push that waits for the board."""
        head = f"POST /d/{device}?wait=5s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 2\r\n\r\non"
        self.writer.write(head.encode())
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.decode().lower().splitlines() if line.startswith("content-length"))
        await self.reader.readexactly(int(length.split(":")[1]))
        return int(head.split(b" ", 2)[1])


async def direct(server, devices, options):
    """Pushes at a rate over `options.lanes` connections. Each counts from when it was due, wherever it waited."""
    lanes, took, statuses = asyncio.Queue(), [], {}
    for _ in range(options.lanes):
        lane = Lane()
        await lane.open(server)
        lanes.put_nowait(lane)

    async def one(number, due):
        lane = await lanes.get()
        status = await lane.push(devices[number * 7919 % len(devices)])
        lanes.put_nowait(lane)
        took.append(time.monotonic() - due)
        statuses[status] = statuses.get(status, 0) + 1

    begun, tasks = time.monotonic(), []
    for number in range(options.rate * options.time):
        due = begun + number / options.rate
        if (early := due - time.monotonic()) > 0:
            await asyncio.sleep(early)
        tasks.append(asyncio.create_task(one(number, due)))
    await asyncio.gather(*tasks)
    took.sort()
    at = lambda share: took[min(len(took) - 1, int(len(took) * share))] * 1000  # noqa: E731
    return {"statuses": statuses, "p50": at(0.5), "p99": at(0.99), "max": took[-1] * 1000, "s": time.monotonic() - begun}


def to_all(server, app, count):
    """One push to every board: seconds until the call was answered, until all got it, and until all acknowledged it."""
    begun = time.monotonic()
    push = call(server, "/api/v1/push", {"audience": {"app": app}, "text": "lights out"})
    answered, given = time.monotonic() - begun, None
    while True:
        counts = call(server, f"/api/v1/pushes/{push['id']}")["counts"]
        # What has gone to its socket is `sent`, and what was acknowledged was sent before.
        reached = sum(counts.get(state, 0) for state in ("sent", "delivered", "applied"))
        if given is None and reached == count:
            given = time.monotonic() - begun
        if counts.get("delivered", 0) == count:
            return answered, given, time.monotonic() - begun
        if time.monotonic() - begun > 120:
            sys.exit(f"not all were reached: {counts}")
        time.sleep(0.02)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--espush", default=str(ROOT / "target/release/espush"))
    parser.add_argument("--boards", type=int, default=15_000, help="boards that are online")
    parser.add_argument("--rate", type=int, default=1_000, help="direct pushes a second")
    parser.add_argument("--time", type=int, default=10, help="for so many seconds")
    parser.add_argument("--lanes", type=int, default=64, help="connections to the API")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    bad = False
    with tempfile.TemporaryDirectory(prefix="espush-pushes-") as directory:
        server = Espush(pathlib.Path(directory), options.espush)
        words = server.devices().split()
        app = int(words[1])
        boards = [options.espush, "sim", *words, "--count", str(options.boards), "--interval", "0", "--port", str(server.port)]
        sim = subprocess.Popen(boards, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while call(server, "/api/v1/status")["online"] < options.boards:
                time.sleep(0.2)
            devices = [f"{app}-{chip}" for chip in range(1, options.boards + 1)]
            print("| direct pushes | a second | p50, ms | p99, ms | longest, ms | delivered | CPU ms each |")
            print("|---|---|---|---|---|---|---|")
            for _ in range(options.rounds):
                cpu = of_process(server.process.pid)[0]
                seen = asyncio.run(direct(server, devices, options))
                cpu, count = of_process(server.process.pid)[0] - cpu, sum(seen["statuses"].values())
                bad |= seen["statuses"] != {200: count}
                print(
                    f"| {count:,} | {count / seen['s']:,.0f} | {seen['p50']:.1f} | {seen['p99']:.1f} | {seen['max']:.1f}"
                    f" | {seen['statuses'].get(200, 0):,} | {cpu / count * 1000:.2f} |",
                    flush=True,
                )
            print("\n| one push to | answered after, s | all sent after, s | all acknowledged after, s | most memory, MiB |")
            print("|---|---|---|---|---|")
            for _ in range(options.rounds):
                answered, given, delivered = to_all(server, app, options.boards)
                peak = of_process(server.process.pid)[1]
                print(f"| {options.boards:,} | {answered:.2f} | {given:.2f} | {delivered:.2f} | {peak:.0f} |", flush=True)
        finally:
            for process in (sim, server.process):
                process.terminate()
                process.wait()
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
