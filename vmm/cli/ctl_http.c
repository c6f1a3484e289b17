/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's side of the control socket: `mvmm ctl`, which waits for its answer and does nothing
 * else. Must not know what is asked.
 */
#include "vmm/cli/ctl_http.h"

#include <errno.h>
#include <http_parser.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_ANSWER (64 << 20)
#define CHUNK	   65536

struct reader {
	http_parser parser;
	struct ctl_answer *answer;
	bool complete;
};

static int take_body(http_parser *parser, const char *at, size_t len)
{
	struct ctl_answer *a = ((struct reader *)parser->data)->answer;
	char *body;

	if (len > MAX_ANSWER - a->len)
		return -1;
	body = realloc(a->body, a->len + len + 1);
	if (!body)
		return -1;
	a->body = body;
	memcpy(body + a->len, at, len);
	a->len += len;
	body[a->len] = '\0';
	return 0;
}

static int take_end(http_parser *parser)
{
	struct reader *r = parser->data;

	r->complete = true;
	r->answer->status = parser->status_code;
	return 0;
}

static int explain(const char *path, int code, struct error *err)
{
	switch (code) {
	case ENOENT:
		return error_setx(err, code, "control socket '%s': there is none: no VM runs there",
				  path);
	case ECONNREFUSED:
		return error_setx(err, code,
				  "control socket '%s': nobody listens any more: the VM has ended",
				  path);
	case ECONNRESET:
	case EPIPE:
		return error_setx(err, ECONNRESET,
				  "control socket '%s': closed without an answer: the VM has ended",
				  path);
	case EAGAIN:
		return error_setx(err, ETIMEDOUT, "control socket '%s': no answer in time", path);
	}
	return error_set(err, code, "control socket '%s'", path);
}

static int dial(const char *path, unsigned timeout_ms, struct error *err)
{
	const struct timeval tv = { timeout_ms / 1000, timeout_ms % 1000 * 1000 };
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd, code;

	if (!path[0] || strlen(path) >= sizeof(addr.sun_path))
		return explain(path, path[0] ? ENAMETOOLONG : ENOENT, err);
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return explain(path, errno, err);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	if (!connect(fd, (const struct sockaddr *)&addr, sizeof(addr)))
		return fd;
	code = errno;
	close(fd);
	return explain(path, code, err);
}

/* A server may answer, and close, before it has taken all: the answer counts. */
static void send_all(int fd, const char *text, size_t len)
{
	while (len) {
		const ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		text += n;
		len -= n;
	}
}

static int read_answer(int fd, struct reader *r, const char *path, struct error *err)
{
	static const http_parser_settings settings = { .on_body = take_body,
						       .on_message_complete = take_end };
	char buf[CHUNK];
	ssize_t n;

	while (!r->complete) {
		n = read(fd, buf, sizeof(buf));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return explain(path, errno, err);
		http_parser_execute(&r->parser, &settings, buf, n);
		if (r->complete)
			break;
		if (HTTP_PARSER_ERRNO(&r->parser) != HPE_OK && n)
			return error_setx(err, EPROTO,
					  "control socket '%s': what answers there is no mvmm",
					  path);
		if (!n)
			return explain(path, ECONNRESET, err);
	}
	return 0;
}

static char *format(const char *method, const char *target, const char *body)
{
	char *text;
	int n;

	if (body)
		n = asprintf(&text,
			     "%s %s HTTP/1.1\r\nHost: mvmm\r\nConnection: close\r\n"
			     "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
			     method, target, strlen(body), body);
	else
		n = asprintf(&text, "%s %s HTTP/1.1\r\nHost: mvmm\r\nConnection: close\r\n\r\n",
			     method, target);
	return n < 0 ? NULL : text;
}

int ctl_request(const char *path, const char *method, const char *target, const char *body,
		unsigned timeout_ms, struct ctl_answer *answer, struct error *err)
{
	struct reader r = { .answer = answer };
	char *text = format(method, target, body);
	int fd, ret;

	*answer = (struct ctl_answer){ .body = strdup("") };
	http_parser_init(&r.parser, HTTP_RESPONSE);
	r.parser.data = &r;
	if (!text || !answer->body) {
		ret = error_set(err, ENOMEM, "control socket '%s'", path);
		goto done;
	}
	ret = fd = dial(path, timeout_ms, err);
	if (fd < 0)
		goto done;
	send_all(fd, text, strlen(text));
	ret = read_answer(fd, &r, path, err);
	close(fd);
done:
	free(text);
	if (ret) {
		free(answer->body);
		answer->body = NULL;
	}
	return ret;
}
