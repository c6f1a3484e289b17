/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket as those see it who answer requests: a table of routes, what each takes, and
 * how it is answered, at once or later.
 *
 * A request was checked against its route's fields before its handler is called: all that is in
 * `body` and `query` is known, of its type and within its bounds. All of it on main.
 */
#ifndef MVMM_CLI_API_API_H
#define MVMM_CLI_API_API_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/cli/loop.h"
#include "vmm/error.h"

struct api_client;
struct machine;

struct api_route;

/* What handlers work on. */
struct api_context {
	const struct api_route *routes;
	struct machine *machine;
	struct loop *loop;
	uint64_t started; /* clock_ms() when the vCPUs were started */
};

enum api_method { API_DELETE, API_GET, API_PATCH, API_POST, API_PUT, API_METHODS };

enum api_type {
	API_INTEGER, /* min to max */
	API_BOOLEAN,
	API_STRING, /* min to max bytes */
	API_OBJECT, /* of `fields` */
};

/* One member of a body, or one parameter after the '?' of an address. Ends with one without a name. */
struct api_field {
	const char *name;
	enum api_type type;
	bool required;
	uint64_t min, max; /* max 0: INT64_MAX, or any length */
	const struct api_field *fields;
};

struct api_request {
	const struct api_context *ctx;
	const struct api_route *route;
	char id[64];		   /* what stands for {id} in the path, decoded */
	json_t *body;		   /* an object, perhaps an empty one */
	json_t *query;		   /* likewise */
	uint64_t begun;		   /* clock_ms() */
	struct api_client *client; /* NULL: it has gone, or been told that the VM ends */
	struct api_request *next;
	struct api_server *server;
};

struct api_route {
	enum api_method method;
	const char *path; /* "/disks/{id}/size" */
	/* Answers with one of the functions below, exactly once, now or later. */
	void (*handle)(struct api_request *req);
	const struct api_field *body; /* NULL: has none */
	const struct api_field *query;
	/* Has its answer at once, or one at a time has not: taken however many requests wait. */
	bool always;
};

/* Ends with one without a path. routes.c. */
extern const struct api_route api_routes[];
extern const char *const api_method_names[API_METHODS];

/*
 * Answers and frees the request, whether its client is still there or not. `json` is taken over;
 * NULL: there is nothing to say (204).
 */
void api_reply(struct api_request *req, int status, json_t *json);

/* The same with text of another kind, copied. */
void api_reply_text(struct api_request *req, int status, const char *type, const char *text,
		    size_t len);

/* {"error": "..."}, one line. */
void api_error(struct api_request *req, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The status that an -errno is answered with. */
int api_status(int ret);

/* The same of what some part of mvmm has refused: `ret`, its -errno, decides on the status. */
void api_refuse(struct api_request *req, int ret, const struct error *err);

/* A JSON string of any bytes: what is not UTF-8 is replaced. NULL gives null. */
json_t *api_string(const char *text);

#endif
