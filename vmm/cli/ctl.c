/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `mvmm ctl`: speaks to the control socket of a running VM. A process of its own; knows no machine.
 */
#include "vmm/cli/ctl.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/cli/commands.h"
#include "vmm/cli/ctl_http.h"
#include "vmm/cli/ctl_live.h"
#include "vmm/cli/ctl_print.h"
#include "vmm/cli/number.h"
#include "vmm/cli/result.h"

#define DEFAULT_TIMEOUT_MS 30000

struct ctl {
	bool json;
	bool timed; /* timeout_ms was given */
	uint64_t timeout_ms;
};

static int set_json(void *into, const char *value, struct error *err)
{
	((struct ctl *)into)->json = true;
	return 0;
}

static int set_timeout(void *into, const char *value, struct error *err)
{
	struct ctl *ctl = into;

	if (number_parse_seconds(value, &ctl->timeout_ms))
		return option_invalid(err, "timeout", value, "a number of seconds, as in 2.5");
	ctl->timed = true;
	return 0;
}

static const struct option_spec ctl_options[] = {
	{ "json", NULL, "print the answer as it came", set_json },
	{ "timeout", "SECONDS", "how long to wait for it; default 30", set_timeout },
	{ NULL, NULL, NULL, NULL },
};

const struct command_spec ctl_command = {
	.name = "ctl",
	.synopsis = "PATH VERB [ID] [KEY=VALUE ...]",
	.summary = "Speaks to a running VM by the control socket of its --control.",
	.options = ctl_options,
	.epilogue = "Exit status: 0 done, 1 the VM says no, 2 usage, 3 nobody answers there.\n",
};

static void print_help(void)
{
	options_print_help(&ctl_command, stdout);
	printf("\nVerbs:\n");
	for (const struct ctl_verb *verb = ctl_verbs; verb->words; verb++) {
		const bool id = strchr(verb->path, '{');
		const int width = printf("  %s%s%s%s", verb->words, id ? " ID" : "",
					 verb->keys ? " " : "", verb->keys ? verb->keys : "");

		if (width >= 26)
			printf("\n%26s%s\n", "", verb->help);
		else
			printf("%*s%s\n", 26 - width, "", verb->help);
	}
}

static bool is_option(const char *word)
{
	return !strncmp(word, "--", 2) || !strcmp(word, "-h");
}

/* Options may stand anywhere: they go to the front, the rest keeps its order. How many words they
 * are, or -ENOMEM. */
static int options_first(int argc, char **argv)
{
	char **rest = calloc(argc + 1, sizeof(*rest));
	int options = 0, others = 0;

	if (!rest)
		return -ENOMEM;
	for (int i = 0; i < argc; i++) {
		const bool value = is_option(argv[i]) && !strcmp(argv[i], "--timeout");

		if (!is_option(argv[i])) {
			rest[others++] = argv[i];
			continue;
		}
		argv[options++] = argv[i];
		if (value && i + 1 < argc)
			argv[options++] = argv[++i];
	}
	memcpy(argv + options, rest, others * sizeof(*rest));
	free(rest);
	return options;
}

static int refused(const struct ctl_answer *answer, const struct ctl_wish *wish, struct error *err)
{
	json_t *json = json_loads(answer->body, 0, NULL);
	const char *text = json_string_value(json_object_get(json, "error"));

	error_setx(err, EIO, "ctl: %s: %s (%d)", wish->verb->words, text ? text : "refused",
		   answer->status);
	json_decref(json);
	return STATUS_ERROR;
}

static int show(const struct ctl *ctl, const struct ctl_answer *answer, const struct ctl_wish *wish,
		struct error *err)
{
	json_t *json = ctl->json ? NULL : json_loads(answer->body, 0, NULL);

	if (json)
		ctl_print(json, stdout);
	else if (answer->len)
		fwrite(answer->body, 1, answer->len, stdout);
	else if (!ctl->json)
		printf("%s\n", wish->verb->done ? wish->verb->done : "done");
	json_decref(json);
	if (!fflush(stdout))
		return 0;
	error_set(err, errno, "ctl: cannot print");
	return STATUS_ERROR;
}

/* What takes as long as it takes is waited for, and shown where there is a terminal. */
static int request(const struct ctl *ctl, const char *path, const struct ctl_wish *wish,
		   const char *body, struct ctl_answer *answer, struct error *err)
{
	const bool follow = ctl_follows(wish->verb) != CTL_FOLLOW_NOTHING;
	const unsigned timeout_ms = follow && !ctl->timed ? 0 : (unsigned)ctl->timeout_ms;

	if (follow && !ctl->json && isatty(STDOUT_FILENO))
		return ctl_live(path, wish, body, timeout_ms, answer, err);
	return ctl_request(path, api_method_names[wish->verb->method], wish->target, body,
			   timeout_ms, answer, err);
}

static int ask(const struct ctl *ctl, const char *path, const struct ctl_wish *wish,
	       struct error *err)
{
	char *body = wish->body ? json_dumps(wish->body, JSON_COMPACT) : NULL;
	struct ctl_answer answer;
	int status = STATUS_NOBODY;

	if (!request(ctl, path, wish, body, &answer, err)) {
		if (answer.status >= 400)
			status = refused(&answer, wish, err);
		else
			status = show(ctl, &answer, wish, err);
		free(answer.body);
	}
	free(body);
	return status;
}

int ctl_main(int argc, char **argv, struct error *err)
{
	struct ctl ctl = { .timeout_ms = DEFAULT_TIMEOUT_MS };
	const int options = 1 + options_first(argc - 1, argv + 1);
	struct ctl_wish wish;
	int status, ret;

	if (options <= 0) {
		error_set(err, ENOMEM, "ctl");
		return STATUS_ERROR;
	}
	ret = options_parse(&ctl_command, options, argv, &ctl, err);
	if (ret == OPTIONS_HELP) {
		print_help();
		return 0;
	}
	if (!ret && options == argc)
		ret = error_setx(err, EINVAL,
				 "ctl: the path of a control socket is missing "
				 "(see: mvmm ctl --help)");
	if (!ret)
		ret = ctl_parse(argc - options - 1, argv + options + 1, &wish, err);
	if (ret)
		return STATUS_USAGE;
	status = ask(&ctl, argv[options], &wish, err);
	json_decref(wish.body);
	return status;
}
