/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One poll(2) over signals, the VM's own events, console input and deadlines, until somebody has
 * decided that the VM ends. Main thread; never blocks anywhere else. How an end is carried out is
 * ending.c's business.
 */
#include "vmm/cli/control.h"

#include <poll.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "vmm/cli/clock.h"
#include "vmm/log.h"

#define CHECK_MS       1000
#define PANIC_GRACE_MS 5000 /* for messages, a kexec into a crash kernel, or a reboot */

enum { POLL_SIGNAL, POLL_VM, POLL_INPUT, POLL_SPACE, POLL_COUNT };

static void take_signal(struct control *c)
{
	struct signalfd_siginfo info;

	if (read(c->signal_fd, &info, sizeof(info)) == sizeof(info))
		vm_request_end(&c->machine->vm, VM_END_SIGNAL, info.ssi_signo);
}

static void vm_event(struct control *c)
{
	struct vm *vm = &c->machine->vm;
	uint64_t count;

	if (read(vm->event_fd, &count, sizeof(count)) < 0)
		return; /* EAGAIN: nothing has happened */
	if (atomic_load(&vm->panicked) && c->panic_limit == CLOCK_NEVER)
		c->panic_limit = clock_ms() + PANIC_GRACE_MS;
}

static void print_status(struct control *c)
{
	log_info("%u vCPUs, %u disks; no monitor here, Ctrl-A h shows the keys",
		 c->machine->vm.nvcpus, c->machine->ndisks);
}

static void escape_pressed(void *opaque, enum escape_action action)
{
	struct control *c = opaque;

	if (action == ESCAPE_QUIT)
		vm_request_end(&c->machine->vm, VM_END_QUIT, 0);
	else if (action == ESCAPE_STATUS)
		print_status(c);
	else if (action == ESCAPE_HELP)
		log_raw(escape_help(), strlen(escape_help()));
}

static void watch_disks(struct machine *m)
{
	for (unsigned i = 0; i < m->ndisks; i++)
		virtio_blk_watch(&m->disk[i].blk);
}

static void check_deadlines(struct control *c)
{
	struct vm *vm = &c->machine->vm;
	const uint64_t now = clock_ms();

	if (now >= c->limit)
		vm_request_end(vm, VM_END_TIMEOUT, 0);
	if (now >= c->panic_limit)
		vm_request_end(vm, VM_END_PANIC, 0);
	if (now < c->next_check)
		return;
	c->next_check = now + CHECK_MS;
	terminal_resume(c->term);
	serial_tick(&c->machine->serial);
	watch_disks(c->machine);
	if (c->tick)
		c->tick(c->opaque);
	if (vm_all_halted(vm))
		vm_request_end(vm, VM_END_HALTED, 0);
}

static uint64_t next_deadline(const struct control *c)
{
	uint64_t next = c->next_check;

	if (c->limit < next)
		next = c->limit;
	return c->panic_limit < next ? c->panic_limit : next;
}

static void wait_once(struct control *c)
{
	struct pollfd pfd[POLL_COUNT] = {
		[POLL_SIGNAL] = { .fd = c->signal_fd, .events = POLLIN },
		[POLL_VM] = { .fd = c->machine->vm.event_fd, .events = POLLIN },
		[POLL_INPUT] = { .fd = input_poll_fd(&c->input), .events = POLLIN },
		[POLL_SPACE] = { .fd = c->machine->serial.space_fd, .events = POLLIN },
	};

	if (poll(pfd, POLL_COUNT, clock_poll_timeout(next_deadline(c), clock_ms())) < 0)
		return; /* EINTR: SIGCONT came by */
	if (pfd[POLL_SIGNAL].revents)
		take_signal(c);
	if (pfd[POLL_VM].revents)
		vm_event(c);
	if (pfd[POLL_INPUT].revents)
		input_read(&c->input);
	if (pfd[POLL_SPACE].revents)
		input_flush(&c->input);
	check_deadlines(c);
}

void control_run(struct control *c)
{
	c->next_check = clock_ms() + CHECK_MS;
	c->panic_limit = CLOCK_NEVER;
	input_init(&c->input, c->input_fd, c->term, &c->machine->serial, escape_pressed, c);
	while (vm_end_reason(&c->machine->vm, NULL) == VM_RUNNING)
		wait_once(c);
}
