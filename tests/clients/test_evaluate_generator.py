"""A node's answer on its generators holds figures alone, and gives away a generator that learnt clips by heart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clients.evaluate_generator import evaluate_generator
from clients.node import Node
from vegas_fl.algorithm.generators import train_generator
from vegas_fl.config import compose
from vegas_fl.core.seeds import reproducible
from vegas_fl.federation.messages import EvaluateGenerators

TINY = [
    *["data.clips_per_class=30", "data.train_ratio=0.6", "data.val_ratio=0", "data.test_ratio=0.4", "threads=1"],
    *["nodes.0={selected_classes: [chainsaw, dog], samples_per_node: 60}"],
    *["nodes.1={selected_classes: [dog], samples_per_node: 60}"],
    *["generator.hidden=64", "generator.residual_noise=0", "generator.epochs=150"],
]


def only_figures(values: Mapping[str, Any]) -> bool:
    return all(
        only_figures(value) if isinstance(value, dict) else isinstance(value, int | float | None)
        for value in values.values()
    )


def test_only_figures_leave_a_node(embedding_cache: Path) -> None:
    """And a generator that learnt one clip by heart is given away by them."""
    config = compose([*TINY, f"paths.cache={embedding_cache}"])
    node = Node("0", config, {})
    audio, _ = node.embeddings({"dog": node.clips.train["dog"][:1]})
    with reproducible("test", threads=1):
        generator, _ = train_generator(audio, config.generator)
    sampler = generator.sampler
    header = {"audio_tokens": 8, "audio_width": 1024, "config": config.generator.model_dump(mode="json")}
    states = {"generator.dog": sampler.state_dict(), "class means": {"dog": sampler.mean, "other": -sampler.mean}}
    reply, tensors = evaluate_generator(Node("0", config, states), EvaluateGenerators(generators={"dog": header}))
    values = reply.model_dump()
    assert tensors == {} and only_figures(values)
    assert list(values["figures"]) == ["dog"]  # it has no generator of chainsaw
    figures = values["figures"]["dog"]
    assert figures["diversity"] < 0.2 * figures["diversity_ceiling"]
    assert figures["nearest"] < 0.5 * figures["nearest_ceiling"]
    assert figures["purity"] == 1
