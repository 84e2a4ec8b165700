"""The program's log, where nobody else has configured logging."""

from __future__ import annotations

import logging
from typing import TextIO


def show(stream: TextIO) -> None:
    """Write messages and warnings of this program to ``stream``, unless logging is configured already."""
    logger = logging.getLogger("vegas_fl")
    if not logging.getLogger().handlers and not logger.handlers:
        logger.addHandler(logging.StreamHandler(stream))
        logger.setLevel(logging.INFO)
