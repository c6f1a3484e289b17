/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a complete message to the handler of its route, and from the handler's answer back to the
 * client, if it is still there. Main.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/cli/api/client.h"
#include "vmm/cli/api/fields.h"
#include "vmm/cli/api/server.h"
#include "vmm/cli/clock.h"

#define JSON_TYPE "application/json"

const char *const api_method_names[API_METHODS] = {
	[API_DELETE] = "DELETE", [API_GET] = "GET", [API_PATCH] = "PATCH",
	[API_POST] = "POST",	 [API_PUT] = "PUT",
};

struct target {
	const char *path, *query;
	size_t path_len, query_len;
};

/* ---- answers ---- */

/* "...\n", or NULL: out of memory. Takes the JSON over. */
static char *json_line(json_t *json)
{
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL, *line = NULL;

	json_decref(json);
	if (text && asprintf(&line, "%s\n", text) < 0)
		line = NULL;
	free(text);
	return line;
}

static void answer_json(struct api_client *client, int status, const char *allow, json_t *json)
{
	static const char none[] = "{\"error\":\"out of memory\"}\n";
	char *line = json_line(json);
	const char *text = line ? line : none;
	const struct client_answer answer = {
		.status = line ? status : 500,
		.allow = allow,
		.type = JSON_TYPE,
		.text = text,
		.len = strlen(text),
	};

	client_answer(client, &answer);
	free(line);
}

static json_t *error_json(const char *text)
{
	return json_pack("{s:o}", "error", api_string(text));
}

void request_refuse(struct api_client *client, int status, const char *why)
{
	answer_json(client, status, NULL, error_json(why));
}

/* ---- requests ---- */

static void unlink_request(struct api_request *req)
{
	struct api_request **at;

	if (!req->server)
		return;
	for (at = &req->server->pending; *at != req; at = &(*at)->next)
		;
	*at = req->next;
	req->server->npending--;
	req->server = NULL;
}

/* Its client, if it is there, belongs to the caller now. */
static struct api_client *release(struct api_request *req)
{
	struct api_client *client = req->client;

	unlink_request(req);
	if (client)
		client->request = NULL;
	json_decref(req->body);
	json_decref(req->query);
	free(req);
	return client;
}

void request_orphan(struct api_request *req, bool end)
{
	struct api_client *client = req->client;

	req->client = NULL;
	if (client)
		client->request = NULL;
	if (!end)
		return;
	unlink_request(req);
	if (client) {
		client->closing = true;
		request_refuse(client, 503, "the VM has ended");
	}
}

void api_reply(struct api_request *req, int status, json_t *json)
{
	const struct client_answer nothing = { .status = status };
	struct api_client *client = release(req);

	if (!client)
		json_decref(json);
	else if (json)
		answer_json(client, status, NULL, json);
	else
		client_answer(client, &nothing);
}

void api_reply_text(struct api_request *req, int status, const char *type, const char *text,
		    size_t len)
{
	const struct client_answer answer = {
		.status = status, .type = type, .text = text, .len = len
	};
	struct api_client *client = release(req);

	if (client)
		client_answer(client, &answer);
}

void api_error(struct api_request *req, int status, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	api_reply(req, status, error_json(text));
}

/* 404: what the address names is not there; 409: not as things are now; 400: never like that; 500: the
 * host has failed; 504: it does not answer. */
int api_status(int ret)
{
	switch (-ret) {
	case ESRCH:
		return 404;
	case EAGAIN:
	case EALREADY:
	case EBUSY:
	case ECANCELED:
	case EDQUOT:
	case EEXIST:
	case ENODEV:
	case ENOSPC:
	case ENOTSUP:
	case EROFS:
		return 409;
	case EIO:
	case EMFILE:
	case ENFILE:
	case ENODATA:
	case ENOMEM:
	case ENXIO:
	case EPIPE:
	case EREMOTEIO:
	case ESTALE:
		return 500;
	case ETIME:
	case ETIMEDOUT:
		return 504;
	default:
		return 400;
	}
}

void api_refuse(struct api_request *req, int ret, const struct error *err)
{
	api_error(req, api_status(ret), "%s", err->text);
}

/* ---- routes ---- */

/* Does the path have the form of the route's? What stands for {id} is decoded. */
static bool matches(const char *form, const char *path, size_t len, char *id, size_t room)
{
	const char *end = path + len;

	for (; *form; form++) {
		if (*form == '{') {
			const char *from = path;

			while (path < end && *path != '/')
				path++;
			if (fields_decode(from, path - from, id, room) <= 0)
				return false;
			form = strchr(form, '}');
		} else if (path == end || *path++ != *form) {
			return false;
		}
	}
	return path == end;
}

struct choice {
	const struct api_route *route; /* NULL: there is none */
	char id[64];
	char allow[64]; /* what else goes with the address; empty: nothing does */
};

static void choose(const struct api_route *routes, const struct target *t, const char *method,
		   struct choice *c)
{
	size_t at = 0;

	for (const struct api_route *r = routes; r->path && !c->route; r++) {
		const char *name = api_method_names[r->method];

		if (!matches(r->path, t->path, t->path_len, c->id, sizeof(c->id)))
			continue;
		if (!strcmp(name, method))
			c->route = r;
		at += snprintf(c->allow + at, sizeof(c->allow) - at, "%s%s", at ? ", " : "", name);
	}
}

/* "/vm?x=1", or the same with "http://somewhere" before it. */
static bool parse_target(const struct message *msg, struct target *t)
{
	struct http_parser_url url;

	http_parser_url_init(&url);
	if (http_parser_parse_url(msg->url, msg->url_len, false, &url) ||
	    !(url.field_set & 1 << UF_PATH))
		return false;
	*t = (struct target){
		.path = msg->url + url.field_data[UF_PATH].off,
		.path_len = url.field_data[UF_PATH].len,
	};
	if (url.field_set & 1 << UF_QUERY) {
		t->query = msg->url + url.field_data[UF_QUERY].off;
		t->query_len = url.field_data[UF_QUERY].len;
	}
	return true;
}

static void dispatch(struct api_request *req, const struct message *msg, const struct target *t)
{
	struct error err;

	req->query = fields_parse_query(t->query, t->query_len, req->route->query, &err);
	if (req->query)
		req->body = fields_parse(msg->body, msg->body_len, req->route->body, &err);
	if (!req->body) {
		api_error(req, 400, "%s", err.text);
		return;
	}
	req->route->handle(req);
}

static void no_route(struct api_client *client, const struct message *msg, const char *allow)
{
	char text[128];

	if (!allow[0]) {
		request_refuse(client, 404, "there is nothing at this address");
		return;
	}
	snprintf(text, sizeof(text), "%s does not go with this address, only: %s",
		 http_method_str(msg->parser.method), allow);
	answer_json(client, 405, allow, error_json(text));
}

static struct api_request *create(struct api_client *client, const struct choice *c)
{
	struct api_server *server = client->server;
	struct api_request *req = calloc(1, sizeof(*req));

	if (!req)
		return NULL;
	memcpy(req->id, c->id, sizeof(req->id));
	req->ctx = &server->ctx;
	req->route = c->route;
	req->begun = clock_ms();
	req->client = client;
	req->server = server;
	req->next = server->pending;
	server->pending = client->request = req;
	server->npending++;
	return req;
}

void request_begin(struct api_client *client, const struct message *msg)
{
	struct api_server *server = client->server;
	struct api_request *req = NULL;
	struct choice choice = { 0 };
	struct target target = { 0 };

	if (parse_target(msg, &target))
		choose(server->ctx.routes, &target, http_method_str(msg->parser.method), &choice);
	if (!choice.route) {
		no_route(client, msg, choice.allow);
		return;
	}
	if (choice.route->always || server->npending < API_MAX_PENDING)
		req = create(client, &choice);
	if (req)
		dispatch(req, msg, &target);
	else
		request_refuse(client, 503, "too many requests");
}
