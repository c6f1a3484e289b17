/* SPDX-License-Identifier: Apache-2.0 */
/* Who asks a broker that does not answer, or answers late. The test is the broker. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/entries.h"
#include "vmm/cli/broker.h"
#include "vmm/cli/broker_wire.h"

#define SHORT 20 /* ms */

struct rig {
	struct broker broker;
	int fd; /* the broker's end */
	struct broker_request request;
};

static int setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	int fd[2];

	if (!rig || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd))
		return -1;
	rig->fd = fd[1];
	broker_init(&rig->broker, fd[0], SHORT);
	*state = rig;
	return 0;
}

static int teardown(void **state)
{
	struct rig *rig = *state;

	close(rig->broker.fd);
	close(rig->fd);
	free(rig);
	return 0;
}

static int ask(struct rig *rig, const char *path)
{
	mode_t kind;

	return broker_open(&rig->broker, path, O_RDONLY, &kind);
}

static bool take_request(struct rig *rig)
{
	return recv(rig->fd, &rig->request, sizeof(rig->request), MSG_DONTWAIT) ==
	       sizeof(rig->request);
}

/* With a descriptor, which is the test's again afterwards. */
static void answer(struct rig *rig)
{
	_Alignas(struct cmsghdr) char room[CMSG_SPACE(sizeof(int))] = { 0 };
	struct broker_answer text = { .number = rig->request.number };
	struct iovec iov = { &text, sizeof(text) };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = room,
		.msg_controllen = sizeof(room),
	};
	struct cmsghdr *head = CMSG_FIRSTHDR(&msg);

	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(rig->fd));
	memcpy(CMSG_DATA(head), &rig->fd, sizeof(rig->fd));
	assert_int_equal(sendmsg(rig->fd, &msg, 0), sizeof(text));
}

static void it_is_waited_for_once(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(ask(rig, "/a.img"), -ETIME);
	assert_int_equal(ask(rig, "/b.img"), -ETIME);
	assert_true(take_request(rig));
	assert_string_equal(rig->request.path, "/a.img");
	assert_false(take_request(rig));
}

static void a_late_answer_is_not_for_who_asks_next(void **state)
{
	struct rig *rig = *state;
	const unsigned before = entries("/proc/self/fd");

	assert_int_equal(ask(rig, "/a.img"), -ETIME);
	assert_true(take_request(rig));
	answer(rig);
	broker_init(&rig->broker, rig->broker.fd, SHORT);
	assert_int_equal(ask(rig, "/b.img"), -ETIME);
	assert_true(take_request(rig));
	assert_string_equal(rig->request.path, "/b.img");
	assert_int_equal(entries("/proc/self/fd"), before); /* its descriptor has been closed */
}

/* By requests that nobody has waited for. */
static void a_socket_that_is_full_is_not_waited_for(void **state)
{
	struct rig *rig = *state;

	while (send(rig->broker.fd, &rig->request, sizeof(rig->request), MSG_DONTWAIT) > 0)
		;
	assert_int_equal(errno, EAGAIN);
	broker_init(&rig->broker, rig->broker.fd, -1);
	assert_int_equal(ask(rig, "/a.img"), -ETIME);
}

static void one_that_is_gone_is_an_error(void **state)
{
	struct rig *rig = *state;

	close(rig->fd);
	rig->fd = -1;
	assert_int_equal(ask(rig, "/a.img"), -EPIPE);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(it_is_waited_for_once),
		T(a_late_answer_is_not_for_who_asks_next),
		T(a_socket_that_is_full_is_not_waited_for),
		T(one_that_is_gone_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
