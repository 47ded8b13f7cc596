"""What a user may set on a cluster: the site's choice of fields, and what they mean."""

from typing import Any


class Options:
    """The fields that users may set; see the fuller module to come."""

    def __init__(self, *fields: Any, handler: Any = None) -> None:
        self.fields = fields
        self.handler = handler
