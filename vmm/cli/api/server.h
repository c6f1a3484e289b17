/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket's server: who is connected, and how many may be. */
#ifndef MVMM_CLI_API_SERVER_H
#define MVMM_CLI_API_SERVER_H

#include "vmm/cli/api/api.h"
#include "vmm/cli/api/client.h"
#include "vmm/error.h"

#define API_MAX_CLIENTS 16
#define API_SURPLUS	8 /* more, who are told that there are too many */
/* Requests whose answers take time, those of clients gone included; then only routes that are taken
 * always. */
#define API_MAX_PENDING 64

struct api_server {
	struct api_context ctx;
	struct loop_watch listener;
	struct loop_timer retry; /* to listen again */
	struct api_client client[API_MAX_CLIENTS + API_SURPLUS];
	unsigned nclients;
	struct api_request *pending;
	unsigned npending;
	bool ended;
};

/*
 * Serves on `fd`, a listening socket, which stays the caller's, from the loop of `ctx`. Reads what it
 * needs of files, too: before the sandbox. NULL with a message. Main.
 */
struct api_server *api_open(int fd, const struct api_context *ctx, struct error *err);

/*
 * The VM has ended: all requests that have no answer are told so (503), all connections closed. A
 * handler that answers later speaks to nobody.
 */
void api_close(struct api_server *server);

/* server.c: a client has gone. */
void server_has_room(struct api_server *server);

#endif
