"""The system calls that sandboxed code may not make, as a seccomp filter.

Namespaces hide the machine and rlimits bound most of what a process can use up. This filter closes what they leave
open on current kernels:

- memory that no rlimit counts: System V shared memory and queues, POSIX message queues, memory files;
- sockets that a network namespace does not confine (VSOCK reaches the hypervisor), and every exotic family with them;
- the kernel keyring, which is inherited and may hold keys of whoever started the sandbox;
- the parts of the kernel with the worst record for privilege escalation: new namespaces, mounts, io_uring, bpf,
  userfaultfd, perf, tracing.

It is a list of refusals, so ordinary code (threads, subprocesses, local sockets, numpy) notices nothing. A refused
call returns an error instead of killing the process, so that the snippet's author reads a Python exception.
"""

from __future__ import annotations

import errno
import struct

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""The kernel's number of each supported machine (linux/audit.h), by `platform.machine()`."""

_DENIED = {
    # name: (x86_64, aarch64)
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "unshare": (272, 97),
    "setns": (308, 268),
    "chroot": (161, 51),
    "pivot_root": (155, 41),
    "mount": (165, 40),
    "umount2": (166, 39),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
}
_CLONE = (56, 220)
_CLONE3 = (435, 435)
_SOCKET = (41, 198)

_NEW_NAMESPACE_FLAGS = 0x7E020080
"""CLONE_NEWUSER, NEWPID, NEWNET, NEWIPC, NEWUTS, NEWCGROUP, NEWNS and NEWTIME, or-ed."""
_SOCKET_FAMILIES = (1, 2, 10, 16)
"""AF_UNIX, AF_INET, AF_INET6, AF_NETLINK: the families that a network namespace confines."""
_X32_BIT = 0x40000000
"""Set in the numbers of x86_64's second, hardly used call table; the table above does not name its calls."""

# Offsets in struct seccomp_data; the machines supported are little-endian, so an argument's low half comes first.
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16

# Classic BPF operations (linux/bpf_common.h).
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06

_ALLOW, _REFUSE, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One BPF instruction; the jumps count instructions to skip."""
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _refuse(error: int) -> bytes:
    return _op(_RETURN, _REFUSE | error)


def seccomp_filter(machine: str) -> bytes:
    """The filter program for a machine, in the binary form that `bwrap --seccomp` reads.

    Args:
        machine: `platform.machine()`, a key of `AUDIT_ARCH`.

    Raises:
        KeyError: the machine is not one of them.
    """
    arch = AUDIT_ARCH[machine]
    column = list(AUDIT_ARCH).index(machine)
    program = [
        _op(_LOAD, _ARCH),
        _op(_JUMP_EQUAL, arch, if_true=1),
        _op(_RETURN, _KILL_PROCESS),  # another call table (32-bit): its numbers mean other calls
        _op(_LOAD, _NUMBER),
    ]
    if machine == "x86_64":
        program += [_op(_JUMP_AT_LEAST, _X32_BIT, if_false=1), _refuse(errno.ENOSYS)]
    for numbers in _DENIED.values():
        program += [_op(_JUMP_EQUAL, numbers[column], if_false=1), _refuse(errno.EPERM)]
    # clone3 passes its flags by pointer, which a filter cannot follow; told ENOSYS, libc falls back to clone.
    program += [_op(_JUMP_EQUAL, _CLONE3[column], if_false=1), _refuse(errno.ENOSYS)]
    program += [
        _op(_JUMP_EQUAL, _CLONE[column], if_false=4),
        _op(_LOAD, _FIRST_ARGUMENT),
        _op(_JUMP_ANY_BIT, _NEW_NAMESPACE_FLAGS, if_false=1),
        _refuse(errno.EPERM),
        _op(_RETURN, _ALLOW),
    ]
    families = len(_SOCKET_FAMILIES)
    program += [_op(_JUMP_EQUAL, _SOCKET[column], if_false=families + 2), _op(_LOAD, _FIRST_ARGUMENT)]
    program += [_op(_JUMP_EQUAL, family, if_true=families - place) for place, family in enumerate(_SOCKET_FAMILIES)]
    program += [_refuse(errno.EAFNOSUPPORT), _op(_RETURN, _ALLOW)]
    return b"".join(program)
