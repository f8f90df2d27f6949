"""What a power cut leaves: builds powercut.c, gives a program the environment in which its writes are watched, and
after the program was killed takes back what it had not synced. Without a seed everything that was not durable is
lost; with one, each 512-byte sector and each file's length keep a version that the disk may have had, as if writes
had gone out in any order and torn. Names are journaled by file systems, so they are lost from the newest backwards.
"""

import collections
import os
import pathlib
import random
import struct
import subprocess

SECTOR_BYTES = 512
HERE = pathlib.Path(__file__).resolve().parent
HEAD = struct.Struct("=7Q")
Entry = collections.namedtuple("Entry", "place kind file offset length size name kept")


def build(directory):
    """The compiled library."""
    library = pathlib.Path(directory) / "powercut.so"
    subprocess.run(
        ["cc", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", library, HERE / "powercut.c", "-lpthread"], check=True
    )
    return library


def environment(library, directory, log, **faults):
    """What a program must be started with; `faults` such as `fsync_fails_after=3`."""
    more = {f"POWERCUT_{name.upper()}": str(value) for name, value in faults.items()}
    return {"LD_PRELOAD": str(library), "POWERCUT_DIR": os.path.realpath(directory), "POWERCUT_LOG": os.path.abspath(log), **more}


class Lost:
    """What a cut found and took: how often files were synced, whether the program saw a fault, entries that were not
    durable, sectors and names put back."""

    def __init__(self):
        self.syncs = self.exposed = self.sectors = self.names = 0
        self.fault = False

    def __repr__(self):
        return f"{self.syncs} syncs{', then faults' if self.fault else ''}; {self.exposed} writes not durable; {self.sectors} sectors and {self.names} names put back"


def cut(directory, log, seed=None):
    """Makes the directory what a disk would have after the power went. The program must be dead. Uses up the log."""
    chance = random.Random(seed) if seed is not None else None
    entries, lost = list(read(log)), Lost()
    lost.syncs = sum(entry.kind in "SD" for entry in entries)
    lost.fault = any(entry.kind == "F" for entry in entries)
    synced = {}
    for entry in entries:
        if entry.kind in "SD":
            synced[entry.file] = max(synced.get(entry.file, 0), entry.offset)

    def durable(entry):
        if entry.place < synced.get(entry.file, 0) and entry.kind in "NWT":
            return True
        return entry.kind in "NRU" and entry.place < synced.get(inode(os.path.dirname(entry.name.split("\0")[0])), 0)

    places, exposed, names = {}, collections.defaultdict(list), []
    for entry in entries:
        if entry.kind in "NRU":
            follow(places, entry, log)
            if not durable(entry) and (entry.kind != "N" or entry.offset):
                names.append(entry)
        elif entry.kind in "WT" and not durable(entry):
            exposed[entry.file].append(entry)
            lost.exposed += 1
    for file, touched in exposed.items():
        if places.get(file) and os.path.exists(places[file]):
            lost.sectors += put_back(places[file], touched, chance)
    stays = chance.randint(0, len(names)) if chance else 0
    for entry in reversed(names[stays:]):
        lost.names += unname(entry, log)
    for shared in pathlib.Path(directory).rglob("*-shm"):
        shared.unlink()
    for kept in pathlib.Path(log).parent.glob(pathlib.Path(log).name + ".*"):
        kept.unlink()
    os.unlink(log)
    return lost


def read(log):
    """The log's entries. The last may be cut short by the kill: then its write had not begun."""
    raw = pathlib.Path(log).read_bytes()
    place = 0
    while place + HEAD.size <= len(raw):
        kind, file, offset, length, size, name_bytes, kept_bytes = HEAD.unpack_from(raw, place)
        start = place + HEAD.size
        end = start + name_bytes + kept_bytes
        if end > len(raw):
            return
        yield Entry(place, chr(kind), file, offset, length, size, os.fsdecode(raw[start : start + name_bytes]), raw[start + name_bytes : end])
        place = end


def inode(path):
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return None


def kept_link(log, number):
    return f"{log}.{number}" if number else None


def follow(places, entry, log):
    """Keeps `places` true: where each file is now, by inode. What lost its name is at its kept link."""
    if entry.kind == "N":
        places[entry.file] = entry.name
    elif entry.kind == "U":
        places[entry.file] = kept_link(log, entry.offset)
    else:
        _, new = entry.name.split("\0")
        for file, path in places.items():
            if path == new:
                places[file] = kept_link(log, entry.offset)
        places[entry.file] = new


def unname(entry, log):
    """Takes back one change of a name, if it had happened at all. Whether it had."""
    kept = kept_link(log, entry.offset) if entry.kind in "RU" else None
    if entry.kind == "N":
        if inode(entry.name) != entry.file:
            return False
        os.unlink(entry.name)
    elif entry.kind == "R":
        old, new = entry.name.split("\0")
        if inode(new) != entry.file:
            return False
        os.rename(new, old)
        if kept:
            os.link(kept, new)
    else:
        if os.path.exists(entry.name) or not kept:
            return False
        os.link(kept, entry.name)
    return True


def put_back(path, touched, chance):
    """Gives one file's sectors and length back what they had before some of their last writes. How many sectors."""
    changes = [at for at, entry in enumerate(touched) if entry.kind == "T" or entry.offset + entry.length > entry.size]
    stays = chance.randint(0, len(changes)) if chance else 0
    undone_lengths = set(changes[stays:])
    sectors = collections.defaultdict(list)
    for at, entry in enumerate(touched):
        begin, end = (entry.offset, entry.offset + entry.length) if entry.kind == "W" else (entry.offset, max(entry.offset, entry.size))
        for sector in range(begin // SECTOR_BYTES, -(-end // SECTOR_BYTES)):
            sectors[sector].append(at)
    put = 0
    with open(path, "r+b") as file:
        for sector, versions in sorted(sectors.items()):
            # A cut-off end is given back with the length that it had, or not at all.
            least = max((n + 1 for n, at in enumerate(versions) if touched[at].kind == "T" and at not in undone_lengths), default=0)
            most = min((n for n, at in enumerate(versions) if touched[at].kind == "T" and at in undone_lengths), default=len(versions))
            keep = chance.randint(least, max(least, most)) if chance else 0
            for at in reversed(versions[keep:]):
                give_back(file, sector * SECTOR_BYTES, touched[at])
            put += keep < len(versions)
        if undone_lengths:
            file.truncate(touched[min(undone_lengths)].size)
    return put


def give_back(file, sector, entry):
    """One sector's part of what stood there before; where the file had ended there stood nothing, which reads as zeros."""
    begin = max(sector, entry.offset)
    length = entry.length if entry.kind == "W" else len(entry.kept)
    end = min(sector + SECTOR_BYTES, entry.offset + length)
    if begin < end:
        file.seek(begin)
        file.write(entry.kept[begin - entry.offset : end - entry.offset].ljust(end - begin, b"\0"))
