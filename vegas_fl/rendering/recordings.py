"""``images.source=recordings``: the recordings of a node that are drawn, and finding them again."""

from collections.abc import Sequence
from pathlib import Path

from vegas_fl.audio.clips import Clip
from vegas_fl.audio.embeddings import embed
from vegas_fl.config import Config
from vegas_fl.core.errors import VegasError
from vegas_fl.data.datasets import open_dataset
from vegas_fl.data.splits import Split, node_clips
from vegas_fl.rendering.folder import Picture
from vegas_fl.rendering.jobs import Audio, recorded


def unseen(split: Split, label: str) -> dict[str, Clip]:
    """A class's validation and test clips by the hash of their content, without duplicates."""
    return {clip.content(): clip for clip in (*split.val.get(label, []), *split.test.get(label, []))}


def recordings_of(pictures: Sequence[Picture], config: Config, node: str, device: str) -> Audio:
    """The embeddings of the recordings that pictures were drawn from, computed again.

    Raises
    ------
    VegasError
        A recording was not found.
    """
    data = config.data_of(node)
    split = node_clips(data, config.peers(node), node, open_dataset(data))
    there = {content: clip for label in {p.label for p in pictures} for content, clip in unseen(split, label).items()}
    if absent := [picture for picture in pictures if picture.clip not in there]:
        raise VegasError(
            f"the recording of {absent[0].name} is not among the node's recordings here; run this on the node itself, "
            f"or set where its recordings are (nodes.{node}.dataset, or data.root, which is {data.root})"
        )
    clips = [there[str(picture.clip)] for picture in pictures]
    audio = embed(
        clips,
        config.encoder,
        cache_dir=Path(config.paths.cache).expanduser() / "embeddings",
        max_seconds=data.max_seconds,
        device=device,
    )
    return recorded({str(picture.clip): row for picture, row in zip(pictures, audio, strict=True)})
