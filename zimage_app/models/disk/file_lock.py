"""Takes lock files, also on file systems that have no locks, as some network drives and FUSE mounts."""

from __future__ import annotations

import errno
import logging

from filelock import BaseFileLock

log = logging.getLogger(__name__)

_NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP})


def take(lock: BaseFileLock, seconds: float = 0.0) -> bool:
    """Take a lock within ``seconds``. Returns False, and logs a warning, where the file system has no locks.

    Raises:
        Timeout: another process holds it.
        OSError: the lock's file can't be opened.
    """
    try:
        lock.acquire(timeout=seconds)
    except (OSError, NotImplementedError) as error:  # NotImplementedError: ENOSYS, in older versions of filelock
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:  # such as Timeout, which has none
            raise
        log.warning("%s: the file system has no locks; see to it that one program at a time uses it", lock.lock_file)
        return False
    return True
