"""What the server checks of adapters before they count: behaviour, by its own text targets and generators."""

import logging
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from vegas_fl.algorithm.adapter import Adapter, Conditioning, standardisation
from vegas_fl.algorithm.trust import WORSE, capped, excessive_moves, farthest, mean_errors, teaching_errors
from vegas_fl.config import BRANCHES, Config
from vegas_fl.core import seeds
from vegas_fl.core.errors import some
from vegas_fl.storage.generators import load_class_generator
from vegas_fl.storage.headers import Spaces
from vegas_fl.storage.names import find_generators
from vegas_fl.storage.tensorfiles import State, norm

SAMPLES = 16
"""Samples of each class on which an adapter is judged."""


log = logging.getLogger("vegas_fl.server")


def weighed(claims: Mapping[str, int], config: Config, what: str) -> dict[str, int]:
    """By how many clips each node counts that says how many it has (``federation.max_weight``); told where it is fewer.
    ``what``: of what they are, in words."""
    weights = capped(claims, config.federation.max_weight)
    if less := [
        f"node {node} as {weights[node]}, not {claim}" for node, claim in claims.items() if weights[node] < claim
    ]:
        log.info("%s: %s (federation.max_weight)", what, some(less))
    return weights


class Screen:
    """Judges the adapters of one round, all trained from ``start``.

    Parameters
    ----------
    config : Config
    spaces : Spaces
    targets : Conditioning
        Text targets of all K classes: clip [K, P], t5 [K, T, C].
    start : dict
        State of the adapter that the nodes were sent.
    round_ : int
    """

    def __init__(self, config: Config, spaces: Spaces, targets: Conditioning, start: State, round_: int) -> None:
        self._config, self._spaces, self._start = config, spaces, start
        self._begin = self._build(start)
        self._targets = targets.by_class(config.classes)
        self._scales = Conditioning(*(standardisation(target)[1] for target in targets))
        self._mean = mean_errors(targets).by_class(config.classes)
        self._paths = find_generators(Path(config.generator.checkpoint_dir))
        self._round = round_
        self._samples: dict[str, Tensor] = {}
        self._most: dict[str, dict[str, float]] = {}
        self._moved: dict[str, float] = {}
        self._steps: dict[str, int] = {}

    def problem(self, clips: Mapping[str, int], state: State) -> str | None:
        """Why a node's adapter, trained on so many ``clips`` of each class, cannot be an honest one's; None if it can.

        Without a generator of a class, its behaviour is not known.
        """
        adapter = self._build(state)
        for label in clips:
            if label not in self._paths or label not in self._targets:
                continue
            error = self._errors(adapter, label)
            for branch, most in self._limits(label).items():
                if not error[branch] <= most:
                    return (
                        f"on samples of {label}, the error of its {branch} branch is {error[branch]:.3g} times the "
                        f"variance of the text targets, expected at most {most:.3g}"
                    )
        return None

    def too_far(self, node: str, clips: Mapping[str, int], state: State) -> str | None:
        """Why a node cannot have moved the adapter's weights so far by training."""
        settings = self._config.adapter
        own = sum(clips.values()) + settings.replay_samples * (len(self._config.classes) - len(clips))
        steps = settings.local_epochs * -(-own // settings.batch_size)
        moved = norm({name: tensor - self._start[name] for name, tensor in state.items()})
        most = farthest(self._begin, settings, steps) + 1e-3 * norm(self._start)  # sent in half precision
        if not moved <= most:
            return f"its weights moved by {moved:.3g}; in {steps} steps training moves them by at most {most:.3g}"
        self._moved[node], self._steps[node] = moved, max(1, steps)
        return None

    def odd(self) -> dict[str, str]:
        """Nodes whose adapters moved much farther than the others of the round, and why they are odd."""
        return excessive_moves(self._moved, self._steps)

    def _limits(self, label: str) -> dict[str, float]:
        """The largest error of each branch for a class."""
        if label not in self._most:
            start, mean = self._errors(self._begin, label), self._mean[label]
            # Targets of single clips vary around that of their class.
            varied = 1.0 if self._config.targets == "class" else 2.0
            self._most[label] = {b: WORSE * varied * max(start[b], float(getattr(mean, b))) for b in BRANCHES}
        return self._most[label]

    def _errors(self, adapter: Adapter, label: str) -> dict[str, float]:
        """The error of each branch on samples of a class."""
        if label not in self._samples:
            random = seeds.generator(self._config.seed, "screen", self._round, label)
            shared = load_class_generator(self._paths[label], self._spaces.audio)
            self._samples[label] = shared.sample(SAMPLES, generator=random)
        found = teaching_errors(adapter, {label: self._samples[label]}, self._targets, self._scales)[label]
        return {branch: float(getattr(found, branch)) for branch in BRANCHES}

    def _build(self, state: State) -> Adapter:
        adapter = Adapter(self._spaces.shape, self._config.adapter)
        adapter.load_state_dict(state)
        return adapter.eval()
