"""What the server tells before it starts."""

from __future__ import annotations

from strategies.server_app import merged


def test_the_same_note_of_many_nodes_is_one_line() -> None:
    few = "has 24 training clips, samples_per_node asks for 200: all 24 are used"
    other = "has too few clips (2) for a test part"
    notes = {str(n): {label: [few]} for n, label in enumerate(["dog", "a cat", "rain"])}
    notes["2"]["drum"] = [other]
    assert merged(notes) == [
        f"node 0 (dog), node 1 (a cat), node 2 (rain): each {few}",
        f"node 2 (drum): {other}",
    ]
