"""How good is an adapter that was learnt without sharing recordings? All methods on real ESC-10, over seeds.

Every figure comes from a run of the product itself (``engine=inprocess``): the runs of a seed and a setting share
their generators and local adapters by checkpoints. Each finished cell is a line of the CSV file; a repeated
command goes on after the last. ``docs/quality.csv`` holds the figures of docs/measured.md.
"""

from __future__ import annotations

import csv
import io
import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vegas_fl.benchmarks.runs import evaluated, spread
from vegas_fl.core.files import write_atomically

SETTINGS = {
    "10 nodes x 1 class": ["experiment=esc10_10n"],
    "10 nodes, Dirichlet 0.1": ["experiment=esc10_10n_dirichlet", "data.dirichlet_alpha=0.1"],
    "10 nodes, Dirichlet 1.0": ["experiment=esc10_10n_dirichlet", "data.dirichlet_alpha=1.0"],
    "20 nodes x 1 class": ["experiment=esc10_20n"],
}
GENERATORS = ("vae", "gmm")
MERGES = {
    "kd, owners teach": ["aggregation=kd"],
    "kd, all teach": ["aggregation=kd", "aggregation.teachers=all"],
    "replay": ["aggregation=replay"],
}
FEDAVG_ROUNDS = (1, 5, 20)
CENTRALISED = "centralised"
FIELDS = ("setting", "method", "seed", "clip", "t5")

log = logging.getLogger("vegas_fl.server")


@dataclass(frozen=True)
class Cell:
    """Accuracy of one method on the unseen clips of all classes, by branch."""

    setting: str
    method: str
    seed: int
    clip: float
    t5: float


def bench(root: Path, seeds: Sequence[int], output: Path, settings: Sequence[str] = tuple(SETTINGS)) -> list[Cell]:
    """Run what ``output`` (a CSV file) lacks; all cells.

    Parameters
    ----------
    root : Path
        A data set in ESC-50's layout with ESC-10's classes.
    seeds : sequence of int
        Seeds of the trainings; also of who owns what where nodes share classes.
    output : Path
        Gets a line a cell.
    settings : sequence of str
        Any of ``SETTINGS``.
    """
    cells = read(output)
    for seed in seeds:
        common = [f"data.root={root}", f"seed={seed}", f"data.split_seed={seed}"]
        if not _has(cells, "", CENTRALISED, seed):
            with tempfile.TemporaryDirectory() as folder:
                (alone,) = evaluated(Path(folder), ["experiment=esc10_1n", *common])
            cells.append(Cell("", CENTRALISED, seed, **alone["local"]))
            write(output, cells)
        for setting in settings:
            if _has(cells, setting, f"fedavg, {FEDAVG_ROUNDS[-1]} rounds", seed):
                continue
            with tempfile.TemporaryDirectory() as folder:
                for method, result in _methods(Path(folder), [*SETTINGS[setting], *common]):
                    cells.append(Cell(setting, method, seed, **result))
                    log.info("%s, %s, seed %d: clip %.3f, t5 %.3f", setting, method, seed, result["clip"], result["t5"])
            write(output, cells)
    return cells


def _methods(folder: Path, common: list[str]) -> Iterator[tuple[str, dict[str, float]]]:
    """All methods of one setting and seed, in ``folder``."""
    local = ["stages=[adapters]", "aggregation=standalone", "run=local"]
    (result,) = evaluated(folder, [*common, *local])
    yield "local", result["local"]
    yield "fedavg, 1 round", result["fedavg"]
    for generator in GENERATORS:
        evaluated(folder, [*common, "stages=[generators]", f"generator={generator}", f"run={generator}"])
        for method, overrides in MERGES.items():
            merge = ["stages=[adapters]", f"run={generator}-{method.replace(', ', '-').replace(' ', '-')}"]
            merge += [f"generator={generator}", f"generator.checkpoint_dir={folder}/checkpoints/generators/{generator}"]
            merge += [f"adapter.local_checkpoint_dir={folder}/checkpoints/adapters/local", "evaluation.compare=[]"]
            (result,) = evaluated(folder, [*common, *overrides, *merge])
            yield f"{method}, {generator}", next(iter(result.values()))
    rounds = ["stages=[adapters]", "aggregation=fedavg", "run=fedavg", f"rounds={FEDAVG_ROUNDS[-1]}"]
    results = evaluated(folder, [*common, *rounds, "evaluation.compare=[]", f"evaluation.every={FEDAVG_ROUNDS[1]}"])
    for number in FEDAVG_ROUNDS[1:]:
        yield f"fedavg, {number} rounds", results[number // FEDAVG_ROUNDS[1] - 1]["fedavg"]


def _has(cells: Sequence[Cell], setting: str, method: str, seed: int) -> bool:
    return any((cell.setting, cell.method, cell.seed) == (setting, method, seed) for cell in cells)


def read(path: Path) -> list[Cell]:
    """The cells of a CSV file; none if there is no file."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf8") as file:
        return [
            Cell(row["setting"], row["method"], int(row["seed"]), float(row["clip"]), float(row["t5"]))
            for row in csv.DictReader(file)
        ]


def write(path: Path, cells: Sequence[Cell]) -> None:
    """Write the cells as CSV."""
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(FIELDS)
    rows.writerows([c.setting, c.method, c.seed, f"{c.clip:.4f}", f"{c.t5:.4f}"] for c in cells)
    write_atomically(path, file.getvalue().encode())


def table(cells: Sequence[Cell]) -> str:
    """Mean ± standard deviation over seeds as Markdown: a row a method, columns setting by branch."""
    settings = [name for name in SETTINGS if any(c.setting == name for c in cells)]
    methods = list(dict.fromkeys(c.method for c in cells))
    lines = [
        "| method | " + " | ".join(f"{name}: CLIP | T5" for name in settings) + " |",
        "|---|" + "---|" * (2 * len(settings)),
    ]
    for method in methods:
        row = []
        for setting in settings:
            chosen = [c for c in cells if c.method == method and c.setting in (setting, "")]
            row += [spread([c.clip for c in chosen]), spread([c.t5 for c in chosen])]
        lines.append(f"| {method} | " + " | ".join(row) + " |")
    return "\n".join(lines)
