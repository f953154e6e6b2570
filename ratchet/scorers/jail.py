"""The first process inside the sandbox: shuts the world out, runs one program, passes on how it ended.

It is given to the interpreter as text (`ratchet.scorers.sandbox`), as the first process of new mount, pid, net, ipc and
uts namespaces; it uses the standard library alone, and the modules of the clone are out of its reach. Its argument is
JSON: {"python", "read_only", "work_bytes", "limits", "time_s", "program"}. Nobody outside sees what it mounts.
"""

import ctypes
import errno
import json
import os
import resource
import signal
import struct
import sys
from typing import Any

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = (
    1,
    2,
    4,
    8,
    32,
    4096,
    16384,
    1 << 18,
)
MNT_DETACH = 2
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 24, 38, 22
SECCOMP_MODE_FILTER, CLONE_NEWUSER = 2, 0x10000000
LAST_CAPABILITY = 63
NOBODY = 65534
OUT_OF_TIME = 124
ROOT, WORK = "/sys", "/work"  # a mount of our own hides what stands there, and nothing of it is needed

# System calls that open a way out, or much of the kernel; by machine: pivot_root, clone, the audit name, those denied.
# unshare, setns, mount, umount2, pivot_root, ptrace, process_vm_readv, process_vm_writev, bpf, keyctl, add_key,
# request_key, perf_event_open, userfaultfd, chroot; then those with one number everywhere: io_uring, pidfd_getfd,
# open_tree, move_mount, fsopen, fsmount, mount_setattr.
SYSTEM_CALLS = {
    "x86_64": (
        155, 56, 0xC000003E,
        (272, 308, 165, 166, 155, 101, 310, 311, 321, 250, 248, 249, 298, 323, 161, 425, 426, 427, 438, 428, 429, 430,
         432, 442),
    ),
    "aarch64": (
        41, 220, 0xC00000B7,
        (97, 268, 40, 39, 41, 117, 270, 271, 280, 219, 217, 218, 241, 282, 51, 425, 426, 427, 438, 428, 429, 430,
         432, 442),
    ),
}  # fmt: skip
CLONE3 = 435

libc = ctypes.CDLL(None, use_errno=True)


def check(status: int, what: str) -> None:
    """Raise OSError where a system call of libc failed."""
    if status != 0:
        raise OSError(ctypes.get_errno(), what)


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """mount(2)."""
    check(libc.mount(source.encode(), target.encode(), kind.encode(), flags, data.encode()), f"mount {target}")


def build_root(read_only: list[str], work_bytes: int) -> None:
    """Make a root of a few read-only folders and one small writable one, and leave the old root for good."""
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    mount("tmpfs", ROOT, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")
    for path in read_only:
        bind(path, ROOT + path)
    os.makedirs(ROOT + WORK)
    mount("tmpfs", ROOT + WORK, "tmpfs", MS_NOSUID | MS_NODEV, f"size={work_bytes},nr_inodes=1000,mode=777")
    os.makedirs(ROOT + "/dev")
    open(ROOT + "/dev/null", "wb").close()
    mount("/dev/null", ROOT + "/dev/null", "", MS_BIND)
    old = ROOT + "/old"
    os.makedirs(old)
    pivot_root = SYSTEM_CALLS[os.uname().machine][0]
    check(libc.syscall(pivot_root, ROOT.encode(), old.encode()), "pivot_root")
    os.chdir("/")
    check(libc.umount2(b"/old", MNT_DETACH), "umount")
    os.rmdir("/old")
    mount("none", "/", "", MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)


def bind(path: str, target: str) -> None:
    """Show a folder of the machine read-only; a link is made anew."""
    if os.path.islink(path):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.symlink(os.readlink(path), target)
        return
    os.makedirs(target, exist_ok=True)
    mount(path, target, "", MS_BIND)
    kept = os.statvfs(path).f_flag & MS_NOEXEC  # a user namespace may not take away what was set outside
    mount("none", target, "", MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | kept)


def give_up_rights(limits: dict[str, int], *, becomes_nobody: bool) -> None:
    """Limits, no capability, fewer system calls, and nobody's id for a real root; none of it can be taken back."""
    for name, value in limits.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
    for capability in range(LAST_CAPABILITY):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    if becomes_nobody:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    filter_system_calls()


def filter_system_calls() -> None:
    """Deny the calls above, and clone with a new user namespace, by a seccomp filter in classic BPF (seccomp(2))."""
    _, clone, audit, denied = SYSTEM_CALLS[os.uname().machine]
    load, equal, at_least, any_bit, answer = 0x20, 0x15, 0x35, 0x45, 0x06
    refuse, allow, kill = 0x00050000 | errno.EPERM, 0x7FFF0000, 0x80000000
    program = [
        (load, 0, 0, 4), (equal, 1, 0, audit), (answer, 0, 0, kill),  # another machine's calls have other numbers
        (load, 0, 0, 0), (at_least, 0, 1, 0x40000000), (answer, 0, 0, kill),
    ]  # fmt: skip
    for number in denied:
        program += [(equal, 0, 1, number), (answer, 0, 0, refuse)]
    program += [
        (equal, 0, 1, CLONE3), (answer, 0, 0, 0x00050000 | errno.ENOSYS),  # its flags lie where a filter cannot look
        (equal, 0, 3, clone), (load, 0, 0, 16), (any_bit, 0, 1, CLONE_NEWUSER), (answer, 0, 0, refuse),
        (answer, 0, 0, allow),
    ]  # fmt: skip
    code = b"".join(struct.pack("HBBI", *step) for step in program)
    kept = ctypes.create_string_buffer(code)
    filter_ = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(kept)))
    check(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter_, 0, 0), "seccomp")


def is_real_root() -> bool:
    """Whether no user namespace stands between this root and the machine's; asked while /proc is there."""
    with open("/proc/self/uid_map") as file:
        inside, outside, _ = file.read().split()[:3]
    return inside == outside == "0" and os.getuid() == 0


def main(asked: dict[str, Any]) -> None:
    """Build the root, run the program in a child, end with 0, 1 or OUT_OF_TIME; with this process all others end.

    The time is kept here, as the kernel ends every process of the namespaces before this one counts as ended.
    """
    becomes_nobody = is_real_root()
    build_root(asked["read_only"], asked["work_bytes"])
    child = os.fork()
    if child == 0:
        os.chdir(WORK)
        give_up_rights(asked["limits"], becomes_nobody=becomes_nobody)
        os.execve(asked["python"], [asked["python"], "-I", "-S", "-c", asked["program"]], {"PATH": "/usr/bin"})  # noqa: S606
    signal.signal(signal.SIGALRM, lambda number, frame: os._exit(OUT_OF_TIME))
    signal.setitimer(signal.ITIMER_REAL, asked["time_s"])
    _, status = os.waitpid(child, 0)
    os._exit(0 if status == 0 else 1)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
