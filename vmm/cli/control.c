/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Main's loop over signals, the VM's own events, console input and deadlines, until somebody has
 * decided that the VM ends. Main thread; never blocks anywhere else. How an end is carried out is
 * ending.c's business.
 */
#include "vmm/cli/control.h"

#include <poll.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "vmm/cli/clock.h"
#include "vmm/cli/report.h"
#include "vmm/log.h"

#define CHECK_MS       1000
#define PANIC_GRACE_MS 5000 /* for messages, a kexec into a crash kernel, or a reboot */

static void take_signal(void *opaque, short revents)
{
	struct control *c = opaque;
	struct signalfd_siginfo info;

	if (read(c->signal_fd, &info, sizeof(info)) == sizeof(info))
		vm_request_end(&c->machine->vm, VM_END_SIGNAL, info.ssi_signo);
}

static void vm_event(void *opaque, short revents)
{
	struct control *c = opaque;
	struct vm *vm = &c->machine->vm;
	uint64_t count;

	if (read(vm->event_fd, &count, sizeof(count)) < 0)
		return; /* EAGAIN: nothing has happened */
	if (atomic_load(&vm->panicked) && !c->panic.armed)
		loop_timer_set(&c->loop, &c->panic, clock_ms() + PANIC_GRACE_MS);
	pausing_look(&c->machine->pausing);
}

static void escape_pressed(void *opaque, enum escape_action action)
{
	struct control *c = opaque;

	if (action == ESCAPE_QUIT)
		vm_request_end(&c->machine->vm, VM_END_QUIT, 0);
	else if (action == ESCAPE_STATUS)
		report_status(c->machine);
	else if (action == ESCAPE_HELP)
		log_raw(escape_help(), strlen(escape_help()));
}

static void watch_disks(struct machine *m)
{
	for (unsigned i = 0; i < m->ndisks; i++) {
		virtio_blk_watch(&m->disk[i]->blk);
		if (m->opt->transport == TRANSPORT_PCI)
			virtio_pci_watch(&m->disk[i]->pci);
	}
}

static void input_ready(void *opaque, short revents)
{
	input_read(&((struct control *)opaque)->input);
}

static void space_ready(void *opaque, short revents)
{
	input_flush(&((struct control *)opaque)->input);
}

static void time_is_up(void *opaque)
{
	vm_request_end(&((struct control *)opaque)->machine->vm, VM_END_TIMEOUT, 0);
}

static void panic_is_over(void *opaque)
{
	vm_request_end(&((struct control *)opaque)->machine->vm, VM_END_PANIC, 0);
}

static void check(void *opaque)
{
	struct control *c = opaque;
	struct vm *vm = &c->machine->vm;

	loop_timer_set(&c->loop, &c->check, clock_ms() + CHECK_MS);
	terminal_resume(c->term);
	serial_tick(&c->machine->serial);
	watch_disks(c->machine);
	if (c->tick)
		c->tick(c->opaque);
	if (vm_all_halted(vm))
		vm_request_end(vm, VM_END_HALTED, 0);
}

static void watch(struct control *c, struct loop_watch *w, int fd,
		  void (*ready)(void *opaque, short revents))
{
	*w = (struct loop_watch){ .fd = fd, .events = POLLIN, .ready = ready, .opaque = c };
	loop_add(&c->loop, w); /* these few are the first: there is room */
}

static void set_up(struct control *c)
{
	pausing_init(&c->machine->pausing, c->machine, &c->loop);
	watch(c, &c->on_signal, c->signal_fd, take_signal);
	watch(c, &c->on_vm, c->machine->vm.event_fd, vm_event);
	watch(c, &c->on_input, -1, input_ready);
	watch(c, &c->on_space, c->machine->serial.space_fd, space_ready);
	c->check = (struct loop_timer){ .expired = check, .opaque = c };
	c->timeout = (struct loop_timer){ .expired = time_is_up, .opaque = c };
	c->panic = (struct loop_timer){ .expired = panic_is_over, .opaque = c };
	loop_timer_set(&c->loop, &c->check, clock_ms() + CHECK_MS);
	loop_timer_set(&c->loop, &c->timeout, c->limit);
}

void control_run(struct control *c)
{
	input_init(&c->input, c->input_fd, c->term, &c->machine->serial, escape_pressed, c);
	set_up(c);
	while (vm_end_reason(&c->machine->vm, NULL) == VM_RUNNING) {
		c->on_input.fd = input_poll_fd(&c->input);
		loop_once(&c->loop);
	}
}
