"""The page docs/*/first-minute.md is true: its commands, typed in their order into one shell on a fresh server with
the demo's lamp, print what stands under them. In the page `…` is whatever differs from run to run, and a
line of only that is any number of lines."""

import queue
import re
import subprocess
import threading

import pytest

from harness import PATIENCE_S, PROGRAM, ROOT, clean_environment

# The page's ports are the defaults; here they are free ones. Functions put them in, so that what is typed
# is the page's own text.
PRELUDE = """
exec 2>&1
set -m
espush() {{ case $1 in sim) {program} "$@" --port {espush} ;; *) {program} "$@" ;; esac; }}
mosquitto_pub() {{ command mosquitto_pub -h 127.0.0.1 -p {mqtt} "$@"; }}
mosquitto_sub() {{ command mosquitto_sub -h 127.0.0.1 -p {mqtt} "$@"; }}
curl() {{ command curl -sS "$@" && echo; }}
"""


def steps(page):
    """The commands of a page with what is to be printed: [(command, [line…])…]."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def pattern(lines):
    """A regular expression for the lines."""
    whole = "".join(r"(?:.*\n)*" if line == "…" else re.escape(line).replace("…", ".*") + r"\n" for line in lines)
    return re.compile(whole)


class Shell:
    """A bash that is typed into."""

    def __init__(self, server):
        self.ports = server.ports
        self.process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=server.data.parent,
            env=clean_environment(),
        )
        self.lines = queue.Queue()
        self.reader = threading.Thread(target=lambda: [self.lines.put(line) for line in self.process.stdout], daemon=True)
        self.reader.start()
        self.run(PRELUDE.format(program=PROGRAM, **server.ports))

    def run(self, command):
        """What the command prints, with the page's ports."""
        self.process.stdin.write(f"{command}\nprintf '\\nend of output %s\\n' $?\n")
        self.process.stdin.flush()
        said = ""
        while not (end := re.search(r"\n?\nend of output \d+\n$", said)):
            try:
                said += self.lines.get(timeout=PATIENCE_S)
            except queue.Empty:
                raise AssertionError(f"$ {command}\nsaid only:\n{said}") from None
        said = said[: end.start()]
        # Job control tells of jobs that began and ended; the page does not.
        said = re.sub(r"^\[\d+\].*\n?", "", said + "\n", flags=re.MULTILINE)
        return "" if said == "\n" else said

    def close(self):
        # Each job is a process group of its own; the reader ends when the last of them is gone.
        self.process.stdin.write("for job in $(jobs -p); do kill -- -$job; done\n")
        self.process.stdin.close()
        self.process.wait(PATIENCE_S)
        self.reader.join(PATIENCE_S)
        assert not self.reader.is_alive(), "a program of the page did not end"
        self.process.stdout.close()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_is_true(fresh, tmp_path, language):
    server = fresh(data=tmp_path / "espush-data", demo=True)
    page = steps((ROOT / "docs" / language / "first-minute.md").read_text())
    assert page[0][0] == "./run"
    to_page = {str(server.ports["http"]): "8080", str(server.ports["mqtt"]): "1883", str(server.ports["espush"]): "10081"}

    def as_in_the_page(text):
        return re.sub("|".join(to_page), lambda port: to_page[port.group()], text)

    started = as_in_the_page("\n".join(server.stdout)) + "\n"
    assert pattern(page[0][1]).fullmatch(started), started
    server.until_online("lamp")
    shell = Shell(server)
    try:
        for command, wanted in page[1:]:
            said = as_in_the_page(shell.run(command.replace("localhost:8080", f"localhost:{server.ports['http']}")))
            assert pattern(wanted).fullmatch(said), f"$ {command}\nprinted\n{said}\nand the page says\n" + "\n".join(wanted)
            # A reader is slower than a board that comes in; this test would not be.
            if board := re.match(r"espush sim .*--app (\d+) .*--chip (\d+)", command):
                server.until_online("-".join(board.groups()))
    finally:
        shell.close()


def test_both_pages_have_the_same_commands():
    pages = [(ROOT / "docs" / language / "first-minute.md").read_text() for language in ("en", "zh")]
    english, chinese = ([command for command, _ in steps(page)] for page in pages)
    assert english == chinese


def test_every_command_that_the_documents_name_exists():
    pages = [ROOT / "README.md", ROOT / "README.zh-CN.md", *ROOT.glob("docs/*/*.md"), ROOT / "SECURITY.md", ROOT / "CHANGELOG.md"]
    named = {(command, page.name) for page in pages for command in re.findall(r"(?:^|[`$(] ?)espush ([a-z]+)", page.read_text(), re.M)}
    assert named
    for command, page in sorted(named):
        help_text = subprocess.run([PROGRAM, command, "--help"], capture_output=True, env=clean_environment(), timeout=PATIENCE_S)
        assert help_text.returncode == 0, f"{page} names `espush {command}`, which does not exist"
