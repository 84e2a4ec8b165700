"""docs/configuration.md is what conf/ and the types say."""

from docs.configuration import PAGE, page, uncommented


def test_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf8") == page(), (
        "conf/ or a type has changed; run: make docs (python -m docs.configuration)"
    )


def test_every_key_has_a_comment() -> None:
    assert not uncommented()


def test_bounds_defaults_and_inherited_comments_are_shown() -> None:
    rows = [line for line in page().splitlines() if line.startswith("| `")]
    warmup = next(row for row in rows if row.startswith("| `warmup`"))
    assert "number ≥ 0, ≤ 1" in warmup and "`0.33`" in warmup
    root = next(row for row in rows if row.startswith("| `root`"))
    assert "`null`" in root and "esc10, esc50: " in root
    assert any(row.startswith("| `nodes.N.selected_classes` | list: text |") for row in rows)
