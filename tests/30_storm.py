"""All devices lose their lines in one moment and come back in the next: everybody gets in, the owner's API answers all
the while, and what was acknowledged for those who are away is there for them. How fast is measured by the same script
at full size.
"""

import pathlib
import subprocess
import sys

from harness import PATIENCE_S, PROGRAM, clean_environment

SCRIPT = pathlib.Path(__file__).parent.parent / "bench/compare/storm.py"


def test_a_reconnect_storm_loses_nothing():
    arguments = ["--espush", str(PROGRAM), "--devices", "800", "--rounds", "1"]
    command, environment = [sys.executable, str(SCRIPT), *arguments], clean_environment()
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE_S, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    devices, _, _, answers, _, _, acknowledged, missing = done.stdout.splitlines()[-1].strip("| ").split(" | ")
    assert (devices, acknowledged, missing) == ("800", "750", "0")
    assert int(answers.replace(",", "")) > 0
