"""What a check raises unless all is well."""


class Finding(Exception):
    """A check found something that is wrong."""


class DoesNotApply(Exception):
    """There is nothing to check; the message says why."""
