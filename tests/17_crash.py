"""What the server acknowledged is there after kill -9 and after a power cut at any moment, and what a device acknowledged
is not sent again as new. A company of clients works through a dozen deaths; a checker that knows only what they saw
decides. The long run: python tests/chaos/run.py --rounds 300 [--power]."""

import random

import pytest

from chaos import powercut
from chaos.scenario import Scenario


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return powercut.build(tmp_path_factory.mktemp("library"))


@pytest.mark.parametrize("power, kills", [(False, 6), (False, 6), (True, 6)], ids=["kill", "kill again", "power cut"])
def test_acknowledged_is_kept(power, kills, library, tmp_path):
    seed = random.SystemRandom().randrange(1_000_000_000)
    again = f"python tests/chaos/run.py --scenario {seed} --rounds {kills}{' --power' if power else ''}"
    print(again)
    scenario = Scenario(tmp_path, seed, kills, library if power else None)
    wrong = scenario.run()
    assert not wrong, "\n".join([f"{len(wrong)} violations; {again}", *wrong[:30]])
    if power:
        assert any(lost.syncs for lost in scenario.lost), "the library has seen the program's writes"
