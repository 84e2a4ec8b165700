"""Which adapter drew a picture: its run, round and aggregation. Needs no PyTorch."""

from collections.abc import Mapping
from typing import Any

MadeBy = dict[str, Any]
"""``run``, ``round``, ``aggregation`` and ``node`` of an adapter; the node is None for a global one."""


def made_by(header: Mapping[str, Any]) -> MadeBy:
    """Which adapter a header is of: its run, round and aggregation, or the node that trained it.

    Files of earlier versions do not say the aggregation: it is None.
    """
    return {key: header.get(key) for key in ("run", "round", "aggregation", "node")}


def in_words(adapter: MadeBy) -> str:
    """Which adapter it is, as "the kd adapter of run demo, round 1"."""
    whose = "the global" if adapter.get("aggregation") is None else f"the {adapter['aggregation']}"
    if (node := adapter.get("node")) is not None:
        whose = f"node {node}'s own"
    return f"{whose} adapter of run {adapter.get('run')}, round {adapter.get('round')}"
