"""Small data sets in their true layouts, and settings that name them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.sounds import write
from vegas_fl.config import DataConfig


def data(**changes: Any) -> DataConfig:
    values: dict[str, Any] = {
        "name": "folder",
        "root": None,
        "max_seconds": 5.0,
        "clips_per_class": 4,
        "train_ratio": 0.8,
        "val_ratio": 0.1,
        "test_ratio": 0.1,
        "partition": "even",
        "dirichlet_alpha": 1.0,
        "classes_per_node": 2,
        "train_folds": None,
        "val_folds": None,
        "test_folds": None,
        "split_seed": 42,
    }
    return DataConfig(**values | changes)


def esc50(root: Path, rows: list[str]) -> Path:
    (root / "meta").mkdir(parents=True)
    (root / "audio").mkdir()
    (root / "meta" / "esc50.csv").write_text("\n".join(["filename,fold,target,category,esc10,src_file,take", *rows]))
    return root


def vegas_folder(root: Path, captions: object = None) -> Path:
    """Two classes as VEGAS has them, and what lies beside them."""
    for label in ("dog", "baby_cry"):
        for index in range(3):
            write(root / label / "audios" / f"video_{index:05d}.wav")
            for folder, ending in (("img", "jpg"), ("videos", "mp4")):
                (root / label / folder).mkdir(exist_ok=True)
                (root / label / folder / f"video_{index:05d}.{ending}").write_bytes(b"not read")
        (root / label / "video_info.csv").write_text("YTID,start_second,end_second\nx,0,10\n-y_,5,15\nx,20,30\n")
    (root / "README.txt").write_text("no class")
    (root / "empty" / "audios").mkdir(parents=True)
    if captions is not None:
        (root / "dog" / "captions.json").write_text(json.dumps(captions))
    return root
