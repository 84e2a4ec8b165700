"""The one exception a user is meant to read."""


class VegasError(Exception):
    """A mistake in the input, told in sentences: what was seen, what is needed, what to do.

    The command line prints its text without a traceback and exits with 1; a node that raises it
    answers the server with the text instead of dying.
    """
