"""The program's log, unless logging is already configured."""

import logging
import sys
from typing import TextIO

from vegas_fl.core.names import shown


class Handler(logging.StreamHandler):
    """Writes to a stream; ends the program when nobody reads it any more (``vegas-fl | head``). A message is one
    paragraph: further lines are indented, so that no text from elsewhere looks like a message of its own."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n  ".join(map(shown, super().format(record).split("\n")))

    def handleError(self, record: logging.LogRecord) -> None:
        if isinstance(sys.exc_info()[1], BrokenPipeError):
            raise
        super().handleError(record)


def show(stream: TextIO) -> None:
    """Log messages and warnings of this program to ``stream``, unless logging is already configured."""
    logger = logging.getLogger("vegas_fl")
    if not logging.getLogger().handlers and not logger.handlers:
        logger.addHandler(Handler(stream))
        logger.setLevel(logging.INFO)
