"""What has to be in a wheel: each file of the packages, whatever kind it is. Standard library only."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("gateway", "dask_gateway_login")


def package_files() -> set[str]:
    """Their paths in the checkout, without what Python leaves behind."""
    files = (path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts}
