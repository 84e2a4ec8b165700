"""What may leave a node is listed, with its meaning and size, in docs/privacy.md."""

import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from tests.support.project import ROOT
from tests.support.uploads import listed, unlisted
from vegas_fl.algorithm.analytic import ClipSums
from vegas_fl.algorithm.fidelity import MEASURED
from vegas_fl.algorithm.generators import build_sampler
from vegas_fl.config import compose
from vegas_fl.federation import messages
from vegas_fl.federation.messages import Request, Values

EVERY = "every reply"
TENSORS = {"generator.<class>", "adapter", "sums", "pictures.features"}


def requests() -> Iterator[type[Request[Any]]]:
    yield from (
        r for r in vars(messages).values() if isinstance(r, type) and issubclass(r, Request) and "kind" in vars(r)
    )


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The names of its fields and, with dots, of those of models inside."""
    for name, field in model.model_fields.items():
        yield prefix + name
        for inner in models(field.annotation):
            yield from fields(inner, f"{prefix}{name}.")


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from models(inner)


def test_every_field_of_every_reply_is_listed() -> None:
    common = set(fields(Values))
    sent = {(EVERY, name) for name in common}
    sent |= {(request.kind, name) for request in requests() for name in set(fields(request.reply)) - common}
    told = {(kind, name) for kind, name in listed() if name not in TENSORS}
    assert sent - told == set(), "say in docs/privacy.md what it means and how large it is"
    assert told - sent == set(), "it is no longer sent"
    assert {name for _, name in listed()} >= TENSORS


def test_every_figure_and_tensor_is_listed() -> None:
    rows = listed()
    for file in (ROOT / "conf/generator").glob("*.yaml"):
        config = compose(["run=x", "nodes.0.selected_classes=[dog]", f"generator={file.stem}"])
        state = build_sampler(2, 4, config.generator).state_dict()
        assert not unlisted({key.partition(".")[0] for key in state}, rows["train.generator", "generator.<class>"])
    assert not unlisted(set(ClipSums._fields), rows["train.sums", "sums"])
    assert not unlisted(set(MEASURED), rows["evaluate.generator", "figures"])
