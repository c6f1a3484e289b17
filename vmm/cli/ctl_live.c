/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `mvmm ctl` following a job; see ctl_live.h. The request that may take long is made by a thread, so
 * that the terminal can be told beside it. Must not know what a job does.
 */
#include "vmm/cli/ctl_live.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_US 200000
#define LOOK_MS 5000 /* for one answer */

enum ctl_follow ctl_follows(const struct ctl_verb *verb)
{
	if (!strcmp(verb->words, "disk mirror start") ||
	    !strcmp(verb->words, "disk backup start") || !strcmp(verb->words, "disk commit"))
		return CTL_FOLLOW_ON;
	if (!strcmp(verb->words, "disk mirror complete"))
		return CTL_FOLLOW_ANSWER;
	return CTL_FOLLOW_NOTHING;
}

struct asked {
	const char *path, *method, *target, *body;
	unsigned timeout_ms;
	struct ctl_answer answer;
	struct error err;
	int ret;
	_Atomic bool done;
};

static void *ask(void *opaque)
{
	struct asked *a = opaque;

	a->ret = ctl_request(a->path, a->method, a->target, a->body, a->timeout_ms, &a->answer,
			     &a->err);
	a->done = true;
	return NULL;
}

/* ---- one look ---------------------------------------------------------------------------------- */

static const char *human(json_int_t bytes, char to[16])
{
	static const char units[] = " KMGT";
	double n = (double)bytes;
	unsigned i = 0;

	for (; n >= 1000 && i < 4; i++)
		n /= 1024;
	snprintf(to, 16, i ? "%.1f%c" : "%.0f", n, units[i]);
	return to;
}

static json_int_t number(const json_t *job, const char *key)
{
	return json_integer_value(json_object_get(job, key));
}

static const char *text(const json_t *job, const char *key)
{
	const char *value = json_string_value(json_object_get(job, key));

	return value ? value : "";
}

static void put_line(const json_t *job)
{
	const json_int_t bytes = number(job, "bytes"), left = number(job, "left_bytes");
	const json_int_t ms = number(job, "time_left_ms");
	char a[16], b[16], c[16];

	printf("\r\033[K%s: %-10s %3d%%  %s of %s left  %s/s", text(job, "id"), text(job, "state"),
	       bytes ? (int)((bytes - left) * 100 / bytes) : 100, human(left, a), human(bytes, b),
	       human(number(job, "rate_bytes"), c));
	if (ms)
		printf("  %d:%02d to go", (int)(ms / 60000), (int)(ms / 1000 % 60));
	if (number(job, "longest_wait_ns"))
		printf("  writes waited up to %.1f ms",
		       (double)number(job, "longest_wait_ns") / 1e6);
	if (number(job, "held_ns"))
		printf("  held for %.1f ms", (double)number(job, "held_ns") / 1e6);
	fflush(stdout);
}

/* What the job's own address says; NULL with a message: nothing yet, or no more. */
static json_t *look(const char *path, const char *target, struct error *err)
{
	struct ctl_answer answer;
	json_t *job = NULL;

	if (ctl_request(path, "GET", target, NULL, LOOK_MS, &answer, err))
		return NULL;
	error_setx(err, EIO, "ctl: the VM does not say how far it is (%d)", answer.status);
	if (answer.status == 200)
		job = json_loads(answer.body, 0, NULL);
	free(answer.body);
	if (job)
		put_line(job);
	return job;
}

static bool goes_on(const json_t *job)
{
	const char *state = text(job, "state");

	return !strcmp(state, "opening") || !strcmp(state, "copying") ||
	       !strcmp(state, "completing") || !strcmp(state, "ending");
}

/* The end of a job that has made no copy, in the place of the answer to its beginning. */
static void tell_failure(const json_t *job, struct ctl_answer *answer)
{
	const bool failed = !strcmp(text(job, "state"), "failed");
	json_t *json;

	if (failed)
		json = json_sprintf("the %s: %s", text(job, "error_at"), text(job, "error"));
	else if (!strcmp(text(job, "state"), "cancelled"))
		json = json_string("it was cancelled");
	else
		return;
	json = json_pack("{s:o}", "error", json);
	free(answer->body);
	answer->body = json_dumps(json, JSON_COMPACT);
	answer->len = answer->body ? strlen(answer->body) : 0;
	answer->status = failed ? 500 : 409;
	json_decref(json);
}

/* ---- all of them ------------------------------------------------------------------------------- */

/* "/disks/vda/mirror" of "/disks/vda/mirror/complete". */
static void job_of(const char *target, char *to, size_t size)
{
	const size_t n = strlen(target), m = strlen("/complete");
	const bool complete = n > m && !strcmp(target + n - m, "/complete");

	snprintf(to, size, "%.*s", (int)(complete ? n - m : n), target);
}

/* -EIO with a message: what becomes of the job is not known any more, and `answer` is none. */
static int follow(const char *path, const char *target, struct ctl_answer *answer,
		  struct error *err)
{
	json_t *job = look(path, target, err);

	while (job && goes_on(job)) {
		json_decref(job);
		usleep(LOOK_US);
		job = look(path, target, err);
	}
	if (!job) {
		free(answer->body);
		return -EIO;
	}
	tell_failure(job, answer);
	json_decref(job);
	return 0;
}

/* Until the request is answered. */
static void show_meanwhile(const char *path, const char *target, const struct asked *a)
{
	struct error none_yet;

	while (!a->done) {
		json_decref(look(path, target, &none_yet));
		usleep(LOOK_US);
	}
}

int ctl_live(const char *path, const struct ctl_wish *wish, const char *body, unsigned timeout_ms,
	     struct ctl_answer *answer, struct error *err)
{
	struct asked a = {
		.path = path,
		.method = api_method_names[wish->verb->method],
		.target = wish->target,
		.body = body,
		.timeout_ms = timeout_ms,
	};
	char target[sizeof(wish->target)];
	struct error no_more;
	pthread_t thread;
	int ret;

	job_of(wish->target, target, sizeof(target));
	ret = pthread_create(&thread, NULL, ask, &a);
	if (ret)
		return error_set(err, ret, "ctl: cannot create a thread");
	show_meanwhile(path, target, &a);
	pthread_join(thread, NULL);
	*answer = a.answer;
	*err = a.err;
	if (!a.ret && answer->status < 400 && ctl_follows(wish->verb) == CTL_FOLLOW_ON)
		a.ret = follow(path, target, answer, err);
	else
		json_decref(look(path, target, &no_more));
	printf("\n");
	return a.ret;
}
