#!/usr/bin/env python3
"""espush and Mosquitto side by side, in turns, on this machine: what each spends on the same work, and the ratio.
See README.md. Needs nothing but Python's standard library, the built program and a mosquitto.
"""

import argparse
import json
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TOKEN = "a-token-for-this-run"


def cpu_of_load(outcome):
    return outcome["server"]["load_cpu_s_per_million"]


def cpu_of_connects(outcome):
    return outcome["server"]["connect_cpu_s_per_million"]


def bytes_each(outcome):
    return outcome["server"]["bytes_per_connection"]


def p99(outcome):
    return outcome["delivery_latency"]["p99_us"]


CPU, CONNECT, BYTES, P99 = (
    ("CPU s per million", cpu_of_load),
    ("CPU s per million", cpu_of_connects),
    ("bytes per connection", bytes_each),
    ("p99, µs", p99),
)

# Name, arguments of `espush bench`, and what is read from it: (title, unit and how, the ratio that must be reached).
ROWS = [
    ("idle", "conns --count {connections} --time 2s",
     [("idle connection, one subscription", BYTES, 0.68), ("connect + subscribe", CONNECT, 0.75)]),
    ("devices", "conns --count {connections} --time 2s {devices}",
     [("the same, a registered device that logs in", BYTES, 0.68), ("connect + subscribe, with a key to check", CONNECT, 0.75)]),
    ("ping", "ping --count 1000 --rate 20000 --time {time}", [("PINGREQ answered, 20,000/s", CPU, 0.88)]),
    ("fanin0", "fanin --rate 20000 --time {time}", [("100 → 1, QoS 0, 20,000/s", CPU, 0.88)]),
    ("fanin0max", "fanin --time {time}", [("100 → 1, QoS 0, saturated", CPU, 0.50)]),
    ("fanin1", "fanin --qos 1 --rate 5000 --time {time}", [("100 → 1, QoS 1, 5,000/s", CPU, 0.80)]),
    ("fanin1max", "fanin --qos 1 --time {time}", [("100 → 1, QoS 1, saturated", CPU, 0.42)]),
    ("fanout", "fanout --subscribers 1000 --time {time}", [("1 → 1,000, QoS 0, saturated", CPU, 0.28)]),
    ("fanout16", "fanout --subscribers 1000 --window 16 --time {time}", [("the same, 16 messages on their way at once", CPU, 0.28)]),
    ("pairs", "pairs --count 100 --rate 5000 --time {time}", [("100 pairs, QoS 0, 5,000/s", CPU, 0.78), ("the same, latency", P99, 1.0)]),
    ("push", "push --devices 10000 --rate 2000 --time {time}", [("push to one of 10,000, 2,000/s", CPU, 0.68), ("the same, latency", P99, 1.0)]),
]


class Mosquitto:
    """Debian's defaults, but for two: anybody may connect, and its queues drop nothing."""

    def __init__(self, directory, program):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        config = directory / "mosquitto.conf"
        config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nlog_type information\nlog_dest stderr\n"
        )
        self.process = subprocess.Popen([program, "-c", str(config)], stderr=subprocess.PIPE, text=True)
        if not any(" running" in line for line in self.process.stderr):
            sys.exit("mosquitto did not start")

    def devices(self):
        return ""

    def dropped(self):
        return ""


class Espush:
    more = []

    def __init__(self, directory, program):
        settings = self.more + ["mqtt.listen=127.0.0.1:0", "http.listen=127.0.0.1:0", "espush.listen=", "auth.anonymous=true", f"auth.bootstrap_token={TOKEN}"]
        arguments = [program, "serve", "--data", str(directory / "data")]
        for setting in settings:
            arguments += ["--set", setting]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for line in self.process.stdout:
            if line.startswith("listening mqtt "):
                self.port = int(line.rsplit(":", 1)[1])
            if line.startswith("listening http "):
                self.http = line.split(" ")[2].strip()
            if line.startswith("ready"):
                return
        sys.exit("espush did not start")

    def devices(self):
        """The arguments for devices that register themselves with an app of their own."""
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        body = json.dumps({"name": "compare", "open": True}).encode()
        with urllib.request.urlopen(urllib.request.Request(f"http://{self.http}/api/v1/apps", body, headers)) as answer:
            app = json.load(answer)
        return f"--app {app['id']} --key {app['key']}"

    def dropped(self):
        """What it says to have dropped from full queues: at QoS 0 that is its policy for who reads too slowly."""
        request = urllib.request.Request(f"http://{self.http}/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(request) as answer:
            lines = answer.read().decode().splitlines()
        count = next((line.split()[-1] for line in lines if line.startswith("espush_messages_dropped_total")), "?")
        return f" ({count} dropped from full queues)"


class Sources:
    """Source addresses that nobody had yet: ports of connections that ended in the last minute are dear to get again,
    for both sides."""

    last = 9

    @classmethod
    def next(cls):
        cls.last = cls.last + 1 if cls.last < 250 else 10
        return f"127.0.{cls.last}.1"


def measure(kind, programs, options, arguments):
    """One row on a server of its own, which ends with it."""
    with tempfile.TemporaryDirectory(prefix="espush-compare-", dir=options.data) as directory:
        server = kind(pathlib.Path(directory), programs[kind])
        try:
            devices = server.devices() if "{devices}" in arguments else ""
            words = arguments.format(connections=options.connections, time=options.time, devices=devices).split()
            bench = [programs[Espush], "bench", *words, "--port", str(server.port), "--pid", str(server.process.pid), "--json"]
            source = lambda: ["--from", Sources.next()]  # noqa: E731
            if devices:
                # They register in a first run, which shows what they weigh; in a second one they log in.
                first, outcome = (
                    json.loads(subprocess.run(bench + source(), capture_output=True, text=True).stdout) for _ in range(2)
                )
                outcome["server"]["bytes_per_connection"] = first["server"]["bytes_per_connection"]
            else:
                done = subprocess.run(bench + source(), capture_output=True, text=True)
                if not done.stdout:
                    sys.exit(f"{' '.join(words)}: {done.stderr}")
                outcome = json.loads(done.stdout)
            if outcome["failed"] or outcome["dropped"] or outcome["received"] < outcome["expected"]:
                missing = outcome["expected"] - outcome["received"]
                lost = f"{outcome['dropped']} lines lost, {missing} messages missing{server.dropped()}"
                print(f"  {kind.__name__}: {outcome['failed']} failed, {lost}: {outcome['trouble']}", file=sys.stderr)
            return outcome
        finally:
            server.process.send_signal(signal.SIGTERM)
            server.process.communicate()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--espush", default=str(ROOT / "target" / "release" / "espush"), help="the program, built for release")
    parser.add_argument("--mosquitto", default=shutil.which("mosquitto") or "/usr/sbin/mosquitto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--time", default="5s", help="how long each load lasts")
    parser.add_argument("--connections", type=int, default=15000, help="idle ones; the server's limit of open files must allow them")
    parser.add_argument("--rows", default=",".join(name for name, _, _ in ROWS))
    parser.add_argument("--data", help="where data directories are made")
    parser.add_argument("--json", help="write everything that was measured into this file")
    parser.add_argument("--baseline", help="another espush instead of mosquitto: before and after a change")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of espush")
    options = parser.parse_args()
    Espush.more = options.set
    other = type("Baseline", (Espush,), {}) if options.baseline else Mosquitto
    programs = {Espush: options.espush, other: options.baseline or options.mosquitto}
    rows = [row for row in ROWS if row[0] in options.rows.split(",")]
    seen = {name: {"espush": [], "other": []} for name, _, _ in rows}
    for number in range(options.rounds):
        for name, arguments, _ in rows:
            # Who comes first changes, so that what one leaves behind in the machine does not always meet the same other.
            for kind in [Espush, other] if number % 2 == 0 else [other, Espush]:
                print(f"round {number + 1}/{options.rounds}: {name} on {kind.__name__.lower()}", file=sys.stderr)
                seen[name]["espush" if kind is Espush else "other"].append(measure(kind, programs, options, arguments))
    title = "before" if options.baseline else "Mosquitto"
    print(f"| work | | espush | {title} | ratio (lowest to highest) | wanted | |\n|---|---|---|---|---|---|---|")
    for name, _, figures in rows:
        for what, (unit, read), wanted in figures:
            mine, theirs = ([read(outcome) for outcome in seen[name][who]] for who in ("espush", "other"))
            ratios = [one / two if two else float("nan") for one, two in zip(mine, theirs)]
            ratio = statistics.median(ratios)
            number = (lambda value: f"{value:,.0f}") if unit != CPU[0] else (lambda value: f"{value:.1f}")
            verdict = "yes" if ratio <= wanted else "no"
            print(
                f"| {what} | {unit} | {number(statistics.median(mine))} | {number(statistics.median(theirs))} "
                f"| {ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f}) | ≤ {wanted:.2f} | {verdict} |"
            )
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps({"rounds": options.rounds, "time": options.time, "rows": seen}, indent=1))


if __name__ == "__main__":
    main()
