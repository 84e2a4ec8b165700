"""Safetensors files whose headers somebody made up: whoever reads one tells the file in a sentence."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from vegas_fl.audio.cache import Cache
from vegas_fl.core.errors import VegasError
from vegas_fl.core.modelfiles import shapes
from vegas_fl.storage.names import find_adapters, find_generators
from vegas_fl.storage.tensorfiles import load, load_header


def made(header: object, data: bytes = bytes(8), size: int | None = None) -> bytes:
    """A file with this header, which says that it has ``size`` bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def tensor(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


FILES = {
    "shorter than a length": b"\x01\x02",
    "header beyond the file": made({"a": tensor()}, size=10**6),
    "header of 2^63 bytes": made({"a": tensor()}, size=2**63),
    "header of no bytes": made(b""),
    "no JSON": made(b"{not json"),
    "no UTF-8": made(b'{"\xff\xfe": 1}'),
    "no object": made([1, 2]),
    "deep nesting": made(b'{"a":' * 5000 + b"1" + b"}" * 5000),
    "overlapping tensors": made({"a": tensor(), "b": tensor(offsets=(4, 12))}, bytes(12)),
    "a hole": made({"a": tensor(), "b": tensor(offsets=(16, 24))}, bytes(24)),
    "trailing bytes": made({"a": tensor()}, bytes(80)),
    "negative offsets": made({"a": tensor(offsets=(-8, 0))}),
    "offsets turned round": made({"a": tensor(offsets=(8, 0))}),
    "offsets beyond the file": made({"a": tensor(shape=(2**40,), offsets=(0, 2**42))}),
    "a shape that overflows": made({"a": tensor(shape=(2**33, 2**33))}),
    "a negative shape": made({"a": tensor(shape=(-2,))}),
    "an unknown type": made({"a": tensor(dtype="Q7")}),
    "a type of another size": made({"a": tensor(dtype="F64")}),
    "no offsets": made({"a": {"dtype": "F32", "shape": [2]}}),
    "metadata that is no text": made({"__metadata__": {"vegas_fl": 3}, "a": tensor()}),
    "metadata that is a list": made({"__metadata__": [1], "a": tensor()}),
    "metadata of another program": made({"__metadata__": {"vegas_fl": "[]", "crc32": "[]"}, "a": tensor()}),
    "a checksum that is no number": made({"__metadata__": {"crc32": '{"a": {"b": 1}}'}, "a": tensor()}),
    "metadata that is deep": made({"__metadata__": {"vegas_fl": "[" * 10**5, "crc32": "[" * 10**5}, "a": tensor()}),
    "an infinite format": made({"__metadata__": {"vegas_fl": '{"format": 1e999}', "crc32": "1e999"}, "a": tensor()}),
    **{
        f"an entry {entry}": made({"__metadata__": {"vegas_fl": json.dumps(entry)}, "a": tensor()})
        for entry in (
            {"round": "x"},
            {"round": 1e999},
            {"round": [1]},
            {"round": 10**400},
            {"run": "r", "node": {"a": 1}},
            {"run": ["r"], "node": None},
            {"class": {"a": 1}},
            {"kind": 3},
        )
    },
    "the same name twice": made(
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},'
        b' "a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}}',
        bytes(16),
    ),
    "a name with a line break": made({"a\n\x1b[2J": tensor()}),
    "a name of a megabyte": made({"a" * 10**6: tensor()}),
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_no_header_is_believed(content: bytes, tmp_path: Path) -> None:
    names = ("vae_perclass_round_1_dog.safetensors", "r_round_1_clip.safetensors")
    for name in names:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(VegasError, match=name) as told:
            load(tmp_path / name)
        assert len(str(told.value)) < 2000 and "\x1b" not in str(told.value)
    for read in (lambda path: shapes([path]), load_header):  # these read no tensors: they may not notice
        try:
            read(tmp_path / names[0])
        except VegasError as error:
            assert names[0] in str(error) and len(str(error)) < 2000
    assert isinstance(find_generators(tmp_path), dict) and isinstance(find_adapters(tmp_path), dict)
    shard = tmp_path / "space-5s" / "a.safetensors"
    shard.parent.mkdir()
    shard.write_bytes(content)
    with Cache(tmp_path, "space", 5.0, (1, 2)) as cache:
        assert cache.read(["a"]) == {}
