"""What every suite gets: a server of its own for the module, started once, stopped and looked over at the end."""

import concurrent.futures

import pytest

from harness import PROGRAM, Server


def pytest_sessionstart(session):
    if not PROGRAM.exists():
        pytest.exit(f"{PROGRAM} is not built; run ./test blackbox, or cargo build -p espush", returncode=2)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("server") / "data") as running:
        yield running


@pytest.fixture
def fresh(tmp_path):
    """Makes servers with settings of their own; what still runs at the end must stop as it should."""
    made = []

    def make(**options):
        made.append(Server(options.pop("data", tmp_path / f"data-{len(made)}"), **options))
        return made[-1].start()

    yield make
    for one in made:
        if one.running():
            one.stop()
        elif one.process is not None:
            one.kill()


@pytest.fixture
def background():
    """Runs calls beside the test; each must have come back when the test ends."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        yield lambda call, *arguments, **options: pool.submit(call, *arguments, **options)
