/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole server of the control socket, as `mvmm run` has it, on a machine without KVM:
 *
 *	serve PATH		until it is asked to quit or to reset; says on its standard output how
 *	serve --routes		what it can be asked: METHOD PATH, and each field of body and query
 */
#include <err.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>

#include "tests/control/fake_machine.h"
#include "vmm/cli/api/listen.h"
#include "vmm/cli/api/server.h"
#include "vmm/cli/clock.h"

static void print_fields(const char *kind, const struct api_field *field, const char *prefix)
{
	static const char *const types[] = {
		[API_INTEGER] = "integer",
		[API_BOOLEAN] = "boolean",
		[API_STRING] = "string",
		[API_OBJECT] = "object",
	};
	char path[128];

	for (; field && field->name; field++) {
		snprintf(path, sizeof(path), "%s%s%s", prefix, prefix[0] ? "." : "", field->name);
		printf("\t%s %s %s %s\n", kind, path, types[field->type],
		       field->required ? "required" : "optional");
		print_fields(kind, field->fields, path);
	}
}

static int print_routes(void)
{
	for (const struct api_route *r = api_routes; r->path; r++) {
		printf("%s %s\n", api_method_names[r->method], r->path);
		print_fields("query", r->query, "");
		print_fields("body", r->body, "");
	}
	return fflush(stdout) != 0;
}

static void vm_event(void *opaque, short revents)
{
	struct machine *m = opaque;
	uint64_t count;

	if (read(m->vm.event_fd, &count, sizeof(count)) == sizeof(count))
		pausing_look(&m->pausing);
}

static const char *end_name(enum vm_end end)
{
	return end == VM_END_QUIT ? "quit" : end == VM_END_RESET ? "reset" : "another end";
}

int main(int argc, char **argv)
{
	static struct fake_machine fake;
	static struct loop loop;
	const struct api_context ctx = {
		.routes = api_routes,
		.machine = &fake.m,
		.loop = &loop,
		.started = clock_ms(),
	};
	struct loop_watch on_vm = { .events = POLLIN, .ready = vm_event, .opaque = &fake.m };
	struct api_server *server;
	struct control_socket sock;
	struct error why;

	if (argc != 2)
		errx(2, "usage: serve PATH | --routes");
	if (!strcmp(argv[1], "--routes"))
		return print_routes();
	signal(SIGPIPE, SIG_IGN); /* as mvmm has it */
	if (fake_machine_open(&fake))
		errx(1, "no machine");
	pausing_init(&fake.m.pausing, &fake.m, &loop);
	on_vm.fd = fake.m.vm.event_fd;
	if (loop_add(&loop, &on_vm))
		errx(1, "no room in the loop");
	if (control_socket_open(&sock, argv[1], &why))
		errx(1, "%s", why.text);
	server = api_open(sock.fd, &ctx, &why);
	if (!server)
		errx(1, "%s", why.text);
	while (vm_end_reason(&fake.m.vm, NULL) == VM_RUNNING)
		loop_once(&loop);
	api_close(server);
	control_socket_remove(&sock);
	printf("%s, power button %s\n", end_name(vm_end_reason(&fake.m.vm, NULL)),
	       atomic_load(&fake.m.power.events) ? "pressed" : "not pressed");
	fake_machine_close(&fake);
	return 0;
}
