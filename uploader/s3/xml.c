#include "uploader/s3/xml.h"

#include <expat.h>
#include <limits.h>
#include <string.h>

struct reader {
	struct xml_error *error;
	int depth;
	bool is_error;
	char *field; /* of the element that is open, or NULL */
	size_t room;
};

static void start_element(void *arg, const XML_Char *name, const XML_Char **attributes)
{
	struct reader *reader = arg;

	(void)attributes;
	reader->depth++;
	reader->field = NULL;
	if (reader->depth == 1)
		reader->is_error = !strcmp(name, "Error");
	if (reader->depth != 2 || !reader->is_error)
		return;

#define FIELD(name_, field_)                                                                                         \
	if (!strcmp(name, name_)) {                                                                                  \
		reader->field = reader->error->field_;                                                               \
		reader->room = sizeof(reader->error->field_);                                                        \
		reader->field[0] = '\0';                                                                             \
	}
	FIELD("Code", code)
	FIELD("Message", message)
	FIELD("RequestId", request_id)
#undef FIELD
}

static void end_element(void *arg, const XML_Char *name)
{
	struct reader *reader = arg;

	(void)name;
	reader->depth--;
	reader->field = NULL;
}

static void text(void *arg, const XML_Char *bytes, int length)
{
	struct reader *reader = arg;

	if (reader->field)
		strncat(reader->field, bytes,
			(size_t)length < reader->room - 1 - strlen(reader->field)
				? (size_t)length
				: reader->room - 1 - strlen(reader->field));
}

bool xml_parse_error(const char *bytes, size_t length, struct xml_error *ret)
{
	struct reader reader = {.error = ret};
	XML_Parser parser = XML_ParserCreate(NULL);

	memset(ret, 0, sizeof(*ret));
	if (!parser)
		return false;
	while (length && strchr(" \t\r\n", *bytes) && *bytes) {
		bytes++;
		length--;
	}
	XML_SetUserData(parser, &reader);
	XML_SetElementHandler(parser, start_element, end_element);
	XML_SetCharacterDataHandler(parser, text);
	if (length <= INT_MAX)
		(void)XML_Parse(parser, bytes, (int)length, 1);
	XML_ParserFree(parser);
	return reader.is_error;
}
