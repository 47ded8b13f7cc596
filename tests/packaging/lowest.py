"""Print constraints with which pip installs the lowest versions that setup.cfg allows.

Nothing is left to pip but what packages need in turn: of that it takes the newest that fits.
"""

import re
from collections.abc import Iterable, Iterator
from configparser import ConfigParser
from pathlib import Path

SETUP = Path(__file__).parents[2] / "setup.cfg"

_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?(>=|==)([0-9.!]+?)(?:\.\*)?")


def requirements(*extras: str) -> Iterator[str]:
    """What setup.cfg asks for: always, and for these extras."""
    setup = ConfigParser()
    setup.read_string(SETUP.read_text())
    listed = [setup["options"]["install_requires"], *(setup["options.extras_require"][extra] for extra in extras)]
    lines = (line.strip() for text in listed for line in text.splitlines())
    yield from (line for line in lines if line and not line.startswith(("#", "dask-gateway-trio[")))


def lowest(requirements: Iterable[str]) -> Iterator[str]:
    """The constraint for the lowest version of each. Raises ValueError when a requirement has none."""
    for requirement in requirements:
        match = _REQUIREMENT.fullmatch(requirement)
        if match is None:
            raise ValueError(f"no lowest version: {requirement}")
        name, _, version = match.groups()
        yield f"{name}=={version}"


if __name__ == "__main__":
    print("\n".join(lowest(requirements("dask", "kerberos", "oidc", "pam", "postgresql", "test"))))
