"""Whether the Hugging Face Hub answers."""

import functools

PATIENCE = 5.0
"""Seconds to wait for its answer."""


@functools.lru_cache
def problem() -> str | None:
    """Why the hub cannot be reached; None if it answers. Asked once a process: the hub's own functions repeat a failed
    request for half a minute."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        get_session().head(constants.ENDPOINT, timeout=PATIENCE)
    except Exception as error:  # which ones depends on the version of its client
        return f"{constants.ENDPOINT} does not answer: {error}"
    return None
