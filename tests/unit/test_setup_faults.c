/* SPDX-License-Identifier: Apache-2.0 */
/*
 * F16: whichever call of a machine's set-up fails, alone or with all that follow: there is a machine all
 * the same, or one message and nothing left behind - no descriptor, no thread, no mapping and, where
 * LeakSanitizer looks on, no memory. With a KVM that says yes to everything.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/elf_fake.h"
#include "tests/unit/entries.h"
#include "tests/unit/failing_calls.h"
#include "vmm/cli/disk_option.h"
#include "vmm/cli/machine.h"

#define MAX_DISKS 3
#define MAX_CALLS 2000
#define MAX_CPUS  2
#define RUN_SIZE  (3 * 4096)
#define SECONDS	  60

int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

/* What a run came to */
enum { REFUSED, MADE, OVER, BAD };

static char dir[] = "/var/tmp/mvmm-setup-XXXXXX";

/* Between the processes, so that one may die. */
static struct progress {
	unsigned at; /* the call that fails now */
	unsigned seen[BAD + 1];
} * shared;

/* ---- a KVM that says yes --------------------------------------------------------------------- */

static int new_file(void)
{
	const int fd = memfd_create("kvm", MFD_CLOEXEC);

	assert_true(fd >= 0 && !syscall(SYS_ftruncate, fd, RUN_SIZE));
	return fd;
}

static int kvm_answer(unsigned long request, void *arg)
{
	switch (request) {
	case KVM_GET_API_VERSION:
		return KVM_API_VERSION;
	case KVM_CREATE_VM:
	case KVM_CREATE_VCPU:
		return new_file();
	case KVM_GET_VCPU_MMAP_SIZE:
		return RUN_SIZE;
	case KVM_CHECK_EXTENSION:
		return MAX_CPUS;
	case KVM_GET_MSRS:
	case KVM_SET_MSRS:
		return 1;
	case KVM_GET_SUPPORTED_CPUID:
		((struct kvm_cpuid2 *)arg)->nent = 1;
		return 0;
	default:
		return 0;
	}
}

static int host_ioctl(int fd, unsigned long request, void *arg)
{
	if (_IOC_TYPE(request) == KVMIO)
		return kvm_answer(request, arg);
	return (int)syscall(SYS_ioctl, fd, request, arg);
}

/* ---- one run --------------------------------------------------------------------------------- */

struct variant {
	const char *disk[MAX_DISKS]; /* as options, without the path */
	enum transport transport;
	unsigned cpus;
	const char *control;
	unsigned memory_flags;
};

struct left {
	unsigned fds, threads;
	long mapped;
};

static struct left look(void)
{
	return (struct left){
		.fds = entries("/proc/self/fd"),
		.threads = entries("/proc/self/task"),
		.mapped = failing.mapped,
	};
}

static unsigned add_disks(const struct variant *v, struct disk_config *disk)
{
	struct error err;
	char text[128];
	unsigned n = 0;

	for (; n < MAX_DISKS && v->disk[n]; n++) {
		snprintf(text, sizeof(text), "%s/disk%u%s", dir, n, v->disk[n]);
		if (disk_option_parse(text, &disk[n], &err))
			fail_msg("%s", err.text);
	}
	return n;
}

static int complain(unsigned at, bool on, const char *what)
{
	printf("# call %u (%s)%s: %s\n", at, failing.name, on ? " and all that follow" : "", what);
	fflush(stdout);
	return BAD;
}

static int judge(unsigned at, bool on, const struct left *before, const char *message)
{
	/* A thread that has been joined may still be on its way out of the list. */
	for (unsigned i = 0; i < SECONDS * 100 && look().threads > before->threads; i++)
		usleep(10000);
	if (!message[0])
		return complain(at, on, "no message");
	if (look().fds != before->fds)
		return complain(at, on, "descriptors are left");
	if (look().threads != before->threads)
		return complain(at, on, "threads are left");
	if (look().mapped != before->mapped)
		return complain(at, on, "mappings are left");
	return REFUSED;
}

/* In a process of its own */
static int run(const struct variant *v, struct disk_config *disk, unsigned ndisks, unsigned at,
	       bool on)
{
	static struct run_options opt;
	static struct sandbox sandbox;
	static struct machine *m; /* not freed, and no leak */
	struct error err = { 0 };
	struct left before;
	char kernel[64];

	snprintf(kernel, sizeof(kernel), "%s/kernel", dir);
	opt = (struct run_options){
		.kernel = kernel,
		.panic_match = "x",
		.memory = 4 << 20,
		.memory_flags = v->memory_flags,
		.cpus = v->cpus,
		.disk = disk,
		.ndisks = ndisks,
		.transport = v->transport,
		.debug_exit = true,
		.debug_exit_port = 0xf4,
		.control = v->control,
	};
	before = look();
	failing_begin(at, on);
	m = machine_create(&opt, -1, &sandbox, &err);
	failing.at = 0;
	if (!failing.name && !m)
		shared->seen[complain(at, on, err.text)]++;
	if (!failing.name)
		return OVER;
	return m ? MADE : judge(at, on, &before, err.text);
}

/* A process goes on until it has made a machine, which it cannot take apart. */
static int run_some(const struct variant *v, bool on)
{
	static struct disk_config disk[MAX_DISKS];
	const unsigned ndisks = add_disks(v, disk);
	int end;

	do {
		alarm(SECONDS);
		end = run(v, disk, ndisks, ++shared->at, on);
		shared->seen[end]++;
	} while (end == REFUSED || end == BAD);
	if (__lsan_do_recoverable_leak_check && __lsan_do_recoverable_leak_check())
		shared->seen[complain(shared->at, on, "memory is left, of this or one before")]++;
	return end;
}

static int run_apart(const struct variant *v, bool on)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		_exit(run_some(v, on));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	printf("# call %u%s: signal %d\n", shared->at, on ? " and all that follow" : "",
	       WTERMSIG(status));
	shared->seen[BAD]++;
	return BAD;
}

/* ---- every run ------------------------------------------------------------------------------- */

static void sweep(const struct variant *v, bool on)
{
	*shared = (struct progress){ 0 };
	while (run_apart(v, on) != OVER)
		assert_true(shared->at < MAX_CALLS);
	printf("# %u calls: %u refused, %u not needed\n", shared->at - 1, shared->seen[REFUSED],
	       shared->seen[MADE]);
	assert_int_equal(shared->seen[BAD], 0);
	assert_true(shared->seen[REFUSED] > 40);
}

static void a_pci_machine_is_made_or_leaves_nothing(void **state)
{
	struct variant v = {
		.disk = { ",iops=100,group=g", ",cache=writeback,readonly" },
		.cpus = MAX_CPUS,
		.control = "ctl",
	};
	char overlay[64];

	snprintf(overlay, sizeof(overlay), ",iops=100,group=g,overlay=temp:%s", dir);
	v.disk[2] = overlay;
	sweep(&v, false);
	sweep(&v, true);
}

static void an_mmio_machine_is_made_or_leaves_nothing(void **state)
{
	const struct variant v = {
		.disk = { "", ",cache=writeback" },
		.cpus = 1,
		.transport = TRANSPORT_MMIO,
		.memory_flags = GUEST_MEMORY_POPULATE,
	};

	sweep(&v, false);
}

/* A sweep found that it freed the first half twice. */
static void an_interrupt_router_without_memory_may_be_destroyed(void **state)
{
	struct irq_router router;

	for (unsigned at = 1; at <= 2; at++) {
		failing_begin(at, false);
		assert_int_equal(irq_router_init(&router, -1, NULL), -ENOMEM);
		failing.at = 0;
		irq_router_destroy(&router);
	}
}

/* ---- files ----------------------------------------------------------------------------------- */

static void write_file(const char *name, const void *data, size_t len, off_t size)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	assert_int_equal(ftruncate(fd, size), 0);
	close(fd);
}

static int make_files(void **state)
{
	struct fake_elf elf;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	assert_true(shared != MAP_FAILED);

	assert_non_null(mkdtemp(dir));
	fake_elf_init(&elf);
	write_file("kernel", &elf, sizeof(elf), sizeof(elf));
	write_file("disk0", "", 0, 1 << 20);
	write_file("disk1", "", 0, 1 << 20);
	write_file("disk2", "", 0, 1 << 20);
	return 0;
}

static int remove_files(void **state)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_interrupt_router_without_memory_may_be_destroyed),
		cmocka_unit_test(a_pci_machine_is_made_or_leaves_nothing),
		cmocka_unit_test(an_mmio_machine_is_made_or_leaves_nothing),
	};

	if (failing_skipped())
		return 77;
	return cmocka_run_group_tests(tests, make_files, remove_files);
}
