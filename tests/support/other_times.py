"""Programs that believe it is another time (packages faketime and libfaketime)."""

import shutil

import pytest

needs_faketime = pytest.mark.skipif(not shutil.which("faketime"), reason="needs faketime (apt-get install faketime)")


def at(offset):
    """The environment of a program that takes the time to be `offset` from now, such as "+10m".

    As the command faketime does it, which would be one more process.
    """
    library = "/usr/$LIB/faketime/libfaketime.so.1"  # the loader knows what $LIB is
    return {"LD_PRELOAD": library, "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
