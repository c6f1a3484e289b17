/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parses bodies and queries and holds them to tables, so that handlers meet only what they know.
 * Main. Must not know any route.
 */
#include "vmm/cli/api/fields.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_QUERY_VALUE 256

static const char *type_name(enum api_type type)
{
	static const char *const names[] = {
		[API_INTEGER] = "an integer",
		[API_BOOLEAN] = "true or false",
		[API_STRING] = "a string",
		[API_OBJECT] = "an object",
	};

	return names[type];
}

static bool has_type(const json_t *value, enum api_type type)
{
	switch (type) {
	case API_INTEGER:
		return json_is_integer(value);
	case API_BOOLEAN:
		return json_is_boolean(value);
	case API_STRING:
		return json_is_string(value);
	case API_OBJECT:
		return json_is_object(value);
	}
	return false;
}

/* A number, or the length of a string, against the field's bounds. */
static int check_bounds(const struct api_field *field, const json_t *value, const char *path,
			struct error *err)
{
	const uint64_t max = field->max ? field->max : INT64_MAX;
	int64_t n;

	if (field->type == API_INTEGER) {
		n = json_integer_value(value);
		if (n >= 0 && (uint64_t)n >= field->min && (uint64_t)n <= max)
			return 0;
		return error_setx(err, ERANGE, "'%s' must be from %" PRIu64 " to %" PRIu64, path,
				  field->min, max);
	}
	if (field->type == API_STRING &&
	    (json_string_length(value) < field->min || json_string_length(value) > max))
		return error_setx(err, ERANGE,
				  "'%s' must have from %" PRIu64 " to %" PRIu64 " bytes", path,
				  field->min, max);
	return 0;
}

static const struct api_field *find(const struct api_field *fields, const char *name)
{
	for (; fields && fields->name; fields++)
		if (!strcmp(fields->name, name))
			return fields;
	return NULL;
}

static int check_object(const json_t *object, const struct api_field *fields, const char *prefix,
			struct error *err);

static int check_member(const char *key, const json_t *value, const struct api_field *fields,
			const char *prefix, struct error *err)
{
	const struct api_field *field = find(fields, key);
	char path[128];
	int ret;

	snprintf(path, sizeof(path), "%s%s%s", prefix, prefix[0] ? "." : "", key);
	if (!field)
		return error_setx(err, EINVAL, "unknown field '%s'", path);
	if (!has_type(value, field->type))
		return error_setx(err, EINVAL, "'%s' must be %s", path, type_name(field->type));
	ret = check_bounds(field, value, path, err);
	if (!ret && field->type == API_OBJECT)
		ret = check_object(value, field->fields, path, err);
	return ret;
}

static int check_object(const json_t *object, const struct api_field *fields, const char *prefix,
			struct error *err)
{
	const char *key;
	json_t *value;
	int ret;

	/* The iterator wants what it could change; it changes nothing. */
	json_object_foreach((json_t *)object, key, value)
	{
		ret = check_member(key, value, fields, prefix, err);
		if (ret)
			return ret;
	}
	for (; fields && fields->name; fields++)
		if (fields->required && !json_object_get(object, fields->name))
			return error_setx(err, EINVAL, "'%s%s%s' is missing", prefix,
					  prefix[0] ? "." : "", fields->name);
	return 0;
}

json_t *fields_parse(const char *text, size_t len, const struct api_field *fields,
		     struct error *err)
{
	json_error_t why;
	json_t *object;

	if (!len)
		object = json_object();
	else
		object = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
	if (!object) {
		error_setx(err, EINVAL, "JSON: line %d, column %d: %s", len ? why.line : 0,
			   len ? why.column : 0, len ? why.text : "out of memory");
		return NULL;
	}
	if (!json_is_object(object))
		error_setx(err, EINVAL, "JSON: the body must be an object");
	else if (!check_object(object, fields, "", err))
		return object;
	json_decref(object);
	return NULL;
}

static int hex(char c)
{
	if (isdigit((unsigned char)c))
		return c - '0';
	return isxdigit((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10 : -1;
}

int fields_decode(const char *text, size_t len, char *to, size_t room)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		int c = (unsigned char)text[i];

		if (c == '%') {
			if (len - i < 3 || hex(text[i + 1]) < 0 || hex(text[i + 2]) < 0)
				return -1;
			c = hex(text[i + 1]) << 4 | hex(text[i + 2]);
			i += 2;
		}
		if (!c || n + 1 >= room)
			return -1;
		to[n++] = (char)c;
	}
	to[n] = '\0';
	return (int)n;
}

/* The value of a parameter as the type that its field has. */
static json_t *query_value(const struct api_field *field, const char *text)
{
	char *end;
	long long n;

	if (field && field->type == API_INTEGER && isdigit((unsigned char)text[0])) {
		errno = 0;
		n = strtoll(text, &end, 10);
		if (!errno && !*end)
			return json_integer(n);
	}
	if (field && field->type == API_BOOLEAN && !strcmp(text, "true"))
		return json_true();
	if (field && field->type == API_BOOLEAN && !strcmp(text, "false"))
		return json_false();
	return json_string(text);
}

static int add_parameter(json_t *object, const char *text, size_t len,
			 const struct api_field *fields, struct error *err)
{
	const char *equals = memchr(text, '=', len);
	const size_t name_len = equals ? (size_t)(equals - text) : len;
	char name[64], value[MAX_QUERY_VALUE] = "";

	if (fields_decode(text, name_len, name, sizeof(name)) < 0 ||
	    (equals && fields_decode(equals + 1, len - name_len - 1, value, sizeof(value)) < 0))
		return error_setx(err, EINVAL, "the address: a parameter is not well-formed");
	if (json_object_get(object, name))
		return error_setx(err, EINVAL, "the address: '%s' is there twice", name);
	/* Fails for what is not UTF-8, too. */
	if (json_object_set_new(object, name, query_value(find(fields, name), value)))
		return error_setx(err, EINVAL, "the address: a parameter is not text");
	return 0;
}

json_t *fields_parse_query(const char *text, size_t len, const struct api_field *fields,
			   struct error *err)
{
	json_t *object = json_object();
	int ret = object ? 0 : error_set(err, ENOMEM, "the address");

	while (len && !ret) {
		const char *next = memchr(text, '&', len);
		const size_t n = next ? (size_t)(next - text) : len;

		if (n)
			ret = add_parameter(object, text, n, fields, err);
		text += n + (next != NULL);
		len -= n + (next != NULL);
	}
	if (!ret)
		ret = check_object(object, fields, "", err);
	if (!ret)
		return object;
	json_decref(object);
	return NULL;
}
