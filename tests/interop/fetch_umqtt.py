"""Fetches micropython-umqtt.simple from the package index, unpacked and unchanged, into the directory given.

Its archives hold one module and no setup.py (MicroPython's own installer copied files), so pip refuses
them. setuptools' index client downloads without building, which is all that is needed.
"""

import hashlib
import pathlib
import sys
import tarfile
import tempfile
import warnings

warnings.simplefilter("ignore")  # this client is old, and says so at length

from pkg_resources import Requirement  # noqa: E402
from setuptools.package_index import PackageIndex  # noqa: E402

VERSION = "1.3.4"
SHA256 = "b6a2520239e3992c63a7de9370ee9b3d9d27819a90359c521f1c0f7ccab8d12f"
MODULE = f"micropython-umqtt.simple-{VERSION}/umqtt/simple.py"


def main(target):
    module = pathlib.Path(target) / "umqtt" / "simple.py"
    if module.exists():
        return
    with tempfile.TemporaryDirectory() as scratch:
        wanted = Requirement.parse(f"micropython-umqtt.simple=={VERSION}")
        found = PackageIndex().fetch_distribution(wanted, scratch, source=True)
        if found is None:
            sys.exit(f"the package index does not have {wanted}")
        archive = pathlib.Path(found.location)
        if hashlib.sha256(archive.read_bytes()).hexdigest() != SHA256:
            sys.exit(f"{archive.name} is not the archive that is expected here")
        text = tarfile.open(archive).extractfile(MODULE).read()
    module.parent.mkdir(parents=True, exist_ok=True)
    module.write_bytes(text)


main(sys.argv[1])
