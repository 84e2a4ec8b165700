"""Which clips every node used, ``runs/<run>/clips/node_<i>.json``: a later run can be proven to use the same.

A clip is told by a hash of its class and file name (:attr:`vegas_fl.clips.Clip.id`): nothing of what is heard, and no
name, leaves the node.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping

from strategies.exchange import Reply
from strategies.record import Record
from vegas_fl.tensorfiles import write_atomically

log = logging.getLogger("vegas_fl.server")


def save(record: Record, described: Mapping[str, Reply]) -> None:
    """Write what the nodes said, and a line of metrics each; tell of a node that had other clips when the run was
    started before."""
    for node, reply in described.items():
        if "manifest" not in reply.values:
            continue
        data = (json.dumps(reply.values["manifest"], indent=1, sort_keys=True) + "\n").encode()
        path = record.folder / "clips" / f"node_{node}.json"
        if path.exists() and path.read_bytes() != data:
            log.warning("node %s uses other clips than when this run was started before; see %s", node, path)
        write_atomically(path, data)
        record.add(stage="clips", node=node, sha256=hashlib.sha256(data).hexdigest())
