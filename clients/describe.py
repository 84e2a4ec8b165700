"""Mode "describe": what a node holds, so that mistakes are known before anything is trained."""

from clients.node import Node
from vegas_fl.audio import encoders
from vegas_fl.config import PARTS
from vegas_fl.core.errors import VegasError
from vegas_fl.federation.messages import AudioSpace, Describe, Description, Manifests
from vegas_fl.runs.preflight import refused_folders
from vegas_fl.storage.tensorfiles import State


def describe(node: Node, request: Describe) -> tuple[Description, dict[str, State]]:
    """Clip counts, ids of the clips (keyed hashes of their names) and the audio space; only the node's number if the
    run needs no recordings."""
    if "images" in node.config.stages and (problems := refused_folders(node.config, node.id, checkpoints=False)):
        raise VegasError(problems[0])
    if not node.config.needs_recordings:
        return Description(node=node.id, notes={}), {}
    clips = node.clips
    tokens, width = encoders.shape(node.config.encoder)
    audio = AudioSpace(tokens=tokens, width=width, fingerprint=encoders.fingerprint(node.config.encoder))
    train, val, test = ({label: len(own) for label, own in getattr(clips, part).items()} for part in PARTS)
    manifest = Manifests(**clips.manifest(node.secret))
    about = Description(
        node=node.id, notes=clips.notes, train=train, val=val, test=test, manifest=manifest, audio=audio
    )
    return about, {}
