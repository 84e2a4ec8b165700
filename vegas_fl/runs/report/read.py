"""A run's folder, read back. Missing or damaged files become notes, not errors."""

import functools
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter

from vegas_fl.core.errors import VegasError
from vegas_fl.core.files import parse_yaml, read_text

T = TypeVar("T")
Line = dict[str, Any]
"""A line of ``metrics.jsonl``; ``stage`` names its kind."""

SECTIONS = {
    "generators": ("generators",),
    "quality": ("generator quality",),
    "adapters": ("adapters", "kd", "replay", "evaluation", "own adapter"),
    "images": ("images", "judge"),
}
"""Groups of stages whose results are taken from one attempt as a whole."""

LARGEST = 2**64
"""No number in a run's files is larger."""

NEEDED: dict[str, dict[str, type | tuple[type, ...]]] = {
    "evaluation": {"round": int, "adapter": str, "branch": str, "accuracy": (int, float)},
    "own adapter": {"round": int, "node": str, "branch": str},
    "generator quality": {"label": str},
    "judge": {"accuracy": (int, float)},
    "resumed": {"kept": int},
    "warning": {"text": str},
    "traffic": {"message": str, "down": (int, float), "up": (int, float), "seconds": (int, float)},
}
"""Entries a line must have."""


@dataclass
class RunAttempt:
    """The lines a command added to the run, from a ``start`` line to the next; its resumptions included."""

    number: int
    lines: list[Line] = field(default_factory=list)

    @property
    def start(self) -> Line:
        """Its first line; empty if that is missing."""
        return self.lines[0] if self.lines and self.lines[0]["stage"] == "start" else {}

    @property
    def end(self) -> Line | None:
        """Its last line if it ended: ``seconds``, and ``problem`` if it failed."""
        return self.lines[-1] if self.lines and self.lines[-1]["stage"] == "end" else None

    @functools.cached_property
    def stages(self) -> set[str]:
        """The stages of its lines."""
        return {line["stage"] for line in self.lines}

    def of(self, *stages: str) -> list[Line]:
        """Its lines of ``stages``, without those that time a stage."""
        return [line for line in self.lines if line["stage"] in stages and not is_timer(line)]


@dataclass
class Run:
    """A run's folder: for each stage, the results of its latest attempt."""

    name: str
    folder: Path
    config: dict[str, Any]
    attempts: list[RunAttempt]
    checkpoints: list[dict[str, Any]]
    notes: list[str]

    def section(self, name: str) -> RunAttempt:
        """The latest attempt that has lines of a section (a key of :data:`SECTIONS`)."""
        stages = SECTIONS[name]
        found = [attempt for attempt in self.attempts if not attempt.stages.isdisjoint(stages)]
        return found[-1] if found else RunAttempt(0)

    @property
    def used(self) -> list[RunAttempt]:
        """The attempts whose results count, in their order."""
        numbers = {self.section(name).number for name in SECTIONS}
        return [attempt for attempt in self.attempts if attempt.number in numbers]

    @property
    def classes(self) -> list[str]:
        """The configured classes of all nodes."""
        return sorted({label for node in self.nodes.values() for label in node["selected_classes"]})

    @property
    def nodes(self) -> dict[str, dict[str, Any]]:
        """The configured nodes; empty if the configuration cannot be read."""
        nodes = self.config.get("nodes") or {}
        if not isinstance(nodes, dict):
            return {}
        return {str(n): v for n, v in nodes.items() if isinstance(v, dict) and v.get("selected_classes")}

    @property
    def aggregation(self) -> str:
        """Name of the aggregation: that of its adapter in the evaluations."""
        return str(self.section("adapters").start.get("aggregation") or self.setting("aggregation", "name"))

    def setting(self, *keys: str) -> Any:
        """A value of the configuration, or None."""
        value: Any = self.config
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    @property
    def evaluations(self) -> list[Line]:
        """Evaluations, one for each round, adapter and branch."""
        lines = self.section("adapters").of("evaluation")
        return list({(line["round"], line["adapter"], line["branch"]): line for line in lines}.values())

    @property
    def final(self) -> dict[str, dict[str, Line]]:
        """Adapter → branch → its evaluation in its last round; the aggregated adapter comes last."""
        found: dict[str, dict[str, Line]] = {}
        for line in sorted(self.evaluations, key=lambda line: line["round"]):
            found.setdefault(line["adapter"], {})[line["branch"]] = line
        return dict(sorted(found.items(), key=lambda item: item[0] == self.aggregation))

    @property
    def own_adapters(self) -> dict[str, dict[str, Line]]:
        """Node → branch → what its own and the aggregated adapter score on its own classes and the others', last."""
        found: dict[str, dict[str, Line]] = {}
        for line in sorted(self.section("adapters").of("own adapter"), key=lambda line: line["round"]):
            found.setdefault(line["node"], {})[line["branch"]] = line
        return dict(sorted(found.items(), key=lambda item: (len(item[0]), item[0])))

    @property
    def quality(self) -> dict[str, Line]:
        """Class → quality of its generator's samples."""
        return {line["label"]: line for line in self.section("quality").of("generator quality")}

    @property
    def generators(self) -> list[Line]:
        """The training of each class's generator on each of its nodes."""
        return [line for line in self.section("generators").of("generators") if "label" in line]

    @property
    def judge(self) -> Line | None:
        """The judge's results for the pictures."""
        lines = self.section("images").of("judge")
        return lines[-1] if lines else None

    @property
    def images(self) -> dict[str, Line]:
        """Node → the pictures it drew."""
        lines = self.section("images").of("images")
        return {str(line["node"]): line for line in lines if "node" in line}

    @property
    def traffic(self) -> list[Line]:
        """A line for each message and node, of the attempts that count."""
        return [line for attempt in self.used for line in attempt.of("traffic")]

    @property
    def seconds(self) -> float | None:
        """How long the attempts that count took together; None if one of them did not end."""
        seconds = [real((attempt.end or {}).get("seconds")) for attempt in self.used]
        return sum(s for s in seconds if s is not None) if seconds and None not in seconds else None


def read(folder: Path) -> Run:
    """Read ``runs/<run>/``.

    Raises
    ------
    VegasError
        It has neither metrics nor a configuration.
    """
    if not (folder / "metrics.jsonl").exists() and not (folder / "config.yaml").exists():
        raise VegasError(f"{folder} is not the folder of a run: neither metrics.jsonl nor config.yaml found in it")
    notes: list[str] = []
    settings = TypeAdapter(dict[str, Any])
    config = _parsed(
        folder / "config.yaml",
        lambda text: settings.validate_python(parse_yaml(text)),
        notes,
        "the settings are unknown",
    )
    config = config or {}
    attempts: list[RunAttempt] = []
    for line in _valid(_lines(folder / "metrics.jsonl", notes)):
        if line["stage"] == "start" or not attempts:
            attempts.append(RunAttempt(len(attempts) + 1))
        attempts[-1].lines.append(line)
    notes += dict.fromkeys(line["text"] for attempt in attempts[-1:] for line in attempt.of("warning"))
    for attempt in attempts:
        which = "The last attempt" if attempt is attempts[-1] else f"Attempt {attempt.number}"
        if attempt.end and attempt.end.get("problem"):
            notes.append(f"{which} failed: {attempt.end['problem']}")
        elif attempt.end is None and attempt is attempts[-1]:
            notes.append("The last attempt has not ended: it is still running, or it was stopped.")
    name = str(config.get("run") or folder.resolve().name)
    listed, entries = folder / "checkpoints.json", TypeAdapter(list[dict[str, Any]])
    checkpoints = _parsed(listed, entries.validate_json, notes, "no checkpoints are listed") if listed.exists() else []
    return Run(name, folder, config, attempts, checkpoints or [], notes)


def find(name: str, runs: Path) -> Path:
    """The folder of a run given by its name or its folder.

    Raises
    ------
    VegasError
        It does not exist; the message lists the existing runs.
    """
    for folder in (runs / name, Path(name)):
        if (folder / "metrics.jsonl").is_file() or (folder / "config.yaml").is_file():
            return folder
    known = sorted(path.parent.name for path in runs.glob("*/metrics.jsonl")) if runs.is_dir() else []
    found = f"runs in {runs}: {', '.join(known)}" if known else f"no run found in {runs}; run one first, or set --runs"
    raise VegasError(f"Run {name} not found; {found}")


def is_timer(line: Line) -> bool:
    """Whether a line only says how long a stage took."""
    return set(line) <= {"time", "stage", "seconds"} and "seconds" in line


def matrix(line: Line | None) -> list[list[int]] | None:
    """The confusion matrix ``[K, K]`` of a line (row = true class); None if it is missing or malformed."""
    counts = (line or {}).get("confusion")
    if not isinstance(counts, list) or not counts:
        return None
    square = all(isinstance(row, list) and len(row) == len(counts) for row in counts)
    return counts if square and all(_is(n, int) and n >= 0 for row in counts for n in row) else None


def recalls(line: Line | None) -> list[float | None]:
    """Recall of each class; None for a class without members."""
    counts = matrix(line) or []
    return [row[k] / sum(row) if sum(row) else None for k, row in enumerate(counts)]


def real(value: Any) -> float | None:
    """``value`` if it is a number, else None; None for NaN too."""
    return value if _is(value, (int, float)) and value == value else None


def span(value: Any) -> tuple[float, float] | None:
    """``value`` if it is an interval, two finite numbers, else None."""
    ends = [real(end) for end in value] if isinstance(value, list) and len(value) == 2 else [None]
    return (ends[0], ends[1]) if None not in ends else None  # type: ignore[return-value]


def _valid(lines: Iterator[tuple[int, Line]]) -> list[Line]:
    """Without the lines that were repeated after an interruption; lines about dropped replies stay."""
    kept: list[tuple[int, Line]] = []
    for number, line in lines:
        if line["stage"] == "resumed":
            kept = [(n, old) for n, old in kept if n <= line["kept"] or old["stage"] == "dropped"]
        kept.append((number, line))
    return [line for _, line in kept]


def _lines(path: Path, notes: list[str]) -> Iterator[tuple[int, Line]]:
    """The valid lines, with their numbers from 1."""
    try:
        text = read_text(path, errors="replace")
    except OSError as error:
        notes.append(f"metrics.jsonl cannot be read ({error.strerror}): no figures are shown.")
        return
    for number, content in enumerate(text.splitlines(), 1):
        try:
            line = json.loads(content)
        except (ValueError, RecursionError):
            line = None
        if not isinstance(line, dict) or not isinstance(line.get("stage"), str):
            notes.append(f"Line {number} of metrics.jsonl cannot be read and is skipped.")
            continue
        needed = {} if is_timer(line) else NEEDED.get(line["stage"], {})
        lacking = [key for key, kind in needed.items() if not _is(line.get(key), kind)]
        lacking += [key for key in needed if key != "accuracy" and line.get(key) != line.get(key)]  # NaN
        if lacking:
            notes.append(f"Line {number} of metrics.jsonl ({line['stage']}) lacks {', '.join(lacking)} and is skipped.")
            continue
        if line["stage"] in ("judge", "evaluation") and len(matrix(line) or []) == 1:
            line |= dict.fromkeys(("accuracy", "balanced_accuracy", "macro_f1"), math.nan)  # there was no choice
        yield number, line


def _is(value: Any, kind: type | tuple[type, ...]) -> bool:
    if isinstance(value, bool) or not isinstance(value, kind):
        return False
    return not isinstance(value, int | float) or not abs(value) > LARGEST


def _parsed(path: Path, parse: Callable[[str], T], notes: list[str], lost: str) -> T | None:
    """The content of a file; None and a note if it cannot be parsed."""
    try:
        return parse(read_text(path))
    except (OSError, ValueError, yaml.YAMLError):
        notes.append(f"{path.name} cannot be read: {lost}.")
        return None
