"""What a run says about its two questions: are shared adapters better than local ones, are the generators any good?"""

from collections.abc import Mapping
from typing import Any

from vegas_fl.runs.report.read import Line, Run, matrix, real, span

BRANCH_NAMES = {"clip": "CLIP branch", "t5": "T5 branch"}

COPIES = 0.5
"""A generator copies if its samples' median distance to the training clips is below this share of new recordings'."""
VARIED = 0.7
"""A generator has little variety if its recall is below this share of that of real clips."""
PURE = 0.1
"""A generator mixes its class up with others if its purity is so much below that of real clips."""
GOOD, UNKNOWN = "good", "too few clips to tell"


def main_adapter(run: Run) -> str | None:
    """The adapter a run is about: the aggregated one, or else the last."""
    names = list(run.final)
    return run.aggregation if run.aggregation in names else (names[-1] if names else None)


def shared(run: Run) -> tuple[str, str] | None:
    """Whether the aggregated adapter is better than the nodes' own: an answer, and a sentence with the figures."""
    main = main_adapter(run)
    if main is None:
        return None
    if main == "local":
        return "Nothing was shared.", "Every node kept its own adapter (aggregation=standalone)."
    local = run.final.get("local", {})
    shown = {branch: line for branch, line in run.final[main].items() if branch in local and branch in BRANCH_NAMES}
    if not shown:
        return "Not measured.", "The nodes' own adapters were not evaluated; evaluation.compare=[local] does that."
    parts = [
        f"{main} {line['accuracy']:.3f}, a node's own adapter {local[b]['accuracy']:.3f} "
        f"({BRANCH_NAMES[b]}: {gain(line, local[b])})"
        for b, line in shown.items()
    ]
    first = next(iter(shown.values()))
    clips, recordings = sum(map(sum, matrix(first) or [])), real(first.get("recordings"))
    text = f"Right of {clips} clips that no node trained on: {'; '.join(parts)}."
    if first["round"] > 1:
        text += " Since the second round, nodes train their own from the shared one."
    spans = {BRANCH_NAMES[branch]: span(line.get("gain_interval")) for branch, line in shown.items()}
    if recordings and None not in spans.values():
        text += f" In brackets: 95 % intervals, from a bootstrap over the {recordings:.0f} source recordings."
    return _sure(spans), text


def gain(line: Line, local: Line) -> str:
    """How much more an adapter tells right than the nodes' own, with the interval if there is one."""
    ends = span(line.get("gain_interval"))
    return f"{line['accuracy'] - local['accuracy']:+.3f}" + (f" [{ends[0]:+.3f}, {ends[1]:+.3f}]" if ends else "")


def _sure(spans: Mapping[str, tuple[float, float] | None]) -> str:
    """The answer that the intervals of the gain in each branch allow."""
    known = {name: ends for name, ends in spans.items() if ends}
    better = [name for name, (low, _) in known.items() if low > 0]
    worse = [name for name, (_, high) in known.items() if high < 0]
    if not known:
        return "No interval: the nodes sent no resamples."
    for answer, names in (("Yes", better), ("No, they are worse", worse)):
        if names:
            return f"{answer}." if len(names) == len(spans) else f"{answer}, in the {' and '.join(names)} only."
    return "Not certain: the interval includes no difference."


def generator(figures: Mapping[str, Any]) -> tuple[str, str]:
    """Whether a class's generator is any good: a verdict, and its reasons."""
    known = {
        key: (real(figures.get(key)), real(figures.get(f"{key}_ceiling"))) for key in ("purity", "recall", "nearest")
    }
    pairs = {key: (own, best) for key, (own, best) in known.items() if own is not None and best is not None}
    faults, reasons = [], []
    if pair := pairs.get("purity"):
        mixed = pair[0] < pair[1] - PURE
        faults += ["mixed up with other classes"] * mixed
        reasons.append(f"{pair[0]:.0%} of the samples sound like the class (of real clips {pair[1]:.0%})")
    if pair := pairs.get("recall"):
        faults += ["little variety"] * (pair[0] < VARIED * pair[1])
        reasons.append(f"they cover {pair[0]:.0%} of the unseen clips (real clips {pair[1]:.0%})")
    if pair := pairs.get("nearest"):
        copies = pair[0] < COPIES * pair[1]
        faults += ["copies its clips"] * copies
        reasons.append(
            f"they are {'only ' * copies}{pair[0]:.3f} from the nearest training clip (new recordings {pair[1]:.3f})"
        )
    if "recall" not in pairs and not faults:
        return UNKNOWN, "; ".join(reasons) or "no unseen clips to compare with"
    return ", ".join(faults) or GOOD, "; ".join(reasons)


def generators(run: Run) -> tuple[str, str] | None:
    """Whether the generators are any good: an answer, and which of them are not."""
    if not run.quality:
        return None
    verdicts = {label: generator(line)[0] for label, line in run.quality.items()}
    good = [label for label, verdict in verdicts.items() if verdict == GOOD]
    if len(good) == len(verdicts):
        return "Yes.", f"All {len(good)} are good." if len(good) > 1 else "It is good."
    grouped: dict[str, list[str]] = {}
    for label, verdict in sorted(verdicts.items()):
        if verdict != GOOD:
            grouped.setdefault(verdict, []).append(label)
    text = "; ".join(f"{verdict}: {', '.join(labels)}" for verdict, labels in grouped.items())
    some = f"{len(good)} of {len(verdicts)} good" if good else f"none of {len(verdicts)} clearly good"
    return ("In part." if good else "Not quite."), f"{some}. {text[0].upper()}{text[1:]}."
