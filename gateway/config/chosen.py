"""What the command line says of the configuration: a file, and options in place of those in it."""

from pathlib import Path

from attrs import field, frozen

from gateway.config.load import Config, load

DEFAULT_FILE = Path("dask_gateway_config.py")


@frozen
class Chosen:
    """The file that was named, and `--Class.option=value`."""

    file: Path | None = None
    overrides: tuple[str, ...] = field(default=(), repr=False)

    def and_then(self, file: Path | None, log_level: str | None) -> "Chosen":
        """With the options of a subcommand added; they win."""
        level = () if log_level is None else (f"--DaskGateway.log_level={log_level.upper()}",)
        return Chosen(file or self.file, (*self.overrides, *level))

    @property
    def path(self) -> Path | None:
        """The file to read: the one named, or the default one if it is there."""
        return self.file or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)

    def load(self) -> Config:
        """The configuration. Raises ConfigError."""
        return load(self.path, self.overrides)
