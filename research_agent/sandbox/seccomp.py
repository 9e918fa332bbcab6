"""System calls that no computation needs and that reach past namespaces: they answer EPERM.

Keyrings are inherited from who started us; virtual sockets lead to the host of a virtual machine; tracing, BPF, performance counters,
io_uring and user faults are where kernels broke most; memory without a file or a mapping (memfd, System V) is on nobody's account. A
filter in classic BPF, as bubblewrap's `--seccomp` takes it.
"""

from __future__ import annotations

import errno
import functools
import platform
import struct

_CALLS: dict[str, tuple[int, int, int, dict[str, int]]] = {
    # machine: its audit number, the numbers of `socket` and `setsockopt`, and the calls refused
    "x86_64": (
        0xC000003E,
        41,
        54,
        {"ptrace": 101, "add_key": 248, "request_key": 249, "keyctl": 250, "perf_event_open": 298, "process_vm_readv": 310}
        | {"process_vm_writev": 311, "kcmp": 312, "bpf": 321, "userfaultfd": 323, "io_uring_setup": 425, "pidfd_getfd": 438}
        | {"mount": 165, "umount2": 166, "unshare": 272, "setns": 308, "pivot_root": 155, "open_by_handle_at": 304, "fsopen": 430}
        | {"memfd_create": 319, "memfd_secret": 447, "shmget": 29, "msgget": 68, "semget": 64},
    ),
    "aarch64": (
        0xC00000B7,
        198,
        208,
        {"ptrace": 117, "add_key": 217, "request_key": 218, "keyctl": 219, "perf_event_open": 241, "process_vm_readv": 270}
        | {"process_vm_writev": 271, "kcmp": 272, "bpf": 280, "userfaultfd": 282, "io_uring_setup": 425, "pidfd_getfd": 438}
        | {"mount": 40, "umount2": 39, "unshare": 97, "setns": 268, "pivot_root": 41, "open_by_handle_at": 265, "fsopen": 430}
        | {"memfd_create": 279, "memfd_secret": 447, "shmget": 194, "msgget": 186, "semget": 190},
    ),
}
_FAMILIES = (1, 2, 10)
"""Unix, IPv4, IPv6: sockets of the sandbox's own network, which leads nowhere."""
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _KILL, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM
_NUMBER, _MACHINE, _FIRST, _THIRD = 0, 4, 16, 32
"""Where a call's number, machine and arguments lie."""
_BUFFERS = (7, 8, 32, 33)
"""Options that make a socket's buffers larger: gigabytes that no process is charged with."""
_X32 = 0x40000000


@functools.cache
def program() -> bytes:
    """The filter; empty on machines whose numbers are not known here, where the namespaces must do."""
    if platform.machine() not in _CALLS:
        return b""
    machine, socket, option, refused = _CALLS[platform.machine()]
    rules = [(_LOAD, 0, 0, _MACHINE), (_EQUAL, 1, 0, machine), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, _NUMBER)]
    rules += [(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _REFUSE)]  # the same calls under other numbers
    for number in refused.values():
        rules += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE)]
    rules += [(_EQUAL, 0, 2 + 2 * len(_BUFFERS), option), (_LOAD, 0, 0, _THIRD)]
    for name in _BUFFERS:
        rules += [(_EQUAL, 0, 1, name), (_RETURN, 0, 0, _REFUSE)]
    rules += [(_RETURN, 0, 0, _ALLOW)]
    rules += [(_EQUAL, 1, 0, socket), (_RETURN, 0, 0, _ALLOW), (_LOAD, 0, 0, _FIRST)]
    for family in _FAMILIES:
        rules += [(_EQUAL, 0, 1, family), (_RETURN, 0, 0, _ALLOW)]
    rules += [(_RETURN, 0, 0, _REFUSE)]
    return b"".join(struct.pack("<HBBI", *rule) for rule in rules)
