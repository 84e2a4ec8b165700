"""The sections of a page that say how good things are: adapters, generators, pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vegas_fl.report import figures, pictures
from vegas_fl.report.blocks import Block, Figure, Figures, Fold, Hint, Section, Table, drawn, without_empty_columns
from vegas_fl.report.read import Line, Run, matrix, recalls
from vegas_fl.report.table import BRANCHES, judged, labels, number

BRANCH_NAMES = {"clip": "CLIP branch", "t5": "T5 branch"}
MEASURES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "cosine": "cosine to target",
    "mse": "MSE to target",
}
QUALITY = {
    "purity": "purity",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "diversity": "diversity",
    "frechet": "Fréchet distance",
    "nearest": "distance to nearest clip",
}
JUDGED = {
    "accuracy": "judged right",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "clip_score": "CLIP score",
    "fid": "FID",
}
PANELS = ("purity", "coverage", "density", "diversity")
"""The figures of the generators that are drawn."""
ALONE, BESIDE = (10, 4), (5, 4)
"""Columns and rows of a strip of pictures, of one run and of several side by side."""


def main_adapter(run: Run) -> str | None:
    """The adapter a run is about: the aggregated one, or what it has."""
    names = list(run.final)
    return run.aggregation if run.aggregation in names else (names[-1] if names else None)


def summary(runs: Sequence[Run]) -> Section:
    """Adapters (of all runs) against measures, both branches."""
    several = len(runs) > 1
    rows: list[Sequence[str]] = []
    strong = set()
    for name, run in zip(labels(runs), runs, strict=True):
        for adapter, branches in run.final.items():
            if adapter == main_adapter(run):
                strong.add(len(rows))
            figures_ = [number((branches.get(b) or {}).get(measure)) for measure in MEASURES for b in BRANCHES]
            rounds = max(line["round"] for line in branches.values())
            rows.append([*([name] if several else []), adapter, *figures_, str(rounds)])
    if not rows:
        return Section("summary", "Summary", [Hint("No adapter was evaluated.")])
    words = 2 if several else 1
    head = [*(["run"] if several else []), "adapter", *(b for _ in MEASURES for b in ("CLIP", "T5")), "round"]
    shown = [
        measure
        for k, measure in enumerate(MEASURES.values())
        if any(row[words + 2 * k + b] != number(None) for row in rows for b in (0, 1))
    ]
    dropped = [k for k, measure in enumerate(MEASURES.values()) if measure not in shown]
    kept = [i for i in range(len(head)) if (i - words) // 2 not in dropped or i < words]
    table = Table(
        [head[i] for i in kept],
        [[row[i] for i in kept] for row in rows],
        words,
        strong,
        [("", words), *((measure, 2) for measure in shown), ("", 1)],
        "results",
    )
    hint = (
        "On clips no node trained on, by the nearest text target; each adapter's last evaluated round. "
        "Bold: what the run aggregates."
    )
    return Section("summary", "Summary", [table, Hint(hint)])


def accuracy(runs: Sequence[Run], notes: list[str]) -> Section | None:
    """Accuracy by round, a plot a branch with the curves of all runs."""
    plots = []
    classes = {len(matrix(line) or []) for run in runs for line in run.evaluations} - {0}
    chance = 1 / classes.pop() if len(classes) == 1 else None
    for branch in BRANCHES:
        curves = list(_curves(runs, branch))
        if curves:
            alt = "; ".join(f"{c.name}: {c.values[-1]:.3f} in round {c.rounds[-1]}" for c in curves)
            draw = lambda curves=curves: figures.accuracy(curves, chance)  # noqa: E731
            plots.append(drawn(BRANCH_NAMES[branch], f"Accuracy by round. {alt}", draw, notes))
    return Section("accuracy", "Accuracy per round", [Figures(plots)]) if plots else None


def _curves(runs: Sequence[Run], branch: str) -> Iterator[figures.Curve]:
    for position, (name, run) in enumerate(zip(labels(runs), runs, strict=True)):
        for index, adapter in enumerate(reversed(run.final)):
            lines = [x for x in run.evaluations if (x["adapter"], x["branch"]) == (adapter, branch)]
            lines.sort(key=lambda line: line["round"])
            if not lines:
                continue
            yield figures.Curve(
                f"{name}: {adapter}" if len(runs) > 1 else adapter,
                [line["round"] for line in lines],
                [line["accuracy"] for line in lines],
                position if len(runs) > 1 else index,
                adapter == main_adapter(run),
            )


def confusions(runs: Sequence[Run], notes: list[str]) -> Section | None:
    """Confusion matrices of the aggregated adapters; of the others on demand; recall of each class."""
    first: list[Figure] = []
    others: list[Figure] = []
    for name, run in zip(labels(runs), runs, strict=True):
        for adapter, branches in reversed(run.final.items()):
            for branch in BRANCHES:
                whose = f"{name}: {adapter}" if len(runs) > 1 else adapter
                line = branches.get(branch)
                if line and matrix(line):
                    (first if adapter == main_adapter(run) else others).append(
                        _confusion(f"{whose}, {BRANCH_NAMES[branch]}", line, run.classes, notes)
                    )
    if not first and not others:
        return None
    blocks: list[Block] = [Figures(first)] if first else []
    if others:
        blocks.append(Fold("Of the adapters it is compared with", [Figures(others)]))
    if table := _per_class(runs):
        blocks.append(table)
    return Section("confusion", "Which class is taken for which", blocks)


def _confusion(caption: str, line: Line, classes: Sequence[str], notes: list[str]) -> Figure:
    counts = matrix(line) or []
    names = _names(line, classes)
    right = sum(counts[k][k] for k in range(len(counts)))
    alt = f"Confusion matrix: {right} of {sum(map(sum, counts))} right."
    return drawn(caption, alt, lambda: figures.confusion(counts, names), notes)


def _names(line: Line, classes: Sequence[str]) -> list[str]:
    """Names of a matrix's rows: its own, the federation's, or numbers."""
    size = len(matrix(line) or [])
    for names in (line.get("classes"), classes):
        if isinstance(names, list) and len(names) == size:
            return [str(name) for name in names]
    return [str(k) for k in range(size)]


def _per_class(runs: Sequence[Run]) -> Table | None:
    """Share of each class's clips (and pictures) that were taken for what they are."""
    columns: list[tuple[str, dict[str, float | None]]] = []
    groups = []
    for name, run in zip(labels(runs), runs, strict=True):
        judge = run.judge if matrix(run.judge) else None
        evaluated = run.final.get(main_adapter(run) or "", {})
        lines = {"CLIP": evaluated.get("clip"), "T5": evaluated.get("t5"), "pictures": judge}
        own = [
            (title, dict(zip(_names(line, run.classes), recalls(line), strict=False)))
            for title, line in lines.items()
            if line
        ]
        columns += own
        groups.append((name if len(runs) > 1 else "taken for what it is", len(own)))
    classes = sorted({label for _, column in columns for label, share in column.items() if share is not None})
    if not classes:
        return None
    rows = [[label, *(number(column.get(label)) for _, column in columns)] for label in classes]
    head = ["class", *(title for title, _ in columns)]
    return Table(head, list(rows), groups=[("", 1), *(group for group in groups if group[1])], id="classes")


def generators(runs: Sequence[Run], notes: list[str]) -> Section | None:
    """Quality of the samples of each class's generator, against real clips."""
    blocks: list[Block] = []
    rows: list[Sequence[str]] = []
    plots = []
    several = len(runs) > 1
    for name, run in zip(labels(runs), runs, strict=True):
        panels = []
        for label, line in sorted(run.quality.items()):
            pairs = {key: (_figure(line, key), _figure(line, f"{key}_ceiling")) for key in QUALITY}
            cells = [number(mine) + (f" / {number(real)}" if real is not None else "") for mine, real in pairs.values()]
            rows.append([*([name] if several else []), label, *cells])
            panels.append((label, {QUALITY[key]: pairs[key] for key in PANELS if pairs[key][0] is not None}))
        names = [set(values) for _, values in panels]
        if panels and names[0] and all(n == names[0] for n in names):
            caption = f"{name}: samples (dots) against real clips (bars)"
            draw = lambda panels=panels: figures.quality(panels)  # noqa: E731
            plots.append(drawn(caption, "The table below has the figures.", draw, notes))
    if rows:
        rows.sort(key=lambda row: row[1] if several else row[0])
        head = [*(["run"] if several else []), "class", *QUALITY.values()]
        blocks += [Figures(plots)] if plots else []
        blocks.append(without_empty_columns(Table(head, rows, 2 if several else 1, id="quality")))
        blocks.append(Hint("Samples / real clips against real clips: the second is the best a generator can do."))
    training = _training(runs)
    if training and rows:
        blocks.append(Fold("Training", [training]))
    elif training:
        blocks.append(training)
    return Section("generators", "Generators", blocks) if blocks else None


def _figure(line: Line, key: str) -> float | None:
    value = line.get(key)
    return None if isinstance(value, bool) or not isinstance(value, int | float) or value != value else value


def _training(runs: Sequence[Run]) -> Table | None:
    several = len(runs) > 1
    lines = [(name, line) for name, run in zip(labels(runs), runs, strict=True) for line in run.generators]
    if not lines:
        return None
    keys = list(dict.fromkeys(key for _, line in lines for key in _training_of(line)))
    rows = [
        [
            *([name] if several else []),
            str(line["label"]),
            str(line.get("node", "")),
            number(line.get("clips"), 0),
            *(number(_training_of(line).get(key), 0 if key in ("epochs", "components") else 3) for key in keys),
        ]
        for name, line in sorted(lines, key=lambda item: (item[0], str(item[1]["label"]), str(item[1].get("node"))))
    ]
    return Table([*(["run"] if several else []), "class", "node", "clips", *keys], list(rows), 3 if several else 2)


def _training_of(line: Line) -> Line:
    values = line.get("training")
    return {k: v for k, v in values.items() if k != "clips"} if isinstance(values, dict) else {}


def drawings(runs: Sequence[Run], notes: list[str]) -> Section | None:
    """The judge's verdict and strips of pictures: of one run by node, of several by class."""
    blocks: list[Block] = []
    verdicts = [
        _confusion(f"{name}: {number(run.judge['accuracy'])} of {judged(run)} judged right", run.judge, [], notes)
        for name, run in zip(labels(runs), runs, strict=True)
        if run.judge and matrix(run.judge)
    ]
    if table := _judged(runs):
        blocks.append(table)
    blocks += _by_node(runs[0], notes) if len(runs) == 1 else _by_class(runs, notes)
    if verdicts:
        blocks.append(Figures(verdicts, title="What the judge takes them for"))
    return Section("pictures", "Pictures", blocks) if blocks else None


def _judged(runs: Sequence[Run]) -> Table | None:
    """What the judge says of the pictures of each run."""
    rows: list[Sequence[str]] = [
        [name, str(judged(run)), *(number(run.judge.get(key)) for key in JUDGED)]
        for name, run in zip(labels(runs), runs, strict=True)
        if run.judge
    ]
    return without_empty_columns(Table(["run", "pictures", *JUDGED.values()], rows, id="judge")) if rows else None


def _by_node(run: Run, notes: list[str]) -> list[Block]:
    blocks: list[Block] = []
    for node in sorted(run.images, key=lambda n: (len(n), n)):
        folder = pictures.folder_of(run, node)
        classes = [str(label) for label in run.nodes.get(node, {}).get("selected_classes", ())]
        found = {label: paths for label, paths in pictures.pictures_of(folder, classes).items() if paths}
        strips = [_strip(label, paths, *ALONE, notes) for label, paths in found.items()]
        if not strips:
            notes.append(f"Node {node}'s pictures are not shown: there are none in {folder} on this machine.")
            strips = [Figure("", f"no pictures in {folder}")]
        blocks += [Figures([one], "strips", f"Node {node}" if one is strips[0] else "") for one in strips]
    return blocks


def _by_class(runs: Sequence[Run], notes: list[str]) -> list[Block]:
    drawn_: list[dict[str, list]] = []
    for run in runs:
        found: dict[str, list] = {}
        for node in sorted(run.images, key=lambda n: (len(n), n)):
            classes = [str(label) for label in run.nodes.get(node, {}).get("selected_classes", ())]
            for label, paths in pictures.pictures_of(pictures.folder_of(run, node), classes).items():
                found.setdefault(label, []).extend(paths)
        drawn_.append(found)
    blocks: list[Block] = []
    for label in sorted({label for found in drawn_ for label, paths in found.items() if paths}):
        row = [
            _strip(name, found.get(label, []), *BESIDE, notes) for name, found in zip(labels(runs), drawn_, strict=True)
        ]
        blocks.append(Figures(row, "strips", label))
    return blocks


def _strip(name: str, paths: Sequence, columns: int, rows: int, notes: list[str]) -> Figure:
    strip = pictures.strip(paths, columns, rows, notes)
    if strip is None:
        return Figure(name, "no pictures")
    count = f"{strip.shown} of {strip.total}" if strip.shown < strip.total else str(strip.total)
    return Figure(f"{name} ({count})", f"Pictures: {name}", strip.uri, strip.width, strip.height)
