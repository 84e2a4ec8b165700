"""The methods that the suites compare, from embeddings to an adapter, as the product's server and nodes run them."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from vegas_fl.algorithm.adapter import Adapter, AdapterShape, Conditioning
from vegas_fl.algorithm.analytic import clip_sums, solve
from vegas_fl.algorithm.distillation import distil, distillation_targets, text_replay
from vegas_fl.algorithm.generators import Sampler, train_generator
from vegas_fl.algorithm.training import adapt, train_adapter
from vegas_fl.config import Config, GeneratorConfig, StudentConfig, compose
from vegas_fl.core import seeds

Predict = Callable[[Tensor], Conditioning]
"""Embeddings ``[N, S, D]`` to an adapter's outputs."""

SAMPLERS: dict[tuple[str, int, str, int], Sampler] = {}
"""Generators that this process has trained, by the clips, the seed and the settings; 1.2 MB each with YAMNet."""


@dataclass
class Trial:
    """One training by every method: nodes with the clips ``x`` [N, S, D] of one class each, and a seed.

    Attributes
    ----------
    config : Config
        Generator, adapter and student.
    targets : Conditioning
        Text targets of all classes.
    nodes : list of (class, Tensor [N, S, D])
    seed : int
    """

    config: Config
    targets: Conditioning
    nodes: list[tuple[int, Tensor]]
    seed: int

    @cached_property
    def clips(self) -> tuple[Tensor, Tensor]:
        """All clips ``[N, S, D]`` and their classes ``[N]``."""
        labels = [torch.full((len(x),), label) for label, x in self.nodes]
        return torch.cat([x for _, x in self.nodes]), torch.cat(labels)

    def adapter(self) -> Adapter:
        """The first adapter, the same for all methods."""
        (_, x), (clip, t5) = self.nodes[0], self.targets
        shape = AdapterShape(x.shape[1], x.shape[2], clip.shape[1], t5.shape[1], t5.shape[2])
        with seeds.reproducible(self.seed, "adapter", threads=self.config.threads):
            return Adapter(shape, self.config.adapter, self.targets)

    @property
    def student(self) -> StudentConfig:
        """How the server trains."""
        assert isinstance(self.config.aggregation, StudentConfig)
        return self.config.aggregation

    def samples(self, generator: str) -> dict[str, Tensor]:
        """Samples ``[M, S, D]`` of each class, from generators that the nodes trained, an equal part from each."""
        own = self.config.generator
        config = own if generator == own.name else compose([f"generator={generator}"]).generator
        drawn: dict[str, list[Tensor]] = {}
        owners = [label for label, _ in self.nodes]
        for node, (label, x) in enumerate(self.nodes):
            name = self.config.classes[label]
            rng = seeds.generator(self.seed, "samples", node, name)
            count = self.student.samples_per_class // owners.count(label)
            drawn.setdefault(name, []).append(self._sampler(x, config).sample(count, generator=rng))
        return {name: torch.cat(parts) for name, parts in drawn.items()}

    def _sampler(self, x: Tensor, config: GeneratorConfig) -> Sampler:
        """A node's generator, which depends on its clips and the seed only: tasks with the same nodes share it."""
        clips = hashlib.sha256(x.numpy().tobytes()).hexdigest()
        key = (clips, self.seed, config.model_dump_json(), self.config.threads)
        if key not in SAMPLERS:
            with seeds.reproducible(self.seed, "generator", clips, threads=self.config.threads):
                model, _ = train_generator(x, config)
            SAMPLERS[key] = model.sampler
        return SAMPLERS[key]

    @cached_property
    def teachers(self) -> list[tuple[Callable[[], Adapter], dict[str, float]]]:
        """The nodes' own adapters, each with what it teaches."""
        return [
            (partial(_same, self._local(node)), {self.config.classes[label]: len(x)})
            for node, (label, x) in enumerate(self.nodes)
        ]

    def _local(self, node: int) -> Adapter:
        label, x = self.nodes[node]
        adapter, config = self.adapter(), self.config.adapter
        labels = torch.full((len(x),), label)
        with seeds.reproducible(self.seed, "local", node, threads=self.config.threads):
            train_adapter(adapter, x, labels, self.targets, config, config.local_epochs)
        return adapter

    def distilled(self, x: Tensor, targets: Conditioning, epochs: int | None = None) -> Predict:
        """The student trained on ``x`` and ``targets``."""
        config = self.student.model_copy(update={"epochs": epochs or self.student.epochs})
        student = self.adapter()
        with seeds.reproducible(self.seed, "student", threads=self.config.threads):
            distil(student, x, targets, config, self.targets)
        return partial(adapt, student)

    def centralised(self) -> Predict:
        """All recordings in one place, trained as the student is: with mixup, a falling learning rate, and as many
        steps."""
        x, labels = self.clips
        steps = self.student.epochs * len(self.config.classes) * self.student.samples_per_class
        return self.distilled(x, Conditioning(*(branch[labels] for branch in self.targets)), -(-steps // len(x)))

    def analytic(self) -> Predict:
        """The closed-form adapter on the sums of all nodes."""
        sums = [clip_sums(x, torch.full((len(x),), label), len(self.config.classes)) for label, x in self.nodes]
        total = sums[0]
        for one in sums[1:]:
            total += one
        config = self.config.adapter.model_copy(update={"architecture": "linear", "hidden": len(self.config.classes)})
        adapter = Adapter(self.adapter().shape, config, self.targets)
        adapter.set_readout(solve(total), self.targets)
        return partial(adapt, adapter)

    def methods(self) -> Iterator[tuple[str, Predict]]:
        """Each method and its adapter."""
        yield "centralised", self.centralised()
        yield "analytic", self.analytic()
        for generator in ("vae", "gmm"):
            samples = self.samples(generator)
            yield f"kd, {generator}", self.distilled(*distillation_targets(samples, self.teachers))
            yield f"replay, {generator}", self.distilled(*text_replay(samples, self.config.classes, self.targets))


def _same(adapter: Adapter) -> Adapter:
    return adapter
