"""A curious server that only chooses settings: what a node with folders of its own refuses, and what leaves it."""

from __future__ import annotations

import functools
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch.nn import functional as F

from clients.client_app import app
from tests.support.sounds import write
from vegas_fl.algorithm.adapter import Adapter
from vegas_fl.audio import encoders
from vegas_fl.audio.embeddings import embed
from vegas_fl.config import Config, compose
from vegas_fl.data.datasets.folder import ClassFolders
from vegas_fl.engines.inprocess import InProcessGrid
from vegas_fl.federation import secure_sum
from vegas_fl.federation.messages import (
    DESCRIBE,
    EVALUATE,
    EVALUATE_GENERATOR,
    SUM_CLIPS,
    SUM_KEYS,
    TRAIN_ADAPTER,
    TRAIN_GENERATOR,
    pack,
    unpack,
)
from vegas_fl.storage.headers import Spaces
from vegas_fl.storage.tensorfiles import State

OWN = {"selected_classes": ["dog", "bell"], "samples_per_node": 100}
QUICK = ["generator=gmm", "generator.components=1", "encoder.tokens=1", "adapter.width=4", "adapter.heads=1"]
ALL = ["data.train_ratio=1.0", "data.val_ratio=0.0", "data.test_ratio=0.0"]
PLAIN = [*QUICK, *ALL, "evaluation.split=none"]


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty dogs, one of which is a tone, and twenty bells."""
    folder = tmp_path_factory.mktemp("sounds")
    for seed, label in enumerate(("dog", "bell")):
        for index in range(20):
            write(folder / label / f"patient_{index}.wav", 100 * seed + index, 0.1)
    soundfile.write(folder / "dog" / "patient_0.wav", np.sin(np.arange(1600)), 16_000)
    return folder


@pytest.fixture
def own(sounds: Path, tmp_path: Path) -> dict[str, Any]:
    """The settings of a node without a policy; the embeddings are computed once."""
    cache = str(sounds.parent / "cache")
    return {"partition-id": 0, "data-root": str(sounds), "output-dir": str(tmp_path / "out"), "cache-dir": cache}


@functools.cache
def composed(*overrides: str) -> Config:
    nodes = ["nodes.0={selected_classes: [dog, bell], samples_per_node: 100}", "run=x", "data=folder", "data.root=/x"]
    return compose([*nodes, "data.partition=none", *overrides])


def ask(
    own: dict[str, Any],
    kind: str,
    *overrides: str,
    states: dict[str, State] | None = None,
    more: dict[str, Any] | None = None,
    **changes: Any,
) -> tuple[dict[str, Any], dict[str, State]]:
    """A node's answer; ``changes`` are sections that the server alters behind the back of its own checks."""
    config = composed(*overrides)
    values = config.model_dump(mode="json")
    for section, change in changes.items():
        values[section] = values[section] | change if isinstance(change, dict) else change
    tokens, width = encoders.shape(config.encoder)
    space = asdict(Spaces(tokens, width, 1, 1, 1, audio=encoders.fingerprint(config.encoder), text="x"))
    extra = {
        TRAIN_GENERATOR: {"spaces": space, "training": "x"},
        TRAIN_ADAPTER: {"spaces": space, "round": 1},
        EVALUATE: {"spaces": space},
        SUM_CLIPS: {"spaces": space},
    }
    grid = InProcessGrid(app, 1)
    (node,) = grid.get_node_ids()
    grid._contexts[node].node_config = own
    content = pack({"config": values, **extra.get(kind, {}), **(more or {})}, states)
    (reply,) = grid.send_and_receive([grid.create_message(content, kind, node, "")])
    return unpack(reply.content)


def refusal(*arguments: Any, **options: Any) -> str:
    values, states = ask(*arguments, **options)
    assert not states and set(values) == {"problem"}, values
    return str(values["problem"])


def allowing(own: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return own | {"allow": json.dumps(keys)}


def test_a_mixture_with_a_component_a_clip_is_refused(own: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    told = refusal(own, TRAIN_GENERATOR, *PLAIN, "generator.components=24")
    assert told == (
        "node 0 refuses a mixture of 20 components for 20 clips of dog; its owner allows no fewer than 8 a "
        "component: allow.clips_per_component in its node.yaml changes it"
    )
    assert told in caplog.text
    assert told == refusal(own, DESCRIBE, *PLAIN, "generator.components=24")  # before anything is trained
    _, states = ask(allowing(own, clips_per_component=1), TRAIN_GENERATOR, *PLAIN, "generator.components=24")
    assert set(states) == {"generator.dog", "generator.bell"}


def test_sums_over_clips_need_an_explicit_allowance(own: dict[str, Any]) -> None:
    """Whatever the settings say that the run is."""
    told = refusal(own, SUM_CLIPS, *PLAIN)
    assert "refuses aggregations analytic; its owner allows kd, replay, fedavg, standalone" in told
    allowed = allowing(own, aggregations=["kd", "analytic"], clips_per_class=21, own_sums=True)
    assert "training on 20 clips of dog; its owner allows no fewer than 21" in refusal(allowed, SUM_CLIPS, *PLAIN)
    analytic = {"aggregations": ["analytic"]}
    for keys, what in (({}, "sums that are not masked"), ({"0": "02", "1": "03"}, "a secure sum over 2 nodes")):
        told = refusal(allowing(own, **analytic), SUM_CLIPS, *PLAIN, more={"keys": keys})
        assert f"refuses {what}; its owner allows secure sums over at least 3: allow.own_sums" in told
    assert ask(allowing(own, **analytic, own_sums=True), SUM_CLIPS, *PLAIN)[1].keys() == {"sums"}


def test_other_clips_are_not_summed_with_the_same_masks(own: dict[str, Any]) -> None:
    """The difference of two such sums would be free of masks."""
    allowed = allowing(own, aggregations=["analytic"], new_split=True)
    key = ask(allowed, SUM_KEYS, *PLAIN, more={"sum": "x"})[0]["key"]
    others = [secure_sum.public(secure_sum.private_key(b"x", about)) for about in "ab"]
    more = {"sum": "x", "keys": dict(zip("012", (key, *others), strict=True))}
    first, again = (ask(allowed, SUM_CLIPS, *PLAIN, more=more)[1]["sums"] for _ in range(2))
    assert torch.equal(first["gram"], again["gram"]) and first["gram"].dtype == torch.int64
    told = refusal(allowed, SUM_CLIPS, *PLAIN, more=more, nodes={"0": {**OWN, "samples_per_node": 38}})
    assert "refuses other sums with the same masks" in told
    told = refusal(allowed, SUM_CLIPS, *PLAIN, more=more | {"keys": {**more["keys"], "0": others[0]}})
    assert "the keys of the secure sum cannot be used" in told


def test_no_component_of_what_is_sent_is_a_clip(own: dict[str, Any]) -> None:
    """Expectation maximisation gives one of two components to a single tone among noises."""

    def components(own: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        state = ask(own, TRAIN_GENERATOR, *PLAIN, "generator.components=2")[1]["generator.dog"]
        return state["weights"], state["means"]

    weights, _ = components(allowing(own, clips_per_component=1))
    assert weights.min() * 20 == pytest.approx(1, abs=0.1)
    weights, means = components(own)
    assert sorted(weights.tolist()) == [0.0, 1.0] and not means[weights == 0].any()


@pytest.mark.parametrize("kind", [TRAIN_GENERATOR, TRAIN_ADAPTER, DESCRIBE])
def test_a_training_on_one_clip_is_refused(own: dict[str, Any], kind: str) -> None:
    alone = {"0": {"selected_classes": ["dog"], "samples_per_node": 1}}
    told = refusal(own, kind, *PLAIN, nodes=alone)
    assert "refuses training on 1 clips of dog; its owner allows no fewer than 8" in told


@pytest.mark.parametrize(
    "changes",
    [
        {"data": {"split_seed": 43}},
        {"data": {"train_ratio": 0.9, "test_ratio": 0.1}},
        {"data": {"max_seconds": 0.5}},
        {"encoder": {"tokens": 2}},
        {"nodes": {"0": {**OWN, "samples_per_node": 38}}},
        {"nodes": {"0": {**OWN, "selected_classes": ["dog"]}}},
        {"nodes": {"0": {**OWN, "dataset": {"split_seed": 43}}}},
    ],
)
def test_the_first_split_and_encoder_are_the_only_ones(own: dict[str, Any], changes: dict[str, Any]) -> None:
    assert "problem" not in ask(own, DESCRIBE, *PLAIN)[0]
    assert "problem" not in ask(own, DESCRIBE, *PLAIN)[0]
    told = refusal(own, DESCRIBE, *PLAIN, **changes)
    assert "refuses a new look at the same clips" in told and "allow.new_split in its node.yaml" in told
    assert "problem" not in ask(allowing(own, new_split=True), DESCRIBE, *PLAIN, **changes)[0]


COUNT = 16
"""Kinds of adapters in an answer, at most."""
HALVES = ["data.train_ratio=0.5", "data.val_ratio=0.0", "data.test_ratio=0.5"]
FEW = ["data.train_ratio=0.95", "data.val_ratio=0.0", "data.test_ratio=0.05"]


def evaluation(
    own: dict[str, Any],
    count: int,
    *overrides: str,
    off: float = -64.0,
    first: int = 0,
    **changes: Any,
) -> dict[str, Any]:
    """Adapters that each give one number of a clip's embedding; the error from a target ``off`` it has the number."""
    config = composed(*QUICK, "adapter.hidden=1", *overrides)
    tokens, width = encoders.shape(config.encoder)
    blank = Adapter(Spaces(tokens, width, 1, 1, 1, audio="", text="").shape, config.adapter).state_dict()
    candidates = {}
    for index in range(first, first + count):
        state = {key: torch.zeros_like(tensor) for key, tensor in blank.items()}
        for branch in ("clip", "t5"):
            state[f"{branch}.scale"] += 1.0
            state[f"{branch}.value"][0, index, 0] = 1.0
            state[f"{branch}.mlp.0.weight"][0, 0] = 1.0
            state[f"{branch}.mlp.0.bias"] += 32.0
            state[f"{branch}.mlp.2.weight"] += 1.0
            state[f"{branch}.mlp.2.bias"] -= 32.0
        candidates[f"candidate.c{index}"] = state
    targets = {"clip": torch.full((len(config.classes), 1), off)}
    targets["clip"][::2] += 2.0  # a variance of about 1
    targets["t5"] = targets["clip"][:, None].clone()
    return ask(
        *(own, EVALUATE, *QUICK, "adapter.hidden=1", *overrides), states={"targets": targets, **candidates}, **changes
    )[0]


def test_an_evaluation_on_few_clips_or_of_many_adapters_is_refused(own: dict[str, Any]) -> None:
    told = str(evaluation(own, 1, *FEW)["problem"])
    assert "refuses an evaluation on 1 clips of dog (evaluation.split=test)" in told and "evaluation.split=none" in told
    assert "problem" not in evaluation(allowing(own, clips_per_evaluation=1), 1, *FEW)
    assert "refuses an evaluation of 65 adapters" in str(evaluation(own, 65, *HALVES)["problem"])


def test_what_was_ever_evaluated_is_counted_over_days(own: dict[str, Any]) -> None:
    """By spreading an attack over days, requests and kinds of evaluations nothing is won; the same again is free."""
    few = allowing(own, evaluated=2, requests_per_day=10**6)
    for _ in range(2):
        assert "problem" not in evaluation(few, 2, *HALVES)
    told = "refuses 4 different adapters and generators evaluated on the same clips; its owner allows 2 in all"
    assert told in str(evaluation(few, 2, *HALVES, first=2)["problem"])
    assert told in str(evaluation(few, 2, *HALVES, off=-2.0)["problem"])  # other targets are other figures
    assert "problem" not in evaluation(few, 2, *HALVES)
    point = {"mean": torch.zeros(3)}  # the distance of the nearest clip from it would be a figure
    states = {f"generator.{label}": point for label in ("dog", "bell")} | {"class means": {"dog": torch.zeros(3)}}
    assert told in refusal(
        few, EVALUATE_GENERATOR, *QUICK, "adapter.hidden=1", *HALVES, states=states, more={"generators": {}}
    )


def test_pictures_of_recordings_are_judged_as_recordings(own: dict[str, Any]) -> None:
    drawn = [*QUICK, *HALVES, "images.source=recordings", "renderer.judge=pack", "evaluation.reference=/x"]
    told = refusal(own, DESCRIBE, *drawn)
    assert "refuses the judge's features of pictures drawn from recordings" in told
    assert "problem" not in ask(own, DESCRIBE, *drawn[:-1])[0]
    one = [*QUICK, *FEW, *drawn[-3:-1], "evaluation.split=none"]
    assert "refuses an evaluation by the judge on 1 clips of dog" in refusal(own, DESCRIBE, *one)
    allowed = allowing(own, features_of_recordings=True)
    assert "problem" not in ask(allowed, DESCRIBE, *drawn)[0]


def test_tensors_that_do_not_fit_are_refused_before_they_are_made(own: dict[str, Any]) -> None:
    huge = {"adapter": {"hidden": 8192, "width": 8192, "heads": 1, "batch_size": 10**9}}
    told = refusal(allowing(own, memory=1), TRAIN_ADAPTER, *PLAIN, **huge)
    assert "GB; its owner allows at most 1: allow.memory" in told


def test_evaluations_read_no_clip(own: dict[str, Any], sounds: Path) -> None:
    """The attack finds a clip where nodes have no folders of their own; on one that has, nothing nearer than a mean."""
    config = composed(*QUICK, *FEW)
    folder = ClassFolders(sounds)
    dogs = embed(
        folder.clips("dog"), config.encoder, cache_dir=sounds.parent / "cache" / "embeddings", max_seconds=10.0
    )
    clips = F.layer_norm(dogs[:, 0], dogs.shape[-1:])[:, : 4 * COUNT]

    def nearest(answers: list[dict[str, Any]]) -> float:
        sums = [of["clip"]["mse"] for values in answers for of in values["figures"].values()]
        return float(correlation(torch.tensor(sums).sqrt()[None], clips).max())

    entry = {"selected_classes": ["dog"], "samples_per_node": 100}
    paths = {key: str(sounds.parent / "cache") for key in ("cache", "checkpoints", "runs")}
    here = {"0": {**entry, "dataset": {"root": str(sounds)}}, "1": {**entry, "selected_classes": ["bell"]}}
    firsts = range(0, 4 * COUNT, COUNT)
    found = nearest(
        [evaluation({"partition-id": 0}, COUNT, *FEW, off=-2.0, first=i, nodes=here, paths=paths) for i in firsts]
    )
    there = {"0": entry, "1": here["1"]}
    told = nearest([evaluation(own, COUNT, *HALVES, off=-2.0, first=i, nodes=there) for i in firsts])
    mean = float(correlation(clips.mean(0)[None], clips).max())
    assert found > 0.98
    assert told < mean, (told, mean)


def correlation(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    x, y = (F.normalize(part - part.mean(1, keepdim=True), dim=1) for part in (x, y))
    return x @ y.T


def test_figures_leave_rounded_and_clipped(own: dict[str, Any]) -> None:
    values = evaluation(own, 2, *HALVES)
    assert values["clips"] == 20
    for branches in values["figures"].values():
        for sums in branches.values():
            assert all(round(sums[name]) == sums[name] for name in ("cosine", "mse", "margin"))
            assert all(round(x, 1) == x for x in (*sums["resampled"], *sums["resampled_margin"]))
            assert abs(sums["cosine"]) <= 20 and sums["mse"] == 80  # of targets so far off: 4 a clip
    metrics = ask(own, TRAIN_GENERATOR, *PLAIN)[0].get("metrics", {})
    assert all(round(float(x), 3) == x for of in metrics.values() for x in of.values())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"threads": 10_000}, "threads=10000; its owner allows at most 64"),
        ({"adapter": {"local_epochs": 10**12}}, "adapter.local_epochs=1000000000000"),
        ({"adapter": {"width": 10**6, "heads": 1}}, "adapter.width=1000000"),
        ({"adapter": {"hidden": 10**9}}, "adapter.hidden=1000000000"),
        ({"adapter": {"replay_samples": 10**9}}, "adapter.replay_samples=1000000000"),
        ({"generator": {"components": 10**9}}, "generator.components=1000000000"),
        ({"encoder": {"tokens": 10**9}}, "encoder.tokens=1000000000"),
        ({"renderer": {"height": 10**6}}, "renderer.height=1000000"),
        ({"renderer": {"steps": 10**6}}, "renderer.steps=1000000"),
        ({"nodes": {"0": {**OWN, "samples_per_node": 10**9}}}, "nodes.0.samples_per_node=1000000000"),
        ({"data": {"name": "toy", "clips_per_class": 10**9}}, "data.clips_per_class=1000000000"),
        ({"data": {"name": "toy", "max_seconds": 1e12}}, "data.max_seconds=1000000000000.0"),
    ],
)
def test_sizes_that_no_run_has_are_refused(own: dict[str, Any], changes: dict[str, Any], told: str) -> None:
    assert told in refusal(own, DESCRIBE, *PLAIN, **changes)


@pytest.mark.parametrize(
    ("allow", "told"),
    [
        ({"classes": ["dog"]}, "refuses classes bell; its owner allows dog: allow.classes"),
        ({"stages": ["images"]}, "refuses stages adapters, generators; its owner allows images: allow.stages"),
        ({"generators": ["vae"]}, "refuses generators gmm; its owner allows vae"),
        ({"aggregations": ["replay"]}, "refuses aggregations kd; its owner allows replay"),
        ({"threads": 0}, "node 0: allow in its --node-config is invalid: threads: input should be greater"),
        ({"thread": 1}, "allow in its --node-config is invalid: thread: extra inputs"),
    ],
)
def test_the_owners_own_policy_holds(own: dict[str, Any], allow: dict[str, Any], told: str) -> None:
    assert told in refusal(allowing(own, **allow), DESCRIBE, *PLAIN)


def test_a_stage_that_the_run_does_not_declare_is_still_a_stage(own: dict[str, Any]) -> None:
    told = refusal(allowing(own, stages=["images"]), TRAIN_GENERATOR, *PLAIN, stages=["images"])
    assert "refuses stages generators" in told


def test_a_network_of_a_size_that_none_has_is_not_built(own: dict[str, Any]) -> None:
    header = {"spaces": {"audio_tokens": 1, "audio_width": 10**6}, "settings": {"hidden": 10**6}}
    told = refusal(own, TRAIN_ADAPTER, *PLAIN, more={"generators": {"dog": header}})
    assert "a sent header's spaces.audio_width=1000000; its owner allows at most 8192" in told


def test_requests_of_a_day_are_counted_over_restarts(own: dict[str, Any]) -> None:
    few = allowing(own, requests_per_day=2)
    assert all("problem" not in ask(few, DESCRIBE, *PLAIN)[0] for _ in range(2))
    assert "refuses request 3 of this day" in refusal(few, DESCRIBE, *PLAIN)
    Path(own["output-dir"], "policy.json").write_text("[")
    assert "output-dir/policy.json cannot be read" in refusal(few, DESCRIBE, *PLAIN)


def test_nothing_is_refused_where_recordings_are_the_users_own(sounds: Path, tmp_path: Path) -> None:
    alone = {"0": {"selected_classes": ["dog"], "samples_per_node": 1, "dataset": {"root": str(sounds)}}}
    paths = {"cache": str(sounds.parent / "cache"), "checkpoints": str(tmp_path), "runs": str(tmp_path)}
    values, _ = ask({"partition-id": 0}, DESCRIBE, *PLAIN, nodes=alone, paths=paths)
    assert values["train"] == {"dog": 1}
    toy = {"name": "toy", "clips_per_class": 2, "train_ratio": 0.5, "test_ratio": 0.5}
    own = {"partition-id": 0, "output-dir": str(tmp_path / "out")}
    dogs = {"0": {"selected_classes": ["dog"], "samples_per_node": 1}}
    assert "problem" not in ask(own, DESCRIBE, *PLAIN, nodes=dogs, data=toy)[0]
