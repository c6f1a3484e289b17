/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox's lists: one table, read by scripts/mkfilters.c when mvmm is built and by the tests,
 * which hold it to what runs really use. Constants only.
 *
 * Calls whose arguments do not matter cost a system call nothing: the kernel keeps a bitmap of them
 * (Linux 5.11). So the calls of the I/O path have no condition; an ioctl has always one.
 *
 * The last part is what any thread may need to end, or to die: a fault or a forbidden call is handled
 * on the thread it happens on, and gives the terminal back before the process ends.
 */
#include "vmm/cli/roles.h"

#include <asm/ioctls.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/kvm.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define S   (1 << ROLE_MAIN_CONTROL) /* serves */
#define M   (1 << ROLE_MAIN | S)
#define P   S /* parent of threads that come later, whose own lists cannot give what its lacks */
#define V   (1 << ROLE_VCPU)
#define D   (1 << ROLE_DISK)
#define W   (1 << ROLE_WORKER)
#define C   (1 << ROLE_CONSOLE)
#define E   (1 << ROLE_ENDING)
#define B   (1 << ROLE_BROKER)
#define ALL (M | V | D | W | C | E | B)

/* Of <asm/termbits.h>, with which no other header of terminals goes. */
#define IOCTL_TCGETS2 0x802c542a
#define IOCTL_TCSETS2 0x402c542b

#define ADVISE_GUARD 102 /* MADV_GUARD_INSTALL of Linux 6.13 */

/* What the C library starts a thread with: nothing that makes a process or leaves a namespace. */
#define CLONE_PTHREAD                                                                              \
	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SYSVSEM | CLONE_SIGHAND | CLONE_THREAD |        \
	 CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

#define NODEV	  "the tests add files only"
#define ANY	  .by_arg = false
#define ARG(n, v) .by_arg = true, .arg = (n), .value = (uint32_t)(v)
#define CALL(names, who, when, text, ...)                                                          \
	{                                                                                          \
		.call = (names), .roles = (who), when, .why = (text), __VA_ARGS__                  \
	}

const char *const role_names[ROLE_COUNT + 1] = {
	[ROLE_MAIN] = "main",	  [ROLE_MAIN_CONTROL] = "main_control",
	[ROLE_VCPU] = "vcpu",	  [ROLE_DISK] = "disk",
	[ROLE_WORKER] = "worker", [ROLE_CONSOLE] = "console",
	[ROLE_ENDING] = "ending", [ROLE_BROKER] = "broker",
	[ROLE_PARENT] = "parent",
};

/* clang-format off */
const struct role_rule role_rules[] = {
	/* The I/O path. */
	CALL("io_submit", D | P, ANY, "a batch of requests"),
	CALL("epoll_wait|epoll_pwait", D | P, ANY, "sleep"),
	CALL("write", ALL, ANY, "interrupts, wake-ups, messages"),
	CALL("ioctl", V, ARG(1, KVM_RUN), "the guest"),
	CALL("sched_yield", D | P, ANY, "to look for work, but not at others' cost",
	     .unseen = "only where a sleep has been short"),
	CALL("io_getevents", D | P, ANY, "sleep on requests that ring no eventfd",
	     .unseen = "only where storage takes longer than the disk's thread looks"),
	CALL("timerfd_settime", D | P, ANY, "when the next request may go, by its disk's limits"),
	CALL("preadv2", D | W | P, ANY, "a worker's READ; the disk's from the page cache"),
	CALL("pwritev2", W | P, ANY, "WRITE"),
	CALL("pwrite64", W | P, ANY, "zeroes written one by one"),
	CALL("fdatasync", D | W | P, ANY, "FLUSH of a buffered image; the disk's: when it ends"),
	CALL("fallocate", W | P, ARG(1, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE), "DISCARD"),
	CALL("fallocate", W | P, ARG(1, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE), "WRITE ZEROES"),
	CALL("fallocate", W | P, ARG(1, FALLOC_FL_KEEP_SIZE), "space before an overlay's writes"),
	CALL("ioctl", W | P, ARG(1, BLKDISCARD), "DISCARD on a block device"),
	CALL("futex", ALL, ANY, "locks, workers that sleep, the sandbox itself"),

	/* What a guest's register access may lead to. */
	CALL("ioctl", V, ARG(1, KVM_IRQFD), "MSI-X masks"),
	CALL("ioctl", V, ARG(1, KVM_SET_GSI_ROUTING), "MSI-X addresses"),
	CALL("ioctl", M, ARG(1, KVM_IRQFD), "an MSI-X mask, again",
	     .unseen = "only where KVM has refused it to a vCPU"),
	CALL("ioctl", M, ARG(1, KVM_SET_GSI_ROUTING), "an MSI-X address, again",
	     .unseen = "only where KVM has refused it to a vCPU"),
	CALL("ioctl", V, ARG(1, KVM_IOEVENTFD), "doorbells of a BAR that moves"),
	CALL("ioctl", V, ARG(1, KVM_GET_MP_STATE), "is this vCPU halted?"),
	CALL("ioctl", V, ARG(1, KVM_GET_REGS), "halted for good? and the report of a crash"),
	CALL("ioctl", V, ARG(1, KVM_GET_SREGS), "the report of a crash"),
	CALL("ioctl", V, ARG(1, KVM_TRANSLATE), "the report of a crash"),
	CALL("ioctl", V, ARG(1, KVM_KVMCLOCK_CTRL), "tells a guest that it has been paused"),
	CALL("ioctl", M, ARG(1, KVM_GET_MSRS), "--verbose: what the guest has taken up"),
	CALL("poll|ppoll", M | V | C | E, ANY, "main's loop, answers of a disk's thread, pending MSI-X"),
	CALL("read", M | V | C | E, ANY, "eventfds, signals, console input"),

	/* Main and the end of the VM. */
	CALL("clock_nanosleep", M, ANY, "waiting for vCPUs to say whether they are halted",
	     .unseen = "only where they have not said so before main looks"),
	CALL("pause|ppoll", M, ANY, "the other thread ends the process",
	     .unseen = "hardly ever: both come to the last words at once"),
	CALL("close", M, ANY, "what is not needed any more"),
	CALL("dup2|dup3", M | E, ARG(1, STDERR_FILENO), "turns away from a stderr that nobody reads"),
	CALL("munmap", M, ANY, "the C library gives stacks back; a removed disk's memory",
	     .unseen = "of hundreds of vCPUs, or where disks are removed"),
	CALL("pread64", M, ANY, "mvmm bench: what its guest has said"),

	/* The control socket. */
	CALL("accept4", S, ANY, "connections"),
	CALL("shutdown", S, ARG(1, SHUT_WR), "the end of the last answer"),
	CALL("mmap", S, ARG(2, PROT_READ | PROT_WRITE), "room for a long answer, a new disk's requests"),
	CALL("brk", S, ANY, "the same", .unseen = "only of many disks"),
	CALL("mremap", S, ANY, "the same", .unseen = "only of many disks"),

	/* Disks that come and go: opened on a thread that has main's list. */
	CALL("sendto", S, ANY, "asks the broker"),
	CALL("recvmsg", S, ANY, "the broker's answers"),
	CALL("newfstatat", S, ANY, "an image's size and kind"),
	CALL("madvise", S, ARG(2, MADV_NOHUGEPAGE), "maps that are touched in part"),
	CALL("statx", S, ANY, "what direct I/O wants; whether a target's file still has a name"),
	CALL("fcntl", S, ARG(1, F_OFD_SETLK), "an image's lock"),
	CALL("fcntl", S, ARG(1, F_OFD_GETLK), "an image's lock"),
	CALL("fcntl", S, ARG(1, F_GETFL), "O_DIRECT"),
	CALL("fcntl", S, ARG(1, F_SETFL), "O_DIRECT"),
	CALL("lseek", S, ANY, "the end of an image"),
	CALL("fstatfs", S, ANY, "whether an overlay's space is made ahead"),
	CALL("ftruncate", S, ANY, "an image becomes larger or smaller, an overlay or a target as its disk"),
	CALL("ioctl", S, ARG(1, BLKSSZGET), "a block device's blocks", .unseen = NODEV),
	CALL("ioctl", S, ARG(1, BLKPBSZGET), "its blocks", .unseen = NODEV),
	CALL("ioctl", S, ARG(1, BLKIOOPT), "its best length", .unseen = NODEV),
	CALL("eventfd2", S, ANY, "doorbells, interrupts, mailboxes"),
	CALL("epoll_create1", S, ANY, "a new disk's"),
	CALL("epoll_ctl", S, ANY, "a new disk's"),
	CALL("timerfd_create", S, ANY, "a new disk's limits"),
	CALL("io_setup", S, ANY, "a new disk's"),
	CALL("io_destroy", S, ANY, "a removed one's"),
	CALL("ioctl", S, ARG(1, KVM_CHECK_EXTENSION), "how doorbells can be matched"),
	CALL("ioctl", S, ARG(1, KVM_IOEVENTFD), "a removed disk's doorbells"),
	CALL("mmap", S, ARG(2, PROT_NONE), "a thread's stack"),
	CALL("mprotect", S, ARG(2, PROT_READ | PROT_WRITE), "a thread's stack"),
	CALL("madvise", S, ARG(2, ADVISE_GUARD), "a thread's stack", .unseen = "glibc 2.42 and later"),
	CALL("clone3", S, ANY, "its flags are in memory, where no filter looks: the C library takes clone",
	     .absent = true),
	CALL("clone", S, ARG(0, CLONE_PTHREAD), "threads"),
	CALL("set_robust_list", S, ANY, "of the C library, at a thread's start"),
	CALL("rseq", S, ANY, "of the C library, at a thread's start"),
	CALL("sched_setaffinity", S, ANY, "a disk's thread with cpu=", .unseen = "no test asks for it"),
	CALL("prctl", S, ARG(0, PR_SET_NAME), "a thread's name"),
	CALL("seccomp", S, ARG(0, SECCOMP_SET_MODE_FILTER), "a new thread's own, narrower list"),
	CALL("madvise", S, ARG(2, MADV_DONTNEED), "of the C library, at the end of the thread that opens"),
	CALL("exit", S, ANY, "the end of the thread that opens"),

	/* The broker. */
	CALL("recvfrom", B, ANY, "requests"),
	CALL("sendmsg", B, ANY, "answers, with descriptors"),
	CALL("openat2", B, ANY, "files in the folders of --allow"),
	CALL("newfstatat", B, ANY, "what a file is; the control socket's: is it still ours?"),
	CALL("fcntl", B, ARG(1, F_SETFL), "a file that is none that would wait"),
	CALL("close", B, ANY, "what has been given away"),
	CALL("unlinkat", B, ANY, "the control socket's file, at the end"),

	/* Any thread: to wait, to end, to die of a fault and give the terminal back, to be told of. */
	CALL("clock_gettime", M, ANY, "CPU time of the vCPUs"),
	CALL("clock_gettime", ALL & ~M, ANY, "time",
	     .unseen = "only where the host's clock has no vDSO"),
	CALL("restart_syscall", M | V | C | E, ANY,
	     "the kernel's own, where SIGSTOP and SIGCONT meet a wait",
	     .unseen = "hardly ever: a stop at the right moment"),
	CALL("rt_sigreturn", M | V, ANY, "SIGCONT on a terminal; kicks"),
	CALL("rt_sigprocmask", ALL, ANY, "of the C library, to end or to raise a signal"),
	CALL("getpid", ALL, ANY, "of the C library, to send a signal"),
	CALL("gettid", ALL, ANY, "of the C library, to raise a signal"),
	CALL("tgkill", ALL, ARG(0, ROLE_OWN_PID), "kicks; the signal that a thread dies of"),
	CALL("ioctl", ALL, ARG(1, TIOCGPGRP), "is the terminal ours to restore?"),
	CALL("getpgrp|getpgid", ALL, ANY, "is the terminal ours to restore?"),
	CALL("ioctl", ALL, ARG(1, TCSETS), "the terminal, restored; main: raw again"),
	CALL("ioctl", ALL, ARG(1, TCGETS), "of the C library, to see whether that worked"),
	CALL("sched_yield", ALL & ~(D | P), ANY, "the terminal goes back while another thread takes it",
	     .unseen = "hardly ever: a fault at the right moment"),
	CALL("ioctl", ALL, ARG(1, IOCTL_TCSETS2), "the same", .unseen = "glibc 2.42 and later"),
	CALL("ioctl", ALL, ARG(1, IOCTL_TCGETS2), "the same", .unseen = "glibc 2.42 and later"),
	CALL("madvise", ALL & ~(M | B), ARG(2, MADV_DONTNEED), "of the C library, at a thread's end"),
	CALL("exit", ALL & ~(M | B), ANY, "a thread's end; a worker's where the set-up fails"),
	CALL("exit_group", M | E | B, ANY, "the end"),
	CALL("exit_group", ALL & ~(M | E | B), ANY, "the end, after a call that is not on this list",
	     .unseen = "no run does"),
	{ 0 },
};
/* clang-format on */

/* clang-format off */
const char *const parent_forbidden[] = {
	/* Other programs, other processes. */
	"execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp",
	/* The network: a control socket is there already. */
	"socket", "connect", "bind", "listen",
	/* Other users, other views of the files and the rest. */
	"setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid",
	"setgroups", "capset", "setns", "unshare", "chroot", "pivot_root", "mount", "umount2",
	"move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr",
	"open_by_handle_at", "mknod", "mknodat",
	/* The kernel's larger doors. */
	"bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter",
	"io_uring_register", "keyctl", "add_key", "request_key", "personality", "lookup_dcookie",
	/* The host's own affairs. */
	"init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot",
	"swapon", "swapoff", "acct", "quotactl", "quotactl_fd", "syslog", "sethostname",
	"setdomainname", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "iopl",
	"ioperm", "modify_ldt", "vhangup", "nfsservctl",
	NULL,
};
/* clang-format on */

/* CLONE_NEWTIME is a signal's bit to clone. */
const uint32_t parent_forbidden_clone = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS |
					CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
