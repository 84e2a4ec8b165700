"""Results of the suites: run, kept as CSV, and shown as a table and a figure with intervals."""

import base64
import csv
import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from vegas_fl.algorithm import metrics
from vegas_fl.benchmarks.methods import Trial
from vegas_fl.benchmarks.runs import markdown
from vegas_fl.benchmarks.suites import SUITES, Recordings, Unseen
from vegas_fl.benchmarks.zero_shot import zero_shot
from vegas_fl.config import BRANCHES
from vegas_fl.core import seeds
from vegas_fl.core.errors import VegasError
from vegas_fl.core.files import write_atomically
from vegas_fl.rendering.text_targets import text_targets
from vegas_fl.runs.report import charts

log = logging.getLogger("vegas_fl.server")

REFERENCE = "centralised"
"""The method that the others are compared with, clip by clip."""


class Result(NamedTuple):
    """Which unseen clips of one task a method classified correctly, 1 or 0 for each, by branch; its fields are the
    CSV file's columns. ``overrides`` are those of the configuration. Methods without branches have the same in both."""

    overrides: str
    setting: str
    task: str
    method: str
    seed: int
    clip: str
    t5: str


def bench(root: Path, suite: str, seeds_: Sequence[int], output: Path, overrides: Sequence[str] = ()) -> str:
    """Run what ``output`` (a CSV file) lacks of a suite; a table in Markdown. A figure is written beside ``output``."""
    recordings = Recordings.of(root, overrides)
    settings = " ".join(overrides)
    results, tests = read(output), dict[tuple[str, str], Unseen]()
    config = recordings.config
    targets = text_targets(config.classes, config.renderer, Path(config.paths.cache).expanduser(), "cpu")
    for seed in seeds_:
        for task in SUITES[suite](recordings, seed):
            tests |= {(setting, task.name): test for setting, test in task.tests.items()}
            if any(r[0] == settings and r.task == task.name and r.seed == seed for r in results):
                continue
            nodes = [(int(recordings.labels[rows[0]]), recordings.x[rows]) for rows in task.nodes]
            rows: list[Result] = []
            for setting, test in task.tests.items():
                right = _bits(zero_shot(test.x, config) == test.labels)
                rows.append(Result(settings, setting, task.name, "encoder's own labels", seed, right, right))
            for method, predict in Trial(config, targets, nodes, seed).methods():
                for setting, test in task.tests.items():
                    predicted = metrics.classify(predict(test.x), targets)
                    right_by = [_bits(predicted[branch] == test.labels) for branch in BRANCHES]
                    rows.append(Result(settings, setting, task.name, method, seed, *right_by))
                    means = [f"{right.count('1') / len(right):.3f}" for right in right_by]
                    log.info("%s, seed %d, %s: %s", task.name, seed, method, " / ".join(means))
            results += rows
            write(output, results)
    chosen = [r for r in results if r[0] == settings and r.seed in seeds_ and (r.setting, r.task) in tests]
    figures = compared(chosen, tests)
    picture = charts.svg(charts.dots, _dots(figures))
    write_atomically(output.with_suffix(".svg"), base64.b64decode(picture.partition(",")[2]))
    return table(figures, len(seeds_))


class Figure(NamedTuple):
    """A mean over seeds and clips, its 95 % interval, and the same of the difference from the reference."""

    mean: float
    interval: tuple[float, float]
    difference: float | None
    difference_interval: tuple[float, float]


Figures = dict[str, dict[str, dict[str, Figure]]]
"""Setting → method → branch → figure."""


def compared(results: Sequence[Result], tests: dict[tuple[str, str], Unseen]) -> Figures:
    """Means over seeds and tasks, with intervals by a bootstrap over source recordings
    (:func:`vegas_fl.algorithm.metrics.resamples`). The same resamples are used for all methods, so that differences
    are paired."""
    figures: Figures = {}
    for setting in dict.fromkeys(result.setting for result in results):
        own = [result for result in results if result.setting == setting]
        tasks = list(dict.fromkeys(result.task for result in own))
        labels = torch.cat([tests[setting, task].labels for task in tasks])
        names = [f"{task} {name}" for task in tasks for name in tests[setting, task].recordings]
        weights = metrics.resamples(labels, names, generator=seeds.generator("bootstrap", setting))
        weights = weights / weights.sum(1, keepdim=True)
        hits = {
            (method, branch): _hits([r for r in own if r.method == method], tasks, branch)
            for method in dict.fromkeys(result.method for result in own)
            for branch in BRANCHES
        }
        for (method, branch), right in hits.items():
            resampled, count = weights @ right, len(set(names))
            interval = metrics.interval(right.mean().item(), resampled, count, 0, 1)
            difference, bounds = None, (0.0, 0.0)
            if method != REFERENCE:
                paired = right - hits[REFERENCE, branch]
                difference = paired.mean().item()
                bounds = metrics.interval(difference, weights @ paired, count, -1, 1)
            figure = Figure(right.mean().item(), interval, difference, bounds)
            figures.setdefault(setting, {}).setdefault(method, {})[branch] = figure
    return figures


def _hits(results: Sequence[Result], tasks: Sequence[str], branch: str) -> Tensor:
    """The share of seeds in which each clip of all tasks was right ``[N]``, float64."""
    parts = []
    for task in tasks:
        rows = [getattr(result, branch) for result in results if result.task == task]
        parts.append(torch.tensor([[int(bit) for bit in row] for row in rows]).double().mean(0))
    return torch.cat(parts)


def _bits(right: Tensor) -> str:
    return "".join(str(int(bit)) for bit in right.tolist())


def table(figures: Figures, seeds_: int) -> str:
    """Accuracies with intervals, and differences from the reference, in Markdown: a row per setting and method."""
    rows = []
    for setting, methods in figures.items():
        for method, branches in methods.items():
            cells = [f"{f.mean:.3f} ({f.interval[0]:.3f} to {f.interval[1]:.3f})" for f in branches.values()]
            for f in branches.values():
                bounds = f"({f.difference_interval[0]:+.3f} to {f.difference_interval[1]:+.3f})"
                cells.append("" if f.difference is None else f"{f.difference:+.3f} {bounds}")
            rows.append([setting, method, *cells])
    head = ["setting", "method", "CLIP", "T5", f"CLIP - {REFERENCE}", f"T5 - {REFERENCE}"]
    return f"{markdown(head, rows)}\n\nMeans over {seeds_} seeds; 95 % intervals over source recordings."


def _dots(figures: Figures) -> list[tuple[str, dict[str, charts.Dot]]]:
    """The rows of the figure."""
    several = len(figures) > 1
    return [
        (
            f"{setting}: {method}" if several else method,
            {
                {"clip": "CLIP", "t5": "T5"}[branch]: charts.Dot(f.mean, f.interval, None, method.startswith("kd"))
                for branch, f in branches.items()
            },
        )
        for setting, methods in figures.items()
        for method, branches in methods.items()
    ]


def read(path: Path) -> list[Result]:
    """The results in a CSV file; none if it does not exist."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf8") as file:
        head, *rows = [*csv.reader(file)] or [[]]
    if tuple(head) != Result._fields:
        raise VegasError(
            f"{path} has the columns {', '.join(head)}; expected {', '.join(Result._fields)}: choose another"
        )
    return [Result(a, b, c, d, int(seed), clip, t5) for a, b, c, d, seed, clip, t5 in rows]


def write(path: Path, results: Sequence[Result]) -> None:
    """Write results as CSV."""
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(Result._fields)
    rows.writerows(results)
    write_atomically(path, file.getvalue().encode())
