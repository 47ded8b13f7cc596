"""What is looked at."""

from attrs import frozen

from gateway.config.load import Config


@frozen
class Sample:
    """A user of the gateway's; without a name nobody in particular. With `submits` a job is submitted as them.

    It may take `patience` seconds.
    """

    user: str = ""
    submits: bool = False
    patience: float = 180.0


@frozen
class Patient:
    """A configuration, and a user whom it is for."""

    config: Config
    sample: Sample = Sample()
