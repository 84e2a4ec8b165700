"""The replaced system's keys, one by one: what became of each. The page docs/coming-from-json.md says the same
(``make docs`` writes its tables)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Key:
    """What became of a key.

    Attributes
    ----------
    fate : str
        ``mapped``: ``to`` says the same; ``note``: nothing has to be said any more, ``text`` tells why;
        ``unsupported``: it cannot be had.
    to : str
        Our key, or "".
    text : str
        What there is to know.
    """

    fate: Literal["mapped", "note", "unsupported"]
    to: str = ""
    text: str = ""


def _mapped(to: str, text: str = "") -> Key:
    return Key("mapped", to, text)


def _note(text: str, to: str = "") -> Key:
    return Key("note", to, text)


def _unsupported(text: str) -> Key:
    return Key("unsupported", "", text)


_STAGES = "stages"
_SAVED = "checkpoints are always saved, and loaded by the stages that need them"
_NAMED = "file names are the guide's: vae_perclass_round_<r>_<class>, <run>_round_<r>_{clip,t5}"
_RECORD = "every run keeps runs/<run>/metrics.jsonl; tracking.wandb=PROJECT sends the figures to Weights & Biases"
_SCHEDULE = "local training keeps its learning rate, distillation lets it fall by a cosine"
_CLASSIFIER = "of the classifiers of PFLlib; adapters have their own"
_MODELS = "import-config --size chooses: flux is AST and FLUX.1-schnell, tiny the models that come with the project"
_DECAY = _mapped("adapter.weight_decay", "one for both branches")

NODE_KEYS = {
    "dataset": _mapped("data, nodes.N.dataset", "the data set most nodes read is data=…, others are nodes.N.dataset"),
    "selected_classes": _mapped(
        "nodes.N.selected_classes", "a class that does not exist is a mistake, not all classes"
    ),
    "excluded_classes": _mapped("nodes.N.selected_classes", "the classes that are left are written out"),
    "samples_per_node": _mapped(
        "nodes.N.samples_per_node",
        "clips to train on at most, and exactly so many pictures, of all its classes together",
    ),
    "num_samples_per_class": _mapped("nodes.N.samples_per_node", "times the node's classes, where that is not said"),
    "num_samples": _mapped("nodes.N.samples_per_node", "an older name of num_samples_per_class"),
    "num_nodes": _note(
        "the nodes that select a class share its clips, disjoint and complete; nothing is counted twice"
    ),
    "node_split_id": _note("which share is whose follows from the nodes' numbers"),
    "node_split_seed": _mapped("data.split_seed"),
    "train_ratio": _mapped("data.train_ratio"),
    "val_ratio": _mapped("data.val_ratio"),
    "test_ratio": _mapped("data.test_ratio"),
    "use_folds": _mapped("data.train_folds, data.test_folds", "null: split by ratios"),
    "train_folds": _mapped("data.train_folds"),
    "test_folds": _mapped("data.test_folds"),
}
"""Keys of an entry of ``nodes``; those that are told of the data may stand at the top as well."""

KEYS = {
    "num_clients": _note("the nodes are those in nodes"),
    "nodes": _mapped("nodes"),
    "global_rounds": _mapped("rounds"),
    "local_epochs": _mapped("adapter.local_epochs"),
    "eval_gap": _mapped("evaluation.every"),
    "seed": _mapped("seed", "-1 was a new one each time; here a run has its own"),
    "device": _mapped("device"),
    "batch_size": _mapped("adapter.batch_size", "pictures have renderer.batch_size, generators generator.batch_size"),
    "algorithm": _note("there is one"),
    "join_ratio": _note("all nodes take part in each round; federation.min_nodes says how many must"),
    "device_id": _note("device=cuda:N chooses one of several"),
    "use_generator": _mapped(
        "stages, images.source", "true, and nothing loaded: generators first; false: pictures of the node's recordings"
    ),
    "generator_only_mode": _mapped(_STAGES, "true: [generators]"),
    "use_pretrained_generators": _mapped(_STAGES, "true: generators are there"),
    "generator_training_mode": _mapped(_STAGES, "true: [generators]"),
    "global_model_train": _mapped(_STAGES, "false: no adapters"),
    "generate_nodes_images_frequency": _mapped(
        "stages, images.where, images.every", "not 0: images; after the last round, and after every so many before"
    ),
    "generate_global_images_frequency": _mapped(
        "stages, images.where, images.every", "not 0: the server draws, with the aggregated adapter"
    ),
    "generator_checkpoint_dir": _mapped("generator.checkpoint_dir"),
    "generator_load_checkpoint": _note(_SAVED),
    "generator_save_checkpoint": _note(_SAVED),
    "generator_checkpoint_base_name": _note(_NAMED),
    "generator_checkpoint_frequency": _note("a generator is trained once and saved once"),
    "generator_type": _mapped("generator", "vae only: a GAN or a VAE fed with a condition is not to be had"),
    "generator_granularity": _mapped("", "per_class only: groups and a unified generator mix the classes up"),
    "generator_augmentation_noise": _note(
        "generator.input_noise, in units of each feature's own deviation: another scale"
    ),
    "generator_sequence_length": _mapped("encoder.tokens"),
    "generator_training_epochs": _mapped("generator.epochs", "bounded by generator.max_steps"),
    "clip_adapter_learning_rate": _mapped("adapter.clip_learning_rate"),
    "t5_adapter_learning_rate": _mapped("adapter.t5_learning_rate"),
    "adapters_learning_rate": _mapped(
        "adapter.clip_learning_rate, adapter.t5_learning_rate", "for a branch that has none of its own"
    ),
    "clip_adapter_weight_decay": _DECAY,
    "t5_adapter_weight_decay": _DECAY,
    "adapters_weight_decay": _DECAY,
    "clip_adapter_learning_rate_schedule": _note(_SCHEDULE),
    "t5_adapter_learning_rate_schedule": _note(_SCHEDULE),
    "learning_rate_schedule": _note(_SCHEDULE),
    "learning_rate": _note(_CLASSIFIER),
    "optimizer": _note(_CLASSIFIER),
    "momentum": _note(_CLASSIFIER),
    "weight_decay": _note(_CLASSIFIER),
    "adapter_checkpoint_dir": _mapped(
        "adapter.checkpoint_dir, adapter.local_checkpoint_dir",
        "the latter where adapters are loaded to be merged: the new ones go to <run>'s own folder",
    ),
    "adapter_load_checkpoint": _note(_SAVED),
    "adapter_save_checkpoint": _note(_SAVED),
    "adapter_checkpoint_base_name": _note(_NAMED),
    "adapter_checkpoint_frequency": _note("every round is saved"),
    "adapter_aggregation_mode": _mapped("aggregation", "none: standalone; avg: fedavg, unweighted; kd: kd"),
    "adapter_aggregation_method": _mapped("aggregation", "an older name of adapter_aggregation_mode"),
    "global_model_train_from_generator": _mapped("aggregation", "true: replay"),
    "global_model_train_epochs": _mapped("aggregation.epochs", "with replay"),
    "kd_training_epochs": _mapped("aggregation.epochs"),
    "kd_learning_rate": _mapped("aggregation.learning_rate", "it was ignored there, and is used here"),
    "kd_samples_per_class": _mapped("aggregation.samples_per_class"),
    "images_output_dir": _mapped("images_output_dir"),
    "generate_low_memomy_footprint": _mapped("renderer.low_memory"),
    "generate_from_clip_text_embeddings": _mapped("conditioning.clip", "see below"),
    "generate_from_t5_text_embeddings": _mapped("conditioning.t5", "see below"),
    "generate_embeddings_only": _mapped("images.output", "true: embeddings; `vegas-fl render` draws them elsewhere"),
    "embeddings_checkpoint_dir": _note("embeddings go where pictures would: images_output_dir"),
    "audio_model_name": _note(_MODELS),
    "img_pipe_name": _note(_MODELS),
    "diffusion_type": _note(_MODELS),
    "cls_token_only": _mapped("encoder.tokens", "true: 1, which is AST's CLS token"),
    "wandb_project": _note(_RECORD),
    "wandb_mode": _note(_RECORD),
    "use_wandb": _note(_RECORD),
    "memory_log": _unsupported("memory is not logged: embeddings no longer pile up"),
    **{key: what for key, what in NODE_KEYS.items() if what.to.startswith("data.") or key.startswith("num_samples")},
    "selected_classes": _mapped("nodes.N.selected_classes", "for nodes that name none"),
    "excluded_classes": _mapped("nodes.N.selected_classes", "for nodes that name none"),
    "dataset": _mapped("data", "for nodes that name none"),
    "samples_per_node": _mapped("nodes.N.samples_per_node", "for nodes that name none"),
}
"""Keys at the top, whatever section they stand in."""


PLAIN: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "global_rounds": ("rounds", int),
    "local_epochs": ("adapter.local_epochs", int),
    "eval_gap": ("evaluation.every", int),
    "device": ("device", str),
    "batch_size": ("adapter.batch_size", int),
    "train_ratio": ("data.train_ratio", float),
    "val_ratio": ("data.val_ratio", float),
    "test_ratio": ("data.test_ratio", float),
    "node_split_seed": ("data.split_seed", int),
    "images_output_dir": ("images_output_dir", str),
    "generator_checkpoint_dir": ("generator.checkpoint_dir", str),
    "generator_training_epochs": ("generator.epochs", int),
    "generate_low_memomy_footprint": ("renderer.low_memory", bool),
    "clip_adapter_learning_rate": ("adapter.clip_learning_rate", float),
    "t5_adapter_learning_rate": ("adapter.t5_learning_rate", float),
}
"""Keys that only change their name."""


def tables() -> str:
    """Both tables in Markdown."""
    parts = []
    for title, keys in (("In an entry of `nodes`", NODE_KEYS), ("Everywhere else", KEYS)):
        lines = [f"### {title}", "", "| key | here | to know |", "|---|---|---|"]
        for name, key in keys.items():
            here = f"`{key.to}`" if key.to else {"unsupported": "not supported"}.get(key.fate, "nothing")
            lines.append(f"| `{name}` | {here} | {key.text} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"
