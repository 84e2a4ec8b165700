"""A secure sum is the plain one to its step, and nothing less than all of it can be read."""

import pytest
import torch

from vegas_fl.federation import secure_sum
from vegas_fl.storage.tensorfiles import State

NODES = ("0", "3", "11")


def sums(seed: int) -> State:
    draw = torch.Generator().manual_seed(seed)
    shapes = {"gram": (9, 9), "by_class": (9, 2)}
    return {name: torch.randn(shape, generator=draw, dtype=torch.float64) * 1e4 for name, shape in shapes.items()}


def sent(about: str = "a sum", nodes: tuple[str, ...] = NODES) -> dict[str, State]:
    private = {node: secure_sum.private_key(node.encode() * 9, about) for node in nodes}
    keys = {node: secure_sum.public(key) for node, key in private.items()}
    return {node: secure_sum.masked(sums(int(node)), node, private[node], keys) for node in nodes}


def added(replies: list[State]) -> State:
    whole = replies[0]
    for reply in replies[1:]:
        whole = secure_sum.added(whole, reply)
    return secure_sum.total(whole)


def test_the_total_is_the_plain_sum_to_its_step() -> None:
    total, plain = added(list(sent().values())), {name: sum(sums(int(n))[name] for n in NODES) for name in sums(0)}
    for name, tensor in total.items():
        assert (tensor - plain[name]).abs().max() <= len(NODES) / 2 * secure_sum.STEP


@pytest.mark.parametrize("missing", NODES)
def test_nothing_is_read_of_fewer_nodes(missing: str) -> None:
    """What is left is uniform over all 64 bits: neither near the sum, nor of its size."""
    rest = [reply for node, reply in sent().items() if node != missing]
    for replies in (rest, rest[:1]):
        read = added(replies)["gram"]
        assert read.abs().median() > 2.0**60 * secure_sum.STEP
        assert abs(torch.corrcoef(torch.stack([read.flatten(), sums(0)["gram"].flatten()]))[0, 1]) < 0.5


def test_masks_are_those_of_one_sum_and_one_set_of_nodes() -> None:
    """Else the difference of two replies would be free of masks."""
    first, again, other, fewer = sent(), sent(), sent("another"), sent(nodes=NODES[:2])
    for name, tensor in first["0"].items():
        assert torch.equal(tensor, again["0"][name])
        for changed in (other, fewer):
            assert not (tensor == changed["0"][name]).any()


def test_a_key_that_is_none_is_refused() -> None:
    own = secure_sum.private_key(b"x" * 32, "a sum")
    for keys in ({}, {"0": secure_sum.public(own), "1": "02" + "ff" * 48}, {"0": secure_sum.public(own), "1": "zz"}):
        with pytest.raises(ValueError):
            secure_sum.masked(sums(0), "0", own, keys)
