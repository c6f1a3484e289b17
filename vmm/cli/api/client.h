/* SPDX-License-Identifier: Apache-2.0 */
/* One connection of the control socket: what server.c, client.c and request.c know of it. */
#ifndef MVMM_CLI_API_CLIENT_H
#define MVMM_CLI_API_CLIENT_H

#include "vmm/cli/api/api.h"
#include "vmm/cli/api/message.h"

#define CLIENT_CHUNK	  4096
#define CLIENT_REQUEST_MS 10000 /* from a request's first byte to its last */
#define CLIENT_WRITE_MS	  10000 /* without a byte taken */
#define CLIENT_LINGER_MS  1000	/* for the last answer to be read */

struct api_server;

enum client_state {
	CLIENT_FREE,
	CLIENT_READING,
	CLIENT_WAITING,	 /* a handler has its request */
	CLIENT_WRITING,	 /* the answer */
	CLIENT_DRAINING, /* the last one was sent: what still comes is thrown away */
};

struct api_client {
	struct api_server *server;
	enum client_state state;
	bool surplus;	/* there were too many already */
	bool closing;	/* after the answer */
	bool served;	/* has had an answer */
	uint64_t since; /* clock_ms(): idle since then */
	struct loop_watch watch;
	struct loop_timer timer;
	struct message msg;
	char in[CLIENT_CHUNK]; /* read and not parsed: in_at to in_len */
	size_t in_at, in_len;
	char *out; /* owned: the answer, out_at bytes of it sent */
	size_t out_len, out_at;
	struct api_request *request; /* CLIENT_WAITING: the handler's */
};

struct client_answer {
	int status;
	const char *type;  /* NULL: no body */
	const char *allow; /* methods, for 405; or NULL */
	const char *text;
	size_t len;
};

/* client.c. `fd` is taken over, also where it fails. */
int client_open(struct api_client *client, struct api_server *server, int fd);
void client_drop(struct api_client *client);

/* Sends as much as goes without waiting; the rest follows. */
void client_answer(struct api_client *client, const struct client_answer *answer);

/* Between requests, with nothing in or out. */
bool client_is_idle(const struct api_client *client);

/* request.c: a request is complete, or is not to be had. */
void request_begin(struct api_client *client, const struct message *msg);
void request_refuse(struct api_client *client, int status, const char *why);

/* request.c: its client has gone, or (end) is told that the VM ends. */
void request_orphan(struct api_request *req, bool end);

#endif
