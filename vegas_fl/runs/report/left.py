"""The section of a page that answers what left the nodes."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from vegas_fl.core.files import read_text
from vegas_fl.runs.report.blocks import Block, Hint, Section, Table, size
from vegas_fl.runs.report.read import Run, real, span
from vegas_fl.runs.report.table import named, number


class Kind(NamedTuple):
    """What a kind of message asks for, what a node sends back, and what that can reveal."""

    words: str
    sent: str
    reveals: str


KINDS = {
    "query.describe": Kind(
        "describe",
        "numbers of clips by class; keyed hashes of file names; name of the audio encoder",
        "which classes a node holds and how much of them; whether a later run used the same clips",
    ),
    "train.generator": Kind(
        "train generators",
        "of each class: the generator's decoder and prior (or mixture), mean and variance of the embeddings; losses",
        "whether a known recording was trained on; of a class with a single clip, its embedding",
    ),
    "evaluate.generator": Kind(
        "evaluate generators",
        "of each class: a dozen quality figures, numbers of clips",
        "little, unless there are few unseen clips",
    ),
    "train.adapter": Kind(
        "train adapters",
        "weights of the adapter, losses, numbers of clips by class",
        "what the node's classes sound like; possibly whether a known recording was trained on",
    ),
    "evaluate.adapter": Kind(
        "evaluate",
        "counts of right and wrong answers by class, sums of distances, the same for recordings drawn at random",
        "how well its unseen clips are classified; little about a single one, unless they are few",
    ),
    "query.sums": Kind("make keys", "a public key for one secure sum", "nothing"),
    "train.sums": Kind(
        "add up clips",
        "numbers of clips by class; sums over them, masked with aggregation.secure_sum=true",
        "masked: nothing but the total over all nodes; else the span of the clips' statistics",
    ),
    "query.generate": Kind(
        "draw pictures",
        "numbers of pictures, name of their folder, what the judge takes them for",
        "how well its classes can be drawn",
    ),
}


def section(runs: Sequence[Run]) -> Section | None:
    """A row for each kind of reply (and run)."""
    rows: list[Sequence[str]] = []
    for name, run in named(runs):
        lines = [line for line in run.traffic if line["up"]]
        for message in dict.fromkeys(line["message"] for line in lines):
            own = [line for line in lines if line["message"] == message]
            nodes = {line.get("node") for line in own}
            kind = _kind(run, message)
            often = "once" if len(own) == len(nodes) else f"{len(own) / len(nodes):.3g} times"
            often += f", by {len(nodes)} node{'s' * (len(nodes) > 1)}"
            rows.append(
                [name, kind.sent, _receivers(run, message), kind.reveals, often, size(sum(x["up"] for x in own))]
            )
    if not rows:
        return None
    head = ["run", "what", "to whom", "what it can reveal", "how often", "bytes"]
    stayed = (
        "Recordings, their embeddings, the generators' encoders and the pictures were not sent. Nothing of this is "
        "differentially private; the figures of attacks are in docs/measured.md. A server that chooses settings to "
        "that end can learn more."
    )
    blocks: list[Block] = [Table(head, rows, 4, id="left").with_runs(runs), Hint(stayed)]
    return Section("left", "What left my nodes?", blocks + [block for run in runs for block in _measured(run)])


def _measured(run: Run) -> list[Block]:
    """What `vegas-fl audit` found, without the names of clips."""
    results = _parsed(run, "audit.json")
    attacks = results.get("attacks")
    rows = []
    for line in attacks if isinstance(attacks, list) else []:
        if isinstance(line, dict) and real(line.get("auc")) is not None:
            ends = span(line.get("interval"))
            interval = "-" if ends is None else f"{number(ends[0])} to {number(ends[1])}"
            rows.append([str(line.get("attack")), number(line["auc"]), interval, number(real(line.get("found")))])
    if not rows:
        return [Hint(f"vegas-fl audit {run.name} attacks what left the nodes and adds the results here.")]
    head = ["attack: was this clip trained on?", "AUC (0.5: chance)", "95 % interval", "found at 1 % false alarms"]
    blocks: list[Block] = [Table(head, rows, 1, id="attacks")]
    found = results.get("canaries")
    if isinstance(found, dict) and (epsilon := real(found.get("epsilon"))) is not None:
        tried = f"{found.get('right')} of {found.get('guesses')} canaries were guessed right"
        blocks.append(Hint(f"Lower bound on ε, 95 % confidence: {epsilon:.2f} ({tried})."))
    return blocks


def _parsed(run: Run, name: str) -> dict[str, Any]:
    """A file of JSON in a run's folder; empty if it is missing or damaged."""
    try:
        content = json.loads(read_text(run.folder / name))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _kind(run: Run, message: str) -> Kind:
    kind = KINDS.get(message, Kind(message, message, "not known to this version"))
    if message == "query.generate" and run.setting("evaluation", "reference"):
        features = "the judge's or Inception's features of each picture", "what each of its pictures looks like"
        kind = Kind(kind.words, f"{kind.sent}; {features[0]}", f"{kind.reveals}; {features[1]}")
    return kind


def _receivers(run: Run, message: str) -> str:
    """Who gets what the nodes answer: the server, and those it hands it on to."""
    asked = {str(line["message"]) for line in run.traffic}
    compared = run.setting("evaluation", "compare")
    further = []
    if message == "train.generator":
        if "evaluate.generator" in asked:
            further.append("all nodes (the means)")
        if run.setting("adapter", "replay_samples"):
            further.append("all nodes (decoders and priors)")
    if message == "train.adapter":
        every = (isinstance(compared, list) and "local" in compared) or run.aggregation == "standalone"
        further.append("all nodes" if every and "evaluate.adapter" in asked else "all nodes, merged")
    return " and ".join(["the server", *further])
