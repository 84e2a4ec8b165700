"""Models on the Hugging Face Hub: whether it answers, and a model's folder on this machine."""

import contextlib
import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from vegas_fl.core.errors import VegasError

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


def snapshot(
    key: str, model: str, revision: str | None, files: Sequence[str], whole: Callable[[Path], object], remedy: str
) -> Path:
    """The folder of a hub's model on this machine, downloaded at first use.

    The hub is not contacted for a commit that is already here, nor if it does not answer.

    Parameters
    ----------
    key : str
        The configuration key that names the model.
    model, revision : str
        Its id, and a branch, tag or commit; None: the newest.
    files : sequence of str
        Patterns of the files that are needed.
    whole : callable
        Raises :class:`VegasError` if a folder lacks files.
    remedy : str
        What else to do, in messages.

    Raises
    ------
    VegasError
        The model is not here, and cannot be downloaded: the text says why.
    """
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return _snapshot(model, revision, tuple(files), whole)
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        raise VegasError(f"{key}={model} is not a folder and {reason(error, model, revision)}; {remedy}") from error


@functools.lru_cache
def _snapshot(model: str, revision: str | None, files: tuple[str, ...], whole: Callable[[Path], object]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    get = functools.partial(snapshot_download, model, revision=revision, allow_patterns=list(files))
    with contextlib.suppress(LocalEntryNotFoundError, VegasError):
        here = Path(get(local_files_only=True))
        whole(here)
        if re.fullmatch("[0-9a-f]{40}", revision or "") or problem():
            return here
    if refused := problem():
        raise OSError(refused)
    return Path(get())


def reason(error: Exception, model: str, revision: str | None) -> str:
    """Why a model cannot be downloaded, and what its user can do about it."""
    from huggingface_hub import constants, errors

    page = f"{constants.ENDPOINT}/{model}"
    login = "log in (hf auth login, or set HF_TOKEN to a token with access)"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError) or status == 403:
        return f"is gated on the hub: accept its licence on {page}, then {login}"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"has no revision {revision} on the hub: choose one of {page}/tree/main, or null for the newest"
    if isinstance(error, errors.RepositoryNotFoundError) or status in (401, 404):
        return f"does not exist on the hub, or is private or gated: check the name at {page}, and {login}"
    lines = str(error).strip().splitlines()
    return f"cannot be downloaded from the hub ({lines[0] if lines else type(error).__name__})"
