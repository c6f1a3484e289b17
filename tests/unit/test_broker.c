/* SPDX-License-Identifier: Apache-2.0 */
/* The broker, a real process: what it opens, what it does not, how it ends and what it removes then. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/cli/broker.h"
#include "vmm/cli/broker_wire.h"

/* A folder "in" that is allowed, next to a file that is not, and the broker. */
struct rig {
	char top[64];
	char path[160];
	struct broker broker;
	struct stat control;
	pid_t pid;
};

static const char *at(struct rig *rig, const char *name)
{
	snprintf(rig->path, sizeof(rig->path), "%s/%s", rig->top, name);
	return rig->path;
}

static void put(struct rig *rig, const char *name, const char *text)
{
	const int fd = open(at(rig, name), O_WRONLY | O_CREAT | O_EXCL, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static pid_t only_child(void)
{
	char text[64] = "";
	FILE *f = fopen("/proc/thread-self/children", "r");

	if (!f)
		return 0;
	if (!fgets(text, sizeof(text), f))
		text[0] = '\0';
	fclose(f);
	return atoi(text);
}

static int start(struct rig *rig, const char *const *dirs, unsigned n)
{
	struct broker_config config = { .sandbox = SANDBOX_ON };
	struct allow allow;
	struct error err = { 0 };
	int fd;

	config.allow = &allow;
	config.remove = at(rig, "control");
	config.dev = rig->control.st_dev;
	config.ino = rig->control.st_ino;
	if (allow_init(&allow, &err))
		return -1;
	for (unsigned i = 0; i < n; i++)
		if (allow_add(&allow, dirs[i], &err))
			return -1;
	fd = broker_start(&config, &err);
	allow_free(&allow);
	broker_init(&rig->broker, fd, -1);
	rig->pid = only_child();
	return fd < 0 ? -1 : 0;
}

static int setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	char in[80];
	const char *const dirs[] = { in };

	strcpy(rig->top, "/tmp/mvmm-broker-XXXXXX");
	if (!mkdtemp(rig->top))
		return -1;
	snprintf(in, sizeof(in), "%s/in", rig->top);
	if (mkdir(in, 0700) || mkdir(at(rig, "in/deep"), 0700) || mkdir(at(rig, "inner"), 0700))
		return -1;
	put(rig, "in/a.img", "inside");
	put(rig, "in/deep/b.img", "deep");
	put(rig, "secret", "outside");
	put(rig, "inner/c.img", "beside");
	put(rig, "control", "");
	if (symlink("a.img", at(rig, "in/link")) || symlink("../secret", at(rig, "in/out")) ||
	    symlink("/etc/passwd", at(rig, "in/far")) || symlink("..", at(rig, "in/up")) ||
	    symlink("/proc/self/root", at(rig, "in/root")) || mkfifo(at(rig, "in/pipe"), 0600) ||
	    symlink("in", at(rig, "alias")))
		return -1;
	if (stat(at(rig, "control"), &rig->control))
		return -1;
	*state = rig;
	return start(rig, dirs, 1);
}

static void remove_all(const char *dir)
{
	char path[512];
	const struct dirent *entry;
	DIR *d = opendir(dir);

	while (d && (entry = readdir(d))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
		if (entry->d_type == DT_DIR)
			remove_all(path);
		else
			unlink(path);
	}
	if (d)
		closedir(d);
	rmdir(dir);
}

static int teardown(void **state)
{
	struct rig *rig = *state;

	if (rig->broker.fd >= 0)
		broker_end(rig->broker.fd);
	while (waitpid(-1, NULL, 0) > 0)
		;
	remove_all(rig->top);
	free(rig);
	return 0;
}

static int ask(struct rig *rig, const char *path, int flags)
{
	mode_t kind;

	return broker_open(&rig->broker, path, flags, &kind);
}

static void assert_reads(struct rig *rig, const char *path, const char *text)
{
	char got[32] = "";
	const int fd = ask(rig, path, O_RDONLY);

	if (fd < 0)
		fail_msg("%s: %s", path, strerror(-fd));
	assert_int_equal(read(fd, got, sizeof(got) - 1), strlen(text));
	assert_string_equal(got, text);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDONLY);
	close(fd);
}

static unsigned descriptors(pid_t pid)
{
	const struct dirent *entry;
	unsigned n = 0;
	char path[64];
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	assert_non_null(d);
	while ((entry = readdir(d)))
		n += entry->d_name[0] != '.';
	closedir(d);
	return n;
}

static void files_in_the_folder_are_opened(void **state)
{
	struct rig *rig = *state;
	char path[160];

	assert_reads(rig, at(rig, "in/a.img"), "inside");
	assert_reads(rig, at(rig, "in/deep/b.img"), "deep");
	assert_reads(rig, at(rig, "in/./deep//b.img"), "deep");
	assert_reads(rig, at(rig, "in/deep/../a.img"), "inside");
	assert_reads(rig, at(rig, "in/link"), "inside");
	snprintf(path, sizeof(path), "/tmp/./%s", rig->top + strlen("/tmp/"));
	strcat(path, "/in/a.img");
	assert_reads(rig, path, "inside");
}

static void they_are_opened_as_they_are_wanted(void **state)
{
	struct rig *rig = *state;
	int fd = ask(rig, at(rig, "in/a.img"), O_RDWR);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "IN", 2), 2);
	close(fd);
	fd = ask(rig, at(rig, "in/a.img"), O_RDONLY);
	assert_int_equal(write(fd, "IN", 2), -1);
	close(fd);
	assert_reads(rig, at(rig, "in/a.img"), "INside");
	fd = ask(rig, at(rig, "in/new.img"), O_RDWR | O_CREAT | O_EXCL);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 4096), 0);
	close(fd);
	assert_int_equal(ask(rig, at(rig, "in/new.img"), O_RDWR | O_CREAT | O_EXCL), -EEXIST);
}

/* Files without a name: in a folder, or in the allowed one itself, and never to be given one. */
static void unnamed_files_are_made_and_stay_so(void **state)
{
	static const char *const places[] = { "in", "in/", "in/deep", "in/./deep/" };
	struct rig *rig = *state;
	char link[64];
	int fd;

	for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		fd = ask(rig, at(rig, places[i]), O_RDWR | O_TMPFILE);
		assert_true(fd >= 0);
		assert_int_equal(ftruncate(fd, 4096), 0);
		assert_int_equal(write(fd, "IN", 2), 2);
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		assert_int_equal(linkat(AT_FDCWD, link, AT_FDCWD, at(rig, "in/named"),
					AT_SYMLINK_FOLLOW),
				 -1);
		assert_int_equal(errno, ENOENT);
		close(fd);
	}
	assert_int_equal(ask(rig, at(rig, "in/none"), O_RDWR | O_TMPFILE), -ENOENT);
	assert_int_equal(ask(rig, at(rig, "in/a.img"), O_RDWR | O_TMPFILE), -ENOTDIR);
	assert_int_equal(ask(rig, at(rig, "in/.."), O_RDWR | O_TMPFILE), -EXDEV);
	assert_int_equal(ask(rig, at(rig, "in/up"), O_RDWR | O_TMPFILE), -EXDEV);
	assert_int_equal(ask(rig, at(rig, "."), O_RDWR | O_TMPFILE), -EXDEV);
	assert_int_equal(ask(rig, "/tmp", O_RDWR | O_TMPFILE), -EXDEV);
}

static void there_is_no_way_out_of_the_folder(void **state)
{
	static const char *const ways[] = {
		"secret",
		"in/../secret",
		"in/deep/../../secret",
		"in/out",
		"in/far",
		"in/up/secret",
		"in/up/in/a.img",
		"in/root/etc/passwd",
		"inner/c.img",
		"in",
		"in/",
		"alias/../secret",
		"control",
	};
	struct rig *rig = *state;

	for (unsigned i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		const int fd = ask(rig, at(rig, ways[i]), O_RDONLY);

		if (fd != -EXDEV)
			fail_msg("%s: %d", ways[i], fd);
	}
	assert_int_equal(ask(rig, "/etc/passwd", O_RDONLY), -EXDEV);
	assert_int_equal(ask(rig, "in/a.img", O_RDONLY), -EXDEV); /* from where we are */
	assert_int_equal(ask(rig, "", O_RDONLY), -EXDEV);
	assert_int_equal(ask(rig, "/proc/self/fd/0", O_RDONLY), -EXDEV);
	assert_int_equal(ask(rig, at(rig, "secret2"), O_RDWR | O_CREAT | O_EXCL), -EXDEV);
	assert_int_equal(ask(rig, at(rig, "in/up/new"), O_RDWR | O_CREAT | O_EXCL), -EXDEV);
}

static void what_is_not_there_or_no_file_is_said(void **state)
{
	struct rig *rig = *state;
	char path[PATH_MAX + 2];
	mode_t kind;

	assert_int_equal(ask(rig, at(rig, "in/none.img"), O_RDONLY), -ENOENT);
	assert_int_equal(ask(rig, at(rig, "in/a.img/x"), O_RDONLY), -ENOTDIR);
	assert_int_equal(broker_open(&rig->broker, at(rig, "in/deep"), O_RDONLY, &kind), -EINVAL);
	assert_int_equal(kind, S_IFDIR);
	/* Nobody has its other end open: neither we nor the broker wait for that. */
	assert_int_equal(broker_open(&rig->broker, at(rig, "in/pipe"), O_RDONLY, &kind), -EINVAL);
	assert_int_equal(kind, S_IFIFO);
	memset(path, 'x', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(ask(rig, path, O_RDONLY), -ENAMETOOLONG);
	assert_reads(rig, at(rig, "in/a.img"), "inside");
}

/* Who has taken over the VM's process says anything. */
static void nonsense_is_refused(void **state)
{
	struct rig *rig = *state;
	struct broker_request request = { .number = 1, .flags = O_RDONLY | O_TRUNC };
	struct broker_answer answer;

	snprintf(request.path, sizeof(request.path), "%s", at(rig, "in/a.img"));
	assert_int_equal(send(rig->broker.fd, &request, sizeof(request), 0), sizeof(request));
	assert_int_equal(recv(rig->broker.fd, &answer, sizeof(answer), 0), sizeof(answer));
	assert_int_equal(answer.number, 1);
	assert_int_equal(answer.result, -EINVAL);
	request.flags = O_RDONLY;
	memset(request.path, 'a', sizeof(request.path));
	assert_int_equal(send(rig->broker.fd, &request, sizeof(request), 0), sizeof(request));
	assert_int_equal(recv(rig->broker.fd, &answer, sizeof(answer), 0), sizeof(answer));
	assert_int_equal(answer.result, -EINVAL);
	assert_reads(rig, at(rig, "in/a.img"), "inside");
}

/* An answer that a process before us did not wait for. */
static void an_answer_to_somebody_else_is_passed_over(void **state)
{
	struct rig *rig = *state;
	struct broker_request request = { .number = 1 };
	const unsigned before = descriptors(getpid());

	snprintf(request.path, sizeof(request.path), "%s", at(rig, "in/deep/b.img"));
	assert_int_equal(send(rig->broker.fd, &request, sizeof(request), 0), sizeof(request));
	assert_reads(rig, at(rig, "in/a.img"), "inside");
	assert_int_equal(descriptors(getpid()), before); /* its descriptor has been closed */
}

static void *ask_often(void *opaque)
{
	struct rig *rig = opaque;
	char path[160];

	snprintf(path, sizeof(path), "%s/in/a.img", rig->top);
	for (unsigned i = 0; i < 200; i++) {
		mode_t kind;
		const int fd = broker_open(&rig->broker, path, O_RDONLY, &kind);

		if (fd < 0)
			return rig;
		close(fd);
	}
	return NULL;
}

static void threads_may_ask_at_once(void **state)
{
	pthread_t thread[3];
	void *failed;

	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, ask_often, *state), 0);
	for (unsigned i = 0; i < 3; i++) {
		pthread_join(thread[i], &failed);
		assert_null(failed);
	}
}

/* The broker that goes with the last holder of its socket, not with a signal that ends the VM. */
static void it_ends_with_the_vm_and_removes_the_socket(void **state)
{
	struct rig *rig = *state;
	int status;

	if (!rig->pid)
		skip(); /* a kernel without /proc/PID/task/TID/children */
	kill(rig->pid, SIGINT);
	kill(rig->pid, SIGTERM);
	kill(rig->pid, SIGHUP);
	assert_reads(rig, at(rig, "in/a.img"), "inside");
	broker_end(rig->broker.fd);
	rig->broker.fd = -1;
	assert_int_equal(waitpid(rig->pid, &status, 0), rig->pid);
	assert_int_equal(access(at(rig, "control"), F_OK), -1);
	assert_int_equal(status, 0);
}

static void anothers_socket_stays(void **state)
{
	struct rig *rig = *state;
	char other[sizeof(rig->path)];

	put(rig, "other", "");
	strcpy(other, at(rig, "other"));
	assert_int_equal(rename(other, at(rig, "control")), 0);
	broker_end(rig->broker.fd);
	rig->broker.fd = -1;
	assert_int_equal(access(at(rig, "control"), F_OK), 0);
}

static void a_broker_that_is_gone_is_an_error(void **state)
{
	struct rig *rig = *state;
	int ret;

	if (!rig->pid)
		skip();
	kill(rig->pid, SIGKILL);
	waitpid(rig->pid, NULL, 0);
	ret = ask(rig, at(rig, "in/a.img"), O_RDONLY);
	assert_true(ret == -EPIPE || ret == -ECONNRESET);
}

static void it_holds_nothing_of_the_vms(void **state)
{
	struct rig *rig = *state;

	if (!rig->pid)
		skip();
	assert_int_equal(ask(rig, at(rig, "in/none"), O_RDONLY), -ENOENT);
	/* stderr, its socket, the folder, the control socket's folder */
	assert_int_equal(descriptors(rig->pid), 4);
}

/* ---- folders --------------------------------------------------------------------------------- */

static void a_folder_may_be_named_in_several_ways(void **state)
{
	struct rig *rig = *state;
	struct allow allow;
	struct error err;
	char path[160];
	mode_t kind;
	int fd;

	assert_int_equal(allow_init(&allow, &err), 0);
	assert_int_equal(allow_add(&allow, at(rig, "alias"), &err), 0);
	assert_int_equal(allow_add(&allow, at(rig, "alias"), &err), 0);
	assert_int_equal(allow.n, 1);
	fd = allow_open(&allow, at(rig, "alias/a.img"), O_RDONLY, &kind);
	assert_true(fd >= 0);
	close(fd);
	fd = allow_open(&allow, at(rig, "in/a.img"), O_RDONLY, &kind); /* its real name */
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(allow_add_folder_of(&allow, at(rig, "inner/c.img"), &err), 0);
	fd = allow_open(&allow, at(rig, "inner/c.img"), O_RDONLY, &kind);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(allow_add(&allow, at(rig, "none"), &err), -ENOENT);
	assert_non_null(strstr(err.text, "none'"));
	assert_int_equal(allow_add(&allow, at(rig, "secret"), &err), -ENOTDIR);
	allow_free(&allow);

	/* Relative to where we are. */
	assert_non_null(getcwd(path, sizeof(path)));
	assert_int_equal(chdir(rig->top), 0);
	assert_int_equal(allow_init(&allow, &err), 0);
	assert_int_equal(allow_add_folder_of(&allow, "secret", &err), 0);
	assert_int_equal(chdir(path), 0);
	fd = allow_open(&allow, "./in/a.img", O_RDONLY, &kind);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(allow_open(&allow, "../passwd", O_RDONLY, &kind), -EXDEV);
	allow_free(&allow);
}

static void the_root_is_a_folder_too(void **state)
{
	struct allow allow;
	struct error err;
	mode_t kind;
	int fd;

	assert_int_equal(allow_init(&allow, &err), 0);
	assert_int_equal(allow_add(&allow, "/", &err), 0);
	fd = allow_open(&allow, "/etc/passwd", O_RDONLY, &kind);
	assert_true(fd >= 0);
	close(fd);
	allow_free(&allow);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(files_in_the_folder_are_opened),
		T(they_are_opened_as_they_are_wanted),
		T(unnamed_files_are_made_and_stay_so),
		T(there_is_no_way_out_of_the_folder),
		T(what_is_not_there_or_no_file_is_said),
		T(nonsense_is_refused),
		T(an_answer_to_somebody_else_is_passed_over),
		T(threads_may_ask_at_once),
		T(it_ends_with_the_vm_and_removes_the_socket),
		T(anothers_socket_stays),
		T(a_broker_that_is_gone_is_an_error),
		T(it_holds_nothing_of_the_vms),
		T(a_folder_may_be_named_in_several_ways),
		T(the_root_is_a_folder_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
