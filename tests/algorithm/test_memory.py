"""All that computes on a GPU recovers when its memory runs out: with fewer rows at a time. That the CPU takes over is
shown on a pretended GPU, in test_devices.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from tests.support.memory import RAN_OUT, scarce
from vegas_fl.algorithm.adapter import Adapter, AdapterShape, Conditioning
from vegas_fl.algorithm.distillation import distil, distillation_targets
from vegas_fl.algorithm.generators import build_sampler, train_generator
from vegas_fl.algorithm.generators.vae import VAE, VAESampler
from vegas_fl.algorithm.training import adapt, train_adapter
from vegas_fl.config import StudentConfig, VAEConfig, compose
from vegas_fl.core import seeds
from vegas_fl.core.errors import VegasError
from vegas_fl.rendering.folder import Picture
from vegas_fl.rendering.jobs import AdapterFeed

CONFIG = compose(["adapter.batch_size=8", "generator.batch_size=8", "generator.epochs=2"])
SHAPE = AdapterShape(audio_tokens=2, audio_width=4, clip_width=4, t5_tokens=2, t5_width=4)

Work = Callable[[str], torch.Tensor]
"""Compute something on a device; some of the result's values."""


def rows(count: int, *shape: int) -> torch.Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(count))


def targets(count: int) -> Conditioning:
    return Conditioning(rows(count, 4), rows(count, 2, 4))


def adapter(device: str) -> Adapter:
    with seeds.reproducible("adapter", threads=1):
        return Adapter(SHAPE, CONFIG.adapter).to(device)


def local_training(device: str) -> torch.Tensor:
    trained, labels = adapter(device), torch.arange(20) % 3
    train_adapter(trained, rows(20, 2, 4), labels, targets(3), CONFIG.adapter, 2)
    return _weights(trained)


def _weights(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value.detach().cpu().flatten() for value in network.parameters()])


def distillation(device: str) -> torch.Tensor:
    settings = CONFIG.aggregation
    assert isinstance(settings, StudentConfig)
    student = adapter(device)
    settings = settings.model_copy(update={"epochs": 2, "batch_size": 8})
    distil(student, rows(20, 2, 4), targets(20), settings, targets(3))
    return _weights(student)


def teaching(device: str) -> torch.Tensor:
    return distillation_targets({"dog": rows(20, 2, 4)}, [(lambda: adapter(device), {"dog": 1.0})])[1].t5


def evaluation(device: str) -> torch.Tensor:
    return adapt(adapter(device), rows(20, 2, 4)).clip


def generator_training(device: str) -> torch.Tensor:
    assert isinstance(CONFIG.generator, VAEConfig)
    _, figures = train_generator(rows(20, 2, 4), CONFIG.generator, device)
    return torch.tensor([figures["nll"]])


def sampling(device: str) -> torch.Tensor:
    with seeds.reproducible("sampler", threads=1):
        sampler = build_sampler(2, 4, CONFIG.generator).to(device)
    return sampler.sample(20, generator=seeds.generator("samples"))


def feeding(device: str) -> torch.Tensor:
    feed = AdapterFeed(lambda picture: rows(1, 2, 4), adapter(device), {}, CONFIG.conditioning, "auto")
    return feed([Picture("dog", index, index) for index in range(20)]).t5


EVERYTHING: dict[Work, tuple[type, str]] = {
    local_training: (Adapter, "forward"),
    distillation: (Adapter, "forward"),
    teaching: (Adapter, "forward"),
    evaluation: (Adapter, "forward"),
    feeding: (Adapter, "forward"),
    generator_training: (VAE, "forward"),
    sampling: (VAESampler, "decode"),
}
BATCHED = [work for work in EVERYTHING if work is not sampling]


def done(work: Work, device: str = "cpu") -> torch.Tensor:
    with seeds.reproducible("work", threads=1):
        return work(device)


def each_kind() -> Iterator[object]:
    """Every work with every error; each error once, and each work, in a fast test."""
    for number, error in enumerate(RAN_OUT):
        for place, work in enumerate(BATCHED):
            marks = () if number % len(BATCHED) == place else (pytest.mark.slow,)
            yield pytest.param(work, error, marks=marks, id=f"{work.__name__}-{str(error)[:30]}")


@pytest.mark.parametrize(("work", "error"), list(each_kind()))
def test_with_fewer_rows_at_a_time_the_result_is_the_same(
    work: Work, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = done(work)
    seen: list[int] = []
    scarce(monkeypatch, *EVERYTHING[work], error, lambda x: seen.append(len(x)) or len(x) > 3)
    fewer = done(work)
    # A generator's training draws its noise in parts, so its result is only similar.
    torch.testing.assert_close(fewer, whole, rtol=0.3 if work is generator_training else 1e-3, atol=1e-4)
    assert max(seen) > 3 and 0 < min(seen) <= 3


@pytest.mark.parametrize(
    "work", [local_training, generator_training, sampling, feeding], ids=lambda work: work.__name__
)
def test_without_any_memory_it_is_a_sentence(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    scarce(monkeypatch, *EVERYTHING[work], MemoryError(), lambda x: True)
    with pytest.raises(VegasError, match="Out of memory by .* on the CPU; free memory"):
        done(work)
