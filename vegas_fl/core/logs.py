"""The program's log, unless logging is already configured."""

from __future__ import annotations

import logging
from typing import TextIO


def show(stream: TextIO) -> None:
    """Log messages and warnings of this program to ``stream``, unless logging is already configured."""
    logger = logging.getLogger("vegas_fl")
    if not logging.getLogger().handlers and not logger.handlers:
        logger.addHandler(logging.StreamHandler(stream))
        logger.setLevel(logging.INFO)
