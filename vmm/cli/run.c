/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `mvmm run`: from the command line to a running machine and to its exit status. Main thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/cli/allow.h"
#include "vmm/cli/api/listen.h"
#include "vmm/cli/api/rates.h"
#include "vmm/cli/api/server.h"
#include "vmm/cli/broker.h"
#include "vmm/cli/clock.h"
#include "vmm/cli/commands.h"
#include "vmm/cli/control.h"
#include "vmm/cli/ending.h"
#include "vmm/cli/kept.h"
#include "vmm/cli/launch.h"
#include "vmm/cli/machine.h"
#include "vmm/cli/process.h"
#include "vmm/cli/restart.h"
#include "vmm/cli/result.h"
#include "vmm/cli/run_options.h"
#include "vmm/cli/stream.h"
#include "vmm/cli/terminal.h"
#include "vmm/log.h"

/* One boot of one machine. Not on a stack: threads of a machine that could not be started look at its
 * parts until the process ends. */
struct run {
	const struct run_options *opt;
	struct machine *machine;
	struct sandbox sandbox;
	struct terminal term;
	struct ending ending;
	int console_fd; /* output */
	int input_fd;
	int signal_fd;
	uint64_t limit; /* clock_ms() */
};

/* Later boots of --on-reboot restart go on with the file of the first. */
static int open_console(struct run *run, unsigned boot, struct error *err)
{
	const char *path = run->opt->console_path;
	int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY;

	if (!boot && !run->opt->dry_run)
		flags |= O_TRUNC;
	run->console_fd = run->input_fd = -1;
	if (run->opt->console == CONSOLE_STDIO) {
		run->console_fd = STDOUT_FILENO;
		run->input_fd = STDIN_FILENO;
	} else if (run->opt->console == CONSOLE_FILE) {
		run->console_fd = open(path, flags, 0666);
		if (run->console_fd < 0)
			return error_set(err, errno, "--console 'file:%s': cannot open", path);
	}
	return 0;
}

/* `loop` is served until the server is closed. NULL: see `err`, unless no control socket is wanted. */
static struct api_server *serve(struct run *run, struct loop *loop, struct error *err)
{
	struct control_socket *sock = run->opt->control_socket;
	const struct api_context ctx = {
		.routes = api_routes,
		.machine = run->machine,
		.loop = loop,
		.started = run->ending.started,
	};
	struct api_server *server;

	if (!sock)
		return NULL;
	server = api_open(sock->fd, &ctx, err);
	sock->sealed = server && run->sandbox.on;
	return server;
}

static void tick(void *opaque)
{
	rates_look(opaque);
}

/* Disks come and go only where somebody can ask for it. */
static int start_plug(struct run *run, struct loop *loop, struct error *err)
{
	const struct run_options *opt = run->opt;

	if (!opt->control_socket)
		return 0;
	plug_prepare(&run->machine->plug, opt->broker_fd);
	return opt->transport == TRANSPORT_PCI ? plug_start(&run->machine->plug, loop, err) : 0;
}

/* The vCPUs start, the VM runs, the VM ends. */
static int run_machine(struct run *run, struct error *err)
{
	struct control control = {
		.machine = run->machine,
		.term = &run->term,
		.signal_fd = run->signal_fd,
		.input_fd = run->input_fd,
		.limit = run->limit,
	};
	struct ending *ending = &run->ending;
	struct api_server *server;
	int ret;

	ending->machine = run->machine;
	ending->term = &run->term;
	ending->signal_fd = run->signal_fd;
	ending->restart = run->opt->restart;
	process_hold_signals();
	ret = terminal_open(&run->term, run->input_fd);
	if (ret) {
		error_set(err, -ret, "terminal: cannot set raw mode");
		return STATUS_ERROR;
	}
	ending->started = clock_ms();
	server = serve(run, &control.loop, err);
	if ((run->opt->control_socket && !server) || start_plug(run, &control.loop, err) ||
	    launch(run->machine, ending, err)) {
		terminal_close(&run->term);
		return STATUS_ERROR;
	}
	if (server) {
		control.tick = tick;
		control.opaque = run->machine;
	}
	log_go_on();
	control_run(&control);
	if (server) {
		api_close(server);
		control_socket_hang_up(run->opt->control_socket);
	}
	return ending_run(ending);
}

static int print_machine(struct run *run, struct error *err)
{
	machine_print(run->machine, stdout);
	if (!fflush(stdout))
		return 0;
	error_set(err, errno, "--dry-run: cannot write to stdout");
	return STATUS_ERROR;
}

static int run_boot(struct run *run, unsigned boot, struct error *err)
{
	const struct run_options *opt = run->opt;

	if (open_console(run, boot, err))
		return STATUS_ERROR;
	run->signal_fd = process_take_signals(err);
	if (run->signal_fd < 0)
		return STATUS_ERROR;
	process_raise_fd_limit();
	if (launch_prepare(&run->sandbox, opt, boot, err))
		return STATUS_ERROR;
	/* The descriptors above and a whole machine are the process's until it ends. */
	run->machine = machine_create(opt, run->console_fd, &run->sandbox, err);
	if (!run->machine)
		return STATUS_ERROR;
	return opt->dry_run ? print_machine(run, err) : run_machine(run, err);
}

int run_once(const struct run_options *opt, unsigned boot, uint64_t limit, struct error *err)
{
	struct run *run = calloc(1, sizeof(*run));

	if (!run) {
		error_set(err, ENOMEM, "machine");
		return STATUS_ERROR;
	}
	run->opt = opt;
	run->limit = limit;
	return run_boot(run, boot, err);
}

static int run_all(const struct run_options *opt, struct error *err)
{
	uint64_t limit = opt->timeout_ms ? clock_ms() + opt->timeout_ms : CLOCK_NEVER;

	if (opt->dry_run || !opt->restart)
		return run_once(opt, 0, limit, err);
	return restart_supervise(opt, limit, err);
}

/* What kept the VM from starting is a result, too. */
static void write_error_result(const struct run_options *opt, const struct error *err)
{
	const struct result res = {
		.end = VM_END_HOST_ERROR,
		.name = opt->name,
		.message = err->text,
	};

	if (result_write(&res, opt->result_fd, NULL))
		return; /* one message is enough, and it is about to be printed */
}

/* A dry run leaves the last real one's result alone. */
static int prepare_result(struct run_options *opt, struct error *err)
{
	if (opt->dry_run)
		return result_check(opt->result, err);
	opt->result_fd = result_open(opt->result, err);
	return opt->result_fd < 0 ? opt->result_fd : 0;
}

/* Before the first fork: all boots of --on-reboot restart have the same socket, and connections made
 * between two of them wait for the next. */
static int prepare_control(struct run_options *opt, struct control_socket *sock, struct error *err)
{
	int ret;

	if (!opt->control)
		return 0;
	if (opt->dry_run)
		return control_socket_check(opt->control, err);
	ret = control_socket_open(sock, opt->control, err);
	if (!ret)
		opt->control_socket = sock;
	return ret;
}

/* A folder of device nodes is only allowed by name. */
static int allow_folders(struct allow *allow, const struct run_options *opt, struct error *err)
{
	struct stat st;
	int ret = 0;

	for (unsigned i = 0; i < opt->nallow && !ret; i++)
		ret = allow_add(allow, opt->allow[i], err);
	for (unsigned i = 0; i < opt->ndisks && !opt->nallow && !ret; i++)
		if (!stat(opt->disk[i].path, &st) && S_ISREG(st.st_mode))
			ret = allow_add_folder_of(allow, opt->disk[i].path, err);
	return ret;
}

/* After the socket, whose file it removes, and before the first fork, as above. */
static int prepare_broker(struct run_options *opt, struct error *err)
{
	const struct control_socket *sock = opt->control_socket;
	struct allow allow;
	int ret;

	if (!opt->control)
		return 0;
	ret = allow_init(&allow, err);
	if (ret)
		return ret;
	ret = allow_folders(&allow, opt, err);
	if (!ret && sock) {
		const struct broker_config config = {
			.allow = &allow,
			.sandbox = opt->sandbox,
			.remove = sock->path,
			.dev = sock->dev,
			.ino = sock->ino,
		};

		ret = opt->broker_fd = broker_start(&config, err);
	}
	allow_free(&allow);
	return ret < 0 ? ret : 0;
}

/* Before the first fork, too; without a control socket no disk comes or goes. */
static int prepare_kept(struct run_options *opt, struct error *err)
{
	if (!opt->restart || !opt->control_socket)
		return 0;
	opt->kept = kept_create(err);
	return opt->kept ? 0 : -ENOMEM;
}

/* Children of --on-reboot restart come here, too: what is not theirs they leave alone. */
static int run_prepared(struct run_options *opt, struct error *err)
{
	struct control_socket sock = { .fd = -1 };
	const pid_t pid = getpid();
	int status = STATUS_ERROR;

	if (prepare_control(opt, &sock, err))
		return status;
	if (!prepare_broker(opt, err) && !prepare_kept(opt, err))
		status = run_all(opt, err);
	control_socket_remove(&sock);
	if (opt->broker_fd >= 0 && getpid() == pid)
		broker_end(opt->broker_fd);
	return status;
}

/* The console on a terminal, too: who writes there and waits is waited for by all that write there. */
static void prepare_streams(const struct run_options *opt)
{
	stream_make_own(STDERR_FILENO);
	if (opt->console == CONSOLE_STDIO && !opt->dry_run && isatty(STDOUT_FILENO))
		stream_make_own(STDOUT_FILENO);
}

int run_main(int argc, char **argv, struct error *err)
{
	struct run_options opt;
	int status = STATUS_USAGE;
	int ret = run_options_parse(argc, argv, &opt, err);

	if (ret == OPTIONS_HELP) {
		options_print_help(&run_command, stdout);
		status = 0;
	} else if (!ret && !machine_check_options(&opt, err)) {
		prepare_streams(&opt);
		log_set_verbose(opt.verbose);
		status = STATUS_ERROR;
		if (!opt.result || !prepare_result(&opt, err))
			status = run_prepared(&opt, err);
		if (status == STATUS_ERROR && opt.result_fd >= 0 && err->text[0])
			write_error_result(&opt, err);
	}
	run_options_free(&opt);
	return status;
}
