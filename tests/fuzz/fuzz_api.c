/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client of the control socket may send -> the server and its routes. Whatever that is, each
 * answer is HTTP, says in JSON why it says no, handlers meet only what their fields allow, and when
 * the client has said all, its place is free again.
 *
 * An input is one byte that says in what pieces the rest is sent, and the rest.
 */
#include <errno.h>
#include <http_parser.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/fuzz/target.h"
#include "vmm/cli/api/server.h"
#include "vmm/cli/clock.h"

const char fuzz_target[] = "api";

#define MAX_ROUTES 64
#define MAX_ANSWER (1 << 20)

static struct loop loop;
static struct api_server *server;
static char heard[MAX_ANSWER];
static size_t heard_len;

/* ---- handlers ---- */

static void check_fields(const json_t *object, const struct api_field *fields);

static void check_value(const json_t *value, const struct api_field *field)
{
	const uint64_t max = field->max ? field->max : INT64_MAX;

	switch (field->type) {
	case API_INTEGER:
		fuzz_check(json_is_integer(value) && json_integer_value(value) >= 0 &&
				   (uint64_t)json_integer_value(value) >= field->min &&
				   (uint64_t)json_integer_value(value) <= max,
			   "the integer '%s'", field->name);
		break;
	case API_BOOLEAN:
		fuzz_check(json_is_boolean(value), "the boolean '%s'", field->name);
		break;
	case API_STRING:
		fuzz_check(json_is_string(value) && json_string_length(value) >= field->min &&
				   json_string_length(value) <= max,
			   "the string '%s'", field->name);
		break;
	case API_OBJECT:
		check_fields(value, field->fields);
		break;
	}
}

static void check_fields(const json_t *object, const struct api_field *fields)
{
	size_t known = 0;

	fuzz_check(json_is_object(object), "a handler meets no object");
	for (; fields && fields->name; fields++) {
		const json_t *value = json_object_get(object, fields->name);

		fuzz_check(value || !fields->required, "'%s' is missing", fields->name);
		if (!value)
			continue;
		known++;
		check_value(value, fields);
	}
	fuzz_check(known == json_object_size(object), "a handler meets a field it does not know");
}

static void handle(struct api_request *req)
{
	check_fields(req->body, req->route->body);
	check_fields(req->query, req->route->query);
	fuzz_check(!strchr(req->route->path, '{') || req->id[0], "an empty id");
	api_reply(req, 200, json_pack("{s:O}", "body", req->body));
}

/* The real addresses and fields, and one of all kinds. */
static const struct api_field inner[] = {
	{ .name = "iops", .type = API_INTEGER, .min = 1, .max = 1000 },
	{ .name = NULL },
};

static const struct api_field all_kinds[] = {
	{ .name = "n", .type = API_INTEGER, .required = true },
	{ .name = "on", .type = API_BOOLEAN },
	{ .name = "text", .type = API_STRING, .min = 1, .max = 8 },
	{ .name = "limits", .type = API_OBJECT, .fields = inner },
	{ .name = NULL },
};

static const struct api_route *all_routes(void)
{
	static struct api_route routes[MAX_ROUTES + 1] = {
		{ API_PATCH, "/x/{id}/y", handle, all_kinds, all_kinds, false },
	};

	for (unsigned i = 0; api_routes[i].path && i + 2 < MAX_ROUTES; i++) {
		routes[i + 1] = api_routes[i];
		routes[i + 1].handle = handle;
	}
	return routes;
}

/* ---- the client ---- */

static void hear(int fd)
{
	ssize_t n;

	while ((n = read(fd, heard + heard_len, sizeof(heard) - heard_len)) > 0)
		heard_len += n;
}

struct answers {
	char body[MAX_ANSWER];
	size_t len;
};

static int begin_answer(http_parser *parser)
{
	((struct answers *)parser->data)->len = 0;
	return 0;
}

static int take_body(http_parser *parser, const char *at, size_t len)
{
	struct answers *a = parser->data;

	memcpy(a->body + a->len, at, len);
	a->len += len;
	return 0;
}

/* Answers to HEAD have a length and no body, which the parser cannot know: no input has any. */
static int end_answer(http_parser *parser)
{
	const struct answers *a = parser->data;
	const int status = parser->status_code;
	json_error_t why;
	json_t *json;

	if (status == 100 || status == 204) {
		fuzz_check(!a->len, "%d with a body", status);
		return 0;
	}
	json = json_loadb(a->body, a->len, 0, &why);
	fuzz_check(json, "%d with a body that is no JSON: %s", status, why.text);
	fuzz_check(status == 200 || (status >= 400 && json_object_get(json, "error")),
		   "%d without an error", status);
	json_decref(json);
	return 0;
}

static void check_answers(void)
{
	static const http_parser_settings settings = {
		.on_message_begin = begin_answer,
		.on_body = take_body,
		.on_message_complete = end_answer,
	};
	static struct answers answers;
	http_parser parser;

	http_parser_init(&parser, HTTP_RESPONSE);
	parser.data = &answers;
	if (!heard_len)
		return;
	http_parser_execute(&parser, &settings, heard, heard_len);
	fuzz_check(HTTP_PARSER_ERRNO(&parser) == HPE_OK ||
			   HTTP_PARSER_ERRNO(&parser) == HPE_CLOSED_CONNECTION,
		   "an answer is no HTTP: %s", http_errno_name(HTTP_PARSER_ERRNO(&parser)));
}

/* Whoever has a client has something to do, as long as that sends or has hung up. */
static void say(int fd, const uint8_t *data, size_t size, size_t piece)
{
	while (size) {
		const size_t len = size < piece ? size : piece;
		const ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN)
			break;
		if (server->nclients)
			loop_once(&loop);
		hear(fd);
		data += n > 0 ? n : 0;
		size -= n > 0 ? n : 0;
	}
	shutdown(fd, SHUT_WR);
	while (server->nclients) {
		loop_once(&loop);
		hear(fd);
	}
	hear(fd);
}

static void set_up(void)
{
	const struct api_context ctx = { .routes = all_routes(),
					 .loop = &loop,
					 .started = clock_ms() };
	struct error err;

	signal(SIGPIPE, SIG_IGN);
	server = api_open(-1, &ctx, &err);
	if (!server)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd[2];

	if (!server)
		set_up();
	if (!size || memmem(data, size, "HEAD", 4))
		return 0;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd))
		abort();
	heard_len = 0;
	server->nclients++;
	fuzz_check(!client_open(&server->client[0], server, fd[0]), "a client is refused");
	say(fd[1], data + 1, size - 1, data[0] ? data[0] : 4096);
	close(fd[1]);
	fuzz_check(!server->npending, "a request without an answer");
	check_answers();
	return 0;
}
