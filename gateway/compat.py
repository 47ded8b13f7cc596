"""Names of `dask_gateway_server` in configuration files: what they mean here.

Sites come with configuration files written for the original server, which
quote its classes ("dask_gateway_server.backends.local.UnsafeLocalBackend") and
import from it (`from dask_gateway_server.options import Options`). Both work
without that package: one table says which name of ours stands for which of
theirs, and `install` puts a finder in front of Python's own that builds the
package's modules from the table. Names are looked up when they are used, so
that a configuration for Slurm never imports what is for PBS.
"""

import importlib


def find_class(name: str) -> object:
    """The object with this dotted name; names of the original mean ours. Raises ValueError with the reason."""
    module, _, attribute = name.rpartition(".")
    if not module:
        raise ValueError(f'must be a dotted name such as "package.module.Class", got {name!r}')
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"cannot import {name!r}: {error}") from error
