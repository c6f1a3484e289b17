/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket's server: what may be asked, and how. */
#include "tests/unit/api_rig.h"

#include <errno.h>

/* ---- what is asked ---- */

static void test_requests_reach_their_routes(void **state)
{
	ask("GET /things/vda HTTP/1.1\r\n\r\n", "200 OK",
	    "{\"id\":\"vda\",\"body\":{},\"query\":{}}\n");
	ask("PUT /things/a%2fb%20c/size HTTP/1.1\r\nContent-Length: 7\r\n\r\n{\"n\":3}", "200",
	    "{\"id\":\"a/b c\",\"body\":{\"n\":3}");
	ask("GET http://localhost/things/x HTTP/1.1\r\n\r\n", "200", "\"id\":\"x\"");
	ask("PUT /nothing HTTP/1.1\r\n\r\n", "204 No Content\r\n\r\n", "");
	assert_int_equal(handled, 4);
}

static void test_unknown_addresses_and_methods(void **state)
{
	ask("GET /thing HTTP/1.1\r\n\r\n", "404", "\"error\"");
	ask("GET /things/ HTTP/1.1\r\n\r\n", "404", "\"error\"");
	ask("GET /things/a/b HTTP/1.1\r\n\r\n", "404", "\"error\"");
	ask("GET /things/%zz HTTP/1.1\r\n\r\n", "404", "\"error\"");
	ask("GET /things/%00 HTTP/1.1\r\n\r\n", "404", "\"error\"");
	ask("DELETE /things/a HTTP/1.1\r\n\r\n", "405", "Allow: GET, PATCH\r\n");
	ask("HEAD /nothing HTTP/1.1\r\n\r\n", "405", "Allow: PUT\r\n");
	ask("FETCH /nothing HTTP/1.1\r\n\r\n", "501", "unknown method");
	ask("CONNECT /nothing HTTP/1.1\r\n\r\n", "40", "\"error\"");
	assert_int_equal(handled, 0);
}

static void test_an_answer_to_head_has_no_content(void **state)
{
	const int fd = dial();

	say(fd, "HEAD /nothing HTTP/1.1\r\n\r\n");
	assert_string_equal(strstr(hear(fd), "\r\n\r\n"), "\r\n\r\n");
	say(fd, "PUT /nothing HTTP/1.1\r\n\r\n");
	begins(hear(fd), "HTTP/1.1 204");
	close(fd);
}

static void test_json_is_held_to_the_fields(void **state)
{
	ask_json("{\"n\":5,\"on\":true,\"text\":\"abcd\",\"limits\":{\"iops\":1000}}", "200",
		 "\"body\":{\"n\":5,\"on\":true,\"text\":\"abcd\",\"limits\":{\"iops\":1000}}");
	ask_json("{\"n\":5,", "400", "JSON: line 1, column 7: ");
	ask_json("{\n\"n\":5\n\"on\":true}", "400", "JSON: line 3, column 4");
	ask_json("[]", "400", "the body must be an object");
	ask_json("{\"m\":5}", "400", "unknown field 'm'");
	ask_json("{\"limits\":{\"bps\":1}}", "400", "unknown field 'limits.bps'");
	ask_json("{\"n\":\"5\"}", "400", "'n' must be an integer");
	ask_json("{\"n\":5.0}", "400", "'n' must be an integer");
	ask_json("{\"n\":null}", "400", "'n' must be an integer");
	ask_json("{\"n\":-1}", "400", "'n' must be from 0 to 9223372036854775807");
	ask_json("{\"n\":99999999999999999999}", "400", "JSON: ");
	ask_json("{\"on\":1}", "400", "'on' must be true or false");
	ask_json("{\"text\":\"\"}", "400", "'text' must have from 1 to 4 bytes");
	ask_json("{\"text\":\"abcde\"}", "400", "'text' must have from 1 to 4 bytes");
	ask_json("{\"limits\":7}", "400", "'limits' must be an object");
	ask_json("{\"limits\":{\"iops\":1001}}", "400", "'limits.iops' must be from 1 to 1000");
	ask_json("{\"n\":1,\"n\":2}", "400", "duplicate");
	ask("PUT /things/a/size HTTP/1.1\r\n\r\n", "400", "'n' is missing");
	ask("PUT /nothing HTTP/1.1\r\nContent-Length: 7\r\n\r\n{\"x\":1}", "400",
	    "unknown field 'x'");
	ask("PUT /nothing HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", "204", "");
	assert_int_equal(handled, 2);
}

static void test_deep_json_is_refused(void **state)
{
	char json[3000];

	memset(json, '[', sizeof(json) - 1);
	json[sizeof(json) - 1] = '\0';
	ask_json(json, "400", "JSON: ");
}

static void test_parameters_are_held_to_the_fields(void **state)
{
	ask("GET /things/a?n=7&on=true&text=a%26b HTTP/1.1\r\n\r\n", "200",
	    "\"query\":{\"n\":7,\"on\":true,\"text\":\"a&b\"}");
	ask("GET /things/a? HTTP/1.1\r\n\r\n", "200", "\"query\":{}");
	ask("GET /things/a?m=7 HTTP/1.1\r\n\r\n", "400", "unknown field 'm'");
	ask("GET /things/a?n=x HTTP/1.1\r\n\r\n", "400", "'n' must be an integer");
	ask("GET /things/a?n=1&n=2 HTTP/1.1\r\n\r\n", "400", "'n' is there twice");
	ask("GET /things/a?text=%ff HTTP/1.1\r\n\r\n", "400", "not text");
	ask("GET /things/a?text=%0 HTTP/1.1\r\n\r\n", "400", "not well-formed");
	ask("PUT /nothing?now=1 HTTP/1.1\r\n\r\n", "400", "unknown field 'now'");
}

/* ---- how it is asked ---- */

static void test_what_is_no_http_is_told_so(void **state)
{
	ask("hello\r\n\r\n", "501", "Connection: close\r\n");
	ask("GET /nothing HTTP/1.1\r\nBad Header\r\n\r\n", "400", "Connection: close\r\n");
	ask("GET /nothing HTTP/2.0\r\n\r\n", "505", "\"error\"");
	ask("PUT /nothing HTTP/1.1\r\nContent-Length: 4x\r\n\r\n", "400", "\"error\"");
	ask("PUT /nothing HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", "400", "\"error\"");
	assert_int_equal(handled, 0);
}

static void ask_long(const char *before, char fill, size_t n, const char *after, const char *status)
{
	const int fd = dial();
	char *text = malloc(n + 1);

	memset(text, fill, n);
	text[n] = '\0';
	say(fd, before);
	for (size_t at = 0; at < n;) {
		const ssize_t some = send(fd, text + at, n - at, MSG_NOSIGNAL);

		at += some > 0 ? some : 0;
		laps(1);
		if (some < 0)
			break;
	}
	send(fd, after, strlen(after), MSG_NOSIGNAL);
	laps(n / CLIENT_CHUNK + 2);
	begins(hear(fd), "HTTP/1.1 ");
	begins(answer + 9, status);
	free(text);
	close(fd);
	laps(2);
}

static void test_limits_of_address_headers_and_body(void **state)
{
	const char *put = "PUT /nothing HTTP/1.1\r\nContent-Length: ";
	char head[128];

	ask_long("GET /things/", 'a', 60, " HTTP/1.1\r\n\r\n", "200");
	ask_long("GET /", 'a', MESSAGE_MAX_URL - 1, " HTTP/1.1\r\n\r\n", "404");
	ask_long("GET /", 'a', MESSAGE_MAX_URL, " HTTP/1.1\r\n\r\n", "414");
	ask_long("PUT /nothing HTTP/1.1\r\nX: ", 'a', MESSAGE_MAX_HEAD - 30, "\r\n\r\n", "204");
	ask_long("PUT /nothing HTTP/1.1\r\nX: ", 'a', MESSAGE_MAX_HEAD - 29, "\r\n\r\n", "431");
	ask_long("PUT /nothing HTTP/1.1\r\nX: ", 'a', 4 * MESSAGE_MAX_HEAD, "\r\n\r\n", "431");
	snprintf(head, sizeof(head), "%s%d\r\n\r\n", put, MESSAGE_MAX_BODY);
	ask_long(head, ' ', MESSAGE_MAX_BODY - 2, "{}", "204");
	snprintf(head, sizeof(head), "%s%d\r\n\r\n", put, MESSAGE_MAX_BODY + 1);
	ask_long(head, ' ', MESSAGE_MAX_BODY + 1, "", "413");
	ask_long("PUT /nothing HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n", ' ',
		 0x20000, "\r\n0\r\n\r\n", "413");
	ask_long("PUT /nothing HTTP/1.1\r\nContent-Length: 99999999999999\r\n\r\n", ' ', 10, "",
		 "413");
}

static void test_a_request_may_come_byte_by_byte(void **state)
{
	static const char request[] = "PATCH /things/a HTTP/1.1\r\nX-Empty:\r\nExpect:\r\n"
				      "Transfer-Encoding: chunked\r\n\r\n"
				      "3\r\n{\"n\r\n4\r\n\":1}\r\n0\r\n\r\n";
	const int fd = dial();

	for (size_t i = 0; i + 1 < sizeof(request); i++) {
		assert_int_equal(handled, 0);
		assert_int_equal(write(fd, request + i, 1), 1);
		laps(2);
	}
	has(hear(fd), "\"body\":{\"n\":1}");
	close(fd);
}

static void test_pipelined_requests_are_answered_in_order(void **state)
{
	const int fd = dial();
	const char *a, *b, *c;

	say(fd, "GET /things/1 HTTP/1.1\r\n\r\nGET /things/2 HTTP/1.1\r\n\r\n"
		"GET /things/3 HTTP/1.1\r\n\r\nGET /thi");
	hear(fd);
	a = strstr(answer, "\"id\":\"1\"");
	b = strstr(answer, "\"id\":\"2\"");
	c = strstr(answer, "\"id\":\"3\"");
	assert_true(a && b && c && a < b && b < c);
	say(fd, "ngs/4 HTTP/1.1\r\nConnection: close\r\n\r\nGET /things/5 HTTP/1.1\r\n\r\n");
	has(hear(fd), "\"id\":\"4\"");
	assert_null(strstr(answer, "\"id\":\"5\""));
	assert_true(is_closed(fd));
	assert_int_equal(handled, 4);
	close(fd);
}

static void test_continue_is_said_to_who_waits_for_it(void **state)
{
	const int fd = dial();

	say(fd, "PATCH /things/a HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 7\r\n\r\n");
	assert_string_equal(hear(fd), "HTTP/1.1 100 Continue\r\n\r\n");
	say(fd, "{\"n\":1}");
	begins(hear(fd), "HTTP/1.1 200");
	say(fd, "PATCH /things/a HTTP/1.1\r\nExpect: 100-continue\r\n"
		"Content-Length: 70000\r\n\r\n");
	begins(hear(fd), "HTTP/1.1 413");
	close(fd);
}

static void test_old_clients_get_one_answer_per_connection(void **state)
{
	const int fd = dial();

	say(fd, "PUT /nothing HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	has(hear(fd), "Connection: close");
	assert_true(is_closed(fd));
	close(fd);
}

/* Nobody is told that his words were wrong because storage has failed or does not answer. */
static void test_what_the_host_fails_of_is_no_bad_request(void **state)
{
	const int failed[] = { EIO, ENODATA, ENXIO, EREMOTEIO, ESTALE, ENOMEM };

	for (unsigned i = 0; i < sizeof(failed) / sizeof(failed[0]); i++)
		assert_int_equal(api_status(-failed[i]), 500);
	assert_int_equal(api_status(-ETIME), 504);
	assert_int_equal(api_status(-ETIMEDOUT), 504);
	assert_int_equal(api_status(-EDQUOT), 409);
	assert_int_equal(api_status(-ENOSPC), 409);
	assert_int_equal(api_status(-EINVAL), 400);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_requests_reach_their_routes),
		TEST(test_unknown_addresses_and_methods),
		TEST(test_an_answer_to_head_has_no_content),
		TEST(test_json_is_held_to_the_fields),
		TEST(test_deep_json_is_refused),
		TEST(test_parameters_are_held_to_the_fields),
		TEST(test_what_is_no_http_is_told_so),
		TEST(test_limits_of_address_headers_and_body),
		TEST(test_a_request_may_come_byte_by_byte),
		TEST(test_pipelined_requests_are_answered_in_order),
		TEST(test_continue_is_said_to_who_waits_for_it),
		TEST(test_old_clients_get_one_answer_per_connection),
		TEST(test_what_the_host_fails_of_is_no_bad_request),
	};

	signal(SIGPIPE, SIG_IGN); /* as mvmm has it */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
