/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection: reads a request, waits for its answer, writes it, and begins again. Main, from its
 * loop; one read(2) and one request per lap, and nothing that could wait. Must not know any route.
 *
 * While an answer is outstanding nothing is read, so that a client that sends without reading is held
 * up by its own socket and takes no memory here.
 */
#include "vmm/cli/api/client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/cli/api/server.h"
#include "vmm/cli/clock.h"

static struct loop *loop_of(const struct api_client *c)
{
	return c->server->ctx.loop;
}

static void deadline(struct api_client *c, uint64_t ms)
{
	loop_timer_set(loop_of(c), &c->timer, clock_ms() + ms);
}

void client_drop(struct api_client *c)
{
	if (c->request)
		request_orphan(c->request, false);
	loop_timer_cancel(loop_of(c), &c->timer);
	loop_remove(loop_of(c), &c->watch);
	close(c->watch.fd);
	free(c->out);
	c->out = NULL;
	message_free(&c->msg);
	c->state = CLIENT_FREE;
	server_has_room(c->server);
}

bool client_is_idle(const struct api_client *c)
{
	return c->state == CLIENT_READING && !c->msg.begun && c->in_at == c->in_len;
}

/* ---- out ---- */

/* For the next request, part of which may be here already: then the socket, which has room, makes
 * the loop come back. */
static void begin_reading(struct api_client *c)
{
	message_free(&c->msg);
	message_init(&c->msg);
	c->state = CLIENT_READING;
	c->since = clock_ms();
	c->watch.events = c->in_at < c->in_len ? POLLIN | POLLOUT : POLLIN;
	loop_timer_cancel(loop_of(c), &c->timer);
}

/* Closed with bytes unread, a socket takes the answer from the other side, too. */
static void begin_draining(struct api_client *c)
{
	shutdown(c->watch.fd, SHUT_WR);
	c->state = CLIENT_DRAINING;
	c->watch.events = POLLIN;
	deadline(c, CLIENT_LINGER_MS);
}

static void answered(struct api_client *c)
{
	free(c->out);
	c->out = NULL;
	c->served = true;
	if (c->closing)
		begin_draining(c);
	else
		begin_reading(c);
}

static void flush(struct api_client *c)
{
	const ssize_t n = write(c->watch.fd, c->out + c->out_at, c->out_len - c->out_at);

	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		client_drop(c);
		return;
	}
	if (n > 0) {
		c->out_at += n;
		deadline(c, CLIENT_WRITE_MS);
	}
	if (c->out_at == c->out_len)
		answered(c);
}

static const char *reason(int status)
{
	switch (status) {
#define XX(num, name, string)                                                                      \
	case num:                                                                                  \
		return #string;
		HTTP_STATUS_MAP(XX)
#undef XX
	}
	return "";
}

static char *format(const struct api_client *c, const struct client_answer *a, size_t *len)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, len);

	if (!f)
		return NULL;
	fprintf(f, "HTTP/1.1 %d %s\r\n", a->status, reason(a->status));
	if (a->allow)
		fprintf(f, "Allow: %s\r\n", a->allow);
	if (c->closing)
		fputs("Connection: close\r\n", f);
	if (a->type)
		fprintf(f, "Content-Type: %s\r\nContent-Length: %zu\r\n", a->type, a->len);
	fputs("\r\n", f);
	/* RFC 9110, 9.3.2: all but the content. */
	if (a->type && c->msg.parser.method != HTTP_HEAD)
		fwrite(a->text, 1, a->len, f);
	if (!fclose(f))
		return text;
	free(text);
	return NULL;
}

void client_answer(struct api_client *c, const struct client_answer *answer)
{
	c->request = NULL;
	c->out_at = 0;
	c->out = format(c, answer, &c->out_len);
	if (!c->out) {
		client_drop(c);
		return;
	}
	c->state = CLIENT_WRITING;
	c->watch.events = POLLOUT;
	deadline(c, CLIENT_WRITE_MS);
	flush(c);
}

/* ---- in ---- */

/* The socket has room: every answer before was taken whole. */
static void go_on(struct api_client *c)
{
	static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";

	c->msg.expects = false;
	if (write(c->watch.fd, text, sizeof(text) - 1) != sizeof(text) - 1)
		client_drop(c);
}

static void refuse(struct api_client *c, int status, const char *why)
{
	c->closing = true;
	request_refuse(c, status, why);
}

static void parse(struct api_client *c, const char *data, size_t len)
{
	const bool begun = c->msg.begun;

	c->in_at += message_feed(&c->msg, data, len);
	if (c->msg.begun && !begun)
		deadline(c, CLIENT_REQUEST_MS);
	if (c->msg.status) {
		refuse(c, c->msg.status, c->msg.why);
	} else if (c->msg.complete && c->surplus) {
		refuse(c, 503, "too many clients");
	} else if (c->msg.complete) {
		c->closing = !c->msg.keep_alive;
		c->state = CLIENT_WAITING;
		c->watch.events = 0;
		loop_timer_cancel(loop_of(c), &c->timer);
		request_begin(c, &c->msg);
	} else if (c->msg.headed && c->msg.expects) {
		go_on(c);
	}
}

/* The other side sends no more; it may still read. */
static void no_more(struct api_client *c)
{
	if (c->msg.begun)
		parse(c, NULL, 0);
	if (c->state == CLIENT_READING)
		client_drop(c);
}

static void receive(struct api_client *c)
{
	ssize_t n;

	c->watch.events = POLLIN;
	if (c->in_at == c->in_len) {
		c->in_at = c->in_len = 0;
		n = read(c->watch.fd, c->in, sizeof(c->in));
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			client_drop(c);
		else if (n == 0)
			no_more(c);
		if (n <= 0)
			return;
		c->in_len = n;
	}
	parse(c, c->in + c->in_at, c->in_len - c->in_at);
}

static void discard(struct api_client *c)
{
	const ssize_t n = read(c->watch.fd, c->in, sizeof(c->in));

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		client_drop(c);
}

/* ---- the loop ---- */

static void ready(void *opaque, short revents)
{
	struct api_client *c = opaque;

	if (c->state == CLIENT_READING)
		receive(c);
	else if (c->state == CLIENT_WRITING)
		flush(c);
	else if (c->state == CLIENT_DRAINING)
		discard(c);
	else /* unasked: it has hung up */
		client_drop(c);
}

static void expired(void *opaque)
{
	struct api_client *c = opaque;

	if (c->state == CLIENT_READING)
		refuse(c, 408, "the request took too long");
	else
		client_drop(c);
}

int client_open(struct api_client *c, struct api_server *server, int fd)
{
	int ret;

	c->server = server;
	c->closing = c->served = false;
	c->in_at = c->in_len = 0;
	c->watch = (struct loop_watch){ .fd = fd, .ready = ready, .opaque = c };
	c->timer = (struct loop_timer){ .expired = expired, .opaque = c };
	c->msg.body = NULL;
	begin_reading(c);
	ret = loop_add(loop_of(c), &c->watch);
	if (ret)
		client_drop(c);
	return ret;
}
