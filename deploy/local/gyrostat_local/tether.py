"""Become another program that ends when its starter ends. Run as a script, so that it costs milliseconds.

`python -S -E tether.py <starter's pid> <signal> [<user>] -- command…`. Linux only; elsewhere the command just runs.
Called by `gyrostat_local.system` and the test fixtures, in place of `preexec_fn`, which is unsafe with threads.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Change the user if one is named, ask the kernel for the signal at the starter's death, become the command."""
    separator = sys.argv.index("--")
    starter, number, *user = sys.argv[1:separator]
    command = sys.argv[separator + 1 :]
    if user:
        become(user[0])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(number))
        if os.getppid() != int(starter):  # it died before we asked
            sys.exit(1)
    os.execvp(command[0], command)


def become(user: str) -> None:
    """Drop to this user's rights; the death signal must be set after it, for the change clears it."""
    import pwd

    entry = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


if __name__ == "__main__":
    main()
