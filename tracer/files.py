"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from tracer.errors import Unwritable


def check_writable(path: Path) -> None:
    """Refuse an output that cannot be written before the work is done: a folder, or a file in none."""
    if path.is_dir():
        raise Unwritable(f"'{path}' is a folder; give a file name.")
    if not path.parent.is_dir():
        raise Unwritable(f"'{path}' cannot be written: there is no folder '{path.parent}'.")


def write(path: Path, data: bytes) -> None:
    """Whole or not at all: to a temporary file beside it, then renamed. Raises Unwritable."""
    try:
        if path.exists() and not path.is_file():  # a device or a pipe
            path.write_bytes(data)
            return
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        real = path.resolve()  # a link stays a link
        with tempfile.NamedTemporaryFile("wb", dir=real.parent, prefix=f".{real.name[:40]}.", delete=False) as file:
            temporary = Path(file.name)
            try:
                file.write(data)
                file.close()
                umask = os.umask(0)
                os.umask(umask)
                temporary.chmod(real.stat().st_mode & 0o777 if real.exists() else 0o666 & ~umask)
                temporary.replace(real)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise Unwritable(f"'{path}' cannot be written: {error.strerror or error}.") from None
