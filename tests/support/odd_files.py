"""What may stand under the name of a file and is none that can be read."""

import os
from pathlib import Path

MAKERS = {"pipe": os.mkfifo, "folder": Path.mkdir, "device": lambda path: path.symlink_to("/dev/zero"),
          "broken link": lambda path: path.symlink_to(path.with_name("gone")),
          "loop": lambda path: path.symlink_to(path), "link to a folder": lambda path: path.symlink_to(path.parent),
          "large": lambda path: (path.touch(), os.truncate(path, 1 << 40))}


def make(kind: str, path: Path) -> None:
    """Put one of these, of MAKERS, in the place of a file."""
    path.unlink(missing_ok=True)
    MAKERS[kind](path)
