/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accepts connections to the control socket, within bounds. Main, from its loop. Must not know HTTP
 * or any route.
 *
 * Nobody can lock others out: where all places are taken, whoever has been idle longest makes room;
 * where all are busy, a few more are told so; where those are, too, the rest wait to be accepted.
 */
#include "vmm/cli/api/server.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/cli/clock.h"
#include "vmm/log.h"

#define RETRY_MS    1000
#define NEWCOMER_MS 1000 /* not idle yet: its first request is on its way */

static struct api_client *longest_idle(struct api_server *s)
{
	const uint64_t now = clock_ms();
	struct api_client *found = NULL;

	for (unsigned i = 0; i < API_MAX_CLIENTS + API_SURPLUS; i++) {
		struct api_client *c = &s->client[i];

		if (!client_is_idle(c) || (!c->served && now - c->since < NEWCOMER_MS))
			continue;
		if (!found || c->since < found->since)
			found = c;
	}
	return found;
}

static struct api_client *free_place(struct api_server *s)
{
	for (unsigned i = 0; i < API_MAX_CLIENTS + API_SURPLUS; i++)
		if (s->client[i].state == CLIENT_FREE)
			return &s->client[i];
	return NULL;
}

static void listen_again(void *opaque)
{
	((struct api_server *)opaque)->listener.events = POLLIN;
}

/* The listener stays readable, and main must not spin. Until somebody goes, or for a while: nobody
 * tells us when the host has a descriptor again, or when a client counts as idle. */
static void stop_listening(struct api_server *s)
{
	s->listener.events = 0;
	loop_timer_set(s->ctx.loop, &s->retry, clock_ms() + RETRY_MS);
}

void server_has_room(struct api_server *server)
{
	server->nclients--;
	listen_again(server);
}

/* Newcomers were too many at first, and all may be idle by now: more than one may have to go. */
static void make_room(struct api_server *s)
{
	struct api_client *idle;

	while (s->nclients >= API_MAX_CLIENTS && (idle = longest_idle(s)))
		client_drop(idle);
}

static void welcome(struct api_server *s, int fd)
{
	struct api_client *client = free_place(s);

	client->surplus = s->nclients >= API_MAX_CLIENTS;
	s->nclients++;
	if (client_open(client, s, fd))
		log_warn("control socket: no room for another connection");
	if (s->nclients == API_MAX_CLIENTS + API_SURPLUS)
		stop_listening(s);
}

/* One per lap: others have their turn. */
static void accept_one(void *opaque, short revents)
{
	struct api_server *s = opaque;
	int fd;

	make_room(s);
	if (s->nclients == API_MAX_CLIENTS + API_SURPLUS) {
		stop_listening(s);
		return;
	}
	fd = accept4(s->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0)
		welcome(s, fd);
	else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
		stop_listening(s); /* no descriptor, no memory */
}

struct api_server *api_open(int fd, const struct api_context *ctx, struct error *err)
{
	struct api_server *s = calloc(1, sizeof(*s));

	if (!s) {
		error_set(err, ENOMEM, "control socket");
		return NULL;
	}
	json_object_seed(0); /* now, because it reads /dev/urandom */
	s->ctx = *ctx;
	s->retry = (struct loop_timer){ .expired = listen_again, .opaque = s };
	s->listener =
		(struct loop_watch){ .fd = fd, .events = POLLIN, .ready = accept_one, .opaque = s };
	if (loop_add(ctx->loop, &s->listener)) {
		error_set(err, ENOSPC, "control socket");
		free(s);
		return NULL;
	}
	return s;
}

void api_close(struct api_server *s)
{
	s->ended = true;
	loop_remove(s->ctx.loop, &s->listener);
	while (s->pending)
		request_orphan(s->pending, true);
	for (unsigned i = 0; i < API_MAX_CLIENTS + API_SURPLUS; i++)
		if (s->client[i].state != CLIENT_FREE)
			client_drop(&s->client[i]);
	loop_timer_cancel(s->ctx.loop, &s->retry);
	free(s);
}
