/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Debian's http-parser, told where to stop: at the end of one request, and at our bounds. Main.
 * Must not know sockets or routes.
 */
#include "vmm/cli/api/message.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define FIRST_BODY 1024

/* Any value but 0 makes the parser stop. */
static int refuse(struct message *msg, int status, const char *why)
{
	msg->status = status;
	msg->why = why;
	return -1;
}

static int on_begin(http_parser *parser)
{
	((struct message *)parser->data)->begun = true;
	return 0;
}

static int on_url(http_parser *parser, const char *at, size_t len)
{
	struct message *msg = parser->data;

	if (len > MESSAGE_MAX_URL - msg->url_len)
		return refuse(msg, 414, "the address is too long");
	memcpy(msg->url + msg->url_len, at, len);
	msg->url_len += len;
	return 0;
}

/* As much of it as there is room for. */
static void append(char *to, size_t room, size_t *have, const char *from, size_t len)
{
	if (*have < room)
		memcpy(to + *have, from, len < room - *have ? len : room - *have);
	*have += len;
}

static bool equals(const char *text, size_t len, const char *word)
{
	return len == strlen(word) && !strncasecmp(text, word, len);
}

/* The one header that is ours to obey: RFC 9110, 10.1.1. The parser keeps the others. */
static void end_header(struct message *msg)
{
	if (!msg->in_value)
		return;
	if (equals(msg->header, msg->header_len, "Expect"))
		msg->expects = equals(msg->value, msg->value_len, "100-continue");
	msg->header_len = msg->value_len = 0;
	msg->in_value = false;
}

static int on_field(http_parser *parser, const char *at, size_t len)
{
	struct message *msg = parser->data;

	end_header(msg);
	append(msg->header, sizeof(msg->header), &msg->header_len, at, len);
	return 0;
}

static int on_value(http_parser *parser, const char *at, size_t len)
{
	struct message *msg = parser->data;

	msg->in_value = true;
	append(msg->value, sizeof(msg->value), &msg->value_len, at, len);
	return 0;
}

static int on_headers(http_parser *parser)
{
	struct message *msg = parser->data;

	end_header(msg);
	msg->headed = true;
	if (parser->http_major != 1)
		return refuse(msg, 505, "not HTTP/1");
	/* ULLONG_MAX: there is none. */
	if (parser->content_length != (uint64_t)-1 && parser->content_length > MESSAGE_MAX_BODY)
		return refuse(msg, 413, "the body is too large");
	return 0;
}

static bool make_room(struct message *msg, size_t len)
{
	size_t room = msg->body_room ? msg->body_room : FIRST_BODY;
	char *body;

	while (room < len)
		room *= 2;
	if (room == msg->body_room)
		return true;
	body = realloc(msg->body, room);
	if (!body)
		return false;
	msg->body = body;
	msg->body_room = room;
	return true;
}

static int on_body(http_parser *parser, const char *at, size_t len)
{
	struct message *msg = parser->data;

	if (len > MESSAGE_MAX_BODY - msg->body_len)
		return refuse(msg, 413, "the body is too large");
	if (!make_room(msg, msg->body_len + len + 1))
		return refuse(msg, 500, "out of memory");
	memcpy(msg->body + msg->body_len, at, len);
	msg->body_len += len;
	msg->body[msg->body_len] = '\0';
	return 0;
}

/* HTTP/1.0 has connections that stay, too, by a header that nobody needs any more. */
static int on_complete(http_parser *parser)
{
	struct message *msg = parser->data;

	msg->complete = true;
	msg->keep_alive = parser->http_minor >= 1 && http_should_keep_alive(parser);
	http_parser_pause(parser, 1);
	return 0;
}

static const http_parser_settings settings = {
	.on_message_begin = on_begin,
	.on_url = on_url,
	.on_header_field = on_field,
	.on_header_value = on_value,
	.on_headers_complete = on_headers,
	.on_body = on_body,
	.on_message_complete = on_complete,
};

void message_init(struct message *msg)
{
	memset(msg, 0, sizeof(*msg));
	http_parser_init(&msg->parser, HTTP_REQUEST);
	msg->parser.data = msg;
}

void message_free(struct message *msg)
{
	free(msg->body);
	msg->body = NULL;
}

static void judge(struct message *msg)
{
	const enum http_errno code = HTTP_PARSER_ERRNO(&msg->parser);

	if (msg->complete || msg->status || code == HPE_OK)
		return;
	if (code == HPE_INVALID_METHOD)
		refuse(msg, 501, "unknown method");
	else if (code == HPE_INVALID_VERSION)
		refuse(msg, 505, "not HTTP/1");
	else if (code == HPE_HEADER_OVERFLOW)
		refuse(msg, 431, "the headers are too long");
	else
		refuse(msg, 400, http_errno_description(code));
}

size_t message_feed(struct message *msg, const char *data, size_t len)
{
	size_t done = 0;

	do {
		size_t n = len - done;

		if (!msg->headed && n > MESSAGE_MAX_HEAD - msg->head_len)
			n = MESSAGE_MAX_HEAD - msg->head_len;
		n = http_parser_execute(&msg->parser, &settings, data + done, n);
		done += n;
		if (!msg->headed)
			msg->head_len += n;
		judge(msg);
		if (!msg->headed && !msg->status && msg->head_len >= MESSAGE_MAX_HEAD)
			refuse(msg, 431, "the headers are too long");
	} while (done < len && !msg->complete && !msg->status);
	return done;
}
