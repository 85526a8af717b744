#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "uploader/base/cleanup.h"
#include "uploader/s3/xml.h"

#define HEAD "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"

static void test_errors(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		bool is_error;
		const char *code, *message, *request_id;
	} cases[] = {
		{HEAD "<Error><Code>NoSuchKey</Code><Message>none &amp; "
		      "nothing</Message><RequestId>R1</RequestId></Error>",
			true, "NoSuchKey", "none & nothing", "R1"},
		{" \r\n\t  \n" HEAD "<Error><Code>InternalError</Code></Error>", true, "InternalError", "", ""},
		{"<Error "
		 "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><RequestId>R</RequestId><Code>A</Code></Error>",
			true, "A", "", "R"},
		{"<CopyObjectResult><ETag>\"e\"</ETag></CopyObjectResult>", false, "", "", ""},
		{"<CopyObjectResult><Error><Code>A</Code></Error></CopyObjectResult>", false, "", "", ""},
		{"<Error><Deep><Code>A</Code></Deep><Code>B</Code></Error>", true, "B", "", ""},
		{"<Error><Code>A</Code><Code>B</Code></Error>", true, "B", "", ""},
		{"<Error><Code>Cut", true, "Cut", "", ""},
		{"<Error/>", true, "", "", ""},
		{"<html><body>503</body></html>", false, "", "", ""},
		{"Service Unavailable", false, "", "", ""},
		{"<Err", false, "", "", ""},
		{"", false, "", "", ""},
		{"   \n ", false, "", "", ""},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct xml_error error;

		memset(&error, 'x', sizeof(error));
		assert_int_equal(xml_parse_error(cases[i].text, strlen(cases[i].text), &error), cases[i].is_error);
		assert_string_equal(error.code, cases[i].code);
		assert_string_equal(error.message, cases[i].message);
		assert_string_equal(error.request_id, cases[i].request_id);
	}
}

static void test_long_texts_are_cut(void **state)
{
	(void)state;
	char text[2000] = "<Error><Code>", *at = text + strlen(text);
	struct xml_error error;

	memset(at, 'C', 1000);
	snprintf(at + 1000, sizeof(text) - 1000 - (size_t)(at - text), "</Code><RequestId>R</RequestId></Error>");
	assert_true(xml_parse_error(text, strlen(text), &error));
	assert_int_equal(strlen(error.code), XML_CODE_MAX - 1);
	assert_string_equal(error.request_id, "R");
}

/* Entities that grow without bound, and references to files, get nowhere. */
static void test_hostile(void **state)
{
	(void)state;
	static const char lol[] =
		"<!DOCTYPE a [<!ENTITY a \"aaaaaaaaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">"
		"<!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;\"><!ENTITY d \"&c;&c;&c;&c;&c;&c;&c;&c;\">"
		"<!ENTITY e \"&d;&d;&d;&d;&d;&d;&d;&d;\"><!ENTITY f \"&e;&e;&e;&e;&e;&e;&e;&e;\">"
		"<!ENTITY g \"&f;&f;&f;&f;&f;&f;&f;&f;\"><!ENTITY h \"&g;&g;&g;&g;&g;&g;&g;&g;\">]>"
		"<Error><Code>&h;&h;&h;&h;&h;&h;&h;&h;</Code></Error>";
	static const char file[] =
		"<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><Error><Code>&x;</Code></Error>";
	struct xml_error error;

	(void)xml_parse_error(lol, sizeof(lol) - 1, &error);
	assert_true(strlen(error.code) < XML_CODE_MAX);
	(void)xml_parse_error(file, sizeof(file) - 1, &error);
	assert_string_equal(error.code, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_errors), cmocka_unit_test(test_long_texts_are_cut),
		cmocka_unit_test(test_hostile)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
