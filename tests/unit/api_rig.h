/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket's server with routes of its own, and its clients. */
#ifndef MVMM_TESTS_API_RIG_H
#define MVMM_TESTS_API_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmm/cli/api/server.h"
#include "vmm/cli/clock.h"

#define BIG    (1024 * 1024) /* more than a socket holds */
#define PLACES (API_MAX_CLIENTS + API_SURPLUS)

static struct loop loop;
static struct api_server *server;
static struct sockaddr_un addr; /* abstract */
static socklen_t addr_len;
static int listener;
static struct api_request *late; /* waits for its answer */
static unsigned handled;
static char answer[BIG + 4096];

/* ---- routes of a machine that is none ---- */

static inline void echo(struct api_request *req)
{
	handled++;
	api_reply(req, 200,
		  json_pack("{s:s, s:O, s:O}", "id", req->id, "body", req->body, "query",
			    req->query));
}

static inline void nothing(struct api_request *req)
{
	handled++;
	api_reply(req, 204, NULL);
}

static inline void later(struct api_request *req)
{
	handled++;
	late = req;
}

static inline void big(struct api_request *req)
{
	static char text[BIG];

	memset(text, 'x', sizeof(text));
	api_reply_text(req, 200, "text/plain", text, sizeof(text));
}

static const struct api_field limits[] = {
	{ .name = "iops", .type = API_INTEGER, .min = 1, .max = 1000 },
	{ .name = NULL },
};

static const struct api_field body[] = {
	{ .name = "n", .type = API_INTEGER },
	{ .name = "on", .type = API_BOOLEAN },
	{ .name = "text", .type = API_STRING, .min = 1, .max = 4 },
	{ .name = "limits", .type = API_OBJECT, .fields = limits },
	{ .name = NULL },
};

static const struct api_field required[] = {
	{ .name = "n", .type = API_INTEGER, .required = true },
	{ .name = NULL },
};

static const struct api_route routes[] = {
	{ API_GET, "/things/{id}", echo, NULL, body, false },
	{ API_PATCH, "/things/{id}", echo, body, NULL, false },
	{ API_PUT, "/things/{id}/size", echo, required, NULL, false },
	{ API_PUT, "/nothing", nothing, NULL, NULL, false },
	{ API_PUT, "/always", nothing, NULL, NULL, true },
	{ API_PUT, "/later", later, NULL, NULL, false },
	{ API_GET, "/big", big, NULL, NULL, false },
	{ 0 },
};

/* ---- both sides ---- */

static inline int setup(void **state)
{
	const struct api_context ctx = { .routes = routes, .loop = &loop, .started = clock_ms() };
	static unsigned names;
	struct error err;

	memset(&loop, 0, sizeof(loop));
	addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	addr_len = offsetof(struct sockaddr_un, sun_path) + 1 +
		   snprintf(addr.sun_path + 1, 64, "mvmm-test-api-%d-%u", getpid(), names++);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (bind(listener, (struct sockaddr *)&addr, addr_len) || listen(listener, 64))
		return -1;
	server = api_open(listener, &ctx, &err);
	late = NULL;
	handled = 0;
	return server ? 0 : -1;
}

static inline int teardown(void **state)
{
	if (server)
		api_close(server);
	if (late)
		api_reply(late, 204, NULL);
	close(listener);
	return 0;
}

static inline void wake(void *opaque)
{
}

/* A few laps, none of which sleeps long. */
static inline void laps(int n)
{
	static struct loop_timer timer = { .expired = wake };

	while (n--) {
		loop_timer_set(&loop, &timer, clock_ms());
		loop_once(&loop);
	}
	loop_timer_cancel(&loop, &timer);
}

static inline int dial(void)
{
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, addr_len), 0);
	laps(1);
	return fd;
}

static inline void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* All that has come after some laps. */
static inline const char *hear(int fd)
{
	size_t len = 0;
	ssize_t n;

	for (int quiet = 0; quiet < 3; quiet++) {
		laps(1);
		n = read(fd, answer + len, sizeof(answer) - 1 - len);
		if (n > 0) {
			len += n;
			quiet = -1;
		}
	}
	answer[len] = '\0';
	return answer;
}

static inline bool is_closed(int fd)
{
	char c;

	laps(2);
	return recv(fd, &c, 1, MSG_PEEK) == 0;
}

static inline void begins(const char *text, const char *with)
{
	if (strncmp(text, with, strlen(with)) != 0)
		fail_msg("'%s' does not begin with '%s'", text, with);
}

static inline void has(const char *text, const char *what)
{
	if (!strstr(text, what))
		fail_msg("'%s' is not in '%s'", what, text);
}

/* One request on a connection of its own: the answer begins with `status` and has `part`. */
static inline void ask(const char *request, const char *status, const char *part)
{
	const int fd = dial();
	const char *text;

	say(fd, request);
	text = hear(fd);
	begins(text, "HTTP/1.1 ");
	begins(text + 9, status);
	has(text, part);
	close(fd);
	laps(2);
}

static inline void ask_json(const char *json, const char *status, const char *part)
{
	char request[4096];

	snprintf(request, sizeof(request),
		 "PATCH /things/a HTTP/1.1\r\nContent-Length: %zu\r\n\r\n%s", strlen(json), json);
	ask(request, status, part);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
