"""The disk that loses its power, itself under test: after a kill and a cut there is what was synced, and of the rest
what a disk may have. A tool that lost nothing would let every server pass."""

import os
import subprocess
import sys

import pytest

from chaos import powercut

PATIENCE_S = 40
SYNCED, LATER = b"s" * 2000, b"l" * 2000


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return powercut.build(tmp_path_factory.mktemp("library"))


class Disk:
    """A directory, and programs that are killed while they have it."""

    def __init__(self, library, path):
        self.library, self.path, self.log = library, path / "disk", path / "log"
        self.path.mkdir()

    def run(self, program, **faults):
        """Runs a program to where it says that it is done, and kills it. What it said."""
        child = subprocess.Popen(
            [sys.executable, "-c", f"import os\n{program}\nprint('done', flush=True)\nimport signal; signal.pause()"],
            env={**os.environ, **powercut.environment(self.library, self.path, self.log, **faults)},
            cwd=self.path,
            stdout=subprocess.PIPE,
            text=True,
        )
        said = []
        while (line := child.stdout.readline().strip()) not in ("done", ""):
            said.append(line)
        child.kill()
        child.wait(PATIENCE_S)
        child.stdout.close()
        assert line == "done"
        return said

    def cut(self, seed=None):
        return powercut.cut(self.path, self.log, seed)

    def __getitem__(self, name):
        return (self.path / name).read_bytes()

    def names(self):
        return sorted(path.name for path in self.path.iterdir())


@pytest.fixture
def disk(library, tmp_path):
    return Disk(library, tmp_path)


def test_what_was_synced_stays_and_the_rest_goes(disk):
    disk.run("f = os.open('a', os.O_CREAT | os.O_RDWR); os.write(f, b's' * 2000); os.fsync(f); os.write(f, b'l' * 2000); os.pwrite(f, b'l' * 9, 5)")
    lost = disk.cut()
    assert disk["a"] == SYNCED
    assert (lost.syncs, lost.exposed, lost.fault) == (1, 2, False)


def test_a_sync_covers_what_came_before_it_and_its_own_file_only(disk):
    disk.run(
        "a, b = (os.open(n, os.O_CREAT | os.O_WRONLY) for n in 'ab'); d = os.open('.', os.O_RDONLY); os.fsync(d);"
        "os.write(a, b'1'); os.write(b, b'1'); os.fdatasync(a); os.write(a, b'2')"
    )
    disk.cut()
    assert (disk["a"], disk["b"]) == (b"1", b"")


def test_every_way_of_writing_is_seen(disk):
    (disk.path / "a").write_bytes(SYNCED)
    disk.run(
        "f = os.open('a', os.O_RDWR); os.write(os.dup(f), b'1'); os.pwritev(f, [b'2', b'3'], 100); os.writev(f, [b'4']);"
        "os.dup2(f, 99); os.write(99, b'5'); os.ftruncate(f, 700); os.ftruncate(f, 5000);"
        "g = os.open('a', os.O_WRONLY | os.O_APPEND); os.write(g, b'6'); open('a', 'w').write('7')"
    )
    assert disk["a"] == b"7"
    assert disk.cut().exposed == 9
    assert disk["a"] == SYNCED


def test_names_need_their_directory(disk):
    for name in "abc":
        (disk.path / name).write_bytes(name.encode())
    disk.run("open('new', 'w').write('x'); os.rename('a', 'moved'); os.rename('b', 'c'); os.unlink('moved')")
    assert disk.names() == ["c", "new"]
    assert disk.cut().names == 4
    assert disk.names() == ["a", "b", "c"] and [disk[name] for name in "abc"] == [b"a", b"b", b"c"]
    disk.run("os.rename('a', 'moved'); os.unlink('b'); d = os.open('.', os.O_RDONLY); os.fsync(d)")
    assert disk.cut().names == 0
    assert disk.names() == ["c", "moved"]


def test_shared_memory_is_gone(disk):
    disk.run("open('db-shm', 'w').write('x'); f = open('db', 'w'); os.fsync(f.fileno())")
    disk.cut()
    assert disk.names() == ["db"]


def test_sectors_are_lost_one_by_one_and_by_the_seed(library, tmp_path):
    """Of 40 sectors that were written over twice, each has one of its three versions whole."""
    seen, outcomes = set(), set()
    for seed in [1, 1, 2, 3, 4, 5]:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        path.mkdir()
        disk = Disk(library, path)
        (disk.path / "a").write_bytes(b"0" * 40 * 512)
        disk.run("f = os.open('a', os.O_RDWR); [os.pwrite(f, v * 40 * 512, 0) for v in (b'1', b'2')]; os.pwrite(f, b'+' * 1000, 40 * 512)")
        disk.cut(seed)
        now = disk["a"]
        assert len(now) in (40 * 512, 40 * 512 + 1000)
        for at in range(40):
            sector = now[at * 512 : at * 512 + 512]
            assert len(set(sector)) == 1, "a sector is written whole or not"
            seen.add(sector[:1])
        outcomes.add((seed, now))
    assert seen == {b"0", b"1", b"2"}
    assert len(outcomes) == 5, "the same seed loses the same"


def test_syncs_fail_as_told_and_then_cover_nothing(disk):
    said = disk.run(
        "f = os.open('a', os.O_CREAT | os.O_RDWR)\n"
        "for n in range(3):\n os.write(f, b'x')\n try: os.fsync(f)\n except OSError as error: print(error.errno, flush=True)",
        fsync_fails_after=1,
    )
    assert said == ["5", "5"]
    assert disk.cut().fault
    assert disk["a"] == b"x"


def test_a_disk_that_is_full_still_takes_what_needs_no_room(disk):
    (disk.path / "a").write_bytes(b"0" * 100)
    said = disk.run(
        "f = os.open('a', os.O_RDWR); os.pwrite(f, b'1' * 50, 100)\n"
        "try: os.pwrite(f, b'1' * 51, 150)\nexcept OSError as error: print(error.errno, flush=True)\n"
        "os.pwrite(f, b'2' * 150, 0); os.fsync(f)",
        space_bytes=100 - 1,
    )
    assert said == ["28"]
    assert disk.cut().fault
    assert disk["a"] == b"2" * 150
