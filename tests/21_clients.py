"""The client libraries do what their READMEs say: every example, cut out of the page and run against a fresh server
with the demo's lamp, prints what stands behind it; and each follows the events over a line that breaks, with nothing
lost and nothing twice."""

import os
import pathlib
import re
import select
import shutil
import socket
import subprocess
import sys
import threading

import pytest

from harness import PATIENCE_S, PROGRAM, ROOT, TOKEN, clean_environment, unique

CLIENTS = ROOT / "clients"
PAGES = ["README.md", "README.zh-CN.md"]
WATCHERS = pathlib.Path(__file__).parent / "clients"


def rust(name):
    return [PROGRAM.parent / "examples" / name]


def blocks(language, mark):
    """The examples of a page: the code of each block in this language."""
    return re.findall(rf"^```{mark}\n(.*?)^```", (CLIENTS / language).read_text(), re.DOTALL | re.MULTILINE)


def wanted(code):
    """What an example prints, as a regular expression: what stands behind `#>` or `//>`."""
    lines = [re.escape(line).replace("…", ".*") for line in re.findall(r"(?:#|//)> (.*)$", code, re.MULTILINE)]
    return "".join(rf"{line}\n" for line in lines)


def environment(url, **more):
    path = str(CLIENTS / "python" / "src")
    return clean_environment(ESPUSH_URL=url, ESPUSH_TOKEN=TOKEN, PYTHONPATH=path, PYTHONWARNINGS="error", **more)


def run(server, command, **options):
    url = f"http://127.0.0.1:{server.ports['http']}"
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, env=environment(url), **options)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def javascript(tmp_path):
    """A folder in which `espush` is the built package."""
    modules = tmp_path / "node_modules"
    modules.mkdir()
    os.symlink(CLIENTS / "js", modules / "espush")
    return tmp_path


@pytest.fixture
def demo(fresh):
    server = fresh(demo=True)
    server.until_online("lamp")
    return server


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_for_python_are_true(demo, page):
    found = blocks(f"python/{page}", "python")
    assert len(found) == 8
    for code in found:
        said = run(demo, [sys.executable, "-c", code])
        assert re.fullmatch(wanted(code), said), f"{code}\nprinted\n{said}"


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_for_javascript_are_true(demo, tmp_path, page):
    found = blocks(f"js/{page}", "js")
    assert len(found) == 8
    folder = javascript(tmp_path)
    for code in found:
        (folder / "example.mjs").write_text(code)
        said = run(demo, [shutil.which("node"), "example.mjs"], cwd=folder)
        assert re.fullmatch(wanted(code), said), f"{code}\nprinted\n{said}"


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_for_rust_are_true(demo, page):
    found = blocks(f"rust/{page}", "rust")
    files = {path.read_text(): path.stem for path in (CLIENTS / "rust" / "examples").glob("*.rs") if path.stem != "follow"}
    assert len(found) == len(files) == 8
    for code in found:
        assert code in files, f"this is none of clients/rust/examples:\n{code}"
        said = run(demo, rust(files[code]))
        assert re.fullmatch(wanted(code), said), f"{code}\nprinted\n{said}"


class Tap:
    """A wire to the server that can be cut and mended."""

    def __init__(self, port):
        self.target = port
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.whole = True
        self.pairs = []
        self.lock = threading.Lock()
        self.broken = threading.Semaphore(0)
        self.stands = threading.Event()
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self):
        while True:
            try:
                near, _ = self.listening.accept()
            except OSError:
                return
            with self.lock:
                if not self.whole:
                    near.close()
                    self.broken.release()
                    continue
                far = socket.create_connection(("127.0.0.1", self.target))
                self.pairs.append((near, far))
            threading.Thread(target=self._carry, args=(near, far), daemon=True).start()

    def _carry(self, near, far):
        other = {near: far, far: near}
        try:
            while True:
                for ready in select.select([near, far], [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    other[ready].sendall(data)
                    if ready is far and b": espush events" in data:
                        self.stands.set()
        except (OSError, ValueError):
            pass
        finally:
            for end in (near, far):
                end.close()

    def cut(self):
        with self.lock:
            self.whole = False
            self.broken = threading.Semaphore(0)
            for pair in self.pairs:
                for end in pair:
                    try:
                        end.shutdown(socket.SHUT_RDWR)
                    except OSError:
                        pass
            self.pairs.clear()

    def until_tried(self):
        """Returns when somebody has called in vain."""
        assert self.broken.acquire(timeout=PATIENCE_S), "nobody called again"

    def mend(self):
        with self.lock:
            self.whole = True

    def close(self):
        self.cut()
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self.thread.join(PATIENCE_S)


def watcher(name, tmp_path):
    """A program that prints the value of each point of the device DEVICE, after a line `ready`."""
    if name == "javascript":
        folder = javascript(tmp_path)
        shutil.copy(WATCHERS / "follow.mjs", folder)
        return [shutil.which("node"), folder / "follow.mjs"]
    if name == "rust":
        return rust("follow")
    return [sys.executable, WATCHERS / "follow.py", name]


@pytest.mark.parametrize("name", ["sync", "async", "javascript", "rust"])
def test_events_go_on_after_a_line_that_broke(fresh, tmp_path, name):
    server = fresh()
    device = server.device(server.app())["id"]
    tap = Tap(server.ports["http"])
    about = environment(f"http://127.0.0.1:{tap.port}", DEVICE=device)
    process = subprocess.Popen(
        watcher(name, tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=about
    )
    overdue = threading.Timer(PATIENCE_S, process.kill)
    overdue.start()

    def upload(value):
        server.api("POST", f"/api/v1/devices/{device}/points", {"n": value})

    def said():
        return process.stdout.readline().strip()

    try:
        # The client says nothing before its first event; the wire sees the first words of the stream.
        assert tap.stands.wait(PATIENCE_S), "nobody follows the events"
        upload(1)
        assert said() == "1", process.stderr.read()
        for round_ in range(2):
            tap.cut()
            tap.until_tried()
            upload(10 + round_)
            upload(20 + round_)
            tap.mend()
            assert [said(), said()] == [str(10 + round_), str(20 + round_)]
        upload(99)
        assert said() == "99"
        assert process.wait(PATIENCE_S) == 0, process.stderr.read()
    finally:
        overdue.cancel()
        process.kill()
        process.wait(PATIENCE_S)
        process.stdout.close()
        process.stderr.close()
        tap.close()


def test_a_refusal_ends_the_events(server, tmp_path):
    for name in ["sync", "async", "javascript", "rust"]:
        folder = tmp_path / name
        folder.mkdir()
        about = environment(f"http://127.0.0.1:{server.ports['http']}", DEVICE=unique("nobody"))
        done = subprocess.run(watcher(name, folder), capture_output=True, text=True, timeout=PATIENCE_S, env=about)
        assert done.returncode != 0 and "no_such_device" in done.stderr, f"{name}: {done.stderr}"
