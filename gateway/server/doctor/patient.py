"""What is looked at."""

from attrs import frozen

from gateway.config.load import Config


@frozen
class Patient:
    """A configuration, and a user of the gateway's (empty: nobody in particular), as whom a job may be `submitted`."""

    config: Config
    user: str = ""
    submits: bool = False
