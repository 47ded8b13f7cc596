"""docs/install-hpc.md in blocks; test_install_guide.py says what the words in their first lines mean."""

import re
from pathlib import Path

from attrs import frozen

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "install-hpc.md"
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@frozen
class Block:
    """One block of the page."""

    language: str
    words: tuple[str, ...]
    text: str

    def get(self, name):
        """The value of `name=value` in its first line."""
        return dict(word.split("=", 1) for word in self.words if "=" in word).get(name)


def blocks():
    return [Block(match[1], tuple(match[2].split()), match[3]) for match in BLOCK.finditer(PAGE.read_text())]
