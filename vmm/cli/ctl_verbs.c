/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From words to a request: the verb's row says where it goes, the route's own table of fields what
 * type each KEY=VALUE has. Main. Looks at no socket.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/cli/ctl.h"

/* clang-format off */
const struct ctl_verb ctl_verbs[] = {
	{ "vm", API_GET, "/vm", NULL, NULL, "what the VM is and how it is", NULL },
	{ "pause", API_PUT, "/vm/pause", NULL, NULL,
	  "stop all vCPUs and disks, once their I/O in flight has ended", "paused" },
	{ "resume", API_PUT, "/vm/resume", NULL, NULL,
	  "go on, also after an error that stopped a disk: try again", "running" },
	{ "power-button", API_PUT, "/vm/power-button", NULL, NULL,
	  "press the power button: the guest shuts itself down", "pressed" },
	{ "reset", API_PUT, "/vm/reset", NULL, NULL, "as if the guest had asked for a reset",
	  "the VM is being reset" },
	{ "quit", API_PUT, "/vm/quit", NULL, NULL, "end the VM, as Ctrl-A x does",
	  "the VM is ending" },
	{ "disk list", API_GET, "/disks", NULL, NULL, "all disks", NULL },
	{ "disk show", API_GET, "/disks/{id}", NULL, NULL, "one disk and its statistics", NULL },
	{ "disk limit", API_PATCH, "/disks/{id}", "limits",
	  "iops|bps[-rd|-wr][-max[-length]]=N ...", "change its limits, and its group's; 0 is none",
	  "changed" },
	{ "disk on-error", API_PATCH, "/disks/{id}", "on_error", "report|stop|enospc",
	  "what is to become of a request that the host has failed", "changed" },
	{ "disk resize", API_PUT, "/disks/{id}/size", "bytes", "[SIZE]",
	  "another size, also of its file; without one: what that has become", NULL },
	{ "disk add", API_POST, "/disks", NULL, "path=PATH [KEY=VALUE ...]",
	  "one more disk, with the keys of --disk", NULL },
	{ "disk remove", API_DELETE, "/disks/{id}", NULL, "[force-after-ms=N]",
	  "ask the guest for a disk; take it away after that time", "removed" },
	{ "disk mirror start", API_PUT, "/disks/{id}/mirror", NULL, "target=PATH [speed=N]",
	  "copy a disk while the guest writes to it", "started" },
	{ "disk mirror status", API_GET, "/disks/{id}/mirror", NULL, NULL, "how far that is", NULL },
	{ "disk mirror complete", API_PUT, "/disks/{id}/mirror/complete", NULL, NULL,
	  "let the copy be the disk", "the copy is the disk now" },
	{ "disk mirror speed", API_PATCH, "/disks/{id}/mirror", NULL, "speed=N",
	  "another limit, bytes per second; 0 is none", "changed" },
	{ "disk mirror cancel", API_DELETE, "/disks/{id}/mirror", NULL, NULL,
	  "give it up: the disk stays where it is", "cancelled" },
	{ "disk backup start", API_PUT, "/disks/{id}/backup", NULL, "target=PATH [speed=N]",
	  "copy a disk as it is at this moment", "started" },
	{ "disk backup status", API_GET, "/disks/{id}/backup", NULL, NULL, "how far that is", NULL },
	{ "disk backup speed", API_PATCH, "/disks/{id}/backup", NULL, "speed=N",
	  "another limit, bytes per second; 0 is none", "changed" },
	{ "disk backup cancel", API_DELETE, "/disks/{id}/backup", NULL, NULL, "give it up",
	  "cancelled" },
	{ "disk commit status", API_GET, "/disks/{id}/commit", NULL, NULL, "how far that is", NULL },
	{ "disk commit speed", API_PATCH, "/disks/{id}/commit", NULL, "speed=N",
	  "another limit, bytes per second; 0 is none", "changed" },
	{ "disk commit cancel", API_DELETE, "/disks/{id}/commit", NULL, NULL, "give it up",
	  "cancelled" },
	{ "disk commit", API_PUT, "/disks/{id}/commit", NULL, "target=PATH [speed=N]",
	  "write base and overlay, as they are at this moment, to a new image", "started" },
	{ "metrics", API_GET, "/metrics", NULL, NULL, "all numbers, in Prometheus's text form",
	  NULL },
	{ 0 },
};
/* clang-format on */

/* How many of `argv` spell the verb out; 0: they do not. */
static int spelled(const char *words, int argc, char **argv)
{
	int n = 0;

	for (;;) {
		const size_t len = strcspn(words, " ");

		if (n == argc || strlen(argv[n]) != len || memcmp(argv[n], words, len))
			return 0;
		n++;
		if (!words[len])
			return n;
		words += len + 1;
	}
}

static const struct ctl_verb *find_verb(int argc, char **argv, int *used)
{
	for (const struct ctl_verb *verb = ctl_verbs; verb->words; verb++) {
		*used = spelled(verb->words, argc, argv);
		if (*used)
			return verb;
	}
	return NULL;
}

static const struct api_route *route_of(const struct ctl_verb *verb)
{
	const struct api_route *route = api_routes;

	while (route->path && (route->method != verb->method || strcmp(route->path, verb->path)))
		route++;
	return route;
}

static const struct api_field *find_field(const struct api_field *fields, const char *name)
{
	for (; fields && fields->name; fields++)
		if (!strcmp(fields->name, name))
			return fields;
	return NULL;
}

/* ---- values ---- */

/* 5000, or 20G: K, M, G and T are powers of 1024. */
static json_t *integer(const char *text)
{
	static const char units[] = "KMGT";
	const char *unit;
	char *end;
	long long n;

	errno = 0;
	n = strtoll(text, &end, 10);
	if (!isdigit((unsigned char)text[0]) || errno)
		return NULL;
	if (*end) {
		unit = strchr(units, toupper((unsigned char)*end));
		if (!unit || end[1] || n > INT64_MAX >> 10 * (1 + (unit - units)))
			return NULL;
		n <<= 10 * (1 + (unit - units));
	}
	return json_integer(n);
}

static json_t *value_of(const struct api_field *field, const char *text)
{
	if (field->type == API_INTEGER)
		return integer(text);
	if (field->type == API_STRING)
		return json_string(text);
	if (field->type == API_BOOLEAN && (!strcmp(text, "on") || !strcmp(text, "true")))
		return json_true();
	if (field->type == API_BOOLEAN && (!strcmp(text, "off") || !strcmp(text, "false")))
		return json_false();
	return NULL;
}

static int bad_value(const char *word, const struct api_field *field, struct error *err)
{
	if (field->type == API_INTEGER)
		return error_setx(err, EINVAL, "ctl: '%s': not a number, with K, M, G or T", word);
	if (field->type == API_BOOLEAN)
		return error_setx(err, EINVAL, "ctl: '%s': on or off", word);
	return error_setx(err, EINVAL, "ctl: '%s': not text", word);
}

/* ---- the target ---- */

static int append(struct ctl_wish *wish, const char *text, size_t len, bool encode,
		  struct error *err)
{
	size_t at = strlen(wish->target);

	for (size_t i = 0; i < len; i++) {
		const unsigned char c = (unsigned char)text[i];

		if (at + 4 > sizeof(wish->target))
			return error_setx(err, EINVAL, "ctl: '%.32s...' is too long", text);
		if (!encode || isalnum(c) || strchr("-._~", c))
			wish->target[at++] = (char)c;
		else
			at += sprintf(wish->target + at, "%%%02X", c);
	}
	wish->target[at] = '\0';
	return 0;
}

/* Returns how many words it took, 0 or 1, or -EINVAL. */
static int put_path(struct ctl_wish *wish, const char *word, struct error *err)
{
	const char *path = wish->verb->path;
	const char *hole = strchr(path, '{');
	int ret;

	if (!hole)
		return append(wish, path, strlen(path), false, err);
	if (!word || !word[0] || strchr(word, '='))
		return error_setx(err, EINVAL, "ctl: %s: which? (see: mvmm ctl --help)",
				  wish->verb->words);
	ret = append(wish, path, hole - path, false, err);
	if (!ret)
		ret = append(wish, word, strlen(word), true, err);
	hole = strchr(hole, '}') + 1;
	if (!ret)
		ret = append(wish, hole, strlen(hole), false, err);
	return ret ? ret : 1;
}

static int put_query(struct ctl_wish *wish, const char *name, const char *value, struct error *err)
{
	const char *sep = strchr(wish->target, '?') ? "&" : "?";
	int ret = append(wish, sep, 1, false, err);

	if (!ret)
		ret = append(wish, name, strlen(name), true, err);
	if (!ret)
		ret = append(wish, "=", 1, false, err);
	return ret ? ret : append(wish, value, strlen(value), true, err);
}

/* ---- KEY=VALUE ---- */

/* Where KEY=VALUE go: the body, or a member of it that is made on the first use. */
static json_t *place(struct ctl_wish *wish, const char *within)
{
	json_t *object;

	if (!wish->body)
		wish->body = json_object();
	if (!within)
		return wish->body;
	object = json_object_get(wish->body, within);
	if (object)
		return object;
	object = json_object();
	return json_object_set_new(wish->body, within, object) ? NULL : object;
}

/* A key that only a member of the body knows goes there; so does each of a verb that says so. */
static const struct api_field *find_key(const struct api_field *fields, const char *name,
					const char **within)
{
	const struct api_field *member, *field = *within ? NULL : find_field(fields, name);

	for (member = fields; member && member->name && !field; member++) {
		if (member->type != API_OBJECT || (*within && strcmp(member->name, *within)))
			continue;
		field = find_field(member->fields, name);
		if (field)
			*within = member->name;
	}
	return field;
}

static int put_value(struct ctl_wish *wish, const char *within, const struct api_field *field,
		     const char *word, const char *text, struct error *err)
{
	json_t *value = value_of(field, text);

	if (!value)
		return bad_value(word, field, err);
	if (json_object_set_new(place(wish, within), field->name, value))
		return error_set(err, ENOMEM, "ctl");
	return 0;
}

/* A verb's only value, which needs no key; NULL: it has none. */
static const struct api_field *only_value(const struct ctl_verb *verb)
{
	const struct api_field *field =
		verb->within ? find_field(route_of(verb)->body, verb->within) : NULL;

	return field && field->type != API_OBJECT ? field : NULL;
}

static int put_pair(struct ctl_wish *wish, const char *word, struct error *err)
{
	const struct api_route *route = route_of(wish->verb);
	const char *within = wish->verb->within;
	const struct api_field *field;
	const char *equals = strchr(word, '=');
	char name[64];

	if (!equals && only_value(wish->verb))
		return put_value(wish, NULL, only_value(wish->verb), word, word, err);
	if (!equals || (size_t)(equals - word) >= sizeof(name))
		return error_setx(err, EINVAL, "ctl: '%s' is not KEY=VALUE", word);
	for (int i = 0; i < equals - word; i++)
		name[i] = word[i] == '-' ? '_' : word[i];
	name[equals - word] = '\0';
	if (find_field(route->query, name))
		return put_query(wish, name, equals + 1, err);
	field = find_key(route->body, name, &within);
	if (!field)
		return error_setx(err, EINVAL, "ctl: %s: unknown key '%.*s'%s%s", wish->verb->words,
				  (int)(equals - word), word, wish->verb->keys ? "; known: " : "",
				  wish->verb->keys ? wish->verb->keys : "");
	return put_value(wish, within, field, word, equals + 1, err);
}

static int unknown_verb(int argc, char **argv, struct error *err)
{
	if (!argc)
		return error_setx(err, EINVAL, "ctl: what should it do? (see: mvmm ctl --help)");
	return error_setx(err, EINVAL, "ctl: unknown verb '%s%s%s' (see: mvmm ctl --help)", argv[0],
			  argc > 1 ? " " : "", argc > 1 ? argv[1] : "");
}

/* In brackets: goes without, too. */
static int check_values(const struct ctl_wish *wish, struct error *err)
{
	const struct ctl_verb *verb = wish->verb;

	if (!verb->within || wish->body || verb->keys[0] == '[')
		return 0;
	return error_setx(err, EINVAL, "ctl: %s: to what? %s", verb->words, verb->keys);
}

int ctl_parse(int argc, char **argv, struct ctl_wish *wish, struct error *err)
{
	int used, ret;

	*wish = (struct ctl_wish){ .verb = find_verb(argc, argv, &used) };
	if (!wish->verb)
		return unknown_verb(argc, argv, err);
	ret = put_path(wish, used < argc ? argv[used] : NULL, err);
	for (used += ret; ret >= 0 && used < argc; used++)
		ret = put_pair(wish, argv[used], err);
	if (ret >= 0)
		ret = check_values(wish, err);
	if (ret >= 0)
		return 0;
	json_decref(wish->body);
	wish->body = NULL;
	return ret;
}
