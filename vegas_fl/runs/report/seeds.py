"""Runs that differ only in their seed, taken together: mean and standard deviation."""

import statistics
from collections.abc import Sequence

from vegas_fl.config import BRANCHES
from vegas_fl.config.whole import flat
from vegas_fl.runs.report.blocks import Hint, Section, Table
from vegas_fl.runs.report.read import Run, real
from vegas_fl.runs.report.table import number

SEEDS = ("seed", "data.split_seed")
NAMES = ("run", "series")
MEASURES = {"accuracy": "accuracy", "margin": "margin", "cosine": "cosine to target"}


def settings(run: Run) -> dict[str, str]:
    """The settings of a run as text, without those that follow from its name."""
    own = {str(run.setting(key)): f"<{key}>" for key in reversed(NAMES)}
    values = {}
    for key, value in flat(run.config):
        if key not in NAMES:
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            values[key] = "/".join(own.get(part, part) for part in text.split("/")) if "/" in text else text
    return values


def groups(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs by what they differ in besides their seeds; one with the same settings and seed as another is left out.

    Empty if no two runs are of one group.
    """
    found: dict[tuple[tuple[str, str], ...], dict[str, Run]] = {}
    for run in runs:
        chosen = settings(run)
        seed = " ".join(chosen.pop(key, "") for key in SEEDS)
        found.setdefault(tuple(sorted(chosen.items())), {}).setdefault(seed, run)
    if all(len(members) < 2 for members in found.values()):
        return {}
    alike = set.intersection(*map(set, found))
    known = set.intersection(*({key for key, _ in values} for values in found))  # others go with a choice that differs
    names: dict[str, list[Run]] = {}
    for values, members in found.items():
        own = ", ".join(f"{key}={value}" for key, value in values if key in known and (key, value) not in alike)
        name = own or "all"
        names[f"{name} ({len(names) + 1})" if name in names else name] = list(members.values())
    return names


def rows(runs: Sequence[Run]) -> list[list[str]]:
    """Group, number of seeds, adapter, and mean ± standard deviation of each measure in both branches."""
    columns = [(key, branch) for key in MEASURES for branch in BRANCHES]
    return [
        [name, str(len(members)), adapter, *(_spread(members, adapter, key) for key in columns)]
        for name, members in groups(runs).items()
        for adapter in dict.fromkeys(adapter for run in members for adapter in run.final)
    ]


def lines(runs: Sequence[Run]) -> list[str]:
    """Accuracy of :func:`rows` as text."""
    found = rows(runs)
    text = ["over seeds: accuracy on unseen clips, clip and t5 (mean ± standard deviation)"] if found else []
    return text + [f"{name}: {adapter} {clip}, {t5} ({count} seeds)" for name, count, adapter, clip, t5, *_ in found]


def section(runs: Sequence[Run]) -> Section | None:
    """The table of :func:`rows`."""
    if not (found := rows(runs)):
        return None
    table = Table(["settings", "seeds", "adapter", *("CLIP", "T5") * len(MEASURES)], found, 3, id="seeds")
    table.groups = [("", 3), *((title, 2) for title in MEASURES.values())]
    hint = Hint("Mean ± standard deviation over runs that differ only in their seed; a dash where one has no figure.")
    return Section("seeds", "Over seeds", [table, hint])


def _spread(runs: Sequence[Run], adapter: str, column: tuple[str, str]) -> str:
    """Mean ± standard deviation of a figure; a dash if a run lacks it."""
    key, branch = column
    values = [real(run.final.get(adapter, {}).get(branch, {}).get(key)) for run in runs]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return number(None)
    return f"{statistics.fmean(known):.3f}" + (f" ± {statistics.stdev(known):.3f}" if len(known) > 1 else "")
