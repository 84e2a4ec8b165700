"""The judge's figures of what a node, or the server, has drawn."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vegas_fl.config import Config
from vegas_fl.errors import VegasError
from vegas_fl.judge import judge
from vegas_fl.rendering.jobs import Job


def judge_job(job: Job, config: Config, device: str) -> tuple[dict[str, Any] | None, Tensor | None, list[str]]:
    """Judge all pictures of a job.

    Returns
    -------
    judged : dict or None
        ``confusion`` [K, K] and the sum of the ``clip_score``; None without a judge.
    features : Tensor [N, F] or None
        Image features, if they are to be compared with real pictures.
    notes : list of str
        Why the pictures were not judged. They are there all the same: only their figure is missing.
    """
    if not config.renderer.judge:
        return None, None, []
    made = [(job.path / picture.name, picture.label) for picture in job.pictures]
    try:
        found = judge(made, config.judge_classes, config.renderer.judge, device, config.renderer.judge_revision)
    except VegasError as error:
        return None, None, [f"{job.name}: its pictures were not judged: {error}"]
    judged = {"confusion": found.confusion.tolist(), "clip_score": found.clip_scores.double().sum().item()}
    return judged, found.features if config.evaluation.reference else None, []
