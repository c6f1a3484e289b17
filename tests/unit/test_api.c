/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket's server against clients that know how, and clients that do not. */
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

static void echo(struct api_request *req)
{
	handled++;
	api_reply(req, 200,
		  json_pack("{s:s, s:O, s:O}", "id", req->id, "body", req->body, "query",
			    req->query));
}

static void nothing(struct api_request *req)
{
	handled++;
	api_reply(req, 204, NULL);
}

static void later(struct api_request *req)
{
	handled++;
	late = req;
}

static void big(struct api_request *req)
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

static int setup(void **state)
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

static int teardown(void **state)
{
	if (server)
		api_close(server);
	if (late)
		api_reply(late, 204, NULL);
	close(listener);
	return 0;
}

static void wake(void *opaque)
{
}

/* A few laps, none of which sleeps long. */
static void laps(int n)
{
	static struct loop_timer timer = { .expired = wake };

	while (n--) {
		loop_timer_set(&loop, &timer, clock_ms());
		loop_once(&loop);
	}
	loop_timer_cancel(&loop, &timer);
}

static int dial(void)
{
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, addr_len), 0);
	laps(1);
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* All that has come after some laps. */
static const char *hear(int fd)
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

static bool is_closed(int fd)
{
	char c;

	laps(2);
	return recv(fd, &c, 1, MSG_PEEK) == 0;
}

static void begins(const char *text, const char *with)
{
	if (strncmp(text, with, strlen(with)) != 0)
		fail_msg("'%s' does not begin with '%s'", text, with);
}

static void has(const char *text, const char *what)
{
	if (!strstr(text, what))
		fail_msg("'%s' is not in '%s'", what, text);
}

/* One request on a connection of its own: the answer begins with `status` and has `part`. */
static void ask(const char *request, const char *status, const char *part)
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

static void ask_json(const char *json, const char *status, const char *part)
{
	char request[4096];

	snprintf(request, sizeof(request),
		 "PATCH /things/a HTTP/1.1\r\nContent-Length: %zu\r\n\r\n%s", strlen(json), json);
	ask(request, status, part);
}

/* ---- what is asked ---- */

static void test_requests_reach_their_routes(void **state)
{
	ask("GET /things/vda HTTP/1.1\r\n\r\n", "200 OK",
	    "{\"id\":\"vda\",\"body\":{},\"query\":{}}\n");
	ask("PUT /things/a%2fb%20c/size HTTP/1.1\r\nContent-Length: 7\r\n\r\n{\"n\":3}", "200",
	    "{\"id\":\"a/b c\",\"body\":{\"n\":3}");
	ask("GET http://localhost/things/x HTTP/1.1\r\n\r\n", "200", "\"id\":\"x\"");
	ask("PUT /nothing HTTP/1.1\r\n\r\n", "204 No Content\r\n\r\n", "");
	assert_int_equal(handled, 4);
}

static void test_unknown_addresses_and_methods(void **state)
{
	ask("GET /thing HTTP/1.1\r\n\r\n", "404", "\"error\"");
	ask("GET /things/ HTTP/1.1\r\n\r\n", "404", "\"error\"");
	ask("GET /things/a/b HTTP/1.1\r\n\r\n", "404", "\"error\"");
	ask("GET /things/%zz HTTP/1.1\r\n\r\n", "404", "\"error\"");
	ask("GET /things/%00 HTTP/1.1\r\n\r\n", "404", "\"error\"");
	ask("DELETE /things/a HTTP/1.1\r\n\r\n", "405", "Allow: GET, PATCH\r\n");
	ask("HEAD /nothing HTTP/1.1\r\n\r\n", "405", "Allow: PUT\r\n");
	ask("FETCH /nothing HTTP/1.1\r\n\r\n", "501", "unknown method");
	ask("CONNECT /nothing HTTP/1.1\r\n\r\n", "40", "\"error\"");
	assert_int_equal(handled, 0);
}

static void test_an_answer_to_head_has_no_content(void **state)
{
	const int fd = dial();

	say(fd, "HEAD /nothing HTTP/1.1\r\n\r\n");
	assert_string_equal(strstr(hear(fd), "\r\n\r\n"), "\r\n\r\n");
	say(fd, "PUT /nothing HTTP/1.1\r\n\r\n");
	begins(hear(fd), "HTTP/1.1 204");
	close(fd);
}

static void test_json_is_held_to_the_fields(void **state)
{
	ask_json("{\"n\":5,\"on\":true,\"text\":\"abcd\",\"limits\":{\"iops\":1000}}", "200",
		 "\"body\":{\"n\":5,\"on\":true,\"text\":\"abcd\",\"limits\":{\"iops\":1000}}");
	ask_json("{\"n\":5,", "400", "JSON: line 1, column 7: ");
	ask_json("{\n\"n\":5\n\"on\":true}", "400", "JSON: line 3, column 4");
	ask_json("[]", "400", "the body must be an object");
	ask_json("{\"m\":5}", "400", "unknown field 'm'");
	ask_json("{\"limits\":{\"bps\":1}}", "400", "unknown field 'limits.bps'");
	ask_json("{\"n\":\"5\"}", "400", "'n' must be an integer");
	ask_json("{\"n\":5.0}", "400", "'n' must be an integer");
	ask_json("{\"n\":null}", "400", "'n' must be an integer");
	ask_json("{\"n\":-1}", "400", "'n' must be from 0 to 9223372036854775807");
	ask_json("{\"n\":99999999999999999999}", "400", "JSON: ");
	ask_json("{\"on\":1}", "400", "'on' must be true or false");
	ask_json("{\"text\":\"\"}", "400", "'text' must have from 1 to 4 bytes");
	ask_json("{\"text\":\"abcde\"}", "400", "'text' must have from 1 to 4 bytes");
	ask_json("{\"limits\":7}", "400", "'limits' must be an object");
	ask_json("{\"limits\":{\"iops\":1001}}", "400", "'limits.iops' must be from 1 to 1000");
	ask_json("{\"n\":1,\"n\":2}", "400", "duplicate");
	ask("PUT /things/a/size HTTP/1.1\r\n\r\n", "400", "'n' is missing");
	ask("PUT /nothing HTTP/1.1\r\nContent-Length: 7\r\n\r\n{\"x\":1}", "400",
	    "unknown field 'x'");
	ask("PUT /nothing HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", "204", "");
	assert_int_equal(handled, 2);
}

static void test_deep_json_is_refused(void **state)
{
	char json[3000];

	memset(json, '[', sizeof(json) - 1);
	json[sizeof(json) - 1] = '\0';
	ask_json(json, "400", "JSON: ");
}

static void test_parameters_are_held_to_the_fields(void **state)
{
	ask("GET /things/a?n=7&on=true&text=a%26b HTTP/1.1\r\n\r\n", "200",
	    "\"query\":{\"n\":7,\"on\":true,\"text\":\"a&b\"}");
	ask("GET /things/a? HTTP/1.1\r\n\r\n", "200", "\"query\":{}");
	ask("GET /things/a?m=7 HTTP/1.1\r\n\r\n", "400", "unknown field 'm'");
	ask("GET /things/a?n=x HTTP/1.1\r\n\r\n", "400", "'n' must be an integer");
	ask("GET /things/a?n=1&n=2 HTTP/1.1\r\n\r\n", "400", "'n' is there twice");
	ask("GET /things/a?text=%ff HTTP/1.1\r\n\r\n", "400", "not text");
	ask("GET /things/a?text=%0 HTTP/1.1\r\n\r\n", "400", "not well-formed");
	ask("PUT /nothing?now=1 HTTP/1.1\r\n\r\n", "400", "unknown field 'now'");
}

/* ---- how it is asked ---- */

static void test_what_is_no_http_is_told_so(void **state)
{
	ask("hello\r\n\r\n", "501", "Connection: close\r\n");
	ask("GET /nothing HTTP/1.1\r\nBad Header\r\n\r\n", "400", "Connection: close\r\n");
	ask("GET /nothing HTTP/2.0\r\n\r\n", "505", "\"error\"");
	ask("PUT /nothing HTTP/1.1\r\nContent-Length: 4x\r\n\r\n", "400", "\"error\"");
	ask("PUT /nothing HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", "400", "\"error\"");
	assert_int_equal(handled, 0);
}

static void ask_long(const char *before, char fill, size_t n, const char *after, const char *status)
{
	const int fd = dial();
	char *text = malloc(n + 1);

	memset(text, fill, n);
	text[n] = '\0';
	say(fd, before);
	for (size_t at = 0; at < n;) {
		const ssize_t some = send(fd, text + at, n - at, MSG_NOSIGNAL);

		at += some > 0 ? some : 0;
		laps(1);
		if (some < 0)
			break;
	}
	send(fd, after, strlen(after), MSG_NOSIGNAL);
	laps(n / CLIENT_CHUNK + 2);
	begins(hear(fd), "HTTP/1.1 ");
	begins(answer + 9, status);
	free(text);
	close(fd);
	laps(2);
}

static void test_limits_of_address_headers_and_body(void **state)
{
	const char *put = "PUT /nothing HTTP/1.1\r\nContent-Length: ";
	char head[128];

	ask_long("GET /things/", 'a', 60, " HTTP/1.1\r\n\r\n", "200");
	ask_long("GET /", 'a', MESSAGE_MAX_URL - 1, " HTTP/1.1\r\n\r\n", "404");
	ask_long("GET /", 'a', MESSAGE_MAX_URL, " HTTP/1.1\r\n\r\n", "414");
	ask_long("PUT /nothing HTTP/1.1\r\nX: ", 'a', MESSAGE_MAX_HEAD - 30, "\r\n\r\n", "204");
	ask_long("PUT /nothing HTTP/1.1\r\nX: ", 'a', MESSAGE_MAX_HEAD - 29, "\r\n\r\n", "431");
	ask_long("PUT /nothing HTTP/1.1\r\nX: ", 'a', 4 * MESSAGE_MAX_HEAD, "\r\n\r\n", "431");
	snprintf(head, sizeof(head), "%s%d\r\n\r\n", put, MESSAGE_MAX_BODY);
	ask_long(head, ' ', MESSAGE_MAX_BODY - 2, "{}", "204");
	snprintf(head, sizeof(head), "%s%d\r\n\r\n", put, MESSAGE_MAX_BODY + 1);
	ask_long(head, ' ', MESSAGE_MAX_BODY + 1, "", "413");
	ask_long("PUT /nothing HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n", ' ',
		 0x20000, "\r\n0\r\n\r\n", "413");
	ask_long("PUT /nothing HTTP/1.1\r\nContent-Length: 99999999999999\r\n\r\n", ' ', 10, "",
		 "413");
}

static void test_a_request_may_come_byte_by_byte(void **state)
{
	static const char request[] = "PATCH /things/a HTTP/1.1\r\nX-Empty:\r\nExpect:\r\n"
				      "Transfer-Encoding: chunked\r\n\r\n"
				      "3\r\n{\"n\r\n4\r\n\":1}\r\n0\r\n\r\n";
	const int fd = dial();

	for (size_t i = 0; i + 1 < sizeof(request); i++) {
		assert_int_equal(handled, 0);
		assert_int_equal(write(fd, request + i, 1), 1);
		laps(2);
	}
	has(hear(fd), "\"body\":{\"n\":1}");
	close(fd);
}

static void test_pipelined_requests_are_answered_in_order(void **state)
{
	const int fd = dial();
	const char *a, *b, *c;

	say(fd, "GET /things/1 HTTP/1.1\r\n\r\nGET /things/2 HTTP/1.1\r\n\r\n"
		"GET /things/3 HTTP/1.1\r\n\r\nGET /thi");
	hear(fd);
	a = strstr(answer, "\"id\":\"1\"");
	b = strstr(answer, "\"id\":\"2\"");
	c = strstr(answer, "\"id\":\"3\"");
	assert_true(a && b && c && a < b && b < c);
	say(fd, "ngs/4 HTTP/1.1\r\nConnection: close\r\n\r\nGET /things/5 HTTP/1.1\r\n\r\n");
	has(hear(fd), "\"id\":\"4\"");
	assert_null(strstr(answer, "\"id\":\"5\""));
	assert_true(is_closed(fd));
	assert_int_equal(handled, 4);
	close(fd);
}

static void test_continue_is_said_to_who_waits_for_it(void **state)
{
	const int fd = dial();

	say(fd, "PATCH /things/a HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 7\r\n\r\n");
	assert_string_equal(hear(fd), "HTTP/1.1 100 Continue\r\n\r\n");
	say(fd, "{\"n\":1}");
	begins(hear(fd), "HTTP/1.1 200");
	say(fd, "PATCH /things/a HTTP/1.1\r\nExpect: 100-continue\r\n"
		"Content-Length: 70000\r\n\r\n");
	begins(hear(fd), "HTTP/1.1 413");
	close(fd);
}

static void test_old_clients_get_one_answer_per_connection(void **state)
{
	const int fd = dial();

	say(fd, "PUT /nothing HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	has(hear(fd), "Connection: close");
	assert_true(is_closed(fd));
	close(fd);
}

/* ---- clients that stop in the middle ---- */

static void test_half_a_request_and_the_end(void **state)
{
	const int fd = dial();

	say(fd, "GET /things/1 HTTP/1.1\r\nX: ");
	shutdown(fd, SHUT_WR);
	begins(hear(fd), "HTTP/1.1 400");
	assert_true(is_closed(fd));
	assert_int_equal(server->nclients, 0);
	close(fd);
}

static void test_who_has_said_all_still_gets_the_answer(void **state)
{
	const int fd = dial();

	say(fd, "PUT /later HTTP/1.1\r\n\r\n");
	shutdown(fd, SHUT_WR);
	laps(5);
	assert_int_equal(server->nclients, 1);
	api_reply(late, 204, NULL);
	late = NULL;
	begins(hear(fd), "HTTP/1.1 204");
	assert_true(is_closed(fd));
	assert_int_equal(server->nclients, 0);
	close(fd);
}

static void test_a_client_may_go_before_its_answer(void **state)
{
	const int fd = dial();

	say(fd, "PUT /later HTTP/1.1\r\n\r\n");
	laps(3);
	close(fd);
	laps(3);
	assert_int_equal(server->nclients, 0);
	assert_int_equal(server->npending, 1);
	assert_null(late->client);
	api_reply(late, 200, json_string("nobody hears"));
	late = NULL;
	assert_int_equal(server->npending, 0);
}

static void test_a_slow_request_is_told_so_and_closed(void **state)
{
	const int fd = dial();

	say(fd, "GET /thi");
	laps(2);
	assert_true(server->client[0].timer.armed);
	assert_true(server->client[0].timer.when <= clock_ms() + CLIENT_REQUEST_MS);
	loop_timer_set(&loop, &server->client[0].timer, clock_ms());
	begins(hear(fd), "HTTP/1.1 408");
	assert_true(is_closed(fd));
	/* It does not take the hint: nobody waits for it. */
	loop_timer_set(&loop, &server->client[0].timer, clock_ms());
	laps(2);
	assert_int_equal(server->nclients, 0);
	close(fd);
}

static void test_an_idle_client_may_stay(void **state)
{
	const int fd = dial();

	laps(3);
	assert_false(server->client[0].timer.armed);
	say(fd, "PUT /nothing HTTP/1.1\r\n\r\n");
	begins(hear(fd), "HTTP/1.1 204");
	assert_false(server->client[0].timer.armed);
	close(fd);
}

static void test_who_does_not_read_holds_nobody_up(void **state)
{
	const int slow = dial(), other = dial();

	say(slow, "GET /big HTTP/1.1\r\n\r\nPUT /nothing HTTP/1.1\r\n\r\n");
	laps(5);
	assert_int_equal(server->client[0].state, CLIENT_WRITING);
	say(other, "PUT /nothing HTTP/1.1\r\n\r\n");
	begins(hear(other), "HTTP/1.1 204");
	assert_int_equal(handled, 1);
	/* It reads after all: all of it is there, and its next request's turn has come. */
	begins(hear(slow), "HTTP/1.1 200");
	has(answer, "xxxxHTTP/1.1 204");
	assert_int_equal(handled, 2);
	close(other);
	close(slow);
}

static void test_who_never_reads_is_dropped(void **state)
{
	const int fd = dial();

	say(fd, "GET /big HTTP/1.1\r\n\r\n");
	laps(5);
	assert_true(server->client[0].timer.when <= clock_ms() + CLIENT_WRITE_MS);
	loop_timer_set(&loop, &server->client[0].timer, clock_ms());
	laps(2);
	assert_int_equal(server->nclients, 0);
	close(fd);
}

/* ---- many of them ---- */

static void fill(int *fd, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++) {
		fd[i] = dial();
		say(fd[i], "GET /half");
	}
	laps(5);
}

static void drop(int *fd, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		close(fd[i]);
	laps(PLACES);
}

static void test_too_many_busy_clients_are_told_so(void **state)
{
	int fd[PLACES + 2], more;

	fill(fd, 0, API_MAX_CLIENTS);
	more = dial();
	say(more, "PUT /nothing HTTP/1.1\r\n\r\n");
	begins(hear(more), "HTTP/1.1 503");
	has(answer, "too many clients");
	assert_true(is_closed(more));
	close(more);
	laps(3);
	fill(fd, API_MAX_CLIENTS, PLACES + 2);
	assert_int_equal(server->nclients, PLACES);
	drop(fd, PLACES + 2);
	assert_int_equal(server->nclients, 0);
	ask("PUT /nothing HTTP/1.1\r\n\r\n", "204", "");
	assert_int_equal(handled, 1);
}

static void test_who_is_idle_longest_makes_room(void **state)
{
	int fd[API_MAX_CLIENTS], more;

	for (unsigned i = 0; i < API_MAX_CLIENTS; i++) {
		fd[i] = dial();
		say(fd[i], "PUT /nothing HTTP/1.1\r\n\r\n");
		begins(hear(fd[i]), "HTTP/1.1 204");
	}
	server->client[2].since -= 5000;
	more = dial();
	assert_true(is_closed(fd[2]));
	assert_false(is_closed(fd[3]));
	say(more, "PUT /nothing HTTP/1.1\r\n\r\n");
	begins(hear(more), "HTTP/1.1 204");
	close(more);
	drop(fd, API_MAX_CLIENTS);
}

/* All of them came too fast to count as idle, and none goes by itself. */
static void test_silent_clients_make_room_in_the_end(void **state)
{
	int fd[PLACES], more;

	for (unsigned i = 0; i < PLACES; i++)
		fd[i] = dial();
	laps(PLACES);
	more = dial();
	say(more, "PUT /nothing HTTP/1.1\r\n\r\n");
	assert_string_equal(hear(more), "");
	assert_true(server->retry.armed);
	for (unsigned i = 0; i < PLACES; i++)
		server->client[i].since -= 5000;
	loop_timer_set(&loop, &server->retry, clock_ms());
	begins(hear(more), "HTTP/1.1 204");
	assert_true(server->nclients <= API_MAX_CLIENTS);
	close(more);
	drop(fd, PLACES);
}

static void test_requests_that_take_time_are_counted(void **state)
{
	struct api_request *all[API_MAX_PENDING];

	for (unsigned i = 0; i < API_MAX_PENDING; i++) {
		const int fd = dial();

		say(fd, "PUT /later HTTP/1.1\r\n\r\n");
		laps(2);
		all[i] = late;
		close(fd);
		laps(2);
	}
	late = NULL;
	ask("PUT /nothing HTTP/1.1\r\n\r\n", "503", "too many requests");
	ask("PUT /always HTTP/1.1\r\n\r\n", "204", "");
	for (unsigned i = 0; i < API_MAX_PENDING; i++)
		api_reply(all[i], 204, NULL);
	ask("PUT /nothing HTTP/1.1\r\n\r\n", "204", "");
}

/* ---- the end ---- */

static void test_the_end_of_the_vm_answers_all(void **state)
{
	const int waiting = dial(), idle = dial(), half = dial();

	say(waiting, "PUT /later HTTP/1.1\r\n\r\n");
	say(half, "GET /th");
	laps(5);
	api_close(server);
	server = NULL;
	begins(hear(waiting), "HTTP/1.1 503");
	has(answer, "the VM has ended");
	assert_true(is_closed(waiting));
	assert_true(is_closed(idle));
	assert_true(is_closed(half));
	/* The handler's answer comes too late, and does no harm. */
	api_reply(late, 200, json_string("done"));
	late = NULL;
	close(waiting);
	close(idle);
	close(half);
}

static void test_any_bytes_are_text(void **state)
{
	json_t *json = api_string("a\xff\xc3\xa9\xed\xa0\x80z");

	assert_string_equal(json_string_value(json),
			    "a\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz");
	json_decref(json);
	json = api_string(NULL);
	assert_true(json_is_null(json));
	json_decref(json);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_requests_reach_their_routes),
		TEST(test_unknown_addresses_and_methods),
		TEST(test_an_answer_to_head_has_no_content),
		TEST(test_json_is_held_to_the_fields),
		TEST(test_deep_json_is_refused),
		TEST(test_parameters_are_held_to_the_fields),
		TEST(test_what_is_no_http_is_told_so),
		TEST(test_limits_of_address_headers_and_body),
		TEST(test_a_request_may_come_byte_by_byte),
		TEST(test_pipelined_requests_are_answered_in_order),
		TEST(test_continue_is_said_to_who_waits_for_it),
		TEST(test_old_clients_get_one_answer_per_connection),
		TEST(test_half_a_request_and_the_end),
		TEST(test_who_has_said_all_still_gets_the_answer),
		TEST(test_a_client_may_go_before_its_answer),
		TEST(test_a_slow_request_is_told_so_and_closed),
		TEST(test_an_idle_client_may_stay),
		TEST(test_who_does_not_read_holds_nobody_up),
		TEST(test_who_never_reads_is_dropped),
		TEST(test_too_many_busy_clients_are_told_so),
		TEST(test_who_is_idle_longest_makes_room),
		TEST(test_silent_clients_make_room_in_the_end),
		TEST(test_requests_that_take_time_are_counted),
		TEST(test_the_end_of_the_vm_answers_all),
		TEST(test_any_bytes_are_text),
	};

	signal(SIGPIPE, SIG_IGN); /* as mvmm has it */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
