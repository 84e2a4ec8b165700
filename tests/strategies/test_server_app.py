"""What the server tells before it starts."""

from __future__ import annotations

from strategies.server_app import merged


def test_the_same_note_of_many_nodes_is_one_line() -> None:
    few = "has 24 training clips, samples_per_node asks for 200: all 24 are used"
    notes = [f"node {n}: class {label} {few}" for n, label in enumerate(["dog", "a cat", "rain", "x", "y", "z"])]
    other = "node 3: class dog has too few clips (2) for a test part"
    first, second = merged([*notes, other])
    assert first == f"node 0 dog, node 1 a cat, node 2 rain, node 3 x, node 4 y and 1 more: each {few}"
    assert second == other
    assert merged(["odd", "odd", notes[0]]) == ["odd", notes[0]]
