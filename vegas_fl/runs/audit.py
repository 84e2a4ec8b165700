"""The attacks of :mod:`vegas_fl.algorithm.membership` on a finished run, by the owner of the recordings.

Members are a node's training clips, the others its validation and test clips of the same classes. Nothing is sent.
"""

import copy
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vegas_fl.algorithm import leakage, membership
from vegas_fl.algorithm.adapter import Adapter, Conditioning
from vegas_fl.algorithm.generators import Sampler, train_generator
from vegas_fl.algorithm.training import train_adapter
from vegas_fl.audio import encoders
from vegas_fl.audio.clips import Clip
from vegas_fl.audio.embeddings import embed
from vegas_fl.config import MLPConfig, restored
from vegas_fl.core import seeds
from vegas_fl.core.devices import resolve_device
from vegas_fl.core.errors import VegasError
from vegas_fl.core.files import own_secret, parse_yaml, read_text, write_atomically
from vegas_fl.core.progress import Progress
from vegas_fl.data.datasets import open_dataset
from vegas_fl.data.splits import Split, node_clips
from vegas_fl.rendering.text_targets import text_targets
from vegas_fl.storage.adapters import load_adapter
from vegas_fl.storage.generators import load_class_generator, sampler_from
from vegas_fl.storage.names import find_adapters, find_generators, generator_path, source_run
from vegas_fl.storage.tensorfiles import load

NAME = "audit.json"
"""The file of results in a run's folder. It names recordings: it is for their owner alone."""


@dataclass
class Group:
    """A node's clips that are attacked together: members first."""

    node: str
    clips: list[Clip]
    labels: Tensor  # [N], index of the class
    member: Tensor  # [N]
    x: Tensor  # [N, S, D]

    def of(self, label: int) -> Tensor:
        """Where the clips of a class are."""
        return (self.labels == label).nonzero()[:, 0]

    def shadows(self, count: int, seed: int) -> Tensor:
        """Which clips each shadow model is trained on, ``[K, N]``: of each class as many as the node's own, all but
        others each time."""
        inside = torch.ones(count, len(self.clips), dtype=torch.bool)
        for label in self.labels.unique().tolist():
            rows = self.of(label)
            order = rows[torch.randperm(len(rows), generator=seeds.generator(seed, "shadows", self.node, label))]
            left_out = int((~self.member[rows]).sum())
            for k in range(count):
                inside[k, order.roll(-k * left_out)[:left_out]] = False
        return inside


@dataclass
class Attacked:
    """The scores of an attack, node by node and class by class."""

    scores: list[Tensor] = field(default_factory=list)
    rows: list[tuple[Group, Tensor]] = field(default_factory=list)

    def add(self, group: Group, rows: Tensor, scores: Tensor) -> None:
        """Scores of some clips of a group."""
        self.scores.append(scores)
        self.rows.append((group, rows))

    def figures(self, generator: torch.Generator) -> dict[str, Any]:
        """The attack's line of the results."""
        scores = torch.cat([leakage.standardised(part) for part in self.scores])
        member = torch.cat([group.member[rows] for group, rows in self.rows])
        labels = torch.cat([group.labels[rows] for group, rows in self.rows])
        clips = [group.clips[row] for group, rows in self.rows for row in rows.tolist()]
        recordings = [clip.source or clip.name for clip in clips]
        found = leakage.leak(scores, member, labels, recordings, generator=generator)
        worst = clips[int(scores.where(member, -torch.inf).argmax())].name
        members = int(member.sum())
        return {**found._asdict(), "members": members, "others": len(member) - members, "worst": worst}


class Audit:
    """The audit of a run.

    Parameters
    ----------
    folder : Path
        The run's folder, with its config.yaml.
    overrides : sequence of str
        KEY=VALUE over the stored settings: places of recordings and checkpoints on this machine.
    nodes : sequence of str
        The nodes whose recordings are here; empty: all.
    """

    def __init__(self, folder: Path, overrides: Sequence[str] = (), nodes: Sequence[str] = ()) -> None:
        try:
            stored = parse_yaml(read_text(folder / "config.yaml"))
        except (OSError, ValueError) as error:
            raise VegasError(f"{folder / 'config.yaml'} cannot be read ({error}); copy it from the server") from error
        self.folder, self.config = folder, restored(stored, overrides)
        if unknown := [node for node in nodes if node not in self.config.nodes]:
            raise VegasError(f"run {folder.name} has no node {unknown[0]}; it has {', '.join(self.config.nodes)}")
        self.nodes = list(nodes or self.config.nodes)
        self.cache = Path(self.config.paths.cache).expanduser()
        self.samplers = dict(self._samplers())
        self.adapters = dict(self._adapters())
        if not self.samplers and not self.adapters:
            raise VegasError(
                f"run {folder.name} left nothing to attack: neither generators of its nodes in "
                f"{self.config.generator.checkpoint_dir} nor adapters in {self.config.adapter.checkpoint_dir}; run it "
                "first, or set generator.checkpoint_dir and adapter.checkpoint_dir"
            )
        self.groups = {node: group for node in self.nodes if (group := self._group(node))}
        if not self.groups:
            raise VegasError(
                "no class has both training clips and validation or test clips, which the attacks are tried on; set "
                "data.test_ratio, or test folds, and run again"
            )

    def _samplers(self) -> Iterator[tuple[tuple[str, str], Sampler]]:
        """By node and class, what the node sent: from the shared file, or on the node from its own."""
        folder, audio = Path(self.config.generator.checkpoint_dir), encoders.fingerprint(self.config.encoder)
        shared = {label: load_class_generator(path, audio, label) for label, path in find_generators(folder).items()}
        for node in self.nodes:
            for label in self.config.nodes[node].selected_classes:
                own = generator_path(folder, self.config.generator.name, 1, label, node)
                if label in shared and node in shared[label].samplers:
                    yield (node, label), shared[label].samplers[node]
                elif label not in shared and own.is_file():
                    tensors, header = load(own, kind="whole generator", audio=audio, **{"class": label})
                    state = {k.removeprefix("sampler."): v for k, v in tensors.items() if k.startswith("sampler.")}
                    yield (node, label), sampler_from(header, state, str(own))

    def _adapters(self) -> Iterator[tuple[str, dict[int, Adapter]]]:
        """By node ("": the global one), the adapter of its last round, by round."""
        config = self.config
        for node in ("", *self.nodes):
            folder = Path((node and config.adapter.local_checkpoint_dir) or config.adapter.checkpoint_dir)
            if rounds := find_adapters(folder, node or None, source_run(config, folder)):
                yield node, {max(rounds): load_adapter(rounds[max(rounds)]).build()}

    def _group(self, node: str) -> Group | None:
        """A node's clips of the classes that have members and others; None if none has both."""
        data = self.config.data_of(node)
        split = node_clips(data, self.config.peers(node), node, open_dataset(data))
        self._check(node, split)
        both = {label: [*split.val[label], *split.test[label]] for label in split.train}
        both = {label: others for label, others in both.items() if others and split.train[label]}
        members = [clip for label in both for clip in split.train[label]]
        clips = [*members, *(clip for others in both.values() for clip in others)]
        if not clips:
            return None
        cache, seconds, device = self.cache / "embeddings", data.max_seconds, resolve_device(self.config.device)
        x = embed(
            clips, self.config.encoder, cache_dir=cache, max_seconds=seconds, device=device, progress=f"node {node}"
        )
        labels = torch.tensor([self.config.classes.index(clip.label) for clip in clips])
        return Group(node, clips, labels, torch.arange(len(clips)) < len(members), x)

    def _check(self, node: str, split: Split) -> None:
        """Raise :class:`VegasError` if these are not the clips the run used."""
        path, secret = self.folder / "clips" / f"node_{node}.json", Path(self.config.paths.runs) / "clips.secret"
        if not path.is_file():  # on a node of a deployment
            return
        ours = split.manifest(own_secret(secret) if secret.is_file() else b"")
        theirs: dict[str, dict[str, list[str]]] = json.loads(read_text(path))
        if not secret.is_file():  # the ids are keyed with another machine's: only the numbers can be compared
            ours, theirs = (
                {part: {label: [str(len(ids))] for label, ids in of.items()} for part, of in manifest.items()}
                for manifest in (ours, theirs)
            )
        if ours != theirs:
            raise VegasError(
                f"the recordings of node {node} are others than those that run {self.folder.name} used ({path}); set "
                "data.root to the folder it read, or name a node whose recordings are here (--node)"
            )

    @cached_property
    def targets(self) -> Conditioning:
        """Text targets of all classes."""
        return text_targets(self.config.classes, self.config.renderer, self.cache, resolve_device(self.config.device))

    def run(self, shadows: int, canaries: int) -> dict[str, Any]:
        """Attack everything, write the results and return them."""
        attacks: dict[str, Attacked] = {}
        config, precision = self.config, None
        if self.samplers:
            groups = self.groups.values()
            precision = membership.precision_of([g.x[g.of(k)] for g in groups for k in g.labels.unique().tolist()])
        with Progress("audit", "attacks", len(self.groups), "node") as progress:
            for group in self.groups.values():
                inside = group.shadows(shadows, config.seed)
                if precision is not None:
                    self._generators(group, precision, inside, attacks)
                for whose in ("", group.node):
                    if whose in self.adapters:
                        self._adapter(group, whose, inside, attacks)
                progress.add(1)
        lines = [
            {"attack": name, **found.figures(seeds.generator(config.seed, "audit", name))}
            for name, found in attacks.items()
        ]
        results: dict[str, Any] = {"nodes": list(self.groups), "shadows": shadows, "attacks": lines}
        if canaries and self.samplers and not isinstance(config.generator, MLPConfig):
            results["canaries"] = self._canaries(canaries)
        write_atomically(self.folder / NAME, json.dumps(results, indent=1).encode())
        return results

    def _generators(self, group: Group, precision: Tensor, inside: Tensor, attacks: dict[str, Attacked]) -> None:
        config = self.config
        for index in group.labels.unique().tolist():
            label, rows = config.classes[index], group.of(index)
            if (group.node, label) not in self.samplers:
                continue
            x = group.x[rows]

            def attack(sampler: Sampler, *names: object, x: Tensor = x) -> membership.Scores:
                rng = seeds.generator(config.seed, "audit", *names)
                return membership.attack_generator(sampler, x, precision, generator=rng)

            scores = attack(self.samplers[group.node, label], group.node, label)
            trained = [
                attack(self._trained(x[used], group.node, label, k), group.node, label, k)
                for k, used in enumerate(inside[:, rows])
            ]
            for name, plain in scores.items():
                add(
                    attacks, f"{name} ({config.generator.name})", group, rows, plain, [t[name] for t in trained], inside
                )

    def _trained(self, x: Tensor, *names: object) -> Sampler:
        """A generator trained on ``x`` as the run's nodes train theirs."""
        config = self.config
        with seeds.reproducible(config.seed, "audit", *names, threads=config.threads):
            return train_generator(x, config.generator, resolve_device(config.device))[0].sampler

    def _adapter(self, group: Group, whose: str, inside: Tensor, attacks: dict[str, Attacked]) -> None:
        """The loss of the node's own adapter, or of the global one (``whose`` is empty)."""
        (adapter,) = self.adapters[whose].values()
        rows = torch.arange(len(group.clips))
        scores = membership.attack_adapter(adapter, group.x, group.labels, self.targets)
        trained = []
        for k, used in enumerate(inside if whose and self.config.adapter.local_epochs else ()):
            shadow = copy.deepcopy(self._start(adapter))
            with seeds.reproducible(self.config.seed, "audit", "adapter", whose, k, threads=self.config.threads):
                x, labels, settings = group.x[used], group.labels[used], self.config.adapter
                train_adapter(shadow, x, labels, self.targets, settings, settings.local_epochs)
            trained.append(membership.attack_adapter(shadow, group.x, group.labels, self.targets))
        name = "loss of the node's adapter" if whose else "loss of the global adapter"
        for index in group.labels.unique().tolist():
            own = rows[group.of(index)]
            add(attacks, name, group, own, scores[own], [t[own] for t in trained], inside)

    def _start(self, adapter: Adapter) -> Adapter:
        """What the nodes of the last round started from: the global adapter before it, or the run's first."""
        config, folder = self.config, Path(self.config.adapter.checkpoint_dir)
        rounds = find_adapters(folder, None, source_run(config, folder))
        last = max(rounds, default=1)
        if last - 1 in rounds:
            return load_adapter(rounds[last - 1]).build()
        with seeds.reproducible(config.seed, "adapter", threads=config.threads):
            return Adapter(adapter.shape, config.adapter, self.targets)

    def _canaries(self, count: int) -> dict[str, Any]:
        """The canary test on a generator trained as the run's, on the clips of a class and canaries: the class's mean
        embedding, in which features of their own are as large as the largest seen."""
        (node, label), _ = next(item for item in self.samplers.items() if item[0][0] in self.groups)
        group = self.groups[node]
        x = group.x[group.member & (group.labels == self.config.classes.index(label))]
        blocks = torch.randperm(x.shape[2], generator=seeds.generator(self.config.seed, "canaries")).chunk(count)
        canaries = x.mean(0).repeat(len(blocks), 1, 1)
        for canary, block in zip(canaries, blocks, strict=True):
            canary[:, block] = x.amax((0, 1))[block].clamp_min(x.amax() / 4)

        def release(included: Tensor) -> Tensor:
            sampler = self._trained(torch.cat([x, included]), node, label, "canaries")
            rng = seeds.generator(self.config.seed, "canaries", node, label)
            sent = torch.stack([sampler.mean, sampler.sample(200, generator=rng).mean((0, 1))]).mean(0)
            raised = (sent - x.mean((0, 1))) / (canaries.amax((0, 1)) - x.mean((0, 1))).clamp_min(1e-6)
            return torch.stack([raised[block].mean() for block in blocks])

        coins = seeds.generator(self.config.seed, "coins")
        found = leakage.canary_bound(release, canaries, generator=coins)
        return {**found._asdict(), "canaries": len(canaries), "node": node, "class": label}


def add(
    attacks: dict[str, Attacked],
    name: str,
    group: Group,
    rows: Tensor,
    plain: Tensor,
    trained: Sequence[Tensor],
    inside: Tensor,
) -> None:
    """Add an attack's scores of a class, plain and, with shadow models, calibrated."""
    attacks.setdefault(name, Attacked()).add(group, rows, plain)
    if trained:
        ratios = leakage.calibrated(plain, torch.stack(list(trained)), inside[:, rows])
        attacks.setdefault(f"{name}, calibrated", Attacked()).add(group, rows, ratios)


def lines(results: dict[str, Any]) -> Iterator[str]:
    """The results as a table of text."""
    yield f"{'attack':50} {'AUC (95 % interval)':24} {'found at 1 %':13} worst clip"
    for line in results["attacks"]:
        low, high = line["interval"]
        auc = f"{line['auc']:.3f} ({low:.3f} to {high:.3f})"
        yield f"{line['attack']:50} {auc:24} {line['found']:<13.3f} {line['worst']}"
    if found := results.get("canaries"):
        yield bound_sentence(found)


def bound_sentence(found: dict[str, Any]) -> str:
    """What the canary test says."""
    return (
        f"Canary test: {found['right']} of {found['guesses']} guesses right, so a generator is not differentially "
        f"private with an ε below {found['epsilon']:.2f} (95 % confidence)."
    )
