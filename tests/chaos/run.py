"""The long run: python tests/chaos/run.py --rounds 300 --seed 7 [--power]. Scenarios of ten rounds each, every one with a
seed of its own that is printed; one that failed is run again with --scenario SEED, and its directory stays.
"""

import argparse
import pathlib
import random
import shutil
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from chaos import powercut  # noqa: E402
from chaos.scenario import Scenario  # noqa: E402

ROUNDS_EACH = 10


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=ROUNDS_EACH, help="kills in all, or in the one scenario")
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    options.add_argument("--scenario", type=int, help="only the scenario of this seed")
    options.add_argument("--power", action="store_true", help="each kill is a power cut")
    options.add_argument("--verbose", action="store_true", help="a line a kill")
    options = options.parse_args()
    chance = random.Random(options.seed)
    scenarios = -(-options.rounds // ROUNDS_EACH)
    seeds = [chance.randrange(1_000_000_000) for _ in range(scenarios)] if options.scenario is None else [options.scenario]
    begun, bad = time.monotonic(), 0
    place = pathlib.Path(tempfile.mkdtemp(prefix="chaos-"))
    library = powercut.build(place) if options.power else None
    print(f"seed {options.seed}, {'power cuts' if options.power else 'kills'}, in {place}", flush=True)
    for number, seed in enumerate(seeds, start=1):
        directory = place / str(seed)
        directory.mkdir()
        rounds = options.rounds if options.scenario is not None else min(ROUNDS_EACH, options.rounds - ROUNDS_EACH * (number - 1))
        scenario = Scenario(directory, seed, rounds, library, (lambda text: print(f"  {text}", flush=True)) if options.verbose else lambda text: None)
        wrong = scenario.run()
        took = time.monotonic() - begun
        print(f"{number}/{len(seeds)} seed {seed}: {rounds} rounds, {len(scenario.journal.events)} events, {len(wrong)} violations, {took:.0f} s", flush=True)
        for sentence in wrong[:20]:
            print(f"    {sentence}", flush=True)
        if wrong:
            bad += 1
            print(f"    again: --scenario {seed} --rounds {rounds}{' --power' if options.power else ''}; what happened: {directory}", flush=True)
        else:
            shutil.rmtree(directory)
    print(f"{len(seeds)} scenarios, {bad} with violations")
    if not bad:
        shutil.rmtree(place)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
