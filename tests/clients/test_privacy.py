"""What leaves a node: every message of a whole run is looked through."""

from __future__ import annotations

import hashlib
import hmac
import json
import platform
import socket
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from flwr.app import Message
from safetensors.torch import load_file

from clients.client_app import app as client_app
from strategies import server_app
from tests.support.sounds import sound
from tests.support.uploads import listed, unlisted
from vegas_fl.algorithm.metrics import RESAMPLES
from vegas_fl.audio.embeddings import embed
from vegas_fl.audio.encoders import yamnet
from vegas_fl.config import Config, compose
from vegas_fl.data.datasets.folder import ClassFolders
from vegas_fl.engines.inprocess import InProcessGrid
from vegas_fl.federation.messages import DESCRIBE, EVALUATE, unpack
from vegas_fl.storage.tensorfiles import State

UPLOADS = {
    "query.describe": (),
    "train.generator": ("generator.",),
    "train.adapter": ("adapter",),
    "evaluate.adapter": (),
    "evaluate.generator": (),
    "query.generate": (),
}
"""What each answer may hold of tensors, by the beginnings of their names."""
FIGURES = 64
"""Numbers in a list of an answer's values: a confusion matrix's row, not an embedding."""

HOST = "ward-3.hospital"


class Listener(InProcessGrid):
    """Keeps every answer."""

    def __init__(self, count: int) -> None:
        super().__init__(client_app, count)
        self.answers: list[tuple[str, dict[str, Any], dict[str, State]]] = []

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        replies = list(super().pull_messages(message_ids))
        self.answers += [(reply.metadata.message_type, *unpack(reply.content)) for reply in replies]
        return replies


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Listener, Config, Path]:
    """All stages on confined nodes, with recordings whose files have telling names."""
    folder = tmp_path_factory.mktemp("privacy").resolve()
    for seed, label in enumerate(("dog", "bell")):
        (folder / "sounds" / label).mkdir(parents=True)
        for index in range(8):
            soundfile.write(folder / f"sounds/{label}/patient-{index}.wav", sound(1.0, 10 * seed + index), 16_000)
    config = compose(
        [
            *(f"paths.{key}={folder / 'server' / key}" for key in ("checkpoints", "runs", "cache")),
            *("data=folder", "data.root=sounds", f"images_output_dir={folder / 'server' / 'pictures'}", "run=r"),
            *(f"nodes.{i}={{selected_classes: [{c}], samples_per_node: 6}}" for i, c in enumerate(("dog", "bell"))),
            *("generator.epochs=3", "adapter.local_epochs=1", "aggregation.epochs=1", "transport.dtype=float32"),
        ]
    )
    listener = Listener(2)
    allow = json.dumps({"clips_per_class": 1, "clips_per_evaluation": 1})
    for context in listener._contexts.values():
        place = str(folder / f"node_{context.node_config['partition-id']}")
        own = {"data-root": str(folder / "sounds"), "output-dir": place, "cache-dir": str(folder / "cache")}
        context.node_config = dict(context.node_config) | own | {"allow": allow}
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((socket, "gethostname"), (platform, "node")):
            patch.setattr(module, name, lambda: HOST)
        server_app.run(listener, config)
    return listener, config, folder


def tensors(listener: Listener) -> Iterator[tuple[str, torch.Tensor]]:
    for kind, _, states in listener.answers:
        for name, state in states.items():
            for key, tensor in state.items():
                yield f"{kind} {name} {key}", tensor


def test_all_kinds_of_messages_were_sent_and_hold_what_they_may(ran: tuple[Listener, Config, Path]) -> None:
    listener, *_ = ran
    assert {kind for kind, *_ in listener.answers} == set(UPLOADS)
    for kind, _, states in listener.answers:
        assert all(name.startswith(UPLOADS[kind]) for name in states) if UPLOADS[kind] else not states, kind


def test_no_waveform_and_no_embedding_of_a_clip_is_sent(ran: tuple[Listener, Config, Path]) -> None:
    listener, config, folder = ran
    dataset = ClassFolders(folder / "sounds")
    clips = [clip for label in dataset.classes for clip in dataset.clips(label)]
    audio = embed(clips, config.encoder, cache_dir=folder / "cache" / "embeddings", max_seconds=config.data.max_seconds)
    vectors = torch.cat([audio.flatten(0, 1), audio.mean(1)])
    width = vectors.shape[1]
    waveforms = [torch.from_numpy(soundfile.read(p, dtype="float32")[0]) for p in folder.glob("sounds/**/*.wav")]
    starts = torch.stack([wave[:width] for wave in waveforms])
    looked_at = 0
    for name, tensor in tensors(listener):
        if tensor.numel() >= width:
            rows = tensor.float().flatten()[: tensor.numel() // width * width].reshape(-1, width)
            rows = torch.cat([rows, tensor.float().T.reshape(-1, width)]) if tensor.ndim == 2 else rows
            assert torch.cdist(rows, vectors).min() > 0.01 * vectors.norm(dim=1).mean(), name
            assert torch.cdist(rows, starts).min() > 0.01 * starts.norm(dim=1).mean(), name
            looked_at += len(rows)
    assert looked_at > 100


def test_no_encoder_is_sent(ran: tuple[Listener, Config, Path]) -> None:
    """Neither the generators' nor the audio encoder's weights."""
    listener, _, folder = ran
    kept = [load_file(path) for path in folder.glob("node_*/checkpoints/generators/r/node_*/*.safetensors")]
    private = [t for state in kept for name, t in state.items() if "_encoder." in name]
    assert len(kept) == 2 and len(private) == 16
    private += list(load_file(yamnet.weights(yamnet.locate("pack"))).values())
    for name, tensor in tensors(listener):
        assert "encoder" not in name
        assert not any(
            tensor.shape == secret.shape and tensor.ndim > 1 and torch.equal(tensor, secret) for secret in private
        )


def test_values_are_figures_and_name_no_file(ran: tuple[Listener, Config, Path]) -> None:
    listener, *_ = ran
    for kind, values, _ in listener.answers:
        assert "patient" not in json.dumps(values), kind
        assert all(len(numbers) <= FIGURES for numbers in lists_of_numbers(values)), kind


def test_guessed_names_are_not_in_a_manifest(ran: tuple[Listener, Config, Path]) -> None:
    """A keyed hash can only be tried with the node's secret, which nobody else can read."""
    listener, _, folder = ran
    answers = [values for kind, values, _ in listener.answers if kind == DESCRIBE]
    secrets = [folder / f"node_{answer['node']}" / "clips.secret" for answer in answers]
    for answer, secret in zip(answers, secrets, strict=True):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
        sent = {id_ for of in answer["manifest"].values() for ids in of.values() for id_ in ids}
        names = [f"{label}/patient-{index}.wav".encode() for label in ("dog", "bell") for index in range(8)]
        keys = [b"", b"\0" * 32, *(other.read_text().encode() for other in secrets)]
        guesses = [hashlib.sha256(name).hexdigest() for name in names]
        guesses += [hmac.new(key, name, "sha256").hexdigest() for key in keys for name in names]
        assert len(sent) == 8 and not sent & {guess[:16] for guess in guesses}
        # The node itself can prove which clips they were.
        mine = bytes.fromhex(secret.read_text())
        assert sent <= {hmac.new(mine, name, "sha256").hexdigest()[:16] for name in names}


def test_no_file_of_the_server_has_a_nodes_host_or_path_or_name(ran: tuple[Listener, Config, Path]) -> None:
    *_, folder = ran
    words = [HOST, str(folder / "node_"), str(folder / "sounds"), str(folder / "cache"), "patient"]
    files = [path for path in (folder / "server").rglob("*") if path.is_file()]
    kinds = {"config.yaml", "metrics.jsonl", "report.html", "state.json", "node_0.json"}
    assert kinds <= {path.name for path in files} and any("tfevents" in path.name for path in files)
    for path in files:
        data = path.name.encode() + path.read_bytes()
        assert not [word for word in words if word.encode() in data], path


def test_every_figure_and_tensor_that_is_sent_is_listed(ran: tuple[Listener, Config, Path]) -> None:
    rows = listed()
    for kind, values, states in ran[0].answers:
        metrics = values.get("metrics", {})
        for figures in metrics.values() if kind == "train.generator" else [metrics]:
            assert not figures or not unlisted(set(figures), rows[kind, "metrics"])
        for name, state in states.items():
            if name.startswith("generator."):
                keys = {key.partition(".")[0] for key in state}
                assert not unlisted(keys, rows[kind, "generator.<class>"])
            else:
                assert (kind, name) in rows


def test_resamples_are_sums_over_many_clips(ran: tuple[Listener, Config, Path]) -> None:
    """Every resample is a count of right clips, or a sum of margins, of all clips of the node; none is a clip's."""
    listener, *_ = ran
    evaluated = [values for kind, values, _ in listener.answers if kind == EVALUATE]
    assert evaluated
    for values in evaluated:
        assert len(values["resampled"]) == RESAMPLES
        for branch in (branch for branches in values["figures"].values() for branch in branches.values()):
            adapters = sum(map(sum, branch["confusion"])) / values["clips"]
            mean = sum(branch["resampled"]) / RESAMPLES
            assert mean == pytest.approx(sum(row[k] for k, row in enumerate(branch["confusion"])), abs=0.3 * adapters)
            assert len(branch["resampled_margin"]) == RESAMPLES


def lists_of_numbers(value: Any) -> Iterator[list[float]]:
    """All lists of numbers in nested values, but resamples."""
    if isinstance(value, list) and value and all(isinstance(x, int | float) for x in value):
        yield value
    elif isinstance(value, list | dict):
        for inner in (x for key, x in value.items() if "resampled" not in key) if isinstance(value, dict) else value:
            yield from lists_of_numbers(inner)
