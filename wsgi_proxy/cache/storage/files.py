"""Entries as files.

`FileStorage` keeps one file for each response under nginx's names (the MD5 digest of the key, in `levels` of directories),
mode 0600 in directories of mode 0700. It is a CacheControl separate-body storage as well.

A file that cannot be read as an entry is removed, and `load` raises BrokenEntry. All other failures are OSErrors.
"""

from __future__ import annotations

import errno
import os
import re
import zlib
from collections.abc import Iterator
from datetime import datetime
from typing import IO, TYPE_CHECKING, Final

from cachecontrol.cache import SeparateBodyBaseCache

from ...logs import errorlog
from .entry import BrokenEntry, Entry, VaryIndex, digest_of, new_id
from .format import COMPLETE, SUPERBLOCK, Superblock, encode, load

if TYPE_CHECKING:
    from ..fill import Fill

NAME: Final = re.compile(r"[0-9a-f]{32}")
STATE_DIRECTORY: Final = ".wsgi-proxy"
# Bytes that heads appended by 304s may take before the entry is removed and fetched anew.
_APPENDED_MAX: Final = 256 * 1024


def same_file(fd: int, path: str) -> bool:
    """Return True if a path names the open file."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


class FileStorage(SeparateBodyBaseCache):
    """A directory of entries. OSError if it cannot be made."""

    body_max = 0

    def __init__(self, directory: str, levels: tuple[int, ...] = ()) -> None:
        self.directory = directory
        self.levels = levels
        os.makedirs(directory, 0o700, exist_ok=True)
        self._block = os.statvfs(directory).f_frsize or 512

    def path(self, name: str) -> str:
        """Return the file of an entry. As in nginx, `levels` take the last characters of its name."""
        directory, end = self.directory, len(name)
        for width in self.levels:
            directory = os.path.join(directory, name[end - width : end])
            end -= width
        return os.path.join(directory, name)

    def load(self, name: str) -> Entry | VaryIndex | None:
        path = self.path(name)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            return self._read(fd, path, name)
        finally:
            os.close(fd)

    def _read(self, fd: int, path: str, name: str) -> Entry | VaryIndex | None:
        try:
            _, found = load(fd)
        except BrokenEntry as first:
            # A head that is being replaced at this moment may be incomplete when it is read.
            try:
                _, found = load(fd)
            except BrokenEntry:
                self._unlink(path)
                raise BrokenEntry(f'"{path}": {first}') from None
        if isinstance(found, Entry):
            found.path = path
            found.name = name
            found.touched_at = os.fstat(fd).st_mtime
        return found

    def adopt(self, fill: Fill, name: str, keep: float) -> int:
        path, target = fill.path, self.path(name)
        if not fill.owns_path():
            raise FileNotFoundError(errno.ENOENT, "the file of this fetch lost its name", path)
        size = os.fstat(fill.fd).st_size
        try:
            replaced = os.stat(target).st_size
        except FileNotFoundError:
            replaced = 0
        try:
            os.rename(path, target)
        except FileNotFoundError:
            self._make_directories(target)
            os.rename(path, target)
        fill.adopted()
        return self.on_disk(size) - self.on_disk(replaced)

    def put(self, name: str, data: bytes, keep: float) -> None:
        target = self.path(name)
        temporary = f"{target}.{os.getpid()}.{new_id():016x}"
        try:
            fd = self._create(temporary)
        except FileNotFoundError:
            self._make_directories(target)
            fd = self._create(temporary)
        try:
            with open(fd, "wb", buffering=0) as file:
                written = 0
                while written < len(data):
                    written += file.write(data[written:])
            os.rename(temporary, target)
        except BaseException:
            self._unlink(temporary)
            raise

    @staticmethod
    def _create(path: str) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def _make_directories(self, path: str) -> None:
        """Make the directories of a path's levels with mode 0700. os.makedirs would apply the umask's to them."""
        directory = self.directory
        os.makedirs(directory, 0o700, exist_ok=True)
        for part in os.path.relpath(os.path.dirname(path), directory).split(os.sep):
            directory = os.path.join(directory, part)
            try:
                os.mkdir(directory, 0o700)
            except FileExistsError:
                continue

    def refresh(self, entry: Entry, keep: float) -> bool:
        """Write the file anew if its body is small, else append the head to it."""
        try:
            fd = os.open(entry.path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            block = Superblock.unpack(os.pread(fd, SUPERBLOCK, 0))
            if block.id != entry.id:
                return False
            if entry.body is not None:
                self.put(entry.name, encode(entry, entry.body), keep)
                return True
            end = os.fstat(fd).st_size
            head = entry.head()
            if end + len(head) > block.body_offset + block.body_length + _APPENDED_MAX:
                self._unlink(entry.path)
                return True
            os.pwrite(fd, head, end)
            block.head_offset, block.head_length, block.head_crc = end, len(head), zlib.crc32(head)
            os.pwrite(fd, block.pack(), 0)
            return True
        except BrokenEntry:
            return False
        finally:
            os.close(fd)

    def delete(self, name: str) -> int | None:  # type: ignore[override]
        """Remove an entry. As BaseCache's delete it takes any key, and digests it unless it is a digest."""
        path = self.path(name if NAME.fullmatch(name) else digest_of(name))
        try:
            size = os.stat(path).st_size
            os.unlink(path)
        except FileNotFoundError:
            return None
        return self.on_disk(size)

    def on_disk(self, size: int) -> int:
        """Return the bytes that a file of `size` bytes occupies: `max_size` counts whole blocks, as nginx does."""
        return -(-size // self._block) * self._block

    def holds(self, entry: Entry) -> bool:
        return os.access(entry.path, os.F_OK)

    def touch(self, entry: Entry, now: float) -> None:
        # The index that leads to a variant is in use as well.
        for path in {entry.path, self.path(entry.primary)}:
            try:
                os.utime(path, (now, now))
            except FileNotFoundError:
                continue

    @staticmethod
    def _unlink(path: str) -> None:
        try:
            os.unlink(path)
        except FileNotFoundError:
            return
        except OSError as error:
            errorlog.line("warn", f'cache file "{path}" cannot be removed: {error.strerror}')

    def files(self) -> Iterator[tuple[str, os.stat_result]]:
        """Yield (name, stat) of every entry, directory by directory.

        Foreign files, and files that vanish meanwhile, are left out.
        """
        yield from self._walk(self.directory, len(self.levels))

    def _walk(self, directory: str, depth: int) -> Iterator[tuple[str, os.stat_result]]:
        try:
            entries = os.scandir(directory)
        except FileNotFoundError:
            return
        with entries:
            for found in entries:
                if depth:
                    if found.name != STATE_DIRECTORY and found.is_dir(follow_symlinks=False):
                        yield from self._walk(found.path, depth - 1)
                elif NAME.match(found.name):
                    try:
                        yield found.name, found.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue

    # --- CacheControl's interface: any text as key, metadata and body as the caller made them -------------------------

    def get(self, key: str) -> bytes | None:
        file = self._foreign(key)
        if file is None:
            return None
        with file:
            meta: bytes = file.read(int.from_bytes(file.read(8), "little"))
            return meta

    def set(self, key: str, value: bytes, expires: int | datetime | None = None) -> None:
        self._set_foreign(key, value, b"")

    def set_body(self, key: str, body: bytes) -> None:
        self._set_foreign(key, self.get(key) or b"", body)

    def get_body(self, key: str) -> IO[bytes] | None:
        file = self._foreign(key)
        if file is not None:
            file.seek(int.from_bytes(file.read(8), "little"), os.SEEK_CUR)
        return file

    def _set_foreign(self, key: str, meta: bytes, body: bytes) -> None:
        """Store `len(meta) meta body` in one file, as the body of an index without specs."""
        content = len(meta).to_bytes(8, "little") + meta + body
        self.put(digest_of(key), encode(VaryIndex(key, "", []), content), 0)

    def _foreign(self, key: str) -> IO[bytes] | None:
        try:
            file = open(self.path(digest_of(key)), "rb")
        except FileNotFoundError:
            return None
        try:
            block = Superblock.unpack(file.read(SUPERBLOCK))
            if block.state != COMPLETE or os.fstat(file.fileno()).st_size < block.body_offset + block.body_length:
                raise BrokenEntry("incomplete")
        except BrokenEntry as error:
            file.close()
            errorlog.line("warn", f'cache file of "{key}" is not used: {error}')
            return None
        file.seek(block.body_offset)
        return file
