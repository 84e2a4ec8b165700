"""How accurate is an adapter trained without sharing recordings? All methods on real ESC-10, over several seeds.

Every figure comes from a run of vegas-fl itself (``engine=inprocess``): the runs of one seed and setting share their
generators and local adapters through checkpoints. Each finished cell is a line of the CSV file; the same command
continues after the last one. ``docs/quality.csv`` holds the figures of docs/measured.md.
"""

import csv
import io
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from vegas_fl.benchmarks.runs import evaluated, markdown, mean_and_deviation
from vegas_fl.config import BRANCHES
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

log = logging.getLogger("vegas_fl.server")


class Cell(NamedTuple):
    """Accuracy of one method on the unseen clips of all classes, by branch; its fields are the CSV file's columns."""

    setting: str
    method: str
    seed: int
    clip: float
    t5: float


def bench(root: Path, seeds: Sequence[int], output: Path, settings: Sequence[str] = tuple(SETTINGS)) -> list[Cell]:
    """Run what ``output`` (a CSV file) lacks, and return all cells.

    ``root`` is a data set in ESC-50's layout with ESC-10's classes, ``settings`` are keys of ``SETTINGS``. Seeds are
    those of training, and of the split of classes that nodes share.
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
    return any(cell[:3] == (setting, method, seed) for cell in cells)


def read(path: Path) -> list[Cell]:
    """The cells of a CSV file; an empty list if the file does not exist."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf8") as file:
        rows = list(csv.reader(file))[1:]
    return [Cell(setting, method, int(seed), float(clip), float(t5)) for setting, method, seed, clip, t5 in rows]


def write(path: Path, cells: Sequence[Cell]) -> None:
    """Write the cells as CSV."""
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(Cell._fields)
    rows.writerows((*cell[:3], f"{cell.clip:.4f}", f"{cell.t5:.4f}") for cell in cells)
    write_atomically(path, file.getvalue().encode())


def table(cells: Sequence[Cell]) -> str:
    """Mean ± standard deviation over seeds in Markdown: a row per method, a column per setting and branch."""
    settings = [name for name in SETTINGS if any(c.setting == name for c in cells)]
    rows = []
    for method in dict.fromkeys(c.method for c in cells):
        chosen = [[c for c in cells if c.method == method and c.setting in (name, "")] for name in settings]
        columns = [[getattr(c, branch) for c in of] for of in chosen for branch in BRANCHES]
        rows.append([method, *map(mean_and_deviation, columns)])
    return markdown(["method", *(head for name in settings for head in (f"{name}: CLIP", "T5"))], rows)
