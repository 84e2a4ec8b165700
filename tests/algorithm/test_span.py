"""Students that learn T5's tokens in the span of the class targets."""

import copy
from dataclasses import replace
from typing import Literal

import pytest
import torch

from tests.support.adapters import SHAPE, clips, config
from vegas_fl.algorithm import span as module
from vegas_fl.algorithm.adapter import Adapter, Conditioning
from vegas_fl.algorithm.distillation import distil, distillation_targets, text_replay
from vegas_fl.algorithm.metrics import classify
from vegas_fl.algorithm.span import TokenSpan
from vegas_fl.algorithm.training import adapt, train_adapter
from vegas_fl.config import StudentConfig
from vegas_fl.core.seeds import generator, reproducible

WIDE = replace(SHAPE, t5_width=32)
NAMES = ("dog", "rain", "saw")
TOKENS = torch.tensor([0.1, 0.5, 1.0, 2.0])[:, None]
TARGETS = Conditioning(
    5 + torch.randn(3, 6, generator=generator("clip")), 5 + TOKENS * torch.randn(3, 4, 32, generator=generator("t5"))
)
STUDENT = StudentConfig(
    epochs=5, learning_rate=1e-2, weight_decay=0.01, samples_per_class=24, batch_size=8, mixup=0.3, warm_start=False
)


@pytest.fixture
def low(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readouts of any size count as large."""
    monkeypatch.setattr(module, "LARGE", 1)


def fresh(architecture: str = "attention", width: int = 24) -> Adapter:
    with reproducible("start", threads=1):
        return Adapter(replace(WIDE, audio_width=width), config(architecture=architecture), TARGETS)


def in_span(t5: torch.Tensor) -> torch.Tensor:
    """The nearest points to ``t5`` [N, 4, 32] of the mean plus all differences between tokens of class targets."""
    mean = TARGETS.t5.mean(0)
    rows = torch.linalg.svd((TARGETS.t5 - mean).flatten(0, 1).double(), full_matrices=False).Vh[:8].float()
    return mean + (t5 - mean) @ rows.T @ rows


@pytest.mark.parametrize(("architecture", "width"), [("attention", 24), ("statistics", 24), ("attributes", 120)])
@pytest.mark.usefixtures("low")
def test_a_narrow_adapter_gives_coordinates_and_widened_the_points_that_have_them(
    architecture: str, width: int
) -> None:
    span, adapter = TokenSpan(TARGETS.t5, 32), fresh(architecture, width)
    if architecture == "attributes":
        torch.nn.init.normal_(adapter.t5.attributes)
    x, state = torch.randn(9, 5, width), {key: value.shape for key, value in adapter.state_dict().items()}
    mean, scale = adapter.t5.mean, adapter.t5.scale
    full = adapt(adapter, x)
    small = adapt(span.narrow(adapter), x)
    assert small.t5.shape == (9, 4, 8)
    assert torch.equal(small.clip, full.clip)
    assert torch.allclose(small.t5, span.coordinates(full).t5, atol=1e-3)
    widened = adapt(span.widen(adapter), x)
    assert torch.allclose(widened.t5, in_span(full.t5), atol=1e-3)
    assert {key: value.shape for key, value in adapter.state_dict().items()} == state
    assert torch.equal(adapter.t5.mean, mean)
    assert torch.allclose(adapter.t5.scale, scale)


@pytest.mark.usefixtures("low")
def test_class_targets_are_as_far_apart_in_the_span() -> None:
    found = TokenSpan(TARGETS.t5, 32).coordinates(TARGETS)
    apart, wanted = (torch.cdist(t5.flatten(1), t5.flatten(1)) for t5 in (found.t5, TARGETS.t5))
    assert torch.allclose(apart, wanted, rtol=1e-3, atol=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("lesson", ["mean", "median", "replay"])
def test_a_student_of_the_span_is_as_right_as_one_of_all_directions(
    lesson: Literal["mean", "median", "replay"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three owners a class, of which one of the last class says nonsense if medians are taken."""
    teachers = []
    for label in range(3):
        teachers.append(fresh())
        with reproducible(label, threads=1):
            train_adapter(teachers[-1], *clips(label), TARGETS, config(), 20)
    owners = [(adapter, name) for adapter, name in zip(teachers, NAMES, strict=True) for _ in range(3)]
    if lesson == "median":
        liar = copy.deepcopy(teachers[2])
        torch.nn.init.constant_(liar.t5.query, -50.0)
        owners[-1] = (liar, NAMES[2])
    samples = {name: clips(label)[0] for label, name in enumerate(NAMES)}
    unseen, labels = clips(0, 1, 2, count=60)
    figures, outputs = [], []
    for large in (2**40, 1):
        monkeypatch.setattr(module, "LARGE", large)
        span, student = TokenSpan(TARGETS.t5, 32), fresh()
        if lesson == "replay":
            x, wanted = text_replay(samples, NAMES, span.coordinates(TARGETS))
        else:
            loads = [(lambda own=own, span=span: span.narrow(copy.deepcopy(own)), {name: 1.0}) for own, name in owners]
            x, wanted = distillation_targets(samples, loads, lesson)
        with reproducible("student", threads=1):
            figures.append(distil(span.narrow(student), x, wanted, STUDENT, span.coordinates(TARGETS)))
        outputs.append(adapt(span.widen(student), unseen))
        assert min((found == labels).float().mean() for found in classify(outputs[-1], TARGETS).values()) > 0.95
    errors = [(output.t5 - TARGETS.t5[labels]).square().mean() for output in outputs]
    assert errors[1] < 1.1 * errors[0]
    assert figures[1]["t5_loss"] < 1.1 * figures[0]["t5_loss"]
    assert torch.allclose(outputs[1].t5, in_span(outputs[1].t5), atol=1e-4)


def test_small_readouts_and_many_classes_keep_all_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    assert TokenSpan(TARGETS.t5, 32).basis is None
    adapter, before = fresh(), fresh().state_dict()
    after = TokenSpan(TARGETS.t5, 32).widen(TokenSpan(TARGETS.t5, 32).narrow(adapter)).state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)
    monkeypatch.setattr(module, "LARGE", 1)
    assert TokenSpan(TARGETS.t5[:1], 32).basis is None
    assert TokenSpan(torch.randn(6, 4, 32), 32).basis is None
