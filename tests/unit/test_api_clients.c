/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket's server and its clients: those that stop in the middle, many of them, and the
 * end of the VM. */
#include "tests/unit/api_rig.h"

/* ---- clients that stop in the middle ---- */

static void test_half_a_request_and_the_end(void **state)
{
	const int fd = dial();

	say(fd, "GET /things/1 HTTP/1.1\r\nX: ");
	shutdown(fd, SHUT_WR);
	begins(hear(fd), "HTTP/1.1 400");
	assert_true(is_closed(fd));
	assert_int_equal(server->nclients, 0);
	close(fd);
}

static void test_who_has_said_all_still_gets_the_answer(void **state)
{
	const int fd = dial();

	say(fd, "PUT /later HTTP/1.1\r\n\r\n");
	shutdown(fd, SHUT_WR);
	laps(5);
	assert_int_equal(server->nclients, 1);
	api_reply(late, 204, NULL);
	late = NULL;
	begins(hear(fd), "HTTP/1.1 204");
	assert_true(is_closed(fd));
	assert_int_equal(server->nclients, 0);
	close(fd);
}

static void test_a_client_may_go_before_its_answer(void **state)
{
	const int fd = dial();

	say(fd, "PUT /later HTTP/1.1\r\n\r\n");
	laps(3);
	close(fd);
	laps(3);
	assert_int_equal(server->nclients, 0);
	assert_int_equal(server->npending, 1);
	assert_null(late->client);
	api_reply(late, 200, json_string("nobody hears"));
	late = NULL;
	assert_int_equal(server->npending, 0);
}

static void test_a_slow_request_is_told_so_and_closed(void **state)
{
	const int fd = dial();

	say(fd, "GET /thi");
	laps(2);
	assert_true(server->client[0].timer.armed);
	assert_true(server->client[0].timer.when <= clock_ms() + CLIENT_REQUEST_MS);
	loop_timer_set(&loop, &server->client[0].timer, clock_ms());
	begins(hear(fd), "HTTP/1.1 408");
	assert_true(is_closed(fd));
	/* It does not take the hint: nobody waits for it. */
	loop_timer_set(&loop, &server->client[0].timer, clock_ms());
	laps(2);
	assert_int_equal(server->nclients, 0);
	close(fd);
}

static void test_an_idle_client_may_stay(void **state)
{
	const int fd = dial();

	laps(3);
	assert_false(server->client[0].timer.armed);
	say(fd, "PUT /nothing HTTP/1.1\r\n\r\n");
	begins(hear(fd), "HTTP/1.1 204");
	assert_false(server->client[0].timer.armed);
	close(fd);
}

static void test_who_does_not_read_holds_nobody_up(void **state)
{
	const int slow = dial(), other = dial();

	say(slow, "GET /big HTTP/1.1\r\n\r\nPUT /nothing HTTP/1.1\r\n\r\n");
	laps(5);
	assert_int_equal(server->client[0].state, CLIENT_WRITING);
	say(other, "PUT /nothing HTTP/1.1\r\n\r\n");
	begins(hear(other), "HTTP/1.1 204");
	assert_int_equal(handled, 1);
	/* It reads after all: all of it is there, and its next request's turn has come. */
	begins(hear(slow), "HTTP/1.1 200");
	has(answer, "xxxxHTTP/1.1 204");
	assert_int_equal(handled, 2);
	close(other);
	close(slow);
}

static void test_who_never_reads_is_dropped(void **state)
{
	const int fd = dial();

	say(fd, "GET /big HTTP/1.1\r\n\r\n");
	laps(5);
	assert_true(server->client[0].timer.when <= clock_ms() + CLIENT_WRITE_MS);
	loop_timer_set(&loop, &server->client[0].timer, clock_ms());
	laps(2);
	assert_int_equal(server->nclients, 0);
	close(fd);
}

/* ---- many of them ---- */

static void fill(int *fd, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++) {
		fd[i] = dial();
		say(fd[i], "GET /half");
	}
	laps(5);
}

static void drop(int *fd, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		close(fd[i]);
	laps(PLACES);
}

static void test_too_many_busy_clients_are_told_so(void **state)
{
	int fd[PLACES + 2], more;

	fill(fd, 0, API_MAX_CLIENTS);
	more = dial();
	say(more, "PUT /nothing HTTP/1.1\r\n\r\n");
	begins(hear(more), "HTTP/1.1 503");
	has(answer, "too many clients");
	assert_true(is_closed(more));
	close(more);
	laps(3);
	fill(fd, API_MAX_CLIENTS, PLACES + 2);
	assert_int_equal(server->nclients, PLACES);
	drop(fd, PLACES + 2);
	assert_int_equal(server->nclients, 0);
	ask("PUT /nothing HTTP/1.1\r\n\r\n", "204", "");
	assert_int_equal(handled, 1);
}

static void test_who_is_idle_longest_makes_room(void **state)
{
	int fd[API_MAX_CLIENTS], more;

	for (unsigned i = 0; i < API_MAX_CLIENTS; i++) {
		fd[i] = dial();
		say(fd[i], "PUT /nothing HTTP/1.1\r\n\r\n");
		begins(hear(fd[i]), "HTTP/1.1 204");
	}
	server->client[2].since -= 5000;
	more = dial();
	assert_true(is_closed(fd[2]));
	assert_false(is_closed(fd[3]));
	say(more, "PUT /nothing HTTP/1.1\r\n\r\n");
	begins(hear(more), "HTTP/1.1 204");
	close(more);
	drop(fd, API_MAX_CLIENTS);
}

/* All of them came too fast to count as idle, and none goes by itself. */
static void test_silent_clients_make_room_in_the_end(void **state)
{
	int fd[PLACES], more;

	for (unsigned i = 0; i < PLACES; i++)
		fd[i] = dial();
	laps(PLACES);
	for (unsigned i = 0; i < API_MAX_CLIENTS; i++)
		server->client[i].since = clock_ms(); /* however slow this host is */
	more = dial();
	say(more, "PUT /nothing HTTP/1.1\r\n\r\n");
	assert_string_equal(hear(more), "");
	assert_true(server->retry.armed);
	for (unsigned i = 0; i < PLACES; i++)
		server->client[i].since -= 5000;
	loop_timer_set(&loop, &server->retry, clock_ms());
	begins(hear(more), "HTTP/1.1 204");
	assert_true(server->nclients <= API_MAX_CLIENTS);
	close(more);
	drop(fd, PLACES);
}

static void test_requests_that_take_time_are_counted(void **state)
{
	struct api_request *all[API_MAX_PENDING];

	for (unsigned i = 0; i < API_MAX_PENDING; i++) {
		const int fd = dial();

		say(fd, "PUT /later HTTP/1.1\r\n\r\n");
		laps(2);
		all[i] = late;
		close(fd);
		laps(2);
	}
	late = NULL;
	ask("PUT /nothing HTTP/1.1\r\n\r\n", "503", "too many requests");
	ask("PUT /always HTTP/1.1\r\n\r\n", "204", "");
	for (unsigned i = 0; i < API_MAX_PENDING; i++)
		api_reply(all[i], 204, NULL);
	ask("PUT /nothing HTTP/1.1\r\n\r\n", "204", "");
}

/* ---- the end ---- */

static void test_the_end_of_the_vm_answers_all(void **state)
{
	const int waiting = dial(), idle = dial(), half = dial();

	say(waiting, "PUT /later HTTP/1.1\r\n\r\n");
	say(half, "GET /th");
	laps(5);
	api_close(server);
	server = NULL;
	begins(hear(waiting), "HTTP/1.1 503");
	has(answer, "the VM has ended");
	assert_true(is_closed(waiting));
	assert_true(is_closed(idle));
	assert_true(is_closed(half));
	/* The handler's answer comes too late, and does no harm. */
	api_reply(late, 200, json_string("done"));
	late = NULL;
	close(waiting);
	close(idle);
	close(half);
}

static void test_any_bytes_are_text(void **state)
{
	json_t *json = api_string("a\xff\xc3\xa9\xed\xa0\x80z");

	assert_string_equal(json_string_value(json),
			    "a\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz");
	json_decref(json);
	json = api_string(NULL);
	assert_true(json_is_null(json));
	json_decref(json);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_half_a_request_and_the_end),
		TEST(test_who_has_said_all_still_gets_the_answer),
		TEST(test_a_client_may_go_before_its_answer),
		TEST(test_a_slow_request_is_told_so_and_closed),
		TEST(test_an_idle_client_may_stay),
		TEST(test_who_does_not_read_holds_nobody_up),
		TEST(test_who_never_reads_is_dropped),
		TEST(test_too_many_busy_clients_are_told_so),
		TEST(test_who_is_idle_longest_makes_room),
		TEST(test_silent_clients_make_room_in_the_end),
		TEST(test_requests_that_take_time_are_counted),
		TEST(test_the_end_of_the_vm_answers_all),
		TEST(test_any_bytes_are_text),
	};

	signal(SIGPIPE, SIG_IGN); /* as mvmm has it */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
