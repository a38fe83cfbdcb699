"""Times for people: of this machine's zone, which is said, since who reads them may be elsewhere than the machine."""

import time


def local(at: float, *, seconds: bool = False) -> str:
    """`2026-11-27 09:30 UTC+01:00`, of seconds since 1970; the offset is the one of that day."""
    then = time.localtime(at)
    offset = time.strftime("%z", then)
    return f"{time.strftime('%Y-%m-%d %H:%M:%S' if seconds else '%Y-%m-%d %H:%M', then)} UTC{offset[:3]}:{offset[3:5]}"
